//! Says of a recorded run whether it may have happened so.
//!
//! Three questions, of each event in turn:
//!
//! 1. Is it legal? The core folds it, which refuses an effect without its intent, an intent without its permission, an approval
//!    without its votes, an owner out of turn, an undo out of order.
//! 2. Was it decided so? Each decision is decided again, under the policy whose digest it names, from the input that the journal
//!    keeps, and must come out the same: the answer, the rule, the risk, who may approve and for how long, and the grant. A
//!    decision whose input was erased cannot be decided again, and is counted.
//! 3. Does the table of runs say of the run what its events say?

mod report;
#[cfg(test)]
mod tests;

pub use report::{Found, Report, Signer, audit};

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use serde_json::Value;

use super::decide::rule_ref;
use super::history::misstated;
use super::question::{Question, Recorded};
use crate::document::Source;
use crate::journal::{Examiner, Journal, RunRow};
use crate::policy::{self, Policy};
use crate::saga::State;
use crate::saga::event::{Decision, Entry, Event};
use crate::types::{CapabilityId, Digest, Effect, EffectStatus, Grant, Permission, RunId, Timestamp};

/// Stands for the folder of a policy file, which the journal does not know: what is relative to it must end in the same way.
const FOLDER: &str = "~folder~";
/// How many grants are remembered that were compared.
const GRANTS: usize = 16;
/// As many folders as a relative path can climb out of.
const DEPTH: usize = 64;

/// See the page of this module.
pub struct Auditor<'a> {
    journal: &'a dyn Journal,
    base: String,
    /// None for one that cannot be loaded any more.
    policies: HashMap<Digest, Option<Policy>>,
    asked: HashMap<(Digest, CapabilityId), Vec<Permission>>,
    state: Option<State>,
    /// The last grants that were compared: steps are mostly granted the same few.
    granted: VecDeque<Granted>,
    /// Decisions that came out the same.
    pub decisions: u64,
    /// Decisions whose input was erased.
    pub not_redecidable: u64,
    /// Decisions under a policy that this version cannot load.
    pub policy_unknown: u64,
}

/// A recorded grant that is the policy's, if that lay in `folder`.
struct Granted {
    recorded: Grant,
    again: Grant,
    folder: Option<String>,
}

impl<'a> Auditor<'a> {
    /// Asks `journal` for the policies and components that decisions name.
    pub fn new(journal: &'a dyn Journal) -> Auditor<'a> {
        let base = format!("/{FOLDER}").repeat(DEPTH);
        let (policies, asked, state, granted) = Default::default();
        Auditor { journal, base, policies, asked, state, granted, decisions: 0, not_redecidable: 0, policy_unknown: 0 }
    }

    fn decision(
        &mut self,
        state: &State,
        decision: &Decision,
        at: Timestamp,
        payloads: &[Option<Bytes>],
    ) -> Result<(), String> {
        let step = state.index(decision.step.as_str()).and_then(|index| state.steps.get(index));
        let spec = step.map(|step| &step.spec).ok_or("it decides a step that there is not")?;
        let asked_of = decision.compensation.as_ref();
        let declared = spec.compensation.as_ref().filter(|_| spec.capability.is_some());
        if asked_of.map(|one| &one.capability) != declared.map(|one| &one.capability) {
            return Err("it decides a compensation that is not the step's".to_owned());
        }
        if decision.input.is_none() || asked_of.is_some_and(|one| one.input.is_none()) {
            return Err("it names no input that was decided".to_owned());
        }
        let mut given = payloads.iter();
        let mut next = || -> Result<Option<Value>, String> {
            let Some(Some(bytes)) = given.next() else { return Ok(None) };
            serde_json::from_slice(bytes).map(Some).map_err(|error| format!("its input is not JSON: {error}"))
        };
        let (input, known) = (next()?, next()?);
        let (Some(input), true) = (input, known.is_some() || asked_of.is_none()) else {
            self.not_redecidable += 1;
            return Ok(());
        };
        if !self.knows_policy(&decision.policy)? {
            self.policy_unknown += 1;
            return Ok(());
        }
        let asked = match spec.capability.as_ref().zip(spec.component) {
            Some((capability, component)) => self.asked_for(component, capability)?,
            None => Vec::new(),
        };
        let by_compensation = match &spec.compensation {
            Some(declared) => self.asked_for(declared.component, &declared.capability)?,
            None => Vec::new(),
        };
        let Some(Some(policy)) = self.policies.get(&decision.policy) else { return Ok(()) };
        let recorded = Recorded { input: &input, compensation: known.as_ref(), asked: (asked, by_compensation) };
        let said = Question::of_recorded(&state.submitted, spec, recorded).put_to(policy);
        same_answer(decision, &said.decision, at)?;
        let mut folder = None;
        self.same_grant(&decision.grant, &said.grant, &mut folder)?;
        if let Some((recorded, (again, grant))) = asked_of.zip(said.compensation.as_ref()) {
            let rule = again.rule.as_ref().map(rule_ref);
            if (recorded.action, &recorded.rule) != (again.action, &rule) {
                return Err("it says of the compensation what its policy does not".to_owned());
            }
            self.same_grant(&recorded.grant, grant, &mut folder)?;
        }
        self.decisions += 1;
        Ok(())
    }

    /// Compares a grant like [`same_grant`], or with the one before.
    fn same_grant(&mut self, recorded: &Grant, again: &Grant, folder: &mut Option<String>) -> Result<(), String> {
        let known = self.granted.iter().find(|known| (&known.recorded, &known.again) == (recorded, again));
        match known {
            Some(known) if folder.is_none() || known.folder.is_none() || *folder == known.folder => {
                if folder.is_none() {
                    folder.clone_from(&known.folder);
                }
                Ok(())
            }
            Some(_) => same_grant(recorded, again, folder),
            None => {
                let mut lay = None;
                same_grant(recorded, again, &mut lay)?;
                self.granted.truncate(GRANTS - 1);
                self.granted.push_front(Granted { recorded: recorded.clone(), again: again.clone(), folder: lay });
                self.same_grant(recorded, again, folder)
            }
        }
    }

    /// Whether a policy can be asked: one that this version cannot load any more says nothing.
    fn knows_policy(&mut self, digest: &Digest) -> Result<bool, String> {
        if !self.policies.contains_key(digest) {
            let kept = self.journal.policy(digest).map_err(|error| error.to_string())?;
            let kept = kept.ok_or_else(|| format!("its policy `{digest}` is not kept"))?;
            let loaded = Policy::load_untested(Source::new(kept.name.as_str(), kept.text.as_str()), &self.base);
            self.policies.insert(*digest, loaded.ok().map(|(policy, _)| policy));
        }
        Ok(self.policies.get(digest).is_some_and(Option::is_some))
    }

    /// What a capability of a pinned component asks for.
    fn asked_for(&mut self, digest: Digest, capability: &CapabilityId) -> Result<Vec<Permission>, String> {
        let key = (digest, capability.clone());
        if let Some(asked) = self.asked.get(&key) {
            return Ok(asked.clone());
        }
        let kept = self.journal.component(&digest).map_err(|error| error.to_string())?;
        let kept = kept.ok_or_else(|| format!("its component `{digest}` is not kept"))?;
        let described: Value = serde_json::from_str(&kept.describe)
            .map_err(|error| format!("what its component `{digest}` says of itself cannot be read: {error}"))?;
        let all = described.get("capabilities").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let named = |one: &&Value| one.get("id").and_then(Value::as_str) == Some(capability.as_str());
        let one = all.iter().find(named).ok_or_else(|| format!("its component `{digest}` has no `{capability}`"))?;
        let asked = one.get("permissions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let asked: Result<Vec<Permission>, _> = asked.iter().filter_map(Value::as_str).map(Permission::parse).collect();
        let asked = asked.map_err(|error| error.to_string())?;
        self.asked.insert(key, asked.clone());
        Ok(asked)
    }
}

impl Examiner for Auditor<'_> {
    fn event(&mut self, _: &RunId, entry: &Entry, payloads: &[Option<Bytes>]) -> Option<String> {
        let folded = match self.state.take().filter(|_| entry.seq > 1) {
            None => State::begin(entry),
            Some(mut state) => state.apply(entry).map(|()| state),
        };
        let state = match folded {
            Ok(state) => state,
            Err(illegal) => return Some(illegal.to_string()),
        };
        let answer = match &entry.event {
            Event::Decision(decision) => self.decision(&state, decision, entry.at, payloads),
            Event::Result(result) if !result.evidence.let_out && result.evidence.effects.iter().any(happened) => {
                Err("it lists effects and says that none was let out".to_owned())
            }
            _ => Ok(()),
        };
        if answer.is_ok() {
            self.state = Some(state);
        }
        answer.err()
    }

    fn end(&mut self, _: &RunId, row: &RunRow) -> Option<String> {
        self.state.take().and_then(|state| misstated(row, &state))
    }
}

/// Whether an effect got past the gate.
fn happened(effect: &Effect) -> bool {
    effect.status != EffectStatus::Refused
}

fn same_answer(recorded: &Decision, again: &policy::Decision, at: Timestamp) -> Result<(), String> {
    let differs = |what: &str, recorded: String, again: String| {
        Err(format!("it says {what} {recorded}, and its policy says {again}"))
    };
    if recorded.action != again.action {
        return differs("the answer", recorded.action.to_string(), again.action.to_string());
    }
    if recorded.base != again.base {
        return differs("the answer before risk", recorded.base.to_string(), again.base.to_string());
    }
    let named = |rule: &Option<crate::saga::event::RuleRef>| match rule {
        Some(rule) => format!("{} (line {})", rule.index, rule.line),
        None => "none".to_owned(),
    };
    let rule = again.rule.as_ref().map(rule_ref);
    if recorded.rule != rule {
        return differs("the rule", named(&recorded.rule), named(&rule));
    }
    if (recorded.risk, recorded.escalated) != (again.risk, again.escalated) {
        return differs("the risk", recorded.risk.to_string(), again.risk.to_string());
    }
    let Some((request, terms)) = recorded.approval.as_ref().zip(again.approval.as_ref()) else { return Ok(()) };
    let texts = |patterns: &[policy::Pattern]| patterns.iter().map(ToString::to_string).collect::<Vec<_>>();
    let also: Vec<Vec<String>> = terms.also.iter().map(|also| texts(also)).collect();
    if request.approvers != texts(&terms.approvers) || request.also != also || request.quorum != terms.quorum {
        return differs("the approvers", request.approvers.join(", "), texts(&terms.approvers).join(", "));
    }
    if request.expires > at.plus(terms.expires) {
        return Err("its request can be approved for longer than its policy says".to_owned());
    }
    Ok(())
}

/// Compares what was granted with what the policy grants where it lies in a folder that is not known, but is one: `folder`, once a path
/// has told.
fn same_grant(recorded: &Grant, again: &Grant, folder: &mut Option<String>) -> Result<(), String> {
    let value = |grant: &Grant| {
        let mut grant = grant.clone();
        grant.filesystem.sort_by(|a, b| a.guest.cmp(&b.guest));
        serde_json::to_value(grant).map_err(|error| error.to_string())
    };
    match alike(&value(recorded)?, &value(again)?, folder) {
        true => Ok(()),
        false => Err("it grants other than its policy does".to_owned()),
    }
}

/// `folder` is where the policy must have lain, once a path has told.
fn alike(recorded: &Value, again: &Value, folder: &mut Option<String>) -> bool {
    match (recorded, again) {
        (Value::String(recorded), Value::String(again)) => {
            let marked = again.strip_prefix('/').and_then(|_| again.rsplit_once(FOLDER));
            // How many folders a path climbs out of is in what stands before; a policy may name what looks like the mark itself.
            let climbed = marked.and_then(|(above, _)| (DEPTH - 1).checked_sub(above.matches(FOLDER).count()));
            let Some(((_, below), climbed)) = marked.zip(climbed) else { return recorded == again };
            let lay = recorded.strip_suffix(below).filter(|lay| lay.starts_with('/') || lay.is_empty());
            lay.is_some_and(|lay| climbed > 0 || folder.get_or_insert_with(|| lay.to_owned()) == lay)
        }
        (Value::Array(recorded), Value::Array(again)) => {
            recorded.len() == again.len() && recorded.iter().zip(again).all(|(one, other)| alike(one, other, folder))
        }
        (Value::Object(recorded), Value::Object(again)) => {
            recorded.len() == again.len()
                && recorded.iter().all(|(key, one)| again.get(key).is_some_and(|other| alike(one, other, folder)))
        }
        _ => recorded == again,
    }
}
