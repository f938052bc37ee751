//! Lies: one id twice.

fn describe() -> String {
    r#"{"schema":1,"capabilities":[{"id":"test.twice","title":"t","summary":"s","risk":"LOW","effect":"none","idempotent":true,"input":{},"output":{},"permissions":[]},{"id":"test.twice","title":"t","summary":"s","risk":"LOW","effect":"none","idempotent":true,"input":{},"output":{},"permissions":[]}]}"#.to_owned()
}

test_guests::liar!(describe);
