//! Lies: irreversible below HIGH.

fn describe() -> String {
    r#"{"schema":1,"capabilities":[{"id":"test.low_irreversible","title":"t","summary":"s","risk":"MEDIUM","effect":"irreversible","idempotent":true,"input":{},"output":{},"permissions":["fs:write"]}]}"#.to_owned()
}

test_guests::liar!(describe);
