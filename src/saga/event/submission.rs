//! What a run is asked to do, and who drives it.

use serde::{Deserialize, Serialize};

use crate::types::{
    CapabilityId, Digest, Duration, EffectKind, PayloadRef, Principal, Retry, Risk, RunId, StepName, Target,
    TargetState, Timestamp,
};

/// Whether a run's steps are all known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// All steps were submitted with the run.
    Sealed,
    /// Steps are submitted one at a time, until the client commits or rolls back.
    Open,
}

/// See [`super::Event::RunSubmitted`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSubmitted {
    /// The run's id.
    pub run: RunId,
    /// The workflow's name.
    pub name: String,
    /// The workflow's version, if it says one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// On whose behalf.
    pub principal: Principal,
    /// Who submitted it, if an agent did that for the principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Principal>,
    /// Whether more steps will come.
    pub mode: Mode,
    /// The steps, in the order of the file.
    pub steps: Vec<StepSpec>,
    /// Payload: the workflow's text.
    pub workflow: PayloadRef,
    /// Payload: the workflow's inputs, canonical JSON.
    pub inputs: PayloadRef,
    /// Payload: the inputs of the steps with their templates, canonical JSON by step name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub templates: Option<PayloadRef>,
    /// The version of the engine.
    pub engine: String,
    /// The SHA-256 of the host's program file, where it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary: Option<Digest>,
    /// How many steps run at the same time at most.
    pub max_parallel: u32,
    /// When the run rolls back if it has not finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// How long an open run may be idle.
    pub idle_timeout: Duration,
    /// How long running attempts may go on once the run rolls back.
    pub settle_timeout: Duration,
    /// How long after its end a completed run can be undone.
    pub undo_window: Duration,
    /// The caller's key: submitting twice under one key is one run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_key: Option<String>,
}

/// What a step is, apart from its input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepSpec {
    /// Unique in the run.
    pub name: StepName,
    /// The capability; none for a step that only waits for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<CapabilityId>,
    /// The component that provides it, pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<Digest>,
    /// What the capability may change.
    pub effect: EffectKind,
    /// Whether it can be executed again after an unclear outcome.
    pub idempotent: bool,
    /// The declared risk.
    pub risk: Risk,
    /// The risk that the workflow raises it to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_risk: Option<Risk>,
    /// The agent that acts in this step for the run's principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Principal>,
    /// Steps that must have succeeded before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<StepName>,
    /// How it is retried.
    pub retry: Retry,
    /// How long one attempt may take, if less than the grant's limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Another capability that undoes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<CompensationSpec>,
}

/// Another capability that undoes a step that succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompensationSpec {
    /// The capability.
    pub capability: CapabilityId,
    /// The component that provides it, pinned.
    pub component: Digest,
}

/// See [`super::Event::StepSubmitted`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepSubmitted {
    /// The step.
    pub step: StepSpec,
    /// Payload: its inputs, canonical JSON; literal, without templates.
    pub inputs: PayloadRef,
    /// Payload: the inputs of its declared compensation, with their templates, if it declares one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<PayloadRef>,
}

/// See [`super::Event::Sealed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {}

/// The boot id where the system does not tell one: it may be any.
pub const UNKNOWN_BOOT: &str = "unknown";

/// See [`super::Event::Owner`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// One more than that of the owner before; 1 for the first.
    pub epoch: u64,
    /// The id of the process: the name of its owner file.
    pub owner: String,
    /// Which boot of the machine, where the system tells.
    pub boot: String,
    /// What was noted of the further targets of the attempts that are over now: they have no RESULT to say it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub noted: Vec<TargetNote>,
    /// Targets that are not as their steps left them since the machine went down: of steps that had succeeded while the run goes
    /// forward, and of any other if the target is as it was before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<LostTarget>,
    /// Whether the run comes from a backup that was adopted: what was open in it may have gone on elsewhere.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
}

impl Owner {
    /// An owner that found nothing to tell of the one before.
    pub fn new(epoch: u64, owner: impl Into<String>, boot: impl Into<String>) -> Owner {
        Owner { epoch, owner: owner.into(), boot: boot.into(), noted: Vec::new(), lost: Vec::new(), adopted: false }
    }
}

/// A target that is not as its step left it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LostTarget {
    /// The step.
    pub step: StepName,
    /// The target.
    pub target: Target,
    /// Its state now.
    pub now: TargetState,
}

/// The state of a further target, noted before the first effect of an attempt on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetNote {
    /// The step.
    pub step: StepName,
    /// The attempt.
    pub attempt: u32,
    /// What will be touched.
    pub target: Target,
    /// Its state.
    pub before: TargetState,
}
