//! Lies: a trap in describe.

fn describe() -> String {
    panic!("describe panics")
}

test_guests::liar!(describe);
