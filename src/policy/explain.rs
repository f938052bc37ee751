use std::fmt;

use serde::Serialize;

use crate::types::{Action, CapabilityId, Principal, Risk};

use super::condition::{self, Truth};
use super::decide::{Decision, Request, Verdict, conclude};
use super::rule::{Rule, RuleRef};
use super::{Pattern, Policy, decide};

/// Why a request is answered as it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// For each principal that must be allowed, the acting one first.
    pub principals: Vec<PrincipalExplanation>,
    /// The risk that the capability declares.
    pub declared_risk: Risk,
    /// The risk that the step says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_risk: Option<Risk>,
    /// The answer: the stricter one, if there are two principals.
    pub decision: Decision,
    /// What would change the answer.
    pub help: String,
}

/// How the file was read for one principal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PrincipalExplanation {
    /// Who.
    pub principal: Principal,
    /// All rules in file order.
    pub rules: Vec<RuleTrace>,
    /// The answer for this principal.
    pub decision: Decision,
    /// Rules that one clause alone keeps from matching, and that answer otherwise, in file order.
    pub nearest: Vec<NearMiss>,
}

/// A rule that would match, and answers otherwise, if one thing were otherwise. Rules before it are asked first, then as now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NearMiss {
    /// Which rule.
    pub rule: RuleRef,
    /// What would have to be: `` `inputs.amount` were at most 100 ``.
    pub wish: String,
    /// The answer then, after risk was looked at.
    pub action: Action,
}

/// What one rule had to say.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RuleTrace {
    /// Which rule.
    pub rule: RuleRef,
    /// What it says if it matches.
    pub action: Action,
    /// Whether it does.
    pub outcome: RuleOutcome,
}

/// Whether a rule matched, or the first clause that failed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleOutcome {
    /// It decides.
    Matches,
    /// Its principals are others.
    Principal,
    /// Its capabilities are others.
    Capability,
    /// Its condition does not hold, and why.
    When(String),
    /// Its condition cannot be evaluated, and why: DENY.
    Error(String),
    /// An earlier rule decided.
    NotReached,
}

/// Traces a decision rule by rule.
pub fn explain(policy: &Policy, request: &Request<'_>) -> Explanation {
    let principals = request.principals().map(|principal| explain_one(policy, request, principal)).collect();
    let decision = decide(policy, request);
    let help = advice(&decision, request);
    Explanation { principals, declared_risk: request.declared_risk, step_risk: request.step_risk, decision, help }
}

impl Explanation {
    /// The same for a capability that nothing provides: whatever the rules say, the answer is DENY. `similar` is one that is
    /// provided and may have been meant.
    pub fn of_unknown(mut self, capability: &CapabilityId, similar: Option<&str>) -> Explanation {
        self.decision.action = Action::Deny;
        self.decision.escalated = false;
        self.decision.approval = None;
        self.decision.reason = Some("unknown capability".to_owned());
        let meant = similar.map_or(String::new(), |id| format!("; did you mean `{id}`?"));
        self.principals.iter_mut().for_each(|one| one.nearest.clear());
        self.help = format!("a component that provides `{capability}`{meant}");
        self
    }
}

fn explain_one(policy: &Policy, request: &Request<'_>, principal: &Principal) -> PrincipalExplanation {
    let mut verdict = None;
    let (mut rules, mut nearest) = (Vec::new(), Vec::new());
    for rule in &policy.rules {
        // A rule that stands after the one that decides would not be asked. One that cannot be evaluated decides, and could match.
        let reached = verdict.is_none();
        if let Some(wish) = only_wish(rule, request, principal).filter(|_| reached) {
            let action = conclude(policy, request, Verdict::of_rule(rule)).action;
            nearest.push(NearMiss { rule: rule.reference.clone(), wish, action });
        }
        let outcome = if verdict.is_some() { RuleOutcome::NotReached } else { outcome(rule, request, principal) };
        match &outcome {
            RuleOutcome::Matches => verdict = Some(Verdict::of_rule(rule)),
            RuleOutcome::Error(reason) => verdict = Some(Verdict::of_error(rule, reason.clone())),
            RuleOutcome::Principal | RuleOutcome::Capability | RuleOutcome::When(_) | RuleOutcome::NotReached => {}
        }
        rules.push(RuleTrace { rule: rule.reference.clone(), action: rule.action, outcome });
    }
    let verdict = verdict.unwrap_or_else(|| Verdict::of_default(policy, &request.capability));
    let decision = conclude(policy, request, verdict);
    nearest.retain(|near| near.action != decision.action);
    PrincipalExplanation { principal: principal.clone(), rules, decision, nearest }
}

/// The one thing that keeps a rule from matching; none if it is more than one, or nothing.
fn only_wish(rule: &Rule, request: &Request<'_>, principal: &Principal) -> Option<String> {
    let listed = |patterns: &[Pattern]| {
        let texts: Vec<String> = patterns.iter().map(|pattern| format!("`{pattern}`")).collect();
        texts.join(" or ")
    };
    let who = Pattern::any(&rule.principals, principal.as_str());
    let what = Pattern::any(&rule.capabilities, request.capability.as_str());
    let when = condition::all(&rule.when, request.input()) == Truth::Holds;
    match (who, what, when) {
        (true, true, false) => condition::only_wish(&rule.when, request.input()),
        (false, true, true) => Some(format!("the principal matched {}", listed(&rule.principals))),
        (true, false, true) => Some(format!("the capability matched {}", listed(&rule.capabilities))),
        _ => None,
    }
}

fn outcome(rule: &Rule, request: &Request<'_>, principal: &Principal) -> RuleOutcome {
    if !Pattern::any(&rule.principals, principal.as_str()) {
        return RuleOutcome::Principal;
    }
    if !Pattern::any(&rule.capabilities, request.capability.as_str()) {
        return RuleOutcome::Capability;
    }
    match condition::all(&rule.when, request.input()) {
        Truth::Holds => RuleOutcome::Matches,
        Truth::Fails(why) => RuleOutcome::When(why),
        Truth::Error(why) => RuleOutcome::Error(why),
        Truth::Unknown(field) => RuleOutcome::Error(format!("`{field}` is not known yet")),
    }
}

fn advice(decision: &Decision, request: &Request<'_>) -> String {
    let Request { principal, capability, .. } = request;
    match (&decision.rule, &decision.reason, decision.action) {
        (_, Some(_), _) => "an input that the condition can be evaluated with".to_owned(),
        (Some(rule), None, Action::RequireApproval) if decision.escalated && decision.risk == Risk::High => {
            format!("an approval, or `accept_risk: HIGH` on rule {}", rule.index)
        }
        (None, None, Action::Deny) => format!("a rule for `{principal}` and `{capability}`"),
        (Some(rule), None, Action::Deny) => format!("another action in rule {}, or a rule before it", rule.index),
        (_, None, Action::RequireApproval) => "an approval".to_owned(),
        (_, None, Action::Allow) => "a rule before this one".to_owned(),
    }
}

impl fmt::Display for Explanation {
    /// A line for each rule, then how the answer came about.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for one in &self.principals {
            writeln!(f, "as {}", one.principal)?;
            for trace in &one.rules {
                let RuleRef { index, line, name } = &trace.rule;
                let name = name.as_ref().map_or(String::new(), |name| format!(" `{}`", crate::document::escape(name)));
                writeln!(f, "  rule {index} (line {line}){name} {}: {}", trace.action, trace.outcome)?;
            }
            if one.decision.rule.is_none() {
                writeln!(f, "  default: {}", one.decision.base)?;
            }
        }
        let Decision { action, base, risk, escalated, .. } = &self.decision;
        let step = self.step_risk.map_or(String::new(), |risk| format!(", the step says {risk}"));
        writeln!(f, "base: {base}")?;
        writeln!(f, "risk: {risk} (declared {}{step})", self.declared_risk)?;
        if *escalated {
            writeln!(f, "escalated: {risk} needs a person")?;
        }
        writeln!(f, "answer: {action}")?;
        for one in &self.principals {
            for NearMiss { rule, wish, action } in &one.nearest {
                let wish = crate::document::escape(wish);
                writeln!(
                    f,
                    "nearest: rule {} (line {}), which answers {action}, would match if {wish}",
                    rule.index, rule.line
                )?;
            }
        }
        if let Some(reason) = &self.decision.reason {
            writeln!(f, "reason: {}", crate::document::escape(reason))?;
        }
        writeln!(f, "what would change it: {}", self.help)
    }
}

impl fmt::Display for RuleOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RuleOutcome::Matches => f.write_str("matches"),
            RuleOutcome::Principal => f.write_str("is for another principal"),
            RuleOutcome::Capability => f.write_str("is for another capability"),
            RuleOutcome::When(why) => write!(f, "does not match, {}", crate::document::escape(why)),
            RuleOutcome::Error(why) => write!(f, "cannot be evaluated, so DENY: {}", crate::document::escape(why)),
            RuleOutcome::NotReached => f.write_str("not reached"),
        }
    }
}
