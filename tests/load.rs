//! What is loaded: a component that does not fit says which item differs, and compiled code is believed only if the host kept it.
#![cfg(feature = "host")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a failed test may panic

mod common;

use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use common::*;
use redress::sandbox::{LoadError, Provenance, Sandbox, SandboxConfig};
use redress::types::sha256;

fn load(bytes: &[u8]) -> Result<(), LoadError> {
    sandbox().load(bytes, Provenance::External).map(|_| ())
}

/// A sound component as text, with some of it written otherwise; each piece must be there.
fn sound_but_for(changes: &[(&str, &str)]) -> Vec<u8> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/components/harmless.wat");
    let mut text = fs::read_to_string(file).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    wat::parse_str(text).unwrap()
}

fn error_of(changes: &[(&str, &str)]) -> String {
    load(&sound_but_for(changes)).unwrap_err().to_string()
}

const CONTRACT: &str = "it does not fit the contract `redress:capability@0.1.0`: ";

#[test]
fn a_component_of_another_version_is_told_which_one_it_exports_and_which_one_runs_here() {
    let error = error_of(&[("provider@0.1.0", "provider@0.2.0")]);
    assert_eq!(error, "it exports `redress:capability/provider@0.2.0`; this host runs 0.1.x");
    load(&sound_but_for(&[("provider@0.1.0", "provider@0.1.9")])).unwrap();
}

#[test]
fn the_first_item_that_differs_from_the_contract_is_named_with_what_was_expected() {
    let timeout = r#"(field "timeout-ms" u64)))"#;
    let (attempt, core) =
        (r#"(field "attempt" u32) (field "timeout-ms" u64)))"#, "(param i32 i32 i32 i32 i32 i32 i32 i64)");
    let returned = "(result (result string (error $failure";
    for (changes, expected) in [
        (
            &[(timeout, r#"(field "timeout-ms" u32)))"#), (core, "(param i32 i32 i32 i32 i32 i32 i32 i32)")][..],
            "`execute` takes `call.timeout-ms: u32`, expected `u64`",
        ),
        (
            &[(timeout, "))"), (core, "(param i32 i32 i32 i32 i32 i32 i32)")],
            "`execute` takes `call` without `timeout-ms`, expected `call.timeout-ms: u64`",
        ),
        (
            &[
                (timeout, r#"(field "timeout-ms" u64) (field "trace" string)))"#),
                (core, "(param i32 i32 i32 i32 i32 i32 i32 i64 i32 i32)"),
            ],
            "`execute` takes `call.trace: string`, expected nothing of that name",
        ),
        (
            &[
                (attempt, r#"(field "timeout-ms" u64) (field "attempt" u32)))"#),
                (core, "(param i32 i32 i32 i32 i32 i32 i64 i32)"),
            ],
            "`execute` takes `capability, input, key, timeout-ms, attempt`, expected the order `capability, input, key, \
             attempt, timeout-ms`",
        ),
        (
            &[(r#""retry-after-ms" (option u64)"#, r#""retry-after-ms" (option u32)"#)],
            "`execute` returns `err.retry-after-ms.some: u32`, expected `u64`",
        ),
        (&[(returned, "(result (result u32 (error $failure")], "`execute` returns `ok: u32`, expected `string`"),
        (
            &[("(result string (error $failure))", "string"), ("(result string (error $failure-out))", "string")],
            "`execute` returns `string`, expected `result<string, record { code, message, retryable, retry-after-ms, \
             details }>`",
        ),
        (
            &[(r#"(export "execute" (func $execute)"#, r#"(export "run" (func $execute)"#)],
            "`redress:capability/provider@0.1.0` has no function `execute`",
        ),
        (
            &[
                ("(func $describe (result string)", "(func $describe"),
                (r#"(func (export "describe") (result i32) (i32.const 1016))"#, r#"(func (export "describe"))"#),
            ],
            "`describe` returns nothing, expected `string`",
        ),
    ] {
        assert_eq!(error_of(changes), format!("{CONTRACT}{expected}"));
    }
}

#[test]
fn a_type_that_doubles_with_each_name_makes_a_short_message() {
    let doubled: String = (1..=10).map(|n| format!("(type $t{n} (tuple $t{} $t{}))\n", n - 1, n - 1)).collect();
    let doubled = format!("(type $t0 (tuple u8 u8))\n{doubled}");
    let wide = format!("(type $t10 (tuple {}))\n", "u8 ".repeat(5_000));
    let field = r#""retry-after-ms" (option"#;
    let with = |types: &str| {
        let (outer, inner) = (format!("{types}(type $failure (record"), format!("{types}(type $c (record"));
        error_of(&[
            ("(type $failure (record", &outer),
            ("(type $c (record", &inner),
            (&format!("{field} u64)"), &format!("{field} $t10)")),
        ])
    };
    let deep = "tuple<tuple<tuple<..., ...>, tuple<..., ...>>, tuple<tuple<..., ...>, tuple<..., ...>>>";
    assert_eq!(
        with(&doubled),
        format!("{CONTRACT}`execute` returns `err.retry-after-ms.some: {deep}`, expected `u64`")
    );
    let error = with(&wide);
    let told = error.split('`').find(|part| part.starts_with("err.")).unwrap();
    assert!(told.starts_with("err.retry-after-ms.some: tuple<u8, u8, ") && told.ends_with("..."), "{told}");
    assert_eq!(told.chars().count(), 203);
}

#[test]
fn an_import_that_the_host_does_not_have_is_named_with_its_version() {
    let error = |name: &str, exports: &str| {
        let import = format!("\n(component\n  (import {name:?} (instance {exports}))\n  (core module $code");
        error_of(&[("\n(component\n  (core module $code", &import)])
    };
    for (name, exports, expected) in [
        ("redress:capability/undo@0.2.0", "", "it imports `redress:capability/undo@0.2.0`; this host runs 0.1.x"),
        ("wasi:cli/environment@0.3.0", "", "it imports `wasi:cli/environment@0.3.0`; this host runs 0.2.x"),
        (
            "redress:capability/clock@0.1.0",
            "",
            "it imports `redress:capability/clock@0.1.0`, which the host does not have",
        ),
        ("acme:exec/run@1.0.0", "", "it imports `acme:exec/run@1.0.0`, which the host does not have"),
        ("no-interface", "", "it imports `no-interface`, which the host does not have"),
        (
            "redress:capability/undo@0.1.0",
            r#"(export "forget" (func))"#,
            &format!("{CONTRACT}it imports `forget` of `redress:capability/undo@0.1.0`, which this host does not have"),
        ),
        (
            "redress:capability/context@0.1.7",
            r#"(export "get" (func (param "name" u32) (result u32)))"#,
            &format!("{CONTRACT}`get` takes `name: u32`, expected `string`"),
        ),
    ] {
        assert_eq!(error(name, exports), expected, "{name}");
    }
    // What differs in WASI, the linker names.
    for (name, exports) in [
        ("wasi:cli/nothing@0.2.0", r#"(export "nope" (func))"#),
        ("wasi:cli/environment@0.2.0", r#"(export "nope" (func))"#),
        ("wasi:cli/environment@0.2.0", r#"(export "get-arguments" (func (result string)))"#),
    ] {
        let error = error(name, exports);
        assert!(error.starts_with(CONTRACT) && error.contains(name), "{error}");
        assert!(
            name.ends_with("nothing@0.2.0") || error.contains("nope") || error.contains("get-arguments"),
            "{error}"
        );
    }
}

/// A cache with the code of one component in it.
struct Kept {
    folder: tempfile::TempDir,
    entry: PathBuf,
    sound: Vec<u8>,
}

fn load_with(cache: &Path, guest: &str) {
    let bytes = fs::read(guests::component(guest)).unwrap();
    let sandbox =
        Sandbox::new(SandboxConfig { cache_dir: Some(cache.to_owned()), ..SandboxConfig::default() }).unwrap();
    assert_eq!(sandbox.load(&bytes, Provenance::External).unwrap().digest(), sha256(&bytes));
}

fn entries(cache: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

impl Kept {
    fn new() -> Kept {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        load_with(&cache, "harmless");
        let [entry] = entries(&cache).try_into().unwrap();
        Kept { sound: fs::read(&entry).unwrap(), folder, entry }
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    fn load(&self) {
        load_with(&self.cache(), "harmless");
    }

    fn inode(&self) -> u64 {
        fs::symlink_metadata(&self.entry).unwrap().ino()
    }

    /// Loads, and asserts that what lay there was replaced by a sound entry of this user.
    #[track_caller]
    fn is_made_anew(&self) {
        let before = self.inode();
        self.load();
        let meta = fs::symlink_metadata(&self.entry).unwrap();
        assert!(meta.is_file() && meta.ino() != before, "it was believed");
        assert_eq!(meta.permissions().mode() & 0o777, 0o600);
        assert_eq!(meta.uid(), fs::metadata(self.folder.path()).unwrap().uid());
        let before = meta.ino();
        self.load();
        assert_eq!(self.inode(), before, "what was made anew is believed");
    }
}

#[test]
fn code_that_the_host_kept_is_used_again_and_lies_in_a_private_folder_under_full_digests() {
    let kept = Kept::new();
    let before = kept.inode();
    kept.load();
    assert_eq!(kept.inode(), before, "it was not written again");
    assert_eq!(fs::metadata(kept.cache()).unwrap().permissions().mode() & 0o777, 0o700);
    let name = kept.entry.file_name().unwrap().to_str().unwrap();
    let (component, engine) = name.strip_suffix(".code").unwrap().split_once('-').unwrap();
    let bytes = fs::read(guests::component("harmless")).unwrap();
    assert_eq!((component, engine.len()), (sha256(&bytes).hex().as_str(), 64));
}

#[test]
fn a_corrupted_entry_is_made_anew_wherever_the_damage_is() {
    let kept = Kept::new();
    for at in [0, 20, 47, 48, kept.sound.len() / 2, kept.sound.len() - 1] {
        let mut damaged = kept.sound.clone();
        damaged[at] ^= 1;
        fs::write(&kept.entry, &damaged).unwrap();
        kept.is_made_anew();
    }
    fs::write(&kept.entry, [&kept.sound[..], b"more"].concat()).unwrap();
    kept.is_made_anew();
}

#[test]
fn a_truncated_entry_is_made_anew() {
    let kept = Kept::new();
    for len in [0, 10, 30, 48, kept.sound.len() - 1] {
        fs::write(&kept.entry, &kept.sound[..len]).unwrap();
        kept.is_made_anew();
    }
}

#[test]
fn the_code_of_another_component_or_another_engine_under_this_name_is_made_anew() {
    let kept = Kept::new();
    let other = Kept::new();
    load_with(&other.cache(), "plain");
    let foreign =
        entries(&other.cache()).into_iter().find(|entry| entry.file_name() != kept.entry.file_name()).unwrap();
    fs::copy(foreign, &kept.entry).unwrap();
    kept.is_made_anew();
    // An entry of another engine is sealed for that one: its name alone does not make it this one's.
    let name = kept.entry.file_name().unwrap().to_str().unwrap();
    let renamed = kept.entry.with_file_name(name.replace(&name[65..129], &"0".repeat(64)));
    fs::rename(&kept.entry, &renamed).unwrap();
    kept.load();
    assert_eq!(entries(&kept.cache()).len(), 2, "the other engine's is left alone");
}

#[test]
fn an_entry_of_another_user_is_made_anew() {
    let kept = Kept::new();
    // Only root can give files away; elsewhere another user cannot put one here either.
    if chown(&kept.entry, Some(65_534), None).is_ok() {
        kept.is_made_anew();
    }
}

#[test]
fn an_entry_that_others_can_write_is_made_anew() {
    let kept = Kept::new();
    for mode in [0o620, 0o602, 0o666] {
        fs::set_permissions(&kept.entry, Permissions::from_mode(mode)).unwrap();
        kept.is_made_anew();
    }
}

#[test]
fn an_entry_that_is_a_link_or_no_file_is_made_anew_and_nothing_behind_it_is_touched() {
    let kept = Kept::new();
    let elsewhere = kept.folder.path().join("elsewhere");
    fs::write(&elsewhere, &kept.sound).unwrap();
    fs::remove_file(&kept.entry).unwrap();
    symlink(&elsewhere, &kept.entry).unwrap();
    kept.is_made_anew();
    assert_eq!(fs::read(&elsewhere).unwrap(), kept.sound);
    // A pipe that nobody writes to does not hold the host up.
    fs::remove_file(&kept.entry).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &kept.entry, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    kept.is_made_anew();
}

#[test]
fn a_folder_that_others_can_reach_into_is_neither_read_nor_written() {
    let kept = Kept::new();
    for mode in [0o777, 0o770, 0o750, 0o701] {
        fs::write(&kept.entry, b"not touched").unwrap();
        fs::set_permissions(kept.cache(), Permissions::from_mode(mode)).unwrap();
        kept.load();
        assert_eq!(fs::read(&kept.entry).unwrap(), b"not touched");
        assert_eq!(entries(&kept.cache()).len(), 1);
    }
}

#[test]
fn what_nobody_has_used_for_long_is_removed_whichever_engine_left_it() {
    let kept = Kept::new();
    let cache = kept.cache();
    let age = |name: &str, days: u64| {
        let path = cache.join(name);
        let then = SystemTime::now() - Duration::from_secs(days * 86_400);
        let file = File::options().create(true).append(true).open(&path).unwrap();
        file.set_times(FileTimes::new().set_accessed(then).set_modified(then)).unwrap();
        path
    };
    let digest = "0".repeat(64);
    let old = [age(&format!("{digest}-{digest}.code"), 31), age(&format!("{digest}-{}.code", "2".repeat(64)), 31)];
    let draft = age(&format!("{digest}-{digest}.code.tmp-1-ThreadId(1)"), 31);
    let own = age(kept.entry.file_name().unwrap().to_str().unwrap(), 31);
    let young = age(&format!("{digest}-{}.code", "1".repeat(64)), 29);
    // No engine gives such names.
    let others = [
        "notes.txt",
        "bar.code",
        "a.code.tmp-1",
        &format!("{digest}-abc.code"),
        &format!("{digest}-{digest}.code.old"),
    ];
    let stays = [vec![young], others.map(|name| age(name, 31)).to_vec()].concat();
    load_with(&cache, "plain");
    assert_eq!(entries(&cache).len(), stays.len() + 1, "the new entry and no other");
    assert!(old.iter().chain([&draft, &own]).all(|path| !path.exists()), "{:?}", entries(&cache));
    assert!(stays.iter().all(|path| path.exists()), "{:?}", entries(&cache));
}
