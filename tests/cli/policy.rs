use super::common::Place;

const OLD: &str = "rules:\n  - { principal: \"agent:demo\", capabilities: [\"io.fs.*\"], action: REQUIRE_APPROVAL }\n";

#[test]
fn a_change_of_the_policy_that_loosens_ends_with_6_and_shows_for_whom() {
    let place = Place::new();
    place.write("old.yaml", OLD);
    place.write("new.yaml", OLD.replace("REQUIRE_APPROVAL", "ALLOW"));
    let looser = place.redress(&["policy", "diff", "old.yaml", "new.yaml"]).exits(6);
    for expected in [
        "LOOSER: agent:demo io.fs.a at LOW, MEDIUM",
        "was REQUIRE_APPROVAL by rule 1 (line 2)",
        "is  ALLOW by rule 1 (line 2)",
        "1 looser, 0 stricter",
    ] {
        assert!(looser.stdout.contains(expected), "{expected}: {looser:#?}");
    }
    let stricter = place.redress(&["policy", "diff", "new.yaml", "old.yaml", "--json"]).exits(0).json();
    assert_eq!((&stricter["loosens"], &stricter["changes"][0]["direction"]), (&false.into(), &"stricter".into()));
    let same = place.redress(&["policy", "diff", "old.yaml", "old.yaml"]).exits(0);
    assert!(same.stdout.contains("answer and grant the same"), "{same:#?}");
}

#[test]
fn what_is_not_meant_is_warned_of_and_refused_where_that_is_wanted() {
    let place = Place::new();
    place.write(
        "p.yaml",
        "rules:\n  - { principal: \"agent:*\", capabilities: [\"data.*\"], action: ALLOW }\n  - { principal: \"agent:demo\", \
         capabilities: [\"data.hash\"], action: DENY }\n",
    );
    let warned = place.redress(&["policy", "check", "p.yaml"]).exits(0);
    assert!(
        warned.stdout.contains("rule 2 can never decide: rule 1 (line 2) decide all that it matches"),
        "{warned:#?}"
    );
    place.redress(&["policy", "check", "p.yaml", "--deny-warnings"]).exits(6);
    let json = place.redress(&["policy", "check", "p.yaml", "--json"]).exits(0).json();
    assert_eq!(json["warnings"][0]["code"], "never-decides");
    place.write("p.yaml", "rules:\n  - { principal: \"agent:*\", capabilities: [\"data.*\"], action: ALLOW }\n");
    place.redress(&["policy", "check", "p.yaml", "--deny-warnings"]).exits(0);
}
