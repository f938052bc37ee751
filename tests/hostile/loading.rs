//! What is no component, or not one of ours, or lies about itself, is not loaded.

use redress::sandbox::{LoadError, Provenance, Sandbox, SandboxConfig};
use redress::types::{Risk, code};

use crate::common::*;

fn load(bytes: &[u8]) -> Result<(), LoadError> {
    sandbox().load(bytes, Provenance::External).map(|_| ())
}

fn load_guest(name: &str) -> Result<(), LoadError> {
    load(&std::fs::read(guests::component(name)).unwrap())
}

/// Bytes that look like chance and are the same each time.
fn noise(seed: u64) -> impl Iterator<Item = u8> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
}

#[test]
fn random_bytes_are_never_loaded() {
    for seed in 0..200 {
        let bytes: Vec<u8> = noise(seed).take(500).collect();
        assert_eq!(load(&bytes), Err(LoadError::NotWasm));
        let begun: Vec<u8> = b"\0asm\x0d\0\x01\0".iter().copied().chain(noise(seed).take(500)).collect();
        assert!(matches!(load(&begun), Err(LoadError::Invalid(_) | LoadError::WrongWorld)), "{seed}");
    }
}

#[test]
fn a_truncated_component_is_never_loaded() {
    let whole = std::fs::read(guests::component("harmless")).unwrap();
    let mut whole_enough = 0;
    for end in 0..whole.len() {
        let Err(error) = load(&whole[..end]) else {
            // Only names for debuggers are missing.
            whole_enough += 1;
            continue;
        };
        let expected = matches!(error, LoadError::NotWasm | LoadError::Invalid(_) | LoadError::WrongWorld);
        assert!(expected, "{end}: {error}");
    }
    assert!(whole_enough <= 1, "{whole_enough}");
}

#[test]
fn a_component_with_a_changed_byte_is_refused_or_still_confined() {
    let whole = std::fs::read(guests::component("harmless")).unwrap();
    for (place, by) in (0..whole.len()).step_by(7).zip(noise(1)) {
        let mut changed = whole.clone();
        changed[place] ^= by | 1;
        // It may still be one; what counts is that the host goes on.
        let _ = load(&changed);
    }
    load_guest("harmless").unwrap();
}

#[test]
fn a_component_of_another_version_of_the_world_is_not_loaded() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/components/harmless.wat")).unwrap();
    for (version, fits) in [("0.1.9", true), ("0.2.0", false), ("1.0.0", false)] {
        let other = wat::parse_str(text.replace("provider@0.1.0", &format!("provider@{version}"))).unwrap();
        match load(&other) {
            Ok(()) => assert!(fits, "{version}"),
            Err(error) => {
                let named = format!("it exports `redress:capability/provider@{version}`; this host runs 0.1.x");
                assert!(!fits && error.to_string() == named, "{version}: {error}");
            }
        }
    }
}

#[test]
fn a_description_is_the_same_whatever_it_is_made_from() {
    let bytes = std::fs::read(guests::component("liar_changes")).unwrap();
    let describe = || sandbox().load(&bytes, Provenance::External).unwrap().description().to_owned();
    assert_eq!(describe(), describe());
}

#[test]
fn more_instances_memories_or_tables_than_a_component_can_have_are_refused() {
    for (name, expected) in [
        ("many_instances", "40 core module instances"),
        ("many_memories", "9 Wasm linear memories"),
        ("many_tables", "the limit `table_elements` (20000) was passed"),
    ] {
        let error = load_guest(name).unwrap_err();
        match &error {
            LoadError::DescribeFailed(failure) => assert_eq!(failure.code, code::LIMIT),
            other => assert!(matches!(other, LoadError::Invalid(_)), "{name}: {other}"),
        }
        assert!(error.to_string().contains(expected), "{name}: {error}");
    }
    load_guest("harmless").unwrap();
}

#[test]
fn bytes_that_are_no_component_are_refused_each_with_its_reason() {
    assert_eq!(load(b""), Err(LoadError::NotWasm));
    assert_eq!(load(b"#!/bin/sh\n"), Err(LoadError::NotWasm));
    assert_eq!(load(&wat::parse_str("(module)").unwrap()), Err(LoadError::CoreModule));
    assert_eq!(load(&wat::parse_str("(component)").unwrap()), Err(LoadError::WrongWorld));
    assert!(matches!(load(b"\0asm\x0d\0\x01\0garbage"), Err(LoadError::Invalid(_))));
    assert!(load_guest("harmless").is_ok());
    let engine = wasmtime::Engine::default();
    let compiled = engine.precompile_component(&wat::parse_str("(component)").unwrap()).unwrap();
    assert_eq!(load(&compiled), Err(LoadError::Precompiled));
    let compiled = engine.precompile_module(&wat::parse_str("(module)").unwrap()).unwrap();
    assert_eq!(load(&compiled), Err(LoadError::Precompiled));
}

#[test]
fn imports_that_the_host_does_not_have_are_named() {
    let provider = r#"(instance $p) (export "redress:capability/provider@0.1.0" (instance $p))"#;
    let with =
        |import: &str| wat::parse_str(format!(r#"(component (import "{import}" (instance)) {provider})"#)).unwrap();
    let incoming = "wasi:http/incoming-handler@0.2.12";
    assert_eq!(load(&with(incoming)), Err(LoadError::MissingImport(incoming.into())));
    let name = "wasi:http/outgoing-handler@0.3.0";
    let other = LoadError::WrongVersion { does: "imports", name: name.into(), runs: "0.2.x" };
    assert_eq!(load(&with(name)), Err(other));
    assert_eq!(load(&with("acme:exec/run@1.0.0")), Err(LoadError::MissingImport("acme:exec/run@1.0.0".into())));
    let empty = wat::parse_str(format!("(component {provider})")).unwrap();
    assert!(matches!(load(&empty), Err(LoadError::WrongContract(_))));
}

#[test]
fn a_component_that_lies_in_its_description_is_refused() {
    for (name, expected) in [
        ("liar_not_json", "its description is refused: not valid JSON"),
        ("liar_stolen_id", "`io.fs.write_file` is in the namespace `io.`"),
        ("liar_reserved_id", "belongs to the standard library"),
        ("liar_bad_id", "`Test.Bad Id` is not a capability id"),
        ("liar_low_irreversible", "HIGH is the least"),
        ("liar_pure_permission", "asks for `fs:write`, which can change something"),
        ("liar_bad_permission", "`sys:exec` is not a permission"),
        ("liar_bad_schema", "the `input` schema of `test.bad_schema`"),
        ("liar_traps", "its `describe` failed: trap"),
        ("liar_loops", "its `describe` failed: out-of-fuel"),
        ("liar_unknown_schema", "its `schema` is 2"),
        ("liar_twice", "`test.twice` stands twice"),
        ("liar_grows", "its `describe` failed: out-of-memory"),
        ("liar_exits", "its `describe` failed: exited: the component called `exit(0)`"),
        ("liar_huge", "at most 1048576 are read"),
        ("liar_doubling", "the `output` schema of `test.doubling`: the schema is too intricate"),
    ] {
        let error = load_guest(name).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
    assert_eq!(guest("liar_low_risk").capabilities()[0].risk, Risk::Medium);
}

#[test]
fn damaged_code_in_the_cache_is_made_anew_and_a_folder_that_others_can_write_is_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let config = SandboxConfig { cache_dir: Some(cache.clone()), ..SandboxConfig::default() };
    let bytes = std::fs::read(guests::component("harmless")).unwrap();
    let load = || Sandbox::new(config.clone()).unwrap().load(&bytes, Provenance::External).unwrap().digest();
    let digest = load();
    let entry = std::fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
    let sound = std::fs::read(&entry).unwrap();
    assert_eq!(std::fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o700);

    for damage in [0, 20, sound.len() - 1] {
        let mut damaged = sound.clone();
        damaged[damage] ^= 1;
        std::fs::write(&entry, &damaged).unwrap();
        assert_eq!(load(), digest);
        assert_ne!(std::fs::read(&entry).unwrap(), damaged, "it was made anew");
    }
    std::fs::write(&entry, &sound[..100]).unwrap();
    assert_eq!(load(), digest);

    std::fs::write(&entry, b"not touched").unwrap();
    std::fs::set_permissions(&cache, std::fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(load(), digest);
    assert_eq!(std::fs::read(&entry).unwrap(), b"not touched");
}

#[test]
fn a_component_composed_of_two_that_pass_text_is_compiled_and_judged_by_what_it_exports() {
    let composed = wat::parse_str(
        r#"(component
            (component $a
                (core module $m
                    (memory (export "memory") 1)
                    (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 0)
                    (func (export "f") (param i32 i32)))
                (core instance $i (instantiate $m))
                (func (export "f") (param "s" string)
                    (canon lift (core func $i "f") (memory (core memory $i "memory")) (realloc (core func $i "realloc")))))
            (instance $ai (instantiate $a))
            (component $b
                (import "f" (func $f (param "s" string)))
                (core module $libc
                    (memory (export "memory") 1)
                    (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 0))
                (core instance $l (instantiate $libc))
                (core func $lowered (canon lower (func $f) (memory (core memory $l "memory")) (realloc (core func $l "realloc"))))
                (core module $m (import "" "f" (func (param i32 i32))))
                (core instance (instantiate $m (with "" (instance (export "f" (func $lowered)))))))
            (instance (instantiate $b (with "f" (func $ai "f")))))"#,
    );
    assert_eq!(load(&composed.unwrap()), Err(LoadError::WrongWorld));
}
