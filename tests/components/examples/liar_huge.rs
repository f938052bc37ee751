//! Lies: a description of more than 1 MiB.

fn describe() -> String {
    format!(r#"{{"schema":1,"capabilities":[{}]}}"#, " ".repeat(1 << 20))
}

test_guests::liar!(describe);
