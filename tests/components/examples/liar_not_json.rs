//! Lies: a description that is not JSON.

fn describe() -> String {
    r#"this is not JSON"#.to_owned()
}

test_guests::liar!(describe);
