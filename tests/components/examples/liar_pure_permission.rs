//! Lies: no effect, but the permission to write.

fn describe() -> String {
    r#"{"schema":1,"capabilities":[{"id":"test.pure_permission","title":"t","summary":"s","risk":"LOW","effect":"none","idempotent":true,"input":{},"output":{},"permissions":["fs:write"]}]}"#.to_owned()
}

test_guests::liar!(describe);
