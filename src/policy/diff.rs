//! What one policy answers otherwise than another: exactly, for every principal, capability and risk.
//!
//! All ids fall into classes that no pattern of either file tells apart (`classes`); for one id of each class both files are
//! read rule by rule. Conditions are opaque: two that read the same are the same unknown, which holds, fails or cannot be
//! evaluated; an answer counts as looser if it is looser in any of these cases.

use std::collections::BTreeSet;

use serde::Serialize;

use super::classes::{Class, Kind, Named, classes};
use super::condition::Condition;
use super::decide::{base, floor};
use super::grant::GrantEntry;
use super::rule::{ApprovalTerms, Rule, RuleRef};
use super::{HUMAN_APPROVE, Pattern, Policy};
use crate::types::{Access, Action, CapabilityId, Grant, LimitUnit, Principal, Risk, SecretSource};

/// Of how many different conditions all cases are looked at; where there are more, a difference counts as looser.
const MOST_CONDITIONS: usize = 5;

/// Which way an answer changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Something is answered less strictly, or more is opened.
    Looser,
    /// Something is answered more strictly, or less is opened.
    Stricter,
    /// Who approves, how many, or until when.
    Other,
}

/// A class of requests that two policies answer otherwise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Which way.
    pub direction: Direction,
    /// One of its principals.
    pub principal: String,
    /// One of its capabilities.
    pub capability: String,
    /// The risks for which it is so, before floors of the files; empty if it is about what is granted.
    pub risks: Vec<Risk>,
    /// How the old file answers.
    pub old: Vec<Answer>,
    /// How the new file answers.
    pub new: Vec<Answer>,
    /// What is granted no more, and what is granted now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantChange>,
    /// How many more classes change in the same way, by the same rules.
    pub more: usize,
}

/// What a rule, or the default, answers; the last of several has no condition.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// The rule; none if it is the default.
    pub rule: Option<RuleRef>,
    /// Whether it has a condition.
    pub when: bool,
    /// The answer, after risk was looked at.
    pub action: Action,
}

/// What is granted otherwise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GrantChange {
    /// What is opened no more.
    pub removed: Vec<String>,
    /// What is opened now.
    pub added: Vec<String>,
}

/// There are too many patterns to look at every class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the patterns of the two files tell too many ids apart to compare every one")]
pub struct TooMany;

/// Everything that `new` answers otherwise than `old`, looser first.
pub fn diff(old: &Policy, new: &Policy) -> Result<Vec<Change>, TooMany> {
    let both = [old, new];
    let principals: Vec<&Pattern> = distinct(both.iter().flat_map(|policy| policy.principal_patterns()));
    let mut ids: Vec<&Pattern> = distinct(both.iter().flat_map(|policy| policy.capability_patterns()));
    // The one id that is not answered as others are.
    let human = Pattern::parse(HUMAN_APPROVE).map_err(|_| TooMany)?;
    if !ids.contains(&&human) {
        ids.push(&human);
    }
    let (who, what) =
        (classes(Kind::Principal, &principals).ok_or(TooMany)?, classes(Kind::Capability, &ids).ok_or(TooMany)?);
    let named = both.map(|policy| Named::of(policy, &who, &what));
    let [of_old, of_new] = &named;
    let mut changes: Vec<Change> = Vec::new();
    for (w, principal) in who.iter().enumerate() {
        for (c, capability) in what.iter().enumerate() {
            let before = Asked { policy: old, named: of_old.rules(w, c) };
            let after = Asked { policy: new, named: of_new.rules(w, c) };
            for change in compare(&before, &after, principal, capability) {
                let same = |known: &&mut Change| {
                    (known.direction, &known.risks, &known.old, &known.new, &known.grant)
                        == (change.direction, &change.risks, &change.old, &change.new, &change.grant)
                };
                match changes.iter_mut().find(same) {
                    Some(known) => known.more += 1,
                    None => changes.push(change),
                }
            }
        }
    }
    changes.sort_by_key(|change| change.direction);
    Ok(changes)
}

/// Each once, in order.
fn distinct<'p>(patterns: impl Iterator<Item = &'p Pattern>) -> Vec<&'p Pattern> {
    patterns.collect::<BTreeSet<_>>().into_iter().collect()
}

/// A policy, and the numbers of its rules that name both ids.
struct Asked<'p> {
    policy: &'p Policy,
    named: Vec<usize>,
}

fn compare(old: &Asked<'_>, new: &Asked<'_>, principal: &Class, capability: &Class) -> Vec<Change> {
    let (Ok(who), Ok(what)) = (Principal::parse(&principal.witness), CapabilityId::parse(&capability.witness)) else {
        return Vec::new();
    };
    let mut found: Vec<Change> = Vec::new();
    let change = |direction, risks, old: &[Case<'_>], new: &[Case<'_>], grant| Change {
        direction,
        principal: principal.witness.clone(),
        capability: capability.witness.clone(),
        risks,
        old: old.iter().map(Case::answer).collect(),
        new: new.iter().map(Case::answer).collect(),
        grant,
        more: 0,
    };
    let mut callable = false;
    for risk in [Risk::Low, Risk::Medium, Risk::High, Risk::Critical] {
        let (before, after) = (cases(old, &what, risk), cases(new, &what, risk));
        callable |= after.iter().any(|case| case.action != Action::Deny);
        let Some(direction) = direction(&before, &after) else { continue };
        let one = change(direction, vec![risk], &before, &after, None);
        match found
            .iter_mut()
            .find(|known| (known.direction, &known.old, &known.new) == (direction, &one.old, &one.new))
        {
            Some(known) => known.risks.push(risk),
            None => found.push(one),
        }
    }
    let (mut before, mut after) = (granted(old.policy, &who, &what), granted(new.policy, &who, &what));
    // Of a limit that was raised the rest is what is granted now, of one that was lowered what is granted no more. Where only
    // one file opens anything, that alone is the change.
    if before.is_empty() == after.is_empty() {
        for ((name, was, _), (_, is, _)) in
            limits(old.policy, &who, &what).into_iter().zip(limits(new.policy, &who, &what))
        {
            let line = format!("{name} from {} to {}", was.min(is), was.max(is));
            match is.cmp(&was) {
                std::cmp::Ordering::Greater => drop(after.insert(line)),
                std::cmp::Ordering::Less => drop(before.insert(line)),
                std::cmp::Ordering::Equal => {}
            }
        }
    }
    // A step that only waits has no sandbox.
    if callable && what.as_str() != HUMAN_APPROVE && before != after {
        let removed: Vec<String> = before.difference(&after).cloned().collect();
        let added: Vec<String> = after.difference(&before).cloned().collect();
        let direction = if added.is_empty() { Direction::Stricter } else { Direction::Looser };
        found.push(change(direction, Vec::new(), &[], &[], Some(GrantChange { removed, added })));
    }
    found
}

/// What a rule answers, if its condition holds.
struct Case<'p> {
    rule: Option<&'p Rule>,
    action: Action,
    terms: Option<ApprovalTerms>,
}

impl<'p> Case<'p> {
    fn when(&self) -> &'p [Condition] {
        self.rule.map_or(&[], |rule| &rule.when)
    }

    fn answer(&self) -> Answer {
        Answer {
            rule: self.rule.map(|rule| rule.reference.clone()),
            when: !self.when().is_empty(),
            action: self.action,
        }
    }
}

/// The rules that can decide, up to the first that has no condition, or the default.
fn cases<'p>(asked: &Asked<'p>, what: &CapabilityId, declared: Risk) -> Vec<Case<'p>> {
    let policy = asked.policy;
    let risk = policy.risk(what, declared, None);
    let case = |rule: Option<&'p Rule>, said: Action| {
        let action = base(what, said).max(floor(risk, rule));
        let terms = || rule.map(|rule| rule.approval.clone()).unwrap_or_default();
        Case { rule, action, terms: (action == Action::RequireApproval).then(terms) }
    };
    let mut cases = Vec::new();
    for rule in asked.named.iter().filter_map(|index| policy.rules.get(*index)) {
        cases.push(case(Some(rule), rule.action));
        if rule.when.is_empty() {
            return cases;
        }
    }
    cases.push(case(None, policy.default_for(what)));
    cases
}

/// How a condition turns out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Truth {
    Holds,
    Fails,
    Error,
}

/// Which way the answer changes in any case of the conditions; none if it never does.
fn direction(old: &[Case<'_>], new: &[Case<'_>]) -> Option<Direction> {
    let mut conditions: Vec<&[Condition]> = Vec::new();
    for when in old.iter().chain(new).map(Case::when).filter(|when| !when.is_empty()) {
        if !conditions.contains(&when) {
            conditions.push(when);
        }
    }
    let alike = |a: &Case<'_>, b: &Case<'_>| a.when() == b.when() && a.action == b.action && a.terms == b.terms;
    if old.len() == new.len() && old.iter().zip(new).all(|(a, b)| alike(a, b)) {
        return None;
    }
    if conditions.len() > MOST_CONDITIONS {
        return Some(Direction::Looser);
    }
    let mut found = None;
    for number in 0..3_usize.pow(u32::try_from(conditions.len()).unwrap_or(0)) {
        let truth = |when: &[Condition]| {
            let index = conditions.iter().position(|known| *known == when).unwrap_or(0);
            match number / 3_usize.pow(u32::try_from(index).unwrap_or(0)) % 3 {
                0 => Truth::Holds,
                1 => Truth::Fails,
                _ => Truth::Error,
            }
        };
        let (before, after) = (answered(old, &truth), answered(new, &truth));
        let now = match before.0.cmp(&after.0) {
            std::cmp::Ordering::Greater => Direction::Looser,
            std::cmp::Ordering::Less => Direction::Stricter,
            std::cmp::Ordering::Equal if before.1 != after.1 => Direction::Other,
            std::cmp::Ordering::Equal => continue,
        };
        found = Some(found.map_or(now, |known: Direction| known.min(now)));
    }
    found
}

/// The answer, and the terms of approval, where the conditions turn out so.
fn answered<'c>(cases: &'c [Case<'_>], truth: &impl Fn(&[Condition]) -> Truth) -> (Action, Option<&'c ApprovalTerms>) {
    for case in cases {
        match truth_of(case.when(), truth) {
            Truth::Holds => return (case.action, case.terms.as_ref()),
            Truth::Fails => {}
            Truth::Error => return (Action::Deny, None),
        }
    }
    (Action::Deny, None)
}

fn truth_of(when: &[Condition], truth: &impl Fn(&[Condition]) -> Truth) -> Truth {
    if when.is_empty() { Truth::Holds } else { truth(when) }
}

/// The limits of a call.
fn limits(policy: &Policy, who: &Principal, what: &CapabilityId) -> Vec<(&'static str, u64, LimitUnit)> {
    let entries = policy.grants.iter().filter(|entry| entry.covers(&[who], what));
    entries.fold(Grant::default().limits, |limits, entry| limits.lowered_by(&entry.limits)).entries()
}

/// What a file opens, each thing a line.
fn granted(policy: &Policy, who: &Principal, what: &CapabilityId) -> BTreeSet<String> {
    let entries: Vec<&GrantEntry> = policy.grants.iter().filter(|entry| entry.covers(&[who], what)).collect();
    let mut lines = BTreeSet::new();
    for entry in &entries {
        for dir in &entry.filesystem {
            lines.insert(format!("{} is {}, to read", dir.dir.guest, dir.dir.host));
            if dir.dir.access == Access::ReadWrite {
                lines.insert(format!("{} is {}, to change", dir.dir.guest, dir.dir.host));
            }
        }
        for url in &entry.network {
            for method in &url.methods {
                let line = format!("{} {}", method.as_str(), url.url);
                let more = [
                    (url.query, "with query"),
                    (url.local, "a local host"),
                    (!url.reads_are_effects && method.is_read(), "which is no effect"),
                ];
                lines.extend(more.iter().filter(|(set, _)| *set).map(|(_, what)| format!("{line}, {what}")));
                lines.insert(line);
            }
        }
        for secret in &entry.secrets {
            let source = match &secret.secret.source {
                SecretSource::Env(name) => format!("variable {name}"),
                SecretSource::File(path) => format!("file {path}"),
            };
            let hosts = secret.secret.hosts.iter();
            lines.extend(hosts.map(|host| format!("secret {} from {source}, for {host}", secret.secret.name)));
        }
        for config in &entry.config {
            lines.insert(format!("config {} = {}", config.name, config.value));
        }
    }
    lines
}

impl Policy {
    /// Whether both say the same of whose components are let in.
    pub fn lets_in_as(&self, other: &Policy) -> bool {
        (&self.signers, &self.providers) == (&other.signers, &other.providers)
    }

    pub(super) fn principal_patterns(&self) -> impl Iterator<Item = &Pattern> {
        let rules = self.rules.iter().flat_map(|rule| &rule.principals);
        rules.chain(self.grants.iter().flat_map(|entry| entry.principals.iter().flatten()))
    }

    pub(super) fn capability_patterns(&self) -> impl Iterator<Item = &Pattern> {
        let rules = self.rules.iter().flat_map(|rule| &rule.capabilities);
        let floors = self.floors.iter().flat_map(|floor| &floor.capabilities);
        rules.chain(floors).chain(self.grants.iter().flat_map(|entry| &entry.capabilities))
    }
}
