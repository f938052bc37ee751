//! What all runs of a report come to.

use std::collections::BTreeMap;

use serde::Serialize;

use super::shown::{Shown, Step};
use crate::saga::StepState;
use crate::types::{Digest, code};

/// A number and what it is made of.
#[derive(Debug, Serialize)]
pub(super) struct Figure {
    name: String,
    count: u64,
    parts: Vec<Figure>,
}

/// See the [module](self).
#[derive(Default)]
pub(super) struct Tally {
    /// How many decisions each policy took.
    pub policies: BTreeMap<Digest, u64>,
    states: BTreeMap<&'static str, u64>,
    actions: BTreeMap<String, u64>,
    votes: BTreeMap<&'static str, u64>,
    not_allowed: BTreeMap<&'static str, u64>,
    effects: BTreeMap<&'static str, u64>,
    undos: BTreeMap<&'static str, u64>,
    residue: u64,
    operators: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// Counts a run in.
    pub(super) fn add(&mut self, run: &Shown) {
        *self.states.entry(run.state.as_str()).or_default() += 1;
        self.residue += run.residue.len() as u64;
        for one in &run.operators {
            *self.operators.entry(one.verb).or_default() += 1;
        }
        for (policy, action) in &run.decisions {
            *self.policies.entry(*policy).or_default() += 1;
            *self.actions.entry(action.to_string()).or_default() += 1;
        }
        for step in &run.steps {
            self.step(step);
        }
    }

    fn step(&mut self, step: &Step) {
        for vote in &step.votes {
            *self.votes.entry(vote.said).or_default() += 1;
        }
        let refused = step.error.as_ref().and_then(|error| {
            [code::DENIED, code::REJECTED, code::EXPIRED].into_iter().find(|code| *code == error.code)
        });
        if let Some(refused) = refused.filter(|_| step.is == StepState::Failed) {
            *self.not_allowed.entry(refused).or_default() += 1;
        }
        *self.effects.entry("of steps").or_default() += step.effects;
        *self.effects.entry("of undos").or_default() += step.undo_effects;
        let undone = match (step.is, step.checked) {
            (StepState::Undone, true) => "undone, checked by the host",
            (StepState::Undone, false) => "undone, the component says",
            (StepState::UndoFailed, _) => "undo failed",
            _ => return,
        };
        *self.undos.entry(undone).or_default() += 1;
    }

    /// The figures of the summary; `refused` are the requests that never became part of a run.
    pub(super) fn figures(&self, refused: u64) -> Vec<Figure> {
        let mut not_allowed = self.not_allowed.clone();
        if refused > 0 {
            not_allowed.insert("before they were runs", refused);
        }
        vec![
            figure("runs", &self.states),
            figure("decisions", &self.actions),
            figure("votes", &self.votes),
            figure("steps and requests refused", &not_allowed),
            figure("effects", &self.effects),
            figure("steps undone, or to be undone", &self.undos),
            Figure { name: "things that remain".to_owned(), count: self.residue, parts: Vec::new() },
            figure("interventions of operators", &self.operators),
        ]
    }
}

fn figure<K: ToString>(name: &str, counts: &BTreeMap<K, u64>) -> Figure {
    let part = |(name, count): (&K, &u64)| Figure { name: name.to_string(), count: *count, parts: Vec::new() };
    let parts: Vec<Figure> = counts.iter().filter(|(_, count)| **count > 0).map(part).collect();
    Figure { name: name.to_owned(), count: counts.values().sum(), parts }
}
