//! What of a run was on disk when the machine went down.
//!
//! The journal is synced and files are not, until a run is closed, or an undo is done. So whoever takes a run over after the
//! machine was started anew looks at the files of the steps that are not undone, before anything goes on from them, and before
//! anybody is blamed for what is not as a step left it.

use crate::saga::event::{LostTarget, UNKNOWN_BOOT};
use crate::saga::{State, StepIndex};
use crate::sandbox::observe_like;
use crate::types::{Target, TargetState};

/// The targets that are not as the last step that touched them left them, as far as that is to be told: see
/// [`State::tells_of_loss`]. None unless the machine was started anew since the last owner, as far as the system tells.
pub(super) fn lost_targets(state: &State, boot: &str) -> Vec<LostTarget> {
    let same_boot = state.owner.as_ref().is_some_and(|owner| owner.boot == boot && boot != UNKNOWN_BOOT);
    if same_boot {
        return Vec::new();
    }
    let lost = |(index, target, after): (StepIndex, &Target, &TargetState)| {
        let now = observe_like(target.host_path()?, after);
        let step = state.step(index).filter(|_| now != *after && state.tells_of_loss(index, target, &now))?;
        Some(LostTarget { step: step.spec.name.clone(), target: target.clone(), now })
    };
    state.left().into_iter().filter_map(lost).collect()
}
