//! Lies: an id that is not dotted lower-case segments.

fn describe() -> String {
    r#"{"schema":1,"capabilities":[{"id":"Test.Bad Id","title":"t","summary":"s","risk":"LOW","effect":"none","idempotent":true,"input":{},"output":{},"permissions":[]}]}"#.to_owned()
}

test_guests::liar!(describe);
