//! A policy that decides beside the one in force: what it answers otherwise is recorded, and changes nothing.

use redress::journal::Journal;
use redress::saga::event::{Decision, Event};
use redress::types::{Action, RunId};

use super::common::{POLICY, Place, SETTINGS};

const WORKFLOW: &str = "name: w\nsteps:\n  \
    - { name: a, capability: io.fs.write_file, inputs: { path: /workspace/a, content: x } }\n  \
    - { name: b, capability: io.fs.read_file, inputs: { path: /workspace/a } }\n  \
    - { name: c, capability: data.hash, inputs: { content: x } }\n";

/// Denies what changes files, and opens the directory for reading alone.
const STRICTER: &str = "rules:\n  \
    - { principal: \"agent:demo\", capabilities: [\"io.fs.write_file\"], action: DENY }\n  \
    - { principal: \"agent:demo\", capabilities: [\"*\"], action: ALLOW }\n\
    grants:\n  - { capabilities: [\"io.fs.*\"], filesystem: [{ host: ./workspace, guest: /workspace, access: read-only }], limits: { wall_time: 5s } }\n";

fn shadowed(shadow: &str) -> Place {
    let place = Place::new();
    place.write("redress.yaml", format!("{SETTINGS}policy_shadow: shadow.yaml\n"));
    place.write("shadow.yaml", shadow);
    place.write("w.yaml", WORKFLOW);
    place
}

fn decisions(place: &Place, run: &RunId) -> Vec<Decision> {
    let entries = place.entries(run).into_iter();
    entries
        .filter_map(|entry| match entry.event {
            Event::Decision(decision) => Some(*decision),
            _ => None,
        })
        .collect()
}

#[test]
fn what_a_shadow_policy_answers_otherwise_is_recorded_and_changes_nothing() {
    let (plain, place) = (Place::new(), shadowed(STRICTER));
    plain.write("w.yaml", WORKFLOW);
    let (without, with) = [&plain, &place].map(|p| p.redress(&["run", "w.yaml", "--json"]).exits(0).run()).into();
    let (was, is) = (decisions(&plain, &without), decisions(&place, &with));
    assert!(was.iter().all(|decision| decision.shadow.is_none()));
    let answers = |all: &[Decision]| all.iter().map(|d| (d.step.to_string(), d.action, d.risk)).collect::<Vec<_>>();
    assert_eq!(answers(&was), answers(&is));
    assert_eq!(place.world(), plain.world());
    let kinds = |place: &Place, run: &RunId| place.entries(run).iter().map(|e| e.event.kind()).collect::<Vec<_>>();
    assert_eq!(kinds(&place, &with), kinds(&plain, &without));

    let a = is[0].shadow.as_ref().unwrap();
    assert_eq!((a.action, a.rule.as_ref().unwrap().index, &a.grant), (Action::Deny, 1, &None));
    let b = is[1].shadow.as_ref().unwrap();
    assert_eq!((b.action, b.rule.as_ref().unwrap().index), (Action::Allow, 2));
    assert_eq!(b.grant.as_ref().unwrap().limits.wall_time, 5_000);
    assert_eq!(is[2].shadow, None, "both say the same");
    let kept = place.journal().policy(&a.policy).unwrap().unwrap();
    assert_eq!((kept.text.as_str(), kept.name.as_str()), (STRICTER, "shadow.yaml"));
    place.redress(&["audit", "verify"]).exits(0);
}

#[test]
fn a_run_without_a_shadow_policy_is_written_as_before() {
    let place = Place::new();
    place.write("w.yaml", WORKFLOW);
    let run = place.redress(&["run", "w.yaml", "--json"]).exits(0).run();
    for decision in decisions(&place, &run) {
        assert!(!serde_json::to_string(&decision).unwrap().contains("shadow"));
    }
    // One that answers the same leaves no mark in the events either.
    let same = shadowed(&format!("# the same\n{POLICY}"));
    let run = same.redress(&["run", "w.yaml", "--json"]).exits(0).run();
    assert!(decisions(&same, &run).iter().all(|decision| decision.shadow.is_none()));
}

#[test]
fn simulate_shows_what_the_shadow_policy_was_recorded_to_answer() {
    let place = shadowed(STRICTER);
    let run = place.redress(&["run", "w.yaml", "--json"]).exits(0).run();
    // What is recorded holds, whatever becomes of the file.
    place.write("shadow.yaml", "rules: []\n");
    let told = place.redress(&["policy", "simulate", "--shadow"]).exits(0).stdout;
    for expected in [
        format!("stricter: agent:demo io.fs.write_file in {run} a"),
        "was ALLOW by rule 1 (line 3) of ".to_owned(),
        "is  DENY by rule 1 (line 2) of ".to_owned(),
        format!("stricter: agent:demo io.fs.read_file in {run} b"),
        "is granted:  \"/workspace\" is".to_owned(),
        "wall_time at most 5000".to_owned(),
        "3 decisions, with a shadow policy or without: 0 would be looser, 2 stricter".to_owned(),
    ] {
        assert!(told.contains(&expected), "{expected}: {told}");
    }
    let other = place.redress(&["policy", "simulate", "--shadow", "--as", "agent:other", "--json"]).exits(0).json();
    assert_eq!((&other["decisions"], &other["flips"]), (&0.into(), &serde_json::json!([])));
    place.redress(&["policy", "simulate", "--shadow", "policy.yaml"]).exits(2);
    place.redress(&["policy", "simulate"]).exits(2);
}

#[test]
fn what_a_shadow_policy_would_open_or_allow_is_told_first() {
    let place = shadowed("rules:\n  - { principal: \"*\", capabilities: [\"*\"], action: ALLOW, accept_risk: HIGH }\n");
    place.write(
        "policy.yaml",
        "rules:\n  - { principal: \"agent:demo\", capabilities: [\"data.*\"], action: ALLOW }\n\
         grants:\n  - { capabilities: [\"data.*\"], limits: { fuel: 1000000000 } }\n",
    );
    place.write(
        "w.yaml",
        "name: w\nsteps:\n  - { name: h, capability: data.hash, inputs: { content: x } }\n  \
         - { name: r, capability: io.fs.read_file, inputs: { path: /workspace/a } }\n",
    );
    place.redress(&["run", "w.yaml"]).exits(3);
    let told = place.redress(&["policy", "simulate", "--shadow", "--json"]).exits(0).json();
    let flips: Vec<_> = told["flips"].as_array().unwrap().iter().map(|f| (&f["step"], &f["looser"])).collect();
    assert_eq!(flips, [(&"h".into(), &true.into()), (&"r".into(), &true.into())]);
    assert_eq!(told["flips"][0]["grant"]["was"]["limits"]["fuel"], 1_000_000_000);
}

#[test]
fn a_shadow_policy_that_does_not_load_is_told_before_anything_is_made() {
    let place = shadowed("rules:\n  - { principal: \"agent:demo\" }\n");
    let refused = place.redress(&["run", "w.yaml"]).exits(2);
    assert!(refused.stderr.contains("shadow.yaml:2"), "{refused:#?}");
    assert!(!place.path(".redress/journal.db").exists());
    place.write("redress.yaml", format!("{SETTINGS}policy_shadow: gone.yaml\n"));
    let gone = place.redress(&["run", "w.yaml"]).exits(2);
    assert!(gone.stderr.contains("remove `policy_shadow`"), "{gone:#?}");
    // It is checked as the policy is: its grants, too.
    place.write("redress.yaml", format!("{SETTINGS}policy_shadow: shadow.yaml\n"));
    place.write("shadow.yaml", POLICY.replace("./workspace", "."));
    let unsafe_grant = place.redress(&["run", "w.yaml"]).exits(2);
    assert!(unsafe_grant.stderr.contains("guards what components may do"), "{unsafe_grant:#?}");
}
