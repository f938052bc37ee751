//! What the steps of a run are given, as it is kept in the journal: the workflow's inputs, and for each step its inputs and
//! those of its declared compensation, with their templates. A run that is taken over years later does not depend on how
//! workflow files are read then.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::types::StepName;
use crate::workflow::{Step, Templated, Workflow};

/// The inputs of a run's steps.
#[derive(Clone, Debug, Default)]
pub(super) struct StoredInputs {
    /// The workflow's inputs.
    pub inputs: Map<String, Value>,
    steps: HashMap<StepName, StepInputs>,
    /// Of steps submitted to an open run, whose own inputs are literal: those of their declared compensations.
    declared: HashMap<StepName, Templated>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StepInputs {
    inputs: Templated,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    compensation: Option<Templated>,
}

impl StoredInputs {
    /// Those of a workflow.
    pub fn of_workflow(workflow: &Workflow) -> StoredInputs {
        let of = |step: &Step| {
            let compensation = step.compensation.as_ref().map(|declared| declared.inputs.clone());
            (step.name.clone(), StepInputs { inputs: step.inputs.clone(), compensation })
        };
        let steps = workflow.steps.iter().map(of).collect();
        StoredInputs { inputs: workflow.inputs.clone(), steps, declared: HashMap::new() }
    }

    /// The templates as JSON, by step.
    pub fn templates(&self) -> serde_json::Result<Value> {
        serde_json::to_value(&self.steps)
    }

    /// Reads back what [`StoredInputs::templates`] wrote.
    pub fn read(inputs: Value, templates: Value) -> serde_json::Result<StoredInputs> {
        let (inputs, steps) = (serde_json::from_value(inputs)?, serde_json::from_value(templates)?);
        Ok(StoredInputs { inputs, steps, declared: HashMap::new() })
    }

    /// Adds the declared compensation of a step that was submitted to an open run.
    pub fn declare(&mut self, step: StepName, inputs: Templated) {
        self.declared.insert(step, inputs);
    }

    /// What a step, or its declared compensation, is given.
    pub fn of(&self, step: &StepName, compensation: bool) -> Option<&Templated> {
        match (self.steps.get(step), compensation) {
            (Some(step), false) => Some(&step.inputs),
            (Some(step), true) => step.compensation.as_ref(),
            (None, true) => self.declared.get(step),
            (None, false) => None,
        }
    }
}
