//! What of a run was on disk when the machine went down.
//!
//! The journal is synced and files are not, until a run is closed. So whoever takes a run over after the machine was started
//! anew looks at the files of the steps that had succeeded, before anything goes on from them.

use std::collections::BTreeMap;

use crate::saga::event::{LostTarget, UNKNOWN_BOOT};
use crate::saga::{Phase, State, Status, Step};
use crate::sandbox::observe_like;
use crate::types::Target;

/// The targets of succeeded steps that are not as the last step that touched them left them; none unless the machine was
/// started anew since the last owner, as far as the system tells.
pub(super) fn lost_targets(state: &State, boot: &str) -> Vec<LostTarget> {
    let same_boot = state.owner.as_ref().is_some_and(|owner| owner.boot == boot && boot != UNKNOWN_BOOT);
    if same_boot || state.phase != Phase::Forward {
        return Vec::new();
    }
    let mut last: BTreeMap<&Target, &Step> = BTreeMap::new();
    for step in state.steps.iter().filter(|step| step.order.is_some()) {
        for target in step.touched.keys() {
            let later = last.get(target).is_none_or(|other| other.order < step.order);
            if later {
                last.insert(target, step);
            }
        }
    }
    let lost = |(target, step): (&Target, &Step)| {
        let (path, after) = (target.host_path()?, step.touched.get(target)?.after.as_ref()?);
        let now = observe_like(path, after);
        let lost = step.status == Status::Succeeded && now != *after;
        lost.then(|| LostTarget { step: step.spec.name.clone(), target: target.clone(), now })
    };
    last.into_iter().filter_map(lost).collect()
}
