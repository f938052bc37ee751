//! Which step of a run has touched which path or URL, so that undoing in reverse order of INTENT always restores.
//!
//! An effect of a step is refused as `conflict` if a step that is not its ancestor
//!
//! 1. touched the same path,
//! 2. touched something below it, and the effect moves or removes it,
//! 3. made, moved or removed a directory above it.
//!
//! A URL is a path in this sense, whatever the method; nothing lies above or below it.
//!
//! A path is claimed when its effect is admitted and released if the system refused it: what changed nothing claims nothing.

use std::collections::BTreeMap;

use super::planted::{self, Bug};
use super::{State, StepIndex};
use crate::types::{Failure, TargetState, code};

/// How a path was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touch {
    /// Its content or times changed.
    Changed,
    /// It was made, moved or removed, so that what is below it depends on it.
    Placed,
}

impl Touch {
    /// How an effect of this kind touches its target.
    pub fn of(kind: &str) -> Touch {
        match kind {
            "fs.mkdir" | "fs.rename" | "fs.rmdir" | "fs.unlink" | "fs.symlink" | "fs.link" => Touch::Placed,
            _ => Touch::Changed,
        }
    }
}

/// The paths that the steps of one run have touched.
///
/// INVARIANT: those who hold a path stand in the order in which they claimed it, and each is an ancestor of all after it, or it
/// would have been in their way. So the last one that matters speaks for those before it, and a claim costs the same however
/// often a path was touched.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    paths: BTreeMap<String, Vec<(StepIndex, Touch)>>,
}

impl Claims {
    /// The claims of all that took effect so far.
    pub fn of(state: &State) -> Claims {
        let mut claims = Claims::default();
        let mut steps: Vec<_> = state.steps.iter().enumerate().collect();
        steps.sort_by_key(|(_, step)| step.order);
        for (index, step) in steps {
            for (target, touched) in &step.touched {
                let stays = matches!(
                    (&touched.before, &touched.after),
                    (TargetState::File { .. }, Some(TargetState::File { .. })) | (TargetState::Unobserved, _)
                );
                claims.add(target.claim_key(), index, if stays { Touch::Changed } else { Touch::Placed });
            }
        }
        claims
    }

    /// Claims `path` for `step`, or says which step it conflicts with. `is_ancestor` is asked about steps in the way.
    pub fn claim(
        &mut self,
        path: &str,
        touch: Touch,
        step: StepIndex,
        is_ancestor: impl Fn(StepIndex) -> bool,
    ) -> Result<(), StepIndex> {
        if planted::is(Bug::ConflictCheck) {
            self.add(path, step, touch);
            return Ok(());
        }
        let stranger = |owners: &Vec<(StepIndex, Touch)>, least: Touch| {
            let others = |(owner, touch): &&(StepIndex, Touch)| *owner != step && *touch >= least;
            owners.iter().rev().find(others).map(|(owner, _)| *owner).filter(|owner| !is_ancestor(*owner))
        };
        if let Some(other) = self.paths.get(path).and_then(|owners| stranger(owners, Touch::Changed)) {
            return Err(other);
        }
        if touch == Touch::Placed {
            let below = format!("{path}/");
            let inside = self.paths.range(below.clone()..).take_while(|(other, _)| other.starts_with(&below));
            if let Some(other) = inside.map(|(_, owners)| stranger(owners, Touch::Changed)).find_map(|other| other) {
                return Err(other);
            }
        }
        let above = path.match_indices('/').filter_map(|(end, _)| path.get(..end)).filter(|parent| !parent.is_empty());
        for parent in above {
            if let Some(other) = self.paths.get(parent).and_then(|owners| stranger(owners, Touch::Placed)) {
                return Err(other);
            }
        }
        self.add(path, step, touch);
        Ok(())
    }

    fn add(&mut self, path: &str, step: StepIndex, touch: Touch) {
        let owners = self.paths.entry(path.to_owned()).or_default();
        match owners.iter_mut().rev().find(|(owner, _)| *owner == step) {
            Some((_, strongest)) => *strongest = touch.max(*strongest),
            None => owners.push((step, touch)),
        }
    }

    /// Takes a claim back: nothing was changed after all.
    pub fn release(&mut self, path: &str, step: StepIndex) {
        if let Some(owners) = self.paths.get_mut(path) {
            owners.retain(|(owner, _)| *owner != step);
            if owners.is_empty() {
                self.paths.remove(path);
            }
        }
    }
}

/// The failure of an effect that conflicts with another step.
pub fn conflict(state: &State, step: StepIndex, other: StepIndex, path: &str) -> Failure {
    let name = |index| state.step(index).map_or("?", |step| step.spec.name.as_str());
    let (step, other) = (name(step), name(other));
    Failure {
        details: Some(format!("add `depends_on: [{other}]` to `{step}`, or the other way round")),
        ..Failure::new(
            code::CONFLICT,
            format!(
                "step `{other}` of this run touched `{path}` and is not ordered before `{step}`: `depends_on: [{other}]` is missing"
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        let mut claims = Claims::default();
        claims.claim("/w/dir", Touch::Placed, 0, |_| false).unwrap();
        claims.claim("/w/a/b.txt", Touch::Changed, 1, |_| false).unwrap();
        claims
    }

    #[test]
    fn the_same_path_conflicts_unless_the_other_step_is_an_ancestor() {
        let none = |_: StepIndex| false;
        assert_eq!(claims().claim("/w/a/b.txt", Touch::Changed, 2, none), Err(1));
        assert_eq!(claims().claim("/w/a/b.txt", Touch::Changed, 2, |step| step == 1), Ok(()));
        assert_eq!(claims().claim("/w/a/b.txt", Touch::Changed, 1, none), Ok(()));
        assert_eq!(claims().claim("/w/a/b.txt.bak", Touch::Changed, 2, none), Ok(()));
    }

    #[test]
    fn a_claim_asks_about_one_step_however_many_touched_the_path() {
        let mut claims = Claims::default();
        for step in 0..1_000 {
            let asked = std::cell::Cell::new(0);
            let is_ancestor = |_| {
                asked.set(asked.get() + 1);
                true
            };
            claims.claim("/w/log", Touch::Changed, step, is_ancestor).unwrap();
            assert!(asked.get() <= 1, "{} questions by step {step}", asked.get());
        }
    }

    #[test]
    fn a_step_before_the_last_is_seen_if_the_last_changed_less() {
        let mut claims = Claims::default();
        claims.claim("/w/dir", Touch::Placed, 0, |_| false).unwrap();
        claims.claim("/w/dir", Touch::Changed, 1, |step| step == 0).unwrap();
        assert_eq!(claims.claim("/w/dir/file", Touch::Changed, 2, |step| step == 1), Err(0));
        assert_eq!(claims.claim("/w/dir/file", Touch::Changed, 2, |step| step <= 1), Ok(()));
        claims.release("/w/dir", 1);
        assert_eq!(claims.claim("/w/dir", Touch::Changed, 3, |step| step != 0), Err(0));
    }

    #[test]
    fn below_a_directory_that_a_stranger_made_is_a_conflict() {
        let none = |_: StepIndex| false;
        assert_eq!(claims().claim("/w/dir/x/y", Touch::Changed, 2, none), Err(0));
        assert_eq!(claims().claim("/w/dir2/x", Touch::Changed, 2, none), Ok(()));
        assert_eq!(claims().claim("/w/dir/x", Touch::Changed, 2, |step| step == 0), Ok(()));
    }

    #[test]
    fn moving_a_directory_above_a_strangers_file_is_a_conflict() {
        let none = |_: StepIndex| false;
        assert_eq!(claims().claim("/w/a", Touch::Placed, 2, none), Err(1));
        assert_eq!(claims().claim("/w/a", Touch::Changed, 2, none), Ok(()));
        assert_eq!(claims().claim("/w/aa", Touch::Placed, 2, none), Ok(()));
    }

    #[test]
    fn what_changed_nothing_claims_nothing() {
        let mut claims = claims();
        assert_eq!(claims.claim("/w/dir", Touch::Placed, 5, |_| false), Err(0));
        claims.release("/w/dir", 0);
        assert_eq!(claims.claim("/w/dir", Touch::Placed, 5, |_| false), Ok(()));
    }
}
