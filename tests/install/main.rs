//! Components of others: installed by digest, replaced only knowingly, let in only as the policy says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

#[path = "../common/binary.rs"]
mod binary;
#[path = "../common/guests.rs"]
mod guests;

#[path = "../http/server.rs"]
#[allow(dead_code, reason = "the tests of requests use more of it")]
mod server;

mod file;
mod project;
mod registry;
mod signature;

use std::fs;

use binary::Place;

const POLICY: &str = r#"
rules:
  - principal: "agent:demo"
    capabilities: ["acme.*", "io.fs.*"]
    action: ALLOW
grants:
  - capabilities: ["acme.*", "io.fs.*"]
    filesystem: [{ host: ./workspace, guest: /workspace, access: read-write }]
"#;

const WORKFLOW: &str = r#"
name: notes
steps:
  - name: note
    capability: acme.notes.write
    inputs: { path: /workspace/a.txt, content: new }
"#;

/// A folder with a policy, a workflow that writes a note, and `notes.wasm`, the first version.
fn place() -> Place {
    let place = Place::with_policy(POLICY);
    place.write("workflow.yaml", WORKFLOW);
    put(&place, "notes_1");
    place
}

/// Makes `notes.wasm` the component of this name.
fn put(place: &Place, name: &str) {
    fs::copy(guests::component(name), place.path("notes.wasm")).unwrap();
}
