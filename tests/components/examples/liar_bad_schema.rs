//! Lies: an input schema that is not one.

fn describe() -> String {
    r#"{"schema":1,"capabilities":[{"id":"test.bad_schema","title":"t","summary":"s","risk":"LOW","effect":"none","idempotent":true,"input":{"type":"strange"},"output":{},"permissions":[]}]}"#.to_owned()
}

test_guests::liar!(describe);
