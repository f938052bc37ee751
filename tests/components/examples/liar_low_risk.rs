//! Lies: LOW risk for a change; the host raises it.

fn describe() -> String {
    r#"{"schema":1,"capabilities":[{"id":"test.low_risk","title":"t","summary":"s","risk":"LOW","effect":"reversible","idempotent":true,"input":{},"output":{},"permissions":["fs:write"]}]}"#.to_owned()
}

test_guests::liar!(describe);
