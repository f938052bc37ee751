//! A policy file and a request: both evaluators agree, risk never loosens, and a DENY rule in front never allows more.
//!
//! The first line is the request, words in any order before `inputs`, which takes the rest of the line; what follows is the
//! file. Without such a line all of it is the file, and the request is one of the stock.
//!
//! ```text
//! as agent:clerk for user:alice do io.fs.write_file declared MEDIUM step HIGH unknown inputs.url inputs {"path": "/w/a"}
//! rules: []
//! ```
//!
//! Bytes that begin with `~` choose request and rules from a small stock instead, so that most of them load.

use redress::document::Source;
use redress::policy::{Decision, Foresight, Policy, Request, decide, effective_grant, explain, foresee, reference};
use redress::types::{Access, Action, CapabilityId, Limits, Permission, Principal, Risk, parse_strict};
use serde_json::Value;

use super::Bytes;

const RISKS: [Risk; 4] = [Risk::Low, Risk::Medium, Risk::High, Risk::Critical];

#[derive(Clone, Debug)]
struct Question {
    principal: Principal,
    acting_for: Option<Principal>,
    capability: CapabilityId,
    declared: Risk,
    step: Option<Risk>,
    inputs: Option<Value>,
    unknown: Vec<String>,
}

impl Question {
    fn ask(&self) -> Request<'_> {
        Request {
            principal: self.principal.clone(),
            acting_for: self.acting_for.clone(),
            capability: self.capability.clone(),
            declared_risk: self.declared,
            step_risk: self.step,
            inputs: self.inputs.as_ref(),
            unknown: &self.unknown,
        }
    }
}

/// See the module.
pub fn run(data: &[u8]) {
    match data.split_first() {
        Some((b'~', rest)) => {
            let mut bytes = Bytes(rest);
            let question = made_question(&mut bytes);
            let text = made_policy(&mut bytes);
            // Patterns that cannot meet, terms without an effect and so on are refused.
            check(&text, &question);
        }
        _ => {
            let (line, rest) = match data.iter().position(|b| *b == b'\n') {
                Some(end) => (&data[..end], &data[end + 1..]),
                None => (data, &data[..0]),
            };
            let question = std::str::from_utf8(line).ok().and_then(read_question);
            let file = if question.is_some() { rest } else { data };
            match std::str::from_utf8(file) {
                Ok(text) => check(text, &question.unwrap_or_else(|| made_question(&mut Bytes(line)))),
                Err(_) => assert!(Source::from_bytes("p.yaml", file).is_err()),
            }
        }
    }
}

fn read_question(line: &str) -> Option<Question> {
    let (words, inputs) = match line.split_once("inputs {") {
        Some((words, inputs)) => (words, parse_strict(format!("{{{inputs}").as_bytes()).ok()),
        None => (line, None),
    };
    let words: Vec<&str> = words.split_whitespace().collect();
    let after = |key: &str| words.iter().position(|word| *word == key).and_then(|at| words.get(at + 1)).copied();
    let risk = |key: &str| after(key).and_then(|word| RISKS.into_iter().find(|risk| risk.as_str() == word));
    Some(Question {
        principal: Principal::parse(after("as")?).ok()?,
        acting_for: after("for").and_then(|text| Principal::parse(text).ok()),
        capability: CapabilityId::parse(after("do")?).ok()?,
        declared: risk("declared").unwrap_or(Risk::Low),
        step: risk("step"),
        inputs,
        unknown: after("unknown").map(str::to_owned).into_iter().collect(),
    })
}

const PRINCIPALS: [&str; 7] =
    ["agent:a", "agent:a.b", "user:b", "user:alice", "agent:a/b:c", "agent:shopper", "agent:data_processor"];
const CAPABILITIES: [&str; 7] =
    ["io.fs.write_file", "io.fs.delete", "human.approve", "a.b", "a.b.c", "net.http.get", "api.payment.refund"];
const PRINCIPAL_PATTERNS: [&str; 12] = [
    "*",
    "agent:*",
    "user:*",
    "group:g",
    "agent:a",
    "*.b",
    "*/b*",
    "a*:*",
    "agent:a*b*c",
    "*e*",
    "group:h",
    "u*:*l*i*e",
];
const CAPABILITY_PATTERNS: [&str; 11] =
    ["*", "io.*", "io.fs.*", "*.b", "*.b*", "human.*", "human.approve", "a*b*c", "io.fs.delete", "*.*.*", "a.b"];
const CONDITIONS: [&str; 9] = [
    "inputs.n: { max: 5 }",
    "inputs.n: { min: 3, max: 4 }",
    "inputs.s: { equals: x }",
    "inputs.s: { in: [x, y, 7] }",
    "inputs.p: { glob: \"/w/**\" }",
    "inputs.u: { glob: [\"https://h/**\", \"https://*.h/a\"] }",
    "inputs.o.n: { equals: [1, { a: null }] }",
    "inputs.s: { min_length: 1, max_length: 2 }",
    "inputs.o: { max_length: 1 }",
];
const INPUTS: [&str; 8] = [
    r#"{"n":4,"s":"x","p":"/w/a","u":"https://h/b","o":{"n":[1,{"a":null}]}}"#,
    r#"{"n":9,"s":"z","p":"/v","u":"https://i.h/a","o":[]}"#,
    r#"{"n":"4","s":7,"p":"/w/../a","u":"https://h/?q","o":null}"#,
    r#"{"n":1}"#,
    r#"{"s":"y","n":3.5,"p":"/w/a/b","u":"https://h/","o":{"n":1}}"#,
    r#"{"p":"w/a","u":"HTTPS://h/","s":"\u00e9\u00e9"}"#,
    r#"{"p":"/w","u":"https://h:443/"}"#,
    r#"{}"#,
];

fn made_question(bytes: &mut Bytes<'_>) -> Question {
    let principal = |text: &str| Principal::parse(text).expect("one of the stock");
    Question {
        principal: principal(bytes.pick(&PRINCIPALS)),
        acting_for: bytes.one_in(4).then(|| principal(bytes.pick(&PRINCIPALS))),
        capability: CapabilityId::parse(bytes.pick(&CAPABILITIES)).expect("one of the stock"),
        declared: RISKS[bytes.below(4)],
        step: bytes.one_in(3).then(|| RISKS[bytes.below(4)]),
        inputs: parse_strict(bytes.pick(&INPUTS).as_bytes()).ok(),
        unknown: if bytes.one_in(6) {
            vec![bytes.pick(&["inputs.n", "inputs", "inputs.o.n.x"]).to_owned()]
        } else {
            vec![]
        },
    }
}

fn made_list(bytes: &mut Bytes<'_>, stock: &[&str]) -> String {
    let items: Vec<String> = (0..1 + bytes.below(3)).map(|_| format!("{:?}", bytes.pick(stock))).collect();
    format!("[{}]", items.join(", "))
}

fn made_policy(bytes: &mut Bytes<'_>) -> String {
    let mut text = format!("default: {}\n", bytes.pick(&["DENY", "REQUIRE_APPROVAL"]));
    text += "groups: { g: [\"agent:a*\", \"user:b\"], h: [\"user:alice\"] }\n";
    let rules = bytes.below(7);
    text += if rules == 0 { "rules: []\n" } else { "rules:\n" };
    for _ in 0..rules {
        let action = bytes.pick(&["ALLOW", "ALLOW", "REQUIRE_APPROVAL", "DENY"]);
        text += &format!("  - principal: {}\n", made_list(bytes, &PRINCIPAL_PATTERNS));
        text += &format!("    capabilities: {}\n    action: {action}\n", made_list(bytes, &CAPABILITY_PATTERNS));
        if bytes.one_in(2) {
            let count = 1 + bytes.below(2);
            let conditions: Vec<&str> = (0..count).map(|_| bytes.pick(&CONDITIONS)).collect();
            text += &format!("    when: {{ {} }}\n", conditions.join(", "));
        }
        if action == "ALLOW" && bytes.one_in(2) {
            text += "    accept_risk: HIGH\n";
        }
        if action != "DENY" && bytes.one_in(3) {
            text += bytes
                .pick(&["    approval: { quorum: 2 }\n", "    approval: { approvers: [\"user:b\"], expires: 1h }\n"]);
        }
    }
    if bytes.one_in(3) {
        let level = RISKS[bytes.below(4)];
        text += &format!("risk:\n  - {{ capabilities: {}, level: {level} }}\n", made_list(bytes, &CAPABILITY_PATTERNS));
    }
    if bytes.one_in(3) {
        let access = bytes.pick(&["read-only", "read-write"]);
        text += &format!("grants:\n  - capabilities: {}\n", made_list(bytes, &CAPABILITY_PATTERNS));
        if bytes.one_in(2) {
            text += &format!("    principals: {}\n", made_list(bytes, &PRINCIPAL_PATTERNS));
        }
        text += &format!(
            "    filesystem: [{{ host: ./w, guest: /w, access: {access} }}]\n    limits: {{ memory: 1MiB }}\n"
        );
        text += "    network: [{ url: \"https://h/**\", methods: [GET, POST] }]\n    config: { c: v }\n";
        text += "    secrets: [{ name: t, env: T, hosts: [h] }]\n";
    }
    text
}

fn load(text: &str) -> Option<Policy> {
    match Policy::load_untested(Source::new("p.yaml", text), "/srv/project") {
        Ok((policy, warnings)) => {
            assert!(!warnings.has_errors(), "a file with errors was loaded");
            let _ = (warnings.to_string(), warnings.to_json());
            Some(policy)
        }
        Err(errors) => {
            assert!(errors.has_errors(), "a file was refused without a reason");
            let _ = (errors.to_string(), errors.to_json());
            None
        }
    }
}

fn check(text: &str, question: &Question) {
    let Some(policy) = load(text) else { return };
    let decision = agreed(&policy, question);
    well_formed(&decision, question);
    risk_never_loosens(&policy, question);
    // The tests of the file are a part of it.
    let tested = Policy::load(Source::new("p.yaml", text), "/srv/project");
    let _ = tested.map_err(|errors| errors.to_string());
    foreseen(&policy, question, &decision);
    grants_are_asked_for(&policy, question);
    for pattern in [question.principal.as_str(), "*", "nobody:*"] {
        deny_in_front(text, pattern, question, &decision);
    }
}

/// What both evaluators and the explanation say.
fn agreed(policy: &Policy, question: &Question) -> Decision {
    let decision = decide(policy, &question.ask());
    assert_eq!(decision, reference::decide(policy, &question.ask()), "the two evaluators differ");
    assert_eq!(decision, explain(policy, &question.ask()).decision, "the explanation differs");
    decision
}

fn well_formed(decision: &Decision, question: &Question) {
    assert!(decision.action >= decision.base);
    assert_eq!(decision.escalated, decision.action > decision.base);
    assert_eq!(decision.approval.is_some(), decision.action == Action::RequireApproval);
    assert!(decision.risk >= question.declared && Some(decision.risk) >= question.step);
    if decision.action == Action::Allow {
        assert!(decision.risk < Risk::Critical && question.capability.as_str() != "human.approve");
        assert!(decision.rule.is_some(), "the default allowed something");
    }
    let written = serde_json::to_value(decision).expect("a decision is journaled");
    assert_eq!(serde_json::from_value::<Decision>(written).ok().as_ref(), Some(decision));
}

fn risk_never_loosens(policy: &Policy, question: &Question) {
    let mut last = Action::Allow;
    for declared in RISKS {
        let action = agreed(policy, &Question { declared, step: None, ..question.clone() }).action;
        assert!(action >= last, "more risk made an answer looser");
        last = action;
    }
}

fn foreseen(policy: &Policy, question: &Question, decision: &Decision) {
    if question.unknown.is_empty() && question.inputs.is_some() {
        assert_eq!(foresee(policy, &question.ask()), Foresight::Decided(decision.clone()));
    }
}

/// The effective grant holds nothing that is not asked for, and asking for less opens no more.
fn grants_are_asked_for(policy: &Policy, question: &Question) {
    let who = [&question.principal];
    let parse = |texts: &[&str]| -> Vec<Permission> { texts.iter().flat_map(|text| Permission::parse(text)).collect() };
    let nothing = effective_grant(policy, &who, &question.capability, &[]);
    assert!(nothing.filesystem.is_empty() && nothing.network.is_empty());
    assert!(nothing.secrets.is_empty() && nothing.config.is_empty());
    let everything = parse(&["fs:write", "http:* https://*", "http:* http://*", "secret:*", "config:c"]);
    let most = effective_grant(policy, &who, &question.capability, &everything);
    let reading = effective_grant(policy, &who, &question.capability, &parse(&["fs:read", "http:GET https://*"]));
    assert!(reading.filesystem.iter().all(|dir| dir.access == Access::ReadOnly));
    assert_eq!(reading.filesystem.len(), most.filesystem.len());
    assert!(reading.network.len() <= most.network.len() && reading.secrets.is_empty());
    let defaults = Limits::default();
    let lowered = |limits: &Limits| limits.entries().iter().zip(defaults.entries()).all(|(own, most)| own.1 <= most.1);
    assert!(lowered(&most.limits) && lowered(&nothing.limits));
    if let Some(other) = &question.acting_for {
        let both = effective_grant(policy, &[&question.principal, other], &question.capability, &everything);
        assert!(both.filesystem.len() <= most.filesystem.len(), "a second principal opened more");
    }
}

/// Puts a DENY rule in front, where the file is written so that one can be put there.
fn deny_in_front(text: &str, pattern: &str, question: &Question, before: &Decision) {
    let Some(start) = text.find("\nrules:\n").map(|at| at + "\nrules:\n".len()) else { return };
    let (head, rest) = text.split_at(start);
    let indent = &rest[..rest.len() - rest.trim_start_matches(' ').len()];
    let front = format!("{head}{indent}- {{ principal: {pattern:?}, capabilities: [\"*\"], action: DENY }}\n{rest}");
    let Some(policy) = load(&front) else { return };
    let after = agreed(&policy, question);
    assert!(after.action >= before.action, "a DENY in front allows more");
    if pattern == "*" || pattern == question.principal.as_str() && !pattern.contains('*') {
        assert_eq!(after.action, Action::Deny, "a DENY in front does not deny");
    }
}

#[cfg(test)]
mod tests {
    use super::super::drawn;
    use super::*;

    #[test]
    fn most_policies_that_are_made_from_bytes_load() {
        let loads = |seed: &u8| load(&made_policy(&mut Bytes(&drawn(*seed)))).is_some();
        let loaded = (0..200).filter(loads).count();
        assert!(loaded > 100, "{loaded} of 200");
    }
}
