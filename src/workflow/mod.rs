//! A YAML document becomes a checked plan, before anything runs.
//!
//! ```yaml
//! name: onboarding
//! inputs: { customer: Acme }
//! steps:
//!   - name: folder
//!     capability: io.fs.make_dir
//!     inputs: { path: "/workspace/{{ inputs.customer }}" }
//!   - name: page
//!     capability: io.fs.write_file
//!     depends_on: [folder]
//!     inputs: { path: "{{ folder.path }}/welcome.html", content: "<h1>{{ inputs.customer }}</h1>" }
//! ```
//!
//! [`Workflow::load`] checks, in this order, and reports everything that it finds at once:
//!
//! 1. the document: strict YAML of at most 16 MiB, known keys, each value of its type;
//! 2. each step: its name, its capability against the catalog, its numbers and lengths of time, its templates;
//! 3. the order: names are unique, `depends_on` names steps, there is no cycle. Without any `depends_on` in the document,
//!    steps run in the order of the file; with one, even an empty one, steps without an order between them may run at once;
//! 4. the inputs: what the caller gives goes over the defaults, and each must be an input that the workflow knows, which
//!    is one that has a default or is referred to;
//! 5. the references: each leads to an input that has a value, or to a field of the output of a step that is sure to have
//!    finished. See [`template`] for how they are written.
//!
//! The order is that of what a reader needs: a wrong key is told before its consequences, and what follows only from an
//! error that was told already is left out.
//!
//! A workflow says what to do; nothing here, and nothing after, adds a step to it. Older spellings of
//! workflow files load where they mean the same: each is read in one place, and a key that has no effect is a warning.

mod argument;
mod budget;
mod graph;
mod inputs;
mod json;
mod load;
mod read;
mod schema;
mod scope;
pub mod template;

pub use argument::{ArgumentError, InputArgument, parse_input_argument};
pub use graph::{Cycle, Graph};
pub use inputs::{Templated, Unresolved};
pub use load::{Earlier, MAX_BYTES, MAX_STEPS, is_run_name};
pub use schema::schema;

use serde_json::{Map, Value};

use crate::document::{Source, Span};
use crate::types::{CapabilityId, Duration, Principal, Retry, Risk, StepName};

/// A checked plan.
#[derive(Clone, Debug)]
pub struct Workflow {
    /// Its name.
    pub name: String,
    /// Its version, as it was written.
    pub version: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// `metadata.owner`: a label, unless the settings trust it.
    pub owner: Option<String>,
    /// The inputs: what the caller gave, over the defaults.
    pub inputs: Map<String, Value>,
    /// How long a run may take, waiting included.
    pub deadline: Option<Duration>,
    /// The steps in the order of the file; at least one.
    pub steps: Vec<Step>,
    /// The order between them.
    pub graph: Graph,
    /// The document.
    pub source: Source,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its name, unique in the workflow.
    pub name: StepName,
    /// What it does.
    pub kind: StepKind,
    /// The agent that acts here for the run's principal.
    pub agent: Option<Principal>,
    /// The steps, by their place in the file, that must have succeeded before.
    pub depends_on: Vec<usize>,
    /// What it is given.
    pub inputs: Templated,
    /// The least risk as which it is decided.
    pub risk: Option<Risk>,
    /// How often it is attempted.
    pub retry: Retry,
    /// How long an attempt may take, if that is less than the limit.
    pub timeout: Option<Duration>,
    /// What undoes it, if it succeeded, instead of its component's own undo.
    pub compensation: Option<NamedCompensation>,
    /// Where it stands.
    pub span: Span,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// It executes a capability.
    Action {
        /// Which one.
        capability: CapabilityId,
    },
    /// It only waits for an approval.
    HumanApproval,
}

/// A capability that undoes a step.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedCompensation {
    /// What is executed.
    pub capability: CapabilityId,
    /// What it is given; the output of the step itself may be used.
    pub inputs: Templated,
    /// Where the capability is named.
    pub span: Span,
}

impl Workflow {
    /// Lets an agent act in every step for whom the run is, as [`Step::let_act`] does.
    pub fn let_act(&mut self, agent: &Principal) -> Result<(), ActsForOthers> {
        self.steps.iter_mut().try_for_each(|step| step.let_act(agent))
    }
}

/// A step names an agent that is not the one that acts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the step `{step}` is for `{named}` to act in, and `{agent}` acts")]
pub struct ActsForOthers {
    /// The step.
    pub step: StepName,
    /// The agent that it names.
    pub named: Principal,
    /// The one that acts.
    pub agent: Principal,
}

impl Step {
    /// Lets an agent act here for whom the run is. Refused if the step names another one: that one was not asked.
    pub fn let_act(&mut self, agent: &Principal) -> Result<(), ActsForOthers> {
        match self.agent.get_or_insert_with(|| agent.clone()) {
            named if named == agent => Ok(()),
            named => Err(ActsForOthers { step: self.name.clone(), named: named.clone(), agent: agent.clone() }),
        }
    }

    /// The capability that it executes; none for an approval.
    pub fn capability(&self) -> Option<&CapabilityId> {
        match &self.kind {
            StepKind::Action { capability } => Some(capability),
            StepKind::HumanApproval => None,
        }
    }
}

impl Workflow {
    /// The place of a step among [`Workflow::steps`].
    pub fn place(&self, name: &str) -> Option<usize> {
        self.steps.iter().position(|step| step.name.as_str() == name)
    }
}
