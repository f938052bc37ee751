//! Lies: a description of a later schema.

fn describe() -> String {
    r#"{"schema":2,"capabilities":[]}"#.to_owned()
}

test_guests::liar!(describe);
