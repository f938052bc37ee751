//! What loads and is not meant is warned of, at its place, with a way out.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use redress::document::Source;
use redress::policy::{Policy, lint};

/// Code, line and message of each warning.
fn warned(text: &str) -> Vec<(&'static str, usize, String)> {
    let policy = Policy::load(Source::new("policy.yaml", text), "/srv").unwrap_or_else(|errors| panic!("{errors}")).0;
    let mut catalog = support::catalog();
    for info in catalog.0.values_mut().filter(|info| info.id.as_str().starts_with("io.fs.")) {
        info.permissions = vec![redress::types::Permission::FsWrite];
    }
    lint(&policy, &catalog).iter().map(|one| (one.code, one.span.line, one.message.clone())).collect()
}

fn codes(text: &str) -> Vec<(&'static str, usize)> {
    warned(text).into_iter().map(|(code, line, _)| (code, line)).collect()
}

#[test]
fn a_rule_that_earlier_rules_cover_together_never_decides_and_one_that_is_left_something_does() {
    let text = "rules:\n  - { principal: \"agent:a*\", capabilities: [\"data.*\"], action: ALLOW }\n  \
                - { principal: \"agent:*\", capabilities: [\"data.j*\", \"data.l*\"], action: DENY }\n  \
                - { principal: \"agent:a\", capabilities: [\"data.json.query\"], action: DENY }\n  \
                - { principal: \"agent:*\", capabilities: [\"data.json.query\"], action: ALLOW }\n  \
                - { principal: \"agent:*\", capabilities: [\"data.*\"], action: ALLOW }\n";
    let found = warned(text);
    let never: Vec<_> = found.iter().filter(|(code, ..)| *code == "never-decides").collect();
    assert_eq!(never.iter().map(|(_, line, _)| *line).collect::<Vec<_>>(), [4, 5]);
    assert!(never[0].2.contains("rule 3 can never decide: rule 1 (line 2) decide"), "{never:?}");
    assert!(never[1].2.contains("rule 1 (line 2), rule 2 (line 3)"), "{never:?}");
}

#[test]
fn a_rule_with_a_condition_covers_nothing_and_a_pattern_that_no_id_can_match_is_told() {
    let text = "rules:\n  - { principal: \"agent:*\", capabilities: [\"data.*\"], when: { inputs.x: { equals: 1 } }, action: DENY }\n  \
                - { principal: \"agent:*\", capabilities: [\"data.*\"], action: ALLOW }\n";
    assert_eq!(codes(text), []);
    let none = "rules:\n  - { principal: \"agent*\", capabilities: [\"data.*.\", \"data.list\"], action: ALLOW }\n  \
                - { principal: \"agent:*\", capabilities: [\"*.\"], action: ALLOW }\n";
    let found = warned(none);
    assert!(found.iter().any(|(code, line, message)| {
        *code == "never-decides" && *line == 3 && message.contains("no id matches its patterns")
    }));
}

#[test]
fn a_pattern_that_matches_nothing_installed_is_told_with_what_may_have_been_meant() {
    let text =
        "rules:\n  - { principal: \"agent:*\", capabilities: [\"data.json.qery\", \"human.approve\"], action: DENY }\n";
    let found = warned(text);
    assert_eq!(found.iter().map(|(code, line, _)| (*code, *line)).collect::<Vec<_>>(), [("matches-nothing", 2)]);
    let floor = "rules: []\nrisk:\n  - { capabilities: [\"io.fs.delte\"], level: HIGH }\n";
    assert_eq!(codes(floor), [("matches-nothing", 3)]);
}

#[test]
fn a_star_in_the_middle_of_a_segment_is_told_with_the_siblings_that_it_catches() {
    let text = "rules:\n  - { principal: \"agent:*\", capabilities: [\"data.js*\"], action: DENY }\n";
    let found = warned(text);
    assert_eq!(found.len(), 1);
    assert!(found[0].2.contains("also catches `data.json.query`"), "{found:?}");
    assert_eq!(codes(&text.replace("data.js*", "data.json.*")), []);
    // The name itself and what lies below it are no siblings.
    for pattern in ["io.fs.delete*", "data.json*"] {
        let [(code, _, message)] = &warned(&text.replace("data.js*", pattern))[..] else { panic!("{pattern}") };
        assert_eq!(*code, "catches-siblings");
        assert_eq!(*message, format!("`{pattern}` also catches whatever else begins so"));
    }
    assert_eq!(codes(&text.replace("data.js*", "*")), []);
}

#[test]
fn grants_and_rules_that_have_nothing_to_do_with_each_other_are_told() {
    let text = "rules:\n  - { principal: \"agent:a\", capabilities: [\"io.fs.*\"], action: ALLOW }\n  \
                - { principal: \"user:*\", capabilities: [\"data.*\"], action: ALLOW }\n\
                grants:\n  - { capabilities: [\"io.fs.*\"], principals: [\"agent:b\"], filesystem: [{ host: ./w, guest: /w, access: read-only }] }\n";
    assert_eq!(codes(text), [("no-grant", 2), ("unused-grant", 5)]);
    assert_eq!(codes(&text.replace("agent:b", "agent:*")), []);
    // A default that asks lets it run, too.
    let by_default = text.replace("rules:", "default: REQUIRE_APPROVAL\nrules:");
    assert_eq!(codes(&by_default), [("no-grant", 3)]);
    // What a rule denies in any case the default never lets run; what one denies under a condition it may.
    let denied = |when: &str| {
        format!(
            "default: REQUIRE_APPROVAL\nrules:\n  - {{ principal: \"agent:b\", capabilities: [\"io.fs.*\"], {when}action: DENY }}\n\
             grants:\n  - {{ capabilities: [\"io.fs.*\"], principals: [\"agent:b\"], config: {{ a: b }} }}\n"
        )
    };
    assert_eq!(codes(&denied("")), [("unused-grant", 5)]);
    assert_eq!(codes(&denied("when: { inputs.x: { equals: 1 } }, ")), []);
    // The step that only waits needs no grant, and makes use of none.
    let waits = "rules:\n  - { principal: \"agent:a\", capabilities: [\"human.approve\"], action: ALLOW }\n\
                 grants:\n  - { capabilities: [\"human.*\"], config: { a: b } }\n";
    assert_eq!(codes(waits), [("unused-grant", 4)]);
}

#[test]
fn the_policies_of_this_repository_mean_what_they_say() {
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/policies")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let never: Vec<_> = warned(&text).into_iter().filter(|(code, ..)| *code == "never-decides").collect();
        assert_eq!(never, []);
    }
}
