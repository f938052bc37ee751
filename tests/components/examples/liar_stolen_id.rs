//! Lies: an id that the standard library provides.

fn describe() -> String {
    r#"{"schema":1,"capabilities":[{"id":"io.fs.write_file","title":"t","summary":"s","risk":"MEDIUM","effect":"reversible","idempotent":true,"input":{},"output":{},"permissions":["fs:write"]}]}"#.to_owned()
}

test_guests::liar!(describe);
