use serde::Serialize;
use serde_json::Value;

use crate::document::{Diagnostic, Diagnostics, MapReader, Node, Source, Span, integer, list, parse};
use crate::types::{Action, CapabilityId, Principal, Risk};

use super::decide::{Decision, Request, decide};
use super::load::{action, capability_id, principal, risk};
use super::{Policy, RuleRef, keys};

/// What a policy's author expects of one request.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyTest {
    principal: Principal,
    capability: CapabilityId,
    inputs: Value,
    risk: Risk,
    expect: Action,
    /// The rule that must decide, counted from 1.
    rule: Option<u64>,
    span: Span,
}

/// How one test went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TestResult {
    /// The line of the test in its file.
    pub line: usize,
    /// Who was to act.
    #[serde(rename = "as")]
    pub principal: Principal,
    /// What was to be done.
    #[serde(rename = "do")]
    pub capability: CapabilityId,
    /// What was expected.
    pub expect: Action,
    /// What the policy says.
    pub decision: Decision,
    /// What is wrong; none if the test passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl PolicyTest {
    /// Where the test stands in its file.
    pub fn span(&self) -> Span {
        self.span
    }

    pub(super) fn rule(&self) -> Option<u64> {
        self.rule
    }

    fn run(&self, policy: &Policy) -> TestResult {
        let decision = decide(
            policy,
            &Request {
                principal: self.principal.clone(),
                acting_for: None,
                capability: self.capability.clone(),
                declared_risk: self.risk,
                step_risk: None,
                inputs: Some(&self.inputs),
                unknown: &[],
            },
        );
        let decided_by = decision.rule.as_ref().map(|rule| rule.index as u64);
        let right = decision.action == self.expect && self.rule.is_none_or(|rule| decided_by == Some(rule));
        let problem = (!right).then(|| {
            let wanted = self.rule.map_or(String::new(), |rule| format!(" by rule {rule}"));
            format!("the test expects {}{wanted}, the policy says {}", self.expect, told(&decision))
        });
        TestResult {
            line: self.span.line,
            principal: self.principal.clone(),
            capability: self.capability.clone(),
            expect: self.expect,
            decision,
            problem,
        }
    }
}

/// `ALLOW by rule 2 (line 7)`, with the reason or the risk where they decided.
fn told(decision: &Decision) -> String {
    let by = match &decision.rule {
        Some(RuleRef { index, line, .. }) => format!("by rule {index} (line {line})"),
        None => "by default".to_owned(),
    };
    let why = match &decision.reason {
        Some(reason) => format!(": {reason}"),
        None if decision.escalated => format!(", because its risk is {}", decision.risk),
        None => String::new(),
    };
    format!("{} {by}{why}", decision.action)
}

/// Runs tests against a policy. No component is asked: a test says the declared risk itself, LOW if it says none.
pub fn run_tests(policy: &Policy, tests: &[PolicyTest]) -> Vec<TestResult> {
    tests.iter().map(|test| test.run(policy)).collect()
}

/// Reads more tests from a file of their own, which has the single key `tests`.
pub fn load_tests(source: &Source) -> Result<Vec<PolicyTest>, Diagnostics> {
    let node = parse(source)?;
    let mut diagnostics = Diagnostics::new(source.clone());
    let reader = MapReader::new(&node, "the file", &["tests"], &mut diagnostics);
    let tests = reader.and_then(|reader| reader.required("tests", &mut diagnostics));
    let tests = tests.map(|tests| read(tests, &mut diagnostics)).unwrap_or_default();
    if diagnostics.has_errors() { Err(diagnostics) } else { Ok(tests) }
}

/// Reads the value of `tests`.
pub(super) fn read(node: &Node, diagnostics: &mut Diagnostics) -> Vec<PolicyTest> {
    let items = list(node, "`tests`", diagnostics).unwrap_or_default();
    items.iter().filter_map(|item| read_one(item, diagnostics)).collect()
}

fn read_one(node: &Node, diagnostics: &mut Diagnostics) -> Option<PolicyTest> {
    let reader = MapReader::new(node, "a test", &keys::TEST, diagnostics)?;
    let who = reader.required("as", diagnostics).and_then(|node| principal(node, diagnostics));
    let what = reader.required("do", diagnostics).and_then(|node| capability_id(node, diagnostics));
    let expect = reader.required("expect", diagnostics).and_then(|node| action(node, "`expect`", diagnostics));
    let level = match reader.optional("risk") {
        Some(node) => risk(node, "`risk`", diagnostics)?,
        None => Risk::Low,
    };
    let rule = match reader.optional("rule") {
        Some(node) => match integer(node, "`rule`", diagnostics)? {
            0 => {
                let message = "`rule` counts from 1";
                diagnostics.push(Diagnostic::error("wrong-value", node.span, message));
                return None;
            }
            rule => Some(rule),
        },
        None => None,
    };
    let inputs = match reader.optional("inputs") {
        Some(node) if node.as_mapping().is_none() => {
            let message = format!("`inputs` must be a mapping, found {}", node.what());
            diagnostics.push(Diagnostic::error("wrong-type", node.span, message));
            return None;
        }
        Some(node) => node.to_json(),
        None => Value::Object(serde_json::Map::new()),
    };
    let span = reader.span();
    Some(PolicyTest { principal: who?, capability: what?, inputs, risk: level, expect: expect?, rule, span })
}
