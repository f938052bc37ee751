//! What leaves the record, through the real binary: events as JSON, traces, and the report for a reviewer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

#[path = "../common/binary.rs"]
mod binary;
mod export;
mod report;
#[path = "../http/server.rs"]
#[allow(dead_code, reason = "another test needs the rest")]
mod server;
mod traces;

use std::sync::OnceLock;

use binary::Place;

/// What somebody writes to pass for the host, to steer a terminal, or to run in a browser.
pub(crate) const EVIL: &str = "</p><script>alert(1)</script>\u{1b}[31m\u{202e}\u{200b}\" onload=\"x";

/// The same, as the name of a workflow can be.
pub(crate) const EVIL_NAME: &str = "</p><script>alert(1)</script>\u{202e}\u{200b}\" onload=\"x";

/// The runs that [`examples`] makes.
pub(crate) struct Examples {
    pub(crate) place: Place,
    pub(crate) completed: String,
    pub(crate) rolled_back: String,
    pub(crate) undone: String,
    pub(crate) approved: String,
    pub(crate) rejected: String,
    pub(crate) denied: String,
}

/// The examples, run to every end that they have: some with votes, one undone later, and a request that does not load.
pub(crate) fn examples() -> &'static Examples {
    static EXAMPLES: OnceLock<Examples> = OnceLock::new();
    EXAMPLES.get_or_init(|| {
        let place = Place::of_examples();
        let run = |code, file: &str| {
            let file = format!("examples/{file}.yaml");
            place.redress(&["run", &file, "--json"]).exits(code).run().to_string()
        };
        let vote = |code, verb: &str, run: &str, step: &str, reason: &str| {
            place.redress(&[verb, run, step, "--reason", reason, "--as", "user:alice"]).exits(code);
        };
        let rolled_back = run(3, "rollback");
        let completed = run(0, "onboarding");
        let undone = run(0, "onboarding");
        place.redress(&["undo", &undone, "--reason", "wrong customer", "--as", "user:me"]).exits(3);
        let approved = run(4, "approval");
        vote(4, "approve", &approved, "publish", "looks right");
        vote(0, "approve", &approved, "announce", "go");
        let rejected = run(4, "approval");
        vote(3, "reject", &rejected, "publish", "not yet");
        let denied = run(3, "denied");
        place.write("broken.yaml", "name: broken\nsteps: [{ name: a, capability: io.fs.nothing }]\n");
        place.redress(&["run", "broken.yaml"]).exits(2);
        Examples { completed, rolled_back, undone, approved, rejected, denied, place }
    })
}

/// A run that cannot be read beyond its third event, and one that can.
fn with_a_damaged_run() -> (Place, String, String) {
    let place = Place::of_examples();
    let bad = place.redress(&["run", "examples/denied.yaml", "--json"]).exits(3).run().to_string();
    let good = place.redress(&["run", "examples/onboarding.yaml", "--json"]).exits(0).run().to_string();
    let conn = rusqlite::Connection::open(place.path(".redress/journal.db")).unwrap();
    conn.execute("UPDATE events SET hash = zeroblob(32) WHERE chain = ? AND seq = 4", [&bad]).unwrap();
    drop(conn);
    (place, bad, good)
}
