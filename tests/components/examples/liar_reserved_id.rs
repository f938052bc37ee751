//! Lies: an id under a prefix of the standard library.

fn describe() -> String {
    r#"{"schema":1,"capabilities":[{"id":"io.strange.thing","title":"t","summary":"s","risk":"LOW","effect":"none","idempotent":true,"input":{},"output":{},"permissions":[]}]}"#.to_owned()
}

test_guests::liar!(describe);
