//! Lies: a description that is different each time, by clock and randomness.

use std::hash::{BuildHasher, RandomState};
use std::time::SystemTime;

fn describe() -> String {
    let random = RandomState::new().hash_one(0);
    format!(r#"{{"schema":1,"capabilities":[],"now":"{:?}","random":{random}}}"#, SystemTime::now())
}

test_guests::liar!(describe);
