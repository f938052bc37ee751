//! What holds for every policy and every request: random files go through the loader, random requests through both
//! evaluators.
// Tests may stop at the first surprise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;
use redress::document::Source;
use redress::policy::{Decision, Foresight, Policy, Request, decide, decide_by_rule_only, explain, foresee, reference};
use redress::types::{Action, CapabilityId, Principal, Risk};
use serde_json::{Value, json};

const ACTIONS: [Action; 3] = [Action::Allow, Action::RequireApproval, Action::Deny];
const RISKS: [Risk; 4] = [Risk::Low, Risk::Medium, Risk::High, Risk::Critical];

#[derive(Clone, Debug)]
struct RuleText {
    principals: Vec<String>,
    capabilities: Vec<String>,
    when: Option<&'static str>,
    action: Action,
    accept: bool,
    approval: Option<&'static str>,
}

#[derive(Clone, Debug)]
struct PolicyText {
    default: Action,
    rules: Vec<RuleText>,
    floors: Vec<(String, Risk)>,
}

#[derive(Clone, Debug)]
struct Question {
    principal: Principal,
    acting_for: Option<Principal>,
    capability: CapabilityId,
    declared: Risk,
    step: Option<Risk>,
    inputs: Value,
}

fn stars(text: &str) -> bool {
    text.matches('*').count() <= 4 && !text.contains("**")
}

fn principal_pattern() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => prop::sample::select(vec!["*", "agent:*", "user:*", "group:g", "agent:a", "*.", "*/a", "*a.b", "a*:*"]).prop_map(str::to_owned),
        2 => "(agent|user|\\*):?[ab.:/*]{0,5}\\*".prop_filter("stars", |text| stars(text)),
        1 => "(agent|user):[ab.:/]{1,3}",
    ]
}

fn capability_pattern() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => prop::sample::select(vec!["*", "a.*", "human.approve", "human.*", "*.b", "a.b", "*.a.b"]).prop_map(str::to_owned),
        2 => "[ab*]\\*?[ab._]{0,3}\\*[ab.*]{0,2}".prop_filter("stars", |text| stars(text)),
        1 => "[ab](\\.[ab][ab_]{0,1}){1,2}",
    ]
}

fn rule() -> impl Strategy<Value = RuleText> {
    let when = prop::option::weighted(
        0.4,
        prop::sample::select(vec![
            "{ inputs.n: { max: 5 } }",
            "{ inputs.n: { min: 3 }, inputs.s: { equals: x } }",
            "{ inputs.s: { in: [x, y, 7] } }",
            "{ inputs.p: { glob: \"/w/**\" } }",
            "{ inputs.u: { glob: [\"https://h/**\", \"https://*.h/a\"] } }",
        ]),
    );
    let approval =
        prop::option::of(prop::sample::select(vec!["{ quorum: 2 }", "{ approvers: [\"user:boss\"], expires: 1h }"]));
    (
        prop::collection::vec(principal_pattern(), 1..3),
        prop::collection::vec(capability_pattern(), 1..3),
        when,
        prop::sample::select(ACTIONS.to_vec()),
        any::<bool>(),
        approval,
    )
        .prop_map(|(principals, capabilities, when, action, accept, approval)| RuleText {
            principals,
            capabilities,
            when,
            action,
            accept: accept && action == Action::Allow,
            approval: approval.filter(|_| action != Action::Deny),
        })
}

fn policy_text() -> impl Strategy<Value = PolicyText> {
    (
        prop::sample::select(vec![Action::Deny, Action::RequireApproval]),
        prop::collection::vec(rule(), 0..8),
        prop::collection::vec((capability_pattern(), prop::sample::select(RISKS.to_vec())), 0..2),
    )
        .prop_map(|(default, rules, floors)| PolicyText { default, rules, floors })
}

fn principal() -> impl Strategy<Value = Principal> {
    "(agent|user|a):[ab.:/]{1,4}".prop_map(|text| Principal::parse(&text).unwrap())
}

fn question() -> impl Strategy<Value = Question> {
    let capability = prop_oneof![4 => "[ab](\\.[ab][ab_]{0,1}){1,3}", 1 => Just("human.approve".to_owned())];
    let inputs = prop_oneof![
        Just(json!({"n": 4, "s": "x", "p": "/w/a", "u": "https://h/b"})),
        Just(json!({"n": 9, "s": "z", "p": "/v", "u": "https://i.h/a"})),
        Just(json!({"n": "4", "s": 7, "p": "/w/../a", "u": "https://h/?q"})),
        Just(json!({"n": 1})),
        Just(json!({})),
    ];
    (
        principal(),
        prop::option::weighted(0.3, principal()),
        capability.prop_map(|text| CapabilityId::parse(&text).unwrap()),
        prop::sample::select(RISKS.to_vec()),
        prop::option::of(prop::sample::select(RISKS.to_vec())),
        inputs,
    )
        .prop_map(|(principal, acting_for, capability, declared, step, inputs)| Question {
            principal,
            acting_for,
            capability,
            declared,
            step,
            inputs,
        })
}

impl RuleText {
    fn write(&self) -> String {
        let mut text = format!(
            "  - principal: {:?}\n    capabilities: {:?}\n    action: {}\n",
            self.principals, self.capabilities, self.action
        );
        if let Some(when) = self.when {
            text += &format!("    when: {when}\n");
        }
        if self.accept {
            text += "    accept_risk: HIGH\n";
        }
        if let Some(approval) = self.approval {
            text += &format!("    approval: {approval}\n");
        }
        text
    }
}

impl PolicyText {
    fn load(&self) -> Policy {
        let mut text = format!("default: {}\ngroups: {{ g: [\"agent:a*\", \"user:b\"] }}\n", self.default);
        text += if self.rules.is_empty() { "rules: []\n" } else { "rules:\n" };
        for rule in &self.rules {
            text += &rule.write();
        }
        if !self.floors.is_empty() {
            text += "risk:\n";
        }
        for (pattern, level) in &self.floors {
            text += &format!("  - {{ capabilities: [{pattern:?}], level: {level} }}\n");
        }
        let (policy, _) =
            Policy::load(Source::new("p.yaml", text.as_str()), "/").unwrap_or_else(|e| panic!("{e}\n{text}"));
        policy
    }
}

impl Question {
    fn ask<'a>(&'a self, unknown: &'a [String]) -> Request<'a> {
        Request {
            principal: self.principal.clone(),
            acting_for: self.acting_for.clone(),
            capability: self.capability.clone(),
            declared_risk: self.declared,
            step_risk: self.step,
            inputs: Some(&self.inputs),
            unknown,
        }
    }
}

fn without_digest(decision: Decision, like: &Decision) -> Decision {
    Decision { policy: like.policy, ..decision }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_index_and_the_reference_evaluator_agree(
        text in policy_text(), questions in prop::collection::vec(question(), 1..12), hide in any::<bool>(),
    ) {
        let policy = text.load();
        let unknown = if hide { vec!["inputs.n".to_owned(), "inputs.u".to_owned()] } else { Vec::new() };
        for question in &questions {
            let request = question.ask(&unknown);
            let decision = decide(&policy, &request);
            prop_assert_eq!(&decision, &reference::decide(&policy, &request));
            prop_assert_eq!(&decision, &explain(&policy, &request).decision);
        }
    }

    #[test]
    fn an_answer_is_never_looser_than_its_rule_and_high_risk_is_never_allowed_unasked(
        text in policy_text(), questions in prop::collection::vec(question(), 1..12),
    ) {
        let policy = text.load();
        for question in &questions {
            let decision = decide(&policy, &question.ask(&[]));
            prop_assert!(decision.action >= decision.base);
            prop_assert_eq!(decision.escalated, decision.action > decision.base);
            prop_assert_eq!(decision.approval.is_some(), decision.action == Action::RequireApproval);
            prop_assert!(decision.base != Action::Deny || decision.action == Action::Deny);
            prop_assert!(decision.risk >= question.declared && Some(decision.risk) >= question.step);
            if decision.action == Action::Allow {
                prop_assert!(decision.risk <= Risk::High);
                let rule = &text.rules[decision.rule.unwrap().index - 1];
                prop_assert!(decision.risk < Risk::High || rule.accept);
                prop_assert_ne!(question.capability.as_str(), "human.approve");
            }
        }
    }

    #[test]
    fn more_risk_never_loosens_an_answer(
        text in policy_text(), questions in prop::collection::vec(question(), 1..8),
    ) {
        let policy = text.load();
        for question in &questions {
            let mut last = decide_by_rule_only(&policy, &question.ask(&[])).action;
            for risk in RISKS {
                let declared = Question { declared: risk, step: None, ..question.clone() };
                let action = decide(&policy, &declared.ask(&[])).action;
                prop_assert!(action >= last);
                last = action;
            }
            let mut last = Action::Allow;
            for step in [None, Some(Risk::Low), Some(Risk::Medium), Some(Risk::High), Some(Risk::Critical)] {
                let action = decide(&policy, &Question { step, ..question.clone() }.ask(&[])).action;
                prop_assert!(action >= last);
                last = action;
            }
        }
    }

    #[test]
    fn a_rule_at_the_end_changes_only_what_fell_to_the_default(
        text in policy_text(), more in rule(), questions in prop::collection::vec(question(), 1..12),
    ) {
        let policy = text.load();
        let mut longer = text.clone();
        longer.rules.push(more);
        let longer = longer.load();
        for question in &questions {
            let question = Question { acting_for: None, ..question.clone() };
            let before = decide(&policy, &question.ask(&[]));
            let after = decide(&longer, &question.ask(&[]));
            if before.rule.is_some() {
                prop_assert_eq!(without_digest(after, &before), before);
            }
        }
    }

    #[test]
    fn acting_for_somebody_is_as_strict_as_each_of_the_two(
        text in policy_text(), questions in prop::collection::vec(question(), 1..12), other in principal(),
    ) {
        let policy = text.load();
        for question in &questions {
            let both = Question { acting_for: Some(other.clone()), ..question.clone() };
            let one = Question { acting_for: None, ..question.clone() };
            let two = Question { principal: other.clone(), ..one.clone() };
            let [both, one, two] = [both, one, two].map(|q| decide(&policy, &q.ask(&[])).action);
            prop_assert_eq!(both, one.max(two));
        }
    }

    #[test]
    fn what_is_foreseen_comes_true(
        text in policy_text(), questions in prop::collection::vec(question(), 1..12),
    ) {
        let policy = text.load();
        let unknown = ["inputs.n".to_owned(), "inputs.s".to_owned()];
        for question in &questions {
            let certain = decide(&policy, &question.ask(&[]));
            prop_assert_eq!(foresee(&policy, &question.ask(&[])), Foresight::Decided(certain.clone()));
            match foresee(&policy, &question.ask(&unknown)) {
                Foresight::Decided(decision) => prop_assert_eq!(decision.action, certain.action),
                Foresight::Depends { on, possible } => {
                    prop_assert!(!on.is_empty());
                    let by_error = certain.action == Action::Deny && certain.reason.is_some();
                    prop_assert!(by_error || possible.contains(&certain));
                }
            }
        }
    }
}
