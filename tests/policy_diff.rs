//! What two policies answer otherwise is found exactly: against brute force over all short ids, and by hand.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

use proptest::prelude::*;
use redress::document::Source;
use redress::policy::{Change, Direction, Policy, Request, decide, diff};
use redress::types::{Action, CapabilityId, Principal, Risk};

fn policy(text: &str) -> Policy {
    Policy::load(Source::new("policy.yaml", text), "/srv").unwrap_or_else(|errors| panic!("{errors}\n{text}")).0
}

fn answer(policy: &Policy, who: &str, what: &str, risk: Risk) -> (Action, Option<redress::policy::ApprovalTerms>) {
    let request = Request {
        principal: Principal::parse(who).unwrap(),
        acting_for: None,
        capability: CapabilityId::parse(what).unwrap(),
        declared_risk: risk,
        step_risk: None,
        inputs: None,
        unknown: &[],
    };
    let decision = decide(policy, &request);
    (decision.action, decision.approval)
}

const RISKS: [Risk; 4] = [Risk::Low, Risk::Medium, Risk::High, Risk::Critical];

fn changes(old: &str, new: &str) -> Vec<Change> {
    diff(&policy(old), &policy(new)).unwrap()
}

fn shown(changes: &[Change]) -> Vec<(Direction, &str, &str, usize)> {
    changes
        .iter()
        .map(|one| (one.direction, one.principal.as_str(), one.capability.as_str(), one.risks.len()))
        .collect()
}

#[test]
fn the_same_file_answers_the_same_and_so_does_one_that_says_it_otherwise() {
    let one = "rules:\n  - { principal: \"agent:*\", capabilities: [\"io.*\"], action: ALLOW }\n";
    let other = "rules:\n  - { principal: \"agent:*\", capabilities: [\"io.fs.*\"], action: ALLOW }\n  \
                 - { principal: \"agent:*\", capabilities: [\"io.*\"], action: ALLOW }\n  \
                 - { principal: \"agent:x\", capabilities: [\"io.fs.read\"], action: DENY }\n";
    assert_eq!(changes(one, one), []);
    assert_eq!(changes(one, other), []);
}

#[test]
fn each_change_comes_with_a_request_that_shows_it_and_looser_ones_come_first() {
    let old = "rules:\n  - { principal: \"agent:*\", capabilities: [\"io.*\"], action: REQUIRE_APPROVAL }\n  \
               - { principal: \"user:*\", capabilities: [\"io.*\"], action: ALLOW }\n";
    let new = "rules:\n  - { principal: \"agent:a*\", capabilities: [\"io.fs.*\"], action: ALLOW }\n  \
               - { principal: \"agent:*\", capabilities: [\"io.*\"], action: REQUIRE_APPROVAL }\n";
    let found = changes(old, new);
    // What was allowed and what asked because of its risk are denied now: two changes.
    assert_eq!(
        shown(&found),
        [
            (Direction::Looser, "agent:a", "io.fs.a", 2),
            (Direction::Stricter, "user:a", "io.a", 2),
            (Direction::Stricter, "user:a", "io.a", 2),
        ]
    );
    for change in &found {
        let (old, new) = (policy(old), policy(new));
        for risk in &change.risks {
            let before = answer(&old, &change.principal, &change.capability, *risk);
            assert_ne!(before, answer(&new, &change.principal, &change.capability, *risk), "{change:?}");
        }
    }
}

#[test]
fn a_condition_is_opaque_and_what_it_opens_in_any_case_counts() {
    let always = "rules:\n  - { principal: \"agent:*\", capabilities: [\"a.b\"], action: ALLOW }\n";
    let sometimes = "rules:\n  - { principal: \"agent:*\", capabilities: [\"a.b\"], when: { inputs.x: { equals: 1 } }, action: ALLOW }\n";
    let otherwise = "rules:\n  - { principal: \"agent:*\", capabilities: [\"a.b\"], when: { inputs.x: { equals: 2 } }, action: ALLOW }\n";
    let direction = |old, new| changes(old, new).iter().map(|one| one.direction).collect::<Vec<_>>();
    // HIGH and CRITICAL ask in both files, or are denied.
    assert_eq!(direction(always, sometimes), [Direction::Stricter, Direction::Stricter]);
    assert_eq!(direction(sometimes, always), [Direction::Looser, Direction::Looser]);
    assert_eq!(direction(sometimes, sometimes), []);
    assert!(direction(sometimes, otherwise).iter().all(|one| *one == Direction::Looser));
    // The last answer of several is the one without a condition.
    for change in changes(always, sometimes) {
        let [old, new] =
            [&change.old, &change.new].map(|answers| answers.iter().map(|one| one.when).collect::<Vec<_>>());
        assert_eq!((old, new), (vec![false], vec![true, false]));
    }
}

#[test]
fn what_is_granted_counts_where_it_can_be_called() {
    let rules = "rules:\n  - { principal: \"agent:*\", capabilities: [\"io.*\"], action: ALLOW }\n";
    let grant = |access: &str, what: &str| {
        format!(
            "{rules}grants:\n  - {{ capabilities: [\"{what}\"], filesystem: [{{ host: ./w, guest: /w, access: {access} }}] }}\n"
        )
    };
    let wider = changes(&grant("read-only", "io.*"), &grant("read-write", "io.*"));
    assert_eq!(wider.len(), 1);
    let change = wider[0].grant.as_ref().unwrap();
    assert_eq!(
        (wider[0].direction, &change.added[..]),
        (Direction::Looser, &["/w is /srv/w, to change".to_owned()][..])
    );
    let narrower = changes(&grant("read-only", "io.*"), &grant("read-only", "io.fs.*"));
    assert_eq!(narrower.iter().map(|one| one.direction).collect::<Vec<_>>(), [Direction::Stricter]);
    assert_eq!(changes(&grant("read-only", "io.*"), &grant("read-only", "*")), []);
}

#[test]
fn what_is_narrowed_in_place_is_stricter_and_each_kind_of_grant_counts() {
    let rules = "rules:\n  - { principal: \"agent:*\", capabilities: [\"io.x\"], action: ALLOW }\n";
    let grant = |what: &str| format!("{rules}grants:\n  - {{ capabilities: [\"io.x\"], {what} }}\n");
    let dir = |access: &str| grant(&format!("filesystem: [{{ host: ./w, guest: /w, access: {access} }}]"));
    let url = |rest: &str| grant(&format!("network: [{{ url: \"https://a.example/**\", methods: {rest} }}]"));
    let secret = |from: &str| {
        let secret = format!("secrets: [{{ name: T, {from}, hosts: [a.example] }}]");
        grant(&format!("network: [{{ url: \"https://a.example/**\", methods: [GET] }}], {secret}"))
    };
    let limit = |limit: &str| grant(&format!("config: {{ a: b }}, limits: {{ wall_time: {limit} }}"));
    for (wide, narrow) in [
        (dir("read-write"), dir("read-only")),
        (url("[GET, POST]"), url("[GET]")),
        (url("[GET], query: true"), url("[GET]")),
        (url("[GET]"), url("[GET], reads_are_effects: true")),
        (limit("20s"), limit("10s")),
    ] {
        let directions = |old: &str, new: &str| changes(old, new).iter().map(|one| one.direction).collect::<Vec<_>>();
        assert_eq!(directions(&wide, &narrow), [Direction::Stricter], "{wide}{narrow}");
        assert_eq!(directions(&narrow, &wide), [Direction::Looser], "{wide}{narrow}");
    }
    assert_eq!(changes(&secret("env: A"), &secret("env: B")).len(), 1);
    // What is no read is an effect in any case.
    assert_eq!(changes(&url("[POST]"), &url("[POST], reads_are_effects: true")), []);
}

#[test]
fn a_limit_counts_also_where_nothing_else_is_granted_and_not_where_one_file_alone_grants_anything() {
    let rules = "rules:\n  - { principal: \"agent:*\", capabilities: [\"io.x\"], action: ALLOW }\n";
    let grant = |what: &str| format!("{rules}grants:\n  - {{ capabilities: [\"io.x\"], {what} }}\n");
    let limits = |time: &str| grant(&format!("limits: {{ wall_time: {time} }}"));
    let told = |old: &str, new: &str| {
        let grants = changes(old, new).into_iter().map(|one| (one.direction, one.grant.unwrap()));
        grants.map(|(direction, grant)| (direction, grant.removed, grant.added)).collect::<Vec<_>>()
    };
    let line = || vec!["wall_time from 10000 to 20000".to_owned()];
    assert_eq!(told(&limits("10s"), &limits("20s")), [(Direction::Looser, vec![], line())]);
    assert_eq!(told(&limits("20s"), &limits("10s")), [(Direction::Stricter, line(), vec![])]);
    let (both, config) = (grant("config: { a: b }, limits: { wall_time: 10s }"), vec!["config a = b".to_owned()]);
    assert_eq!(told(rules, &both), [(Direction::Looser, vec![], config.clone())]);
    assert_eq!(told(&both, rules), [(Direction::Stricter, config, vec![])]);
}

/// A file whose rules answer one call under conditions, `inputs.x` being a number each; none is no condition.
fn under(rules: &[(Option<u32>, &str)]) -> String {
    let rules = rules.iter().map(|(when, action)| {
        let when = when.map_or(String::new(), |number| format!("when: {{ inputs.x: {{ equals: {number} }} }}, "));
        format!("  - {{ principal: \"agent:*\", capabilities: [\"a.b\"], {when}action: {action} }}\n")
    });
    std::iter::once("rules:\n".to_owned()).chain(rules).collect()
}

#[test]
fn every_case_of_up_to_five_conditions_is_looked_at_and_with_more_each_change_counts_as_looser() {
    let directions = |old: &[_], new: &[_]| {
        let mut all: Vec<_> = changes(&under(old), &under(new)).iter().map(|one| one.direction).collect();
        all.dedup();
        all
    };
    let asks = |count: u32| (1..=count).map(|number| (Some(number), "REQUIRE_APPROVAL")).collect::<Vec<_>>();
    for (count, expected) in [(5, Direction::Stricter), (6, Direction::Looser)] {
        let (old, mut new) = (asks(count), asks(count));
        assert_eq!(directions(&old, &new), [], "{count}");
        new.last_mut().unwrap().1 = "DENY";
        assert_eq!(directions(&old, &new), [expected], "{count}");
    }
    // A rule behind one of the same condition decides nothing.
    let one = (Some(1), "ALLOW");
    assert_eq!(directions(&[one, (Some(1), "DENY")], &[one]), []);
    // It shows only where both fail.
    let two = [(Some(1), "ALLOW"), (Some(2), "ALLOW")];
    assert_eq!(directions(&two, &[two[0], two[1], (None, "ALLOW")]), [Direction::Looser]);
    // It shows only where one of the last two holds and the other cannot be evaluated.
    let three = [(Some(1), "ALLOW"), (Some(2), "ALLOW"), (Some(3), "ALLOW")];
    assert_eq!(directions(&three, &[three[0], three[2], three[1]]), [Direction::Looser]);
}

#[test]
fn the_step_that_only_waits_is_compared_and_what_is_granted_to_it_is_not() {
    let denied = "rules:\n  - { principal: \"agent:*\", capabilities: [\"human.*\"], action: DENY }\n";
    let found = changes("rules: []\n", denied);
    assert_eq!(shown(&found), [(Direction::Stricter, "agent:a", "human.approve", 4)]);
    let rules = "rules:\n  - { principal: \"agent:*\", capabilities: [\"human.approve\"], action: ALLOW }\n";
    let granted = format!("{rules}grants:\n  - {{ capabilities: [\"human.*\"], config: {{ a: b }} }}\n");
    assert_eq!(changes(rules, &granted), []);
}

#[test]
fn classes_that_change_in_the_same_way_are_counted() {
    let new = "rules:\n  - { principal: \"agent:*\", capabilities: [\"a.b\", \"c.d\", \"e.f\"], action: ALLOW }\n";
    let found = changes("rules: []\n", new);
    // Allowed, and asked because of risk.
    assert_eq!(found.iter().map(|one| one.more).collect::<Vec<_>>(), [2, 2]);
}

#[test]
fn whose_components_are_let_in_is_compared_as_a_whole() {
    let key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    let of =
        |require: &str| policy(&format!("rules: []\nsigners: [{{ name: acme, key: {key}, require: {require} }}]\n"));
    assert!(of("true").lets_in_as(&of("true")));
    assert!(!of("true").lets_in_as(&of("false")));
}

#[test]
fn who_approves_is_a_change_of_its_own() {
    let old = "rules:\n  - { principal: \"agent:*\", capabilities: [\"a.b\"], action: REQUIRE_APPROVAL }\n";
    let new = "rules:\n  - { principal: \"agent:*\", capabilities: [\"a.b\"], action: REQUIRE_APPROVAL, approval: { quorum: 2 } }\n";
    assert_eq!(changes(old, new).iter().map(|one| one.direction).collect::<Vec<_>>(), [Direction::Other]);
}

/// All ids over a small alphabet, up to a length that the patterns below cannot see beyond.
fn ids(separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    for _ in 0..2 {
        let longer: Vec<String> = parts.iter().flat_map(|part| ["a", "b", "c"].map(|c| format!("{part}{c}"))).collect();
        parts.extend(longer);
    }
    parts.retain(|part| !part.is_empty());
    parts.sort();
    parts.dedup();
    parts.iter().flat_map(|a| parts.iter().map(move |b| format!("{a}{separator}{b}"))).collect()
}

fn a_policy() -> impl Strategy<Value = String> {
    let principal = "[ab*]{1,2}:[ab*]{1,2}";
    let capability = "[ab*]{1,2}\\.[ab*]{1,2}";
    let action = prop::sample::select(vec!["ALLOW", "DENY", "REQUIRE_APPROVAL", "ALLOW, accept_risk: HIGH"]);
    prop::collection::vec((principal, capability, action), 0..4).prop_map(|rules| {
        let rules: String = rules
            .into_iter()
            .filter(|(who, what, _)| !who.contains("**") && !what.contains("**"))
            .map(|(who, what, action)| {
                format!("  - {{ principal: \"{who}\", capabilities: [\"{what}\"], action: {action} }}\n")
            })
            .collect();
        if rules.is_empty() { "rules: []\n".to_owned() } else { format!("rules:\n{rules}") }
    })
}

/// How many pairs of policies are compared; `.ci/long policy` takes ten thousand.
fn pairs() -> ProptestConfig {
    let asked = std::env::var("REDRESS_POLICY_PAIRS").ok().and_then(|number| number.parse().ok());
    ProptestConfig::with_cases(asked.unwrap_or(24))
}

proptest! {
    #![proptest_config(pairs())]

    #[test]
    fn the_difference_is_that_of_brute_force(old in a_policy(), new in a_policy()) {
        let (old, new) = (policy(&old), policy(&new));
        let found = diff(&old, &new).unwrap();
        for change in &found {
            for risk in &change.risks {
                let before = answer(&old, &change.principal, &change.capability, *risk);
                let after = answer(&new, &change.principal, &change.capability, *risk);
                prop_assert_ne!(&before, &after);
                match change.direction {
                    Direction::Looser => prop_assert!(after.0 < before.0),
                    Direction::Stricter => prop_assert!(after.0 > before.0),
                    Direction::Other => prop_assert_eq!(after.0, before.0),
                }
            }
        }
        // Every change that brute force sees is one of those, by what decides on both sides.
        let kinds: Vec<(Action, Action, Risk)> = found
            .iter()
            .flat_map(|change| change.risks.iter().map(|risk| (change.old[0].action, change.new[0].action, *risk)))
            .collect();
        for who in ids(':') {
            for what in ids('.') {
                for risk in RISKS {
                    let (before, after) = (answer(&old, &who, &what, risk), answer(&new, &who, &what, risk));
                    if before != after {
                        prop_assert!(kinds.contains(&(before.0, after.0, risk)), "{} {} {:?}", who, what, risk);
                    }
                }
            }
        }
    }
}
