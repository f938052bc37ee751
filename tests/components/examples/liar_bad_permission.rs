//! Lies: a permission that does not exist.

fn describe() -> String {
    r#"{"schema":1,"capabilities":[{"id":"test.bad_permission","title":"t","summary":"s","risk":"LOW","effect":"none","idempotent":true,"input":{},"output":{},"permissions":["sys:exec"]}]}"#.to_owned()
}

test_guests::liar!(describe);
