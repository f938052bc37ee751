//! The schemas under `schemas/` are what the binary prints, and say of every file of this repository what its loader says, as far
//! as a schema can tell.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use jsonschema::Validator;
use redress::document::{Diagnostics, Severity, Source, parse};
use redress::policy::{self, Policy};
use redress::workflow::{self, Workflow};
use serde_json::{Map, Value, json};
use support::catalog;

const KINDS: [&str; 3] = ["policy", "workflow", "settings"];

/// What the loaders refuse and a schema can tell: of a file with one of these errors the schema must say the same.
const TOLD: [&str; 8] = [
    "unknown-key",
    "missing-key",
    "wrong-type",
    "empty-list",
    "empty-mapping",
    "unknown-operator",
    "default-allow",
    "bad-step-type",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn printed(kind: &str) -> String {
    let said = Command::new(env!("CARGO_BIN_EXE_redress")).args(["schema", kind]).output().unwrap();
    assert!(said.status.success(), "{said:?}");
    String::from_utf8(said.stdout).unwrap()
}

fn schema(kind: &str) -> Value {
    match kind {
        "policy" => policy::schema(),
        "workflow" => workflow::schema(),
        _ => serde_json::from_str(&printed(kind)).unwrap(),
    }
}

#[test]
fn the_committed_schemas_are_those_that_the_binary_prints() {
    for kind in KINDS {
        let file = root().join(format!("schemas/{kind}.schema.json"));
        let printed = printed(kind);
        if std::env::var_os("REDRESS_BLESS").is_some() {
            std::fs::write(&file, &printed).unwrap();
        }
        let committed = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(committed == printed, "{kind} is out of date: REDRESS_BLESS=1 cargo test --test schemas");
    }
}

#[test]
fn each_schema_is_a_schema_and_says_of_every_key_what_it_is_for() {
    for kind in KINDS {
        let schema = schema(kind);
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert!(jsonschema::meta::is_valid(&schema), "{kind}");
        each_property(&schema, &mut String::new(), &mut |at, property| {
            let said = property["description"].as_str().unwrap_or_default();
            assert!(!said.is_empty(), "{kind}: nothing is said of `{at}`");
        });
    }
}

fn each_property(schema: &Value, at: &mut String, look: &mut impl FnMut(&str, &Value)) {
    if let Some(properties) = schema["properties"].as_object().filter(|_| schema["type"] == "object") {
        for (key, property) in properties.iter().filter(|(key, _)| *key != "owner") {
            let length = at.len();
            *at += &format!("{}{key}", if length == 0 { "" } else { "." });
            look(at, property);
            each_property(property, at, look);
            at.truncate(length);
        }
    }
    for inside in [&schema["items"], &schema["additionalProperties"]] {
        if inside.is_object() {
            each_property(inside, at, look);
        }
    }
}

#[test]
fn the_schema_of_a_policy_has_the_keys_that_the_loader_has() {
    let mut found = BTreeSet::new();
    each_property(&policy::schema(), &mut String::new(), &mut |at, _| {
        found.insert(at.to_owned());
    });
    assert_eq!(found, policy::keys().into_iter().collect());
}

/// Whether the loader takes a file, and the codes of what is wrong with it.
fn loaded(kind: &str, source: Source) -> Result<(), BTreeSet<&'static str>> {
    let codes = |said: Diagnostics| {
        said.iter().filter(|d| d.severity == Severity::Error).map(|d| d.code).collect::<BTreeSet<_>>()
    };
    match kind {
        "policy" => Policy::load_untested(source, "/base").map(drop).map_err(codes),
        _ => Workflow::load(&source, &catalog(), &Map::new()).map(drop).map_err(codes),
    }
}

fn validator(kind: &str) -> Validator {
    jsonschema::validator_for(&schema(kind)).unwrap()
}

/// The YAML files in a folder of this repository.
fn files(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect()
}

/// Every policy and workflow that this repository has.
fn corpus(kind: &str) -> Vec<PathBuf> {
    let folders: &[&str] = match kind {
        "policy" => &["policies", "tests/ui/policy", "tests/ui/lint"],
        _ => &["examples", "tests/ui/workflow"],
    };
    let more: &[&str] = match kind {
        "policy" => &["src/cli/init/policy.yaml", "examples/capabilities/crm-rust/policy.yaml"],
        _ => &["src/cli/init/example.yaml"],
    };
    let named = more.iter().map(|file| root().join(file));
    folders.iter().flat_map(|folder| files(folder)).chain(named).collect()
}

#[test]
fn a_schema_and_its_loader_say_the_same_of_every_file_as_far_as_a_schema_can_tell() {
    let mut wrong = Vec::new();
    for kind in ["policy", "workflow"] {
        let (validator, mut compared) = (validator(kind), (0, 0));
        for path in corpus(kind) {
            let name = path.strip_prefix(root()).unwrap().display().to_string();
            let bytes = std::fs::read(&path).unwrap();
            // What is no YAML at all has nothing that a schema could look at.
            let Ok(source) = Source::from_bytes(name.as_str(), &bytes) else { continue };
            let Ok(node) = parse(&source) else { continue };
            let value = node.to_json();
            let said: Vec<String> =
                validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect();
            match loaded(kind, source) {
                Ok(()) if !said.is_empty() => wrong.push(format!("{name} loads, and the schema says {said:?}")),
                Ok(()) => compared.0 += 1,
                Err(codes) if codes.iter().any(|code| TOLD.contains(code)) => {
                    compared.1 += 1;
                    if said.is_empty() {
                        wrong.push(format!("{name} does not load ({codes:?}), and the schema takes it"));
                    }
                }
                Err(_) => {}
            }
        }
        assert!(compared.0 >= 4 && compared.1 >= 5, "{kind}: {compared:?}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Settings are read by the binary alone: each is asked about in a folder of its own.
#[test]
fn the_schema_of_the_settings_takes_what_the_binary_takes() {
    let validator = validator("settings");
    for (text, good) in [
        ("policy: p.yaml\njournal: j.db\nprincipal: agent:demo\ncomponents: [c]\nextra_ca: ca.pem\n", true),
        ("max_parallel: 3\nsettle_timeout: 0s\nidle_timeout: 1h\ntrust_owner: true\npolicy_shadow: s.yaml\n", true),
        ("webhook: { url: \"https://h.example/\", secret: { env: S } }\n", true),
        ("polcy: p.yaml\n", false),
        ("listen: x\n", false),
        ("max_parallel: 0\n", false),
        ("settle_timeout: 30\n", false),
        ("components: c\n", false),
        ("components: []\n", false),
        ("trust_owner: yes\n", false),
        ("webhook: { url: \"https://h.example/\" }\n", false),
        ("webhook: { url: \"https://h.example/\", secret: { env: S, file: F } }\n", false),
        ("checkpoints: { every_events: 10, every: 1m, file: c.jsonl }\nretention: { undo: 0s, logs: 30d }\n", true),
        ("checkpoints: { command: [keep, x] }\n", true),
        ("checkpoints: { file: c.jsonl, command: [keep] }\n", false),
        ("checkpoints: { every_events: 0 }\n", false),
        ("retention: { inputs: 1d }\n", false),
        ("[]\n", false),
    ] {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("redress.yaml"), text).unwrap();
        let mut asked = Command::new(env!("CARGO_BIN_EXE_redress"));
        let said = asked.args(["--json", "runs"]).current_dir(place.path()).output().unwrap();
        let said: Value = serde_json::from_slice(&said.stdout).unwrap();
        let read = said["error"]["code"] == "no-journal";
        let value = parse(&Source::new("redress.yaml", text)).unwrap().to_json();
        assert_eq!((read, validator.is_valid(&value)), (good, good), "{text}: {said}");
    }
    for file in ["redress.yaml", "src/cli/init/redress.yaml"] {
        let text = std::fs::read_to_string(root().join(file)).unwrap();
        let value = parse(&Source::new(file, text)).unwrap().to_json();
        assert!(validator.is_valid(&value), "{file}");
    }
    assert!(!validator.is_valid(&json!({ "principal": 1 })));
}

/// The first line of a file names a schema that is there, from where the file lies.
#[test]
fn every_file_that_people_start_from_names_its_schema() {
    let starting = files("examples").into_iter().chain(files("policies"));
    for path in
        starting.chain(["redress.yaml", "examples/capabilities/crm-rust/policy.yaml"].map(|file| root().join(file)))
    {
        let text = std::fs::read_to_string(&path).unwrap();
        let first = text.lines().next().unwrap();
        let named = first.strip_prefix("# yaml-language-server: $schema=");
        let named = named.unwrap_or_else(|| panic!("{}: {first}", path.display()));
        assert!(path.parent().unwrap().join(named).is_file(), "{}: {named}", path.display());
    }
}

#[test]
fn init_writes_the_schemas_that_its_files_name() {
    let place = tempfile::tempdir().unwrap();
    let redress =
        || Command::new(env!("CARGO_BIN_EXE_redress")).arg("init").current_dir(place.path()).output().unwrap();
    assert!(redress().status.success());
    for file in ["redress.yaml", "policy.yaml", "example.yaml"] {
        let text = std::fs::read_to_string(place.path().join(file)).unwrap();
        let named = text.lines().next().unwrap().strip_prefix("# yaml-language-server: $schema=").unwrap();
        let schema: Value = serde_json::from_str(&std::fs::read_to_string(place.path().join(named)).unwrap()).unwrap();
        let value = parse(&Source::new(file, text.as_str())).unwrap().to_json();
        assert!(jsonschema::is_valid(&schema, &value), "{file}");
    }
}
