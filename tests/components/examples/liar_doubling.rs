//! Lies: a schema that is looked at twice as often with each level of the value.

fn describe() -> String {
    let schema = r##"{"type":"object","properties":{"a":{"anyOf":[{"$ref":"#"},{"$ref":"#"}]}}}"##;
    format!(
        r#"{{"schema":1,"capabilities":[{{"id":"test.doubling","title":"t","summary":"s","risk":"LOW","effect":"none","idempotent":true,"input":{{}},"output":{schema},"permissions":[]}}]}}"#
    )
}

test_guests::liar!(describe);
