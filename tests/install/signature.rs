use std::fs;
use std::io::Cursor;

use minisign::KeyPair;

use super::{POLICY, Place, place, put};

fn key() -> KeyPair {
    KeyPair::generate_unencrypted_keypair().unwrap()
}

fn sign(place: &Place, file: &str, key: &KeyPair) {
    let bytes = fs::read(place.path(file)).unwrap();
    let signed = minisign::sign(Some(&key.pk), &key.sk, Cursor::new(bytes), None, None).unwrap();
    place.write(format!("{file}.minisig"), signed.into_string());
}

fn trust(place: &Place, key: &KeyPair, rest: &str) {
    place.write("policy.yaml", format!("{POLICY}signers:\n  - {{ name: acme, key: {}{rest} }}\n", key.pk.to_base64()));
}

#[test]
fn where_a_signature_is_required_only_what_a_trusted_signer_signed_is_installed() {
    let (place, acme, mallory) = (place(), key(), key());
    trust(&place, &acme, ", capabilities: [\"acme.*\"], require: true");
    let unsigned = place.redress(&["capability", "add", "notes.wasm"]).exits(6);
    assert!(unsigned.stderr.contains("must be signed by `acme`, and it has no signature"), "{unsigned:#?}");
    sign(&place, "notes.wasm", &mallory);
    let wrong = place.redress(&["capability", "add", "notes.wasm"]).exits(6);
    assert!(wrong.stderr.contains("none of the signers that the policy trusts"), "{wrong:#?}");
    sign(&place, "notes.wasm", &acme);
    let added = place.redress(&["capability", "add", "notes.wasm", "--json"]).exits(0).json();
    assert_eq!(added["signer"]["name"], "acme");
    place.redress(&["run", "workflow.yaml"]).exits(0);
    // Signed, and then changed.
    put(&place, "notes_2");
    let changed = place.redress(&["capability", "add", "notes.wasm", "--accept"]).exits(6);
    assert!(changed.stderr.contains("none of the signers"), "{changed:#?}");
    // A signer who is no longer trusted lets nothing in any more.
    trust(&place, &mallory, ", capabilities: [\"acme.*\"], require: true");
    let revoked = place.redress(&["run", "workflow.yaml"]).exits(6);
    assert!(revoked.stderr.contains("`notes`"), "{revoked:#?}");
    place.redress(&["capability", "verify"]).exits(6);
}

#[test]
fn a_component_of_a_folder_is_let_in_by_the_same_rules() {
    let (place, acme) = (place(), key());
    trust(&place, &acme, ", capabilities: [\"acme.*\"], require: true");
    fs::create_dir(place.path("components")).unwrap();
    fs::rename(place.path("notes.wasm"), place.path("components/notes.wasm")).unwrap();
    let refused = place.redress(&["--components", "components", "run", "workflow.yaml"]).exits(6);
    assert!(refused.stderr.contains("must be signed by `acme`"), "{refused:#?}");
    sign(&place, "components/notes.wasm", &acme);
    place.redress(&["--components", "components", "run", "workflow.yaml"]).exits(0);
}

#[test]
fn an_id_comes_only_from_where_the_policy_says() {
    let place = place();
    place.write(
        "policy.yaml",
        format!(
            "{POLICY}providers:\n  - {{ capabilities: [\"acme.*\"], from: \"oci://registry.example.com/acme/*\" }}\n"
        ),
    );
    let refused = place.redress(&["capability", "add", "notes.wasm"]).exits(6);
    assert!(
        refused.stderr.contains("`acme.notes.write` may come only from `oci://registry.example.com/acme/*`"),
        "{refused:#?}"
    );
}

#[test]
fn a_signature_that_is_none_is_refused_where_signers_are_named() {
    let (place, acme) = (place(), key());
    trust(&place, &acme, "");
    place.write("notes.wasm.minisig", "not a signature\n");
    place.redress(&["capability", "add", "notes.wasm"]).exits(6);
    fs::remove_file(place.path("notes.wasm.minisig")).unwrap();
    let added = place.redress(&["capability", "add", "notes.wasm", "--json"]).exits(0).json();
    assert_eq!(added["signer"], serde_json::Value::Null);
}

#[test]
fn a_lock_that_was_edited_lets_nothing_in() {
    let (place, acme) = (place(), key());
    place.redress(&["capability", "add", "notes.wasm"]).exits(0);
    trust(&place, &acme, ", capabilities: [\"acme.*\"], require: true");
    let mut lock: serde_json::Value = serde_json::from_str(&place.read("redress.lock")).unwrap();
    lock["components"][0]["signer"] = serde_json::json!({ "name": "acme", "key": acme.pk.to_base64() });
    place.write("redress.lock", lock.to_string());
    place.redress(&["run", "workflow.yaml"]).exits(6);
    place.redress(&["capability", "verify"]).exits(6);
    lock["components"][0]["description"] = serde_json::json!({ "schema": 1, "capabilities": [] });
    place.write("redress.lock", lock.to_string());
    place.redress(&["run", "workflow.yaml"]).exits(6);
}
