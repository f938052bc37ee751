//! Lies: a description that is different each time, by clock and randomness.

use std::hash::{BuildHasher, RandomState};
use std::time::{Instant, SystemTime};

fn describe() -> String {
    let random = RandomState::new().hash_one(0);
    let now = (SystemTime::now(), Instant::now());
    format!(
        r#"{{"schema":1,"capabilities":[{{"id":"test.changes","title":"t","summary":"{random} {}","risk":"LOW","effect":"none","idempotent":true,"input":{{}},"output":{{}},"permissions":[]}}]}}"#,
        format!("{now:?}").replace('"', "'")
    )
}

test_guests::liar!(describe);
