//! What an attempt did: every target with its state before, effects, reads. The report is made from this and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rustix::fs::CWD;
use sha2::{Digest as _, Sha256};

use super::observe::observe_at;
use crate::saga::event::{Evidence, ReadRecord, TargetRecord};
use crate::types::{Digest, Effect, EffectStatus, Target, TargetState};

/// Gathers the evidence of one attempt.
pub(super) struct Ledger {
    listed_up_to: u64,
    let_out: bool,
    unanswered: bool,
    targets: Vec<(Target, TargetState)>,
    known: BTreeSet<Target>,
    moved: BTreeSet<Target>,
    effects: Vec<Effect>,
    /// The last effect, to which equal ones are still added.
    open: Option<Effect>,
    total: u64,
    digest: Sha256,
    /// Requests that are no effects.
    egress: Vec<Effect>,
    egress_total: u64,
    reads: BTreeMap<String, (u64, u64)>,
}

impl Ledger {
    pub(super) fn new(listed_up_to: u64) -> Ledger {
        Ledger {
            listed_up_to,
            let_out: false,
            unanswered: false,
            targets: Vec::new(),
            known: BTreeSet::new(),
            moved: BTreeSet::new(),
            effects: Vec::new(),
            open: None,
            total: 0,
            digest: Sha256::new(),
            egress: Vec::new(),
            egress_total: 0,
            reads: BTreeMap::new(),
        }
    }

    /// Whether an effect was let out: the attempt is not clean.
    pub(super) fn let_out(&self) -> bool {
        self.let_out
    }

    /// Whether an effect was let out that had no whole answer: the attempt has not succeeded.
    pub(super) fn unanswered(&self) -> bool {
        self.unanswered
    }

    /// Whether an effect on `target` was let out.
    pub(super) fn touched(&self, target: &Target) -> bool {
        self.known.contains(target)
    }

    /// How many targets effects were let out on.
    pub(super) fn targets(&self) -> usize {
        self.targets.len()
    }

    /// An effect on `target` is let out; `before` is its state if this is the first.
    pub(super) fn target(&mut self, target: &Target, before: TargetState, moved: bool) {
        self.let_out = true;
        if moved {
            self.moved.insert(target.clone());
        }
        if self.known.insert(target.clone()) {
            self.targets.push((target.clone(), before));
        }
    }

    /// The system refused the effect that these targets were noted for.
    pub(super) fn take_back(&mut self, fresh: &[Target], was_clean: bool) {
        for target in fresh {
            self.known.remove(target);
            self.moved.remove(target);
        }
        self.targets.retain(|(target, _)| !fresh.contains(target));
        if was_clean {
            self.let_out = false;
        }
    }

    /// Adds one effect. Equal ones in a row become one with the sum of the bytes.
    pub(super) fn effect(&mut self, effect: Effect) {
        self.unanswered |= effect.status == EffectStatus::LetOut;
        if let Some(open) = &mut self.open {
            let same = open.kind == effect.kind
                && open.target == effect.target
                && open.to == effect.to
                && open.status == effect.status
                && open.exchange.is_none()
                && effect.exchange.is_none();
            if same {
                open.bytes = open.bytes.saturating_add(effect.bytes);
                return;
            }
        }
        self.seal();
        self.open = Some(effect);
    }

    fn seal(&mut self) {
        if let Some(effect) = self.open.take() {
            self.total += 1;
            self.digest.update(serde_json::to_vec(&effect).unwrap_or_default());
            if self.total <= self.listed_up_to {
                self.effects.push(effect);
            }
        }
    }

    /// Adds a request that is no effect.
    pub(super) fn egress(&mut self, request: Effect) {
        self.egress_total += 1;
        if self.egress_total <= self.listed_up_to {
            self.egress.push(request);
        }
    }

    pub(super) fn opened_to_read(&mut self, place: &str) {
        let (count, _) = self.reads.entry(place.to_owned()).or_default();
        *count += 1;
    }

    pub(super) fn read(&mut self, place: &str, bytes: u64) {
        let (_, sum) = self.reads.entry(place.to_owned()).or_default();
        *sum = sum.saturating_add(bytes);
    }

    /// The evidence, once nothing can be added: the states after are taken here.
    pub(super) fn finish(mut self, fuel: u64, wall_ms: u64) -> Evidence {
        self.seal();
        let moved = self.moved;
        let targets = self.targets.into_iter().map(|(target, before)| {
            let after = match &target {
                Target::File { host, .. } => observe_at(CWD, Path::new(host), moved.contains(&target)),
                Target::Http { .. } => TargetState::Unobserved,
            };
            TargetRecord { target, before, after }
        });
        let all_listed = self.total <= self.listed_up_to;
        let reads = self.reads.into_iter().map(|(place, (count, bytes))| ReadRecord { place, count, bytes });
        Evidence {
            let_out: self.let_out,
            targets: targets.collect(),
            effects: self.effects,
            effects_total: self.total,
            effects_digest: (!all_listed).then(|| Digest(self.digest.finalize().into())),
            egress: self.egress,
            egress_total: self.egress_total,
            reads: reads.collect(),
            fuel,
            wall_ms,
        }
    }
}

/// An effect of `kind` that came as far as `status`.
pub(super) fn effect(kind: &str, target: &Target, to: Option<&Target>, status: EffectStatus, bytes: u64) -> Effect {
    Effect { kind: kind.to_owned(), target: target.clone(), to: to.cloned(), status, bytes, exchange: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str) -> Target {
        Target::File { host: format!("/nowhere/{name}"), guest: format!("/{name}") }
    }

    #[test]
    fn all_effects_are_counted_and_the_first_are_listed() {
        let mut ledger = Ledger::new(2);
        for i in 0..5 {
            ledger.effect(effect("fs.mkdir", &target(&i.to_string()), None, EffectStatus::Done, 0));
        }
        let evidence = ledger.finish(0, 0);
        assert_eq!((evidence.effects.len(), evidence.effects_total), (2, 5));
        assert!(evidence.effects_digest.is_some());
    }

    #[test]
    fn writes_in_a_row_to_one_target_are_one_entry() {
        let mut ledger = Ledger::new(10);
        for _ in 0..3 {
            ledger.effect(effect("fs.write", &target("a"), None, EffectStatus::Done, 5));
        }
        let evidence = ledger.finish(0, 0);
        assert_eq!(evidence.effects, [effect("fs.write", &target("a"), None, EffectStatus::Done, 15)]);
        assert_eq!(evidence.effects_digest, None);
    }

    #[test]
    fn what_the_system_refused_leaves_the_attempt_clean() {
        let mut ledger = Ledger::new(10);
        ledger.target(&target("a"), TargetState::Absent, false);
        ledger.take_back(&[target("a")], true);
        assert!(!ledger.let_out());
        assert_eq!(ledger.finish(0, 0).targets, []);
    }
}
