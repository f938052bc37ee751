//! What a policy promises, seen from outside.
// Tests may stop at the first surprise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;

use redress::document::Source;
use redress::policy::{
    Decision, Foresight, Pattern, Policy, Request, RuleOutcome, decide, decide_by_rule_only, effective_grant, explain,
    foresee, load_tests, openings, run_tests,
};
use redress::types::{Access, Action, CapabilityId, Duration, Grant, Permission, Principal, Risk, sha256};
use serde_json::{Value, json};

fn policy(text: &str) -> Policy {
    let (policy, _) = Policy::load(Source::new("policy.yaml", text), "/srv/policies").unwrap_or_else(|e| panic!("{e}"));
    policy
}

fn who(text: &str) -> Principal {
    Principal::parse(text).unwrap()
}

fn capability(text: &str) -> CapabilityId {
    CapabilityId::parse(text).unwrap()
}

fn request<'a>(principal: &str, what: &str, risk: Risk, inputs: &'a Value) -> Request<'a> {
    Request {
        principal: who(principal),
        acting_for: None,
        capability: capability(what),
        declared_risk: risk,
        step_risk: None,
        inputs: Some(inputs),
        unknown: &[],
    }
}

const SHOP: &str = r#"
default: REQUIRE_APPROVAL
rules:
  - principal: "agent:shopper"
    capabilities: ["shop.order"]
    when: { inputs.url: { glob: "https://evil.example/**" } }
    action: DENY
  - principal: "agent:shopper"
    capabilities: ["shop.*"]
    when: { inputs.amount: { max: 100 } }
    action: ALLOW
  - principal: ["agent:shopper", "user:*"]
    capabilities: ["shop.*"]
    action: REQUIRE_APPROVAL
    approval: { approvers: ["user:boss"], quorum: 2, expires: 1h }
  - principal: "agent:cleaner"
    capabilities: ["io.fs.delete", "human.approve"]
    action: ALLOW
    accept_risk: HIGH
  - name: muted
    principal: "agent:muted"
    capabilities: ["human.*"]
    action: DENY
risk:
  - capabilities: ["shop.ship"]
    level: CRITICAL
"#;

#[test]
fn the_first_rule_that_matches_decides() {
    let policy = policy(SHOP);
    let cheap = json!({"url": "https://shop.example/a", "amount": 5});
    let decision = decide(&policy, &request("agent:shopper", "shop.order", Risk::Low, &cheap));
    assert_eq!((decision.action, decision.rule.as_ref().unwrap().index), (Action::Allow, 2));
    assert_eq!(decision.rule.unwrap().line, 8);
    assert_eq!(decision.policy, sha256(SHOP.as_bytes()));
    let dear = json!({"url": "https://shop.example/a", "amount": 500});
    let decision = decide(&policy, &request("agent:shopper", "shop.order", Risk::Low, &dear));
    assert_eq!((decision.action, decision.rule.unwrap().index), (Action::RequireApproval, 3));
    let terms = decision.approval.unwrap();
    assert_eq!((terms.quorum, terms.expires), (2, Duration::from_secs(3600)));
    let decision = decide(&policy, &request("agent:stranger", "shop.order", Risk::Low, &cheap));
    assert_eq!((decision.action, decision.rule), (Action::RequireApproval, None));
    assert_eq!(decision.approval.unwrap().quorum, 1);
}

#[test]
fn an_error_in_a_condition_denies_and_never_skips_the_rule() {
    let policy = policy(SHOP);
    for inputs in [
        json!({"amount": 5}),
        json!({"url": 7, "amount": 5}),
        json!({"url": "https://evil.example:443/", "amount": 5}),
        json!({"url": "https://EVIL.example/", "amount": 5}),
        json!({"url": "https://evil.example/a?b", "amount": 5}),
    ] {
        let decision = decide(&policy, &request("agent:shopper", "shop.order", Risk::Low, &inputs));
        assert_eq!((decision.action, decision.rule.unwrap().index), (Action::Deny, 1), "{inputs}");
        assert!(decision.reason.unwrap().starts_with("`inputs.url` "));
    }
}

#[test]
fn an_id_that_looks_like_a_path_is_matched_as_text() {
    let policy = policy("rules: [{principal: \"*.\", capabilities: [\"*\"], action: REQUIRE_APPROVAL}]");
    let decision = decide(&policy, &request("agent:a/..", "a.b", Risk::Low, &json!({})));
    assert_eq!(decision.rule.unwrap().index, 1);
}

#[test]
fn risk_is_never_lowered_by_a_step_and_floors_only_raise() {
    let policy = policy(SHOP);
    let input = json!({"amount": 5});
    let mut ship = request("agent:shopper", "shop.ship", Risk::Low, &input);
    ship.step_risk = Some(Risk::Low);
    let decision = decide(&policy, &ship);
    assert_eq!((decision.action, decision.base), (Action::RequireApproval, Action::Allow));
    assert_eq!((decision.risk, decision.escalated), (Risk::Critical, true));
    let mut pay = request("agent:shopper", "shop.pay", Risk::High, &input);
    pay.step_risk = Some(Risk::Low);
    assert_eq!(decide(&policy, &pay).risk, Risk::High);
}

#[test]
fn accept_risk_waives_high_and_never_critical() {
    let policy = policy(SHOP);
    let answer = |risk| decide(&policy, &request("agent:cleaner", "io.fs.delete", risk, &json!({}))).action;
    assert_eq!(answer(Risk::High), Action::Allow);
    assert_eq!(answer(Risk::Critical), Action::RequireApproval);
}

#[test]
fn a_step_that_waits_for_a_person_is_never_allowed_unasked() {
    let policy = policy(SHOP);
    let answer = |who| decide(&policy, &request(who, "human.approve", Risk::Low, &json!({})));
    assert_eq!(answer("agent:cleaner").action, Action::RequireApproval);
    assert!(!answer("agent:cleaner").escalated);
    assert_eq!(answer("agent:muted").action, Action::Deny);
    let strict = self::policy("rules: []");
    let unnamed = decide(&strict, &request("agent:a", "human.approve", Risk::Low, &json!({})));
    assert_eq!((unnamed.action, unnamed.base), (Action::RequireApproval, Action::RequireApproval));
}

#[test]
fn an_agent_and_the_one_it_acts_for_are_both_decided_and_the_stricter_answer_holds() {
    let policy = policy(SHOP);
    let input = json!({"url": "https://shop.example/a", "amount": 5});
    let mut order = request("agent:shopper", "shop.order", Risk::Low, &input);
    order.acting_for = Some(who("user:alice"));
    let decision = decide(&policy, &order);
    assert_eq!((decision.action, decision.rule.unwrap().index), (Action::RequireApproval, 3));
    order.acting_for = Some(who("agent:shopper"));
    assert_eq!(decide(&policy, &order).action, Action::Allow);

    let dear = json!({"url": "https://shop.example/a", "amount": 500});
    let mut order = request("agent:shopper", "shop.order", Risk::Low, &dear);
    order.acting_for = Some(who("agent:stranger"));
    let terms = decide(&policy, &order).approval.unwrap();
    assert_eq!(terms.quorum, 2);
}

#[test]
fn a_named_compensation_is_decided_by_its_rule_alone() {
    let policy = policy(SHOP);
    let input = json!({"amount": 5});
    let mut ship = request("agent:shopper", "shop.ship", Risk::Critical, &input);
    let decision = decide_by_rule_only(&policy, &ship);
    assert_eq!((decision.action, decision.risk, decision.escalated), (Action::Allow, Risk::Critical, false));
    let unknown = ["inputs.amount".to_owned()];
    ship.unknown = &unknown;
    let decision = decide_by_rule_only(&policy, &ship);
    assert_eq!(decision.reason.as_deref(), Some("`inputs.amount` is not known yet"));
    assert_eq!(decision.action, Action::Deny);
    ship.unknown = &[];
    ship.inputs = None;
    assert_eq!(decide_by_rule_only(&policy, &ship).action, Action::Deny);
}

#[test]
fn a_step_is_answered_as_strictly_as_its_compensation_and_asks_whom_either_asks() {
    let policy = policy(
        r#"
rules:
  - { principal: "*", capabilities: ["a.free"], action: ALLOW }
  - { principal: "*", capabilities: ["a.asked"], action: REQUIRE_APPROVAL, approval: { approvers: ["user:one"] } }
  - { principal: "*", capabilities: ["b.asked"], action: REQUIRE_APPROVAL, approval: { approvers: ["user:two"] } }
"#,
    );
    let input = json!({});
    let answer = |step: &str, undo: &str| {
        let [step, back] = [step, undo].map(|id| decide(&policy, &request("user:a", id, Risk::Low, &input)));
        let both = step.with_compensation(back, &capability(undo));
        let names = |patterns: Vec<Pattern>| patterns.iter().map(|p| p.as_str().to_owned()).collect::<Vec<_>>();
        let approvers =
            both.approval.map(|terms| (names(terms.approvers), terms.also.into_iter().map(names).collect()));
        (both.action, both.reason, approvers)
    };
    let text = |name: &str| vec![name.to_owned()];
    let one = |approver: &str| Some((text(approver), Vec::new()));
    assert_eq!(answer("a.free", "a.free"), (Action::Allow, None, None));
    let needs = Some("its compensation `a.asked` needs approval".to_owned());
    assert_eq!(answer("a.free", "a.asked"), (Action::RequireApproval, needs, one("user:one")));
    assert_eq!(answer("a.asked", "a.free"), (Action::RequireApproval, None, one("user:one")));
    let both = Some((text("user:one"), vec![text("user:two")]));
    assert_eq!(answer("a.asked", "b.asked"), (Action::RequireApproval, None, both));
    let denied = Some("its compensation `c.none` is denied".to_owned());
    assert_eq!(answer("a.asked", "c.none"), (Action::Deny, denied, None));
    let (action, _, approval) = answer("c.none", "a.asked");
    assert_eq!((action, approval), (Action::Deny, None));
}

#[test]
fn of_several_conditions_that_fail_the_first_is_told() {
    let rules =
        |when: &str| format!("rules: [{{principal: \"*\", capabilities: [\"*\"], when: {when}, action: ALLOW}}]");
    let told = |when: &str, inputs: Value| {
        let policy = policy(&rules(when));
        let explanation = explain(&policy, &request("user:a", "a.b", Risk::Low, &inputs));
        explanation.principals[0].rules[0].outcome.clone()
    };
    let when = |why: &str| RuleOutcome::When(why.into());
    let two = "{ inputs.a: { max: 1 }, inputs.b: { max: 2 } }";
    assert_eq!(told(two, json!({"a": 5, "b": 5})), when("`inputs.a` is above `max: 1`"));
    assert_eq!(told(two, json!({"a": 1, "b": 5})), when("`inputs.b` is above `max: 2`"));
    let one = "{ inputs.a: { min: 9, max: 1 } }";
    assert_eq!(told(one, json!({"a": 5})), when("`inputs.a` is below `min: 9`"));
}

#[test]
fn a_plan_says_which_unknown_values_an_answer_depends_on() {
    let policy = policy(SHOP);
    let input = json!({"url": "https://shop.example/a"});
    let unknown = ["inputs.amount".to_owned()];
    let mut order = request("agent:shopper", "shop.order", Risk::Low, &input);
    order.unknown = &unknown;
    let Foresight::Depends { on, possible } = foresee(&policy, &order) else { panic!() };
    assert_eq!(on, unknown);
    let actions: Vec<Action> = possible.iter().map(|d| d.action).collect();
    assert_eq!(actions, [Action::Allow, Action::RequireApproval]);

    order.acting_for = Some(who("user:alice"));
    let Foresight::Depends { possible, .. } = foresee(&policy, &order) else { panic!() };
    assert!(possible.iter().all(|d| d.action == Action::RequireApproval));

    order.acting_for = None;
    order.inputs = None;
    let Foresight::Depends { on, .. } = foresee(&policy, &order) else { panic!() };
    assert_eq!(on, ["inputs.amount", "inputs.url"]);

    let evil = json!({"url": "https://evil.example/a"});
    order.inputs = Some(&evil);
    let Foresight::Decided(decision) = foresee(&policy, &order) else { panic!() };
    assert_eq!(decision.action, Action::Deny);
    let bad = json!({"url": 1});
    order.inputs = Some(&bad);
    let Foresight::Decided(decision) = foresee(&policy, &order) else { panic!() };
    assert_eq!(decision.action, Action::Deny);
}

#[test]
fn a_decision_is_read_back_as_it_was_written_and_nothing_else_is() {
    let policy = policy(SHOP);
    let decision = decide(&policy, &request("user:a", "shop.x", Risk::High, &json!({})));
    let mut written = serde_json::to_value(&decision).unwrap();
    assert_eq!(serde_json::from_value::<Decision>(written.clone()).unwrap(), decision);
    written["extra"] = json!(1);
    assert!(serde_json::from_value::<Decision>(written).is_err());
}

#[test]
fn an_explanation_names_the_first_clause_that_failed_in_each_rule() {
    let policy = policy(SHOP);
    let dear = json!({"url": "https://shop.example/a", "amount": 500});
    let mut order = request("agent:shopper", "shop.order", Risk::High, &dear);
    order.step_risk = Some(Risk::Low);
    let explanation = explain(&policy, &order);
    let outcomes: Vec<_> = explanation.principals[0].rules.iter().map(|trace| trace.outcome.clone()).collect();
    assert!(matches!(&outcomes[0], RuleOutcome::When(why) if why.contains("does not match")));
    assert_eq!(outcomes[1], RuleOutcome::When("`inputs.amount` is above `max: 100`".into()));
    assert_eq!(outcomes[2..], [RuleOutcome::Matches, RuleOutcome::NotReached, RuleOutcome::NotReached]);
    let text = explanation.to_string();
    let expected = "\
as agent:shopper
  rule 1 (line 4) DENY: does not match, `inputs.url` does not match `https://evil.example/**`
  rule 2 (line 8) ALLOW: does not match, `inputs.amount` is above `max: 100`
  rule 3 (line 12) REQUIRE_APPROVAL: matches
  rule 4 (line 16) ALLOW: not reached
  rule 5 (line 20) `muted` DENY: not reached
base: REQUIRE_APPROVAL
risk: HIGH (declared HIGH, the step says LOW)
answer: REQUIRE_APPROVAL
nearest: rule 1 (line 4), which answers DENY, would match if `inputs.url` matched `https://evil.example/**`
what would change it: an approval
";
    assert_eq!(text, expected);
}

#[test]
fn an_explanation_names_the_one_thing_that_keeps_a_rule_from_matching_and_with_it_the_rule_decides() {
    let policy = policy(
        "rules:\n  \
         - { principal: \"agent:a\", capabilities: [\"x.y\"], when: { inputs.n: { min: 3, max: 9 } }, action: ALLOW }\n  \
         - { principal: \"agent:a\", capabilities: [\"x.y\"], when: { inputs.s: { in: [p, q] }, inputs.n: { max: 50 } }, action: REQUIRE_APPROVAL }\n  \
         - { principal: \"agent:b*\", capabilities: [\"x.y\"], action: ALLOW }\n  \
         - { principal: \"agent:a\", capabilities: [\"x.z\"], action: ALLOW }\n  \
         - { principal: \"agent:b\", capabilities: [\"x.z\"], action: ALLOW }\n",
    );
    let near = |who: &str, what: &str, inputs: &Value| -> Vec<(usize, String)> {
        let explanation = explain(&policy, &request(who, what, Risk::Low, inputs));
        explanation.principals[0].nearest.iter().map(|near| (near.rule.index, near.wish.clone())).collect()
    };
    let far = json!({"n": 20, "s": "r"});
    let expected = [
        (1, "`inputs.n` were at most 9"),
        (2, "`inputs.s` were `\"p\"` or `\"q\"`"),
        (3, "the principal matched `agent:b*`"),
        (4, "the capability matched `x.z`"),
    ];
    assert_eq!(near("agent:a", "x.y", &far), expected.map(|(rule, wish)| (rule, wish.to_owned())));
    // What is wished for, one thing at a time, has that rule decide.
    for (rule, who, what, inputs) in [
        (1, "agent:a", "x.y", json!({"n": 9, "s": "r"})),
        (2, "agent:a", "x.y", json!({"n": 20, "s": "q"})),
        (3, "agent:b1", "x.y", far.clone()),
        (4, "agent:a", "x.z", far.clone()),
    ] {
        let decision = decide(&policy, &request(who, what, Risk::Low, &inputs));
        assert_eq!(decision.rule.unwrap().index, rule);
    }
    // Two things are one too many, and what answers the same changes nothing. A missing field is one thing.
    assert_eq!(near("agent:a", "x.y", &json!({"n": 60, "s": "r"}))[1].0, 3);
    assert_eq!(near("agent:a", "x.z", &far), []);
    assert_eq!(
        near("agent:a", "x.y", &json!({"s": "p"})),
        [(1, "`inputs.n` were at least 3 and `inputs.n` were at most 9".to_owned())]
    );
}

#[test]
fn an_explanation_says_what_would_change_the_answer() {
    let policy = policy(SHOP);
    let help = |who, what, risk, inputs: Value| {
        let text = explain(&policy, &request(who, what, risk, &inputs)).to_string();
        text.lines().last().unwrap().strip_prefix("what would change it: ").unwrap().to_owned()
    };
    let cheap = json!({"amount": 5});
    assert_eq!(help("agent:shopper", "shop.x", Risk::Low, cheap.clone()), "a rule before this one");
    let escalated = "an approval, or `accept_risk: HIGH` on rule 2";
    assert_eq!(help("agent:shopper", "shop.x", Risk::High, cheap), escalated);
    assert_eq!(
        help("agent:shopper", "shop.x", Risk::Low, json!({})),
        "an input that the condition can be evaluated with"
    );
    let muted = "another action in rule 5, or a rule before it";
    assert_eq!(help("agent:muted", "human.approve", Risk::Low, json!({})), muted);
    assert_eq!(help("agent:x", "a.b", Risk::Low, json!({})), "an approval");
    let strict = self::policy("rules: [{principal: \"user:a\", capabilities: [\"a.b\"], action: ALLOW}]");
    let text = explain(&strict, &request("user:b", "a.c", Risk::Low, &json!({}))).to_string();
    assert!(text.contains("rule 1 (line 1) ALLOW: is for another principal\n  default: DENY\n"), "{text}");
    assert!(text.ends_with("what would change it: a rule for `user:b` and `a.c`\n"));
    let text = explain(&strict, &request("user:a", "a.c", Risk::Low, &json!({}))).to_string();
    assert!(text.contains("is for another capability"));
    let mut unknown = request("agent:shopper", "shop.pay", Risk::High, &Value::Null);
    unknown.inputs = None;
    let text = explain(&policy, &unknown).to_string();
    assert!(text.contains("cannot be evaluated, so DENY: `inputs.amount` is not known yet"));
    assert!(text.contains("\nreason: `inputs.amount` is not known yet\n"));
    let escalated = explain(&policy, &request("agent:shopper", "shop.x", Risk::High, &json!({"amount": 1})));
    assert!(escalated.to_string().contains("escalated: HIGH needs a person"));
}

const GRANTS: &str = r#"
rules: []
groups: { staff: ["user:alice", "agent:x"] }
grants:
  - capabilities: ["io.fs.*"]
    filesystem: [{ host: ./shared, guest: /shared, access: read-only }]
    config: { region: eu, zone: a }
  - capabilities: ["io.fs.write_file"]
    principals: ["group:staff"]
    filesystem:
      - { host: ../work/./a/.., guest: /work, access: read-write }
      - { host: /srv/policies/shared, guest: /shared, access: read-write }
    limits: { memory: 32MiB, wall_time: 20s }
  - capabilities: ["io.*"]
    limits: { memory: 48MiB, wall_time: 10s }
"#;

#[test]
fn a_grant_opens_what_is_asked_for_and_granted_to_everybody_involved() {
    let policy = policy(GRANTS);
    let (alice, agent, bob) = (who("user:alice"), who("agent:x"), who("user:bob"));
    let write = capability("io.fs.write_file");
    let asked = [Permission::FsWrite, Permission::Config("region".into()), Permission::Config("other".into())];
    let grant = effective_grant(&policy, &[&alice, &agent], &write, &asked);
    let dirs: Vec<_> = grant.filesystem.iter().map(|d| (d.guest.as_str(), d.host.as_str(), d.access)).collect();
    assert_eq!(
        dirs,
        [("/shared", "/srv/policies/shared", Access::ReadWrite), ("/work", "/srv/work", Access::ReadWrite)]
    );
    assert_eq!(grant.config.into_iter().collect::<Vec<_>>(), [("region".to_owned(), "eu".to_owned())]);
    assert_eq!((grant.limits.memory, grant.limits.wall_time), (32 << 20, 10_000));

    let read = effective_grant(&policy, &[&alice], &write, &[Permission::FsRead]);
    assert!(read.filesystem.iter().all(|dir| dir.access == Access::ReadOnly) && read.filesystem.len() == 2);
    let both = effective_grant(&policy, &[&alice, &bob], &write, &[Permission::FsWrite]);
    let opened: Vec<_> = both.filesystem.iter().map(|d| (d.guest.as_str(), d.access)).collect();
    assert_eq!(opened, [("/shared", Access::ReadOnly)]);
    assert_eq!(both.limits.memory, 48 << 20);
    let nothing = effective_grant(&policy, &[&alice], &write, &[]);
    assert!(nothing.filesystem.is_empty() && nothing.config.is_empty());
    assert_eq!(nothing.limits.memory, 32 << 20);
    let other = effective_grant(&policy, &[&alice], &capability("data.hash"), &asked);
    assert!(other.filesystem.is_empty());
    assert_eq!(other.limits, redress::types::Limits::default());
}

#[test]
fn each_entry_for_a_capability_is_told_with_what_it_opens_and_for_whom() {
    let policy = policy(GRANTS);
    let write = capability("io.fs.write_file");
    let told = |principal: Option<&Principal>| {
        let openings = openings(&policy, principal, &write, &[Permission::FsWrite]);
        let guests = |grant: &Grant| grant.filesystem.iter().map(|dir| dir.guest.clone()).collect::<Vec<_>>();
        openings.into_iter().map(|opening| (opening.principals, guests(&opening.grant))).collect::<Vec<_>>()
    };
    let shared = (None, vec!["/shared".to_owned()]);
    let staff = (Some(vec!["user:alice".to_owned(), "agent:x".to_owned()]), vec!["/shared".into(), "/work".into()]);
    let limits = (None, Vec::new());
    assert_eq!(told(Some(&who("user:alice"))), [shared.clone(), staff.clone(), limits.clone()]);
    assert_eq!(told(Some(&who("user:bob"))), [shared.clone(), limits.clone()]);
    assert_eq!(told(None), [shared, staff, limits]);
}

const SECRETS: &str = r#"
rules: []
grants:
  - capabilities: ["crm.*"]
    secrets:
      - { name: token, file: /run/token, hosts: [a.example, b.example, a.example] }
      - { name: other, env: OTHER, hosts: [a.example] }
  - capabilities: ["crm.add"]
    secrets: [{ name: token, file: /run/token, hosts: [b.example, c.example] }]
"#;

#[test]
fn a_secret_of_several_entries_opens_for_the_hosts_of_each_once() {
    let policy = policy(SECRETS);
    let asked = [Permission::Secret("token".into())];
    let grant = effective_grant(&policy, &[&who("user:a")], &capability("crm.add"), &asked);
    let secrets: Vec<_> = grant.secrets.iter().map(|secret| (secret.name.as_str(), secret.hosts.clone())).collect();
    assert_eq!(secrets, [("token", ["a.example", "b.example", "c.example"].map(ToString::to_string).to_vec())]);
    assert_eq!(policy.secret_files(), ["/run/token", "/run/token"]);
}

#[test]
fn granted_directories_are_listed_with_their_place() {
    let policy = policy(GRANTS);
    let open: Vec<_> = policy.granted_hosts().iter().map(|g| (g.host, g.access, g.span.line)).collect();
    let shared = "/srv/policies/shared";
    assert_eq!(
        open,
        [(shared, Access::ReadOnly, 6), ("/srv/work", Access::ReadWrite, 11), (shared, Access::ReadWrite, 12)]
    );
}

#[test]
fn more_tests_come_from_a_file_of_their_own() {
    let policy = policy(SHOP);
    let tests = "tests:\n  - { as: \"agent:x\", do: a.b, expect: REQUIRE_APPROVAL }\n  - { as: \"agent:x\", do: a.b, expect: DENY }\n";
    let tests = load_tests(&Source::new("more.yaml", tests)).unwrap();
    let results = run_tests(&policy, &tests);
    assert_eq!(results.iter().map(|r| (r.line, r.problem.is_some())).collect::<Vec<_>>(), [(2, false), (3, true)]);
    assert_eq!(
        serde_json::to_value(&results[1]).unwrap()["problem"],
        json!("the test expects DENY, the policy says REQUIRE_APPROVAL by default")
    );
    for bad in ["", "tests: 5", "test: []", "tests: [{as: x}]"] {
        assert!(load_tests(&Source::new("more.yaml", bad)).is_err(), "{bad}");
    }
}

#[test]
fn a_policy_knows_its_text_and_its_failing_tests() {
    let text = "rules: []\ntests: [{ as: \"user:a\", do: a.b, expect: ALLOW }]\n";
    let source = Source::new("p.yaml", text);
    let refused = Policy::load(source.clone(), "/").unwrap_err();
    assert!(refused.iter().all(|d| d.code == "test-failed"));
    let (policy, warnings) = Policy::load_untested(source, "/").unwrap();
    assert!(warnings.is_empty());
    assert_eq!((policy.name(), policy.text(), policy.source().name()), ("p.yaml", text, "p.yaml"));
    assert_eq!(policy.digest(), sha256(text.as_bytes()));
    assert!(run_tests(&policy, policy.tests())[0].problem.is_some());
}

#[test]
fn the_policies_that_are_shipped_load_and_pass_their_tests() {
    for (file, warnings) in [("default.yaml", 1), ("strict.yaml", 0)] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
        let text = std::fs::read(folder.join(file)).unwrap();
        let source = Source::from_bytes(file, &text).unwrap();
        let (policy, said) = Policy::load(source, "/project/policies").unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(said.iter().map(|d| d.code).filter(|code| *code == "risk-accepted").count(), warnings, "{file}");
        assert!(!policy.tests().is_empty());
        assert!(policy.granted_hosts().iter().all(|g| g.host == "/project/workspace"));
        let demo = who("agent:demo");
        let grant = effective_grant(&policy, &[&demo], &capability("io.fs.write_file"), &[Permission::FsWrite]);
        assert_eq!(grant.filesystem.len(), 1);
    }
}

#[test]
fn a_large_policy_loads_and_answers() {
    let rule = |i| format!("  - {{ principal: \"agent:a{i}\", capabilities: [\"c{i}.*\"], action: ALLOW }}\n");
    let text: String = std::iter::once("rules:\n".to_owned()).chain((0..5000).map(rule)).collect();
    let policy = policy(&text);
    let decision = decide(&policy, &request("agent:a4999", "c4999.x", Risk::Low, &json!({})));
    assert_eq!((decision.action, decision.rule.unwrap().index), (Action::Allow, 5000));
}
