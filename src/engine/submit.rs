//! How a checked workflow becomes a run.

use std::sync::Arc;

use serde_json::Value;

use super::live::Live;
use super::request::record_refusal;
use super::stored::StoredInputs;
use super::{Engine, EngineError, Run, new_id, runner};
use crate::journal::{Journal, Kept, NewRun, Payload, Submission, Summary};
use crate::saga::event::{CompensationSpec, Entry, Event, Mode, RunSubmitted, Sealed, StepSpec, StepSubmitted};
use crate::saga::{RunState, State};
use crate::types::{
    CapabilityId, CapabilityInfo, Catalog, Duration, EffectKind, PayloadRef, Principal, Risk, RunId, StepName,
    canonical_bytes,
};
use crate::workflow::{Step, Workflow, is_run_name};

/// On whose behalf a run is, and its bounds.
#[derive(Clone, Debug)]
pub struct Submit {
    /// On whose behalf.
    pub principal: Principal,
    /// Who submits it, if an agent does that for the principal.
    pub agent: Option<Principal>,
    /// Submitting twice under one key is one run.
    pub run_key: Option<String>,
    /// How many steps run at the same time at most.
    pub max_parallel: u32,
    /// How long an open run may be idle.
    pub idle_timeout: Duration,
    /// How long running attempts may go on once the run rolls back.
    pub settle_timeout: Duration,
    /// How long after its end a completed run can be undone.
    pub undo_window: Duration,
}

impl Submit {
    /// With the defaults.
    pub fn by(principal: Principal) -> Submit {
        Submit {
            principal,
            agent: None,
            run_key: None,
            max_parallel: 8,
            idle_timeout: Duration::from_secs(600),
            settle_timeout: Duration::from_secs(10),
            undo_window: Duration::from_secs(7 * 86_400),
        }
    }
}

/// The answer to a submission.
pub enum Submitted {
    /// A new run, owned by this process.
    New(Run),
    /// The same was submitted under the same key before.
    Existing(RunId),
}

/// What a submission under a used key must have in common with the run that the key names. Components and policies may have
/// changed since: they are the host's and not the submission's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submittal {
    /// On whose behalf.
    Principal,
    /// The text of the workflow, or the name of an open run.
    Workflow,
    /// The inputs, defaults included.
    Inputs,
}

impl Submittal {
    /// How a run differs in it.
    pub fn difference(self) -> &'static str {
        match self {
            Submittal::Principal => "which acts for another principal",
            Submittal::Workflow => "which was made of another workflow",
            Submittal::Inputs => "which was given other inputs",
        }
    }
}

impl Engine {
    /// Makes a run of a workflow. Durable when it returns; nothing has run yet. A refusal is recorded in the system chain.
    pub async fn submit(&self, workflow: &Workflow, submit: &Submit) -> Result<Submitted, EngineError> {
        let submitted = self.submit_workflow(workflow, submit).await;
        self.recorded(submitted, &format!("run {}", workflow.name), submit).await
    }

    async fn recorded<T>(
        &self,
        answer: Result<T, EngineError>,
        request: &str,
        submit: &Submit,
    ) -> Result<T, EngineError> {
        if let Err(error) = &answer {
            let (journal, now) = (&**self.journal(), self.inner.clock.now());
            record_refusal(journal, &submit.principal, request, error, now).await?;
        }
        answer
    }

    async fn submit_workflow(&self, workflow: &Workflow, submit: &Submit) -> Result<Submitted, EngineError> {
        let stored = StoredInputs::of_workflow(workflow);
        let mut steps = Vec::with_capacity(workflow.steps.len());
        for step in &workflow.steps {
            let parents = step.depends_on.iter().filter_map(|parent| workflow.steps.get(*parent));
            steps.push(self.spec(step, parents.map(|parent| parent.name.clone()).collect())?);
        }
        let start = Start {
            name: workflow.name.clone(),
            version: workflow.version.clone(),
            mode: Mode::Sealed,
            steps,
            text: workflow.source.text().to_owned(),
            deadline: workflow.deadline,
        };
        self.start(start, stored, submit).await
    }

    /// Begins an open run: steps are submitted one at a time, until the client commits or rolls back.
    pub async fn open(&self, name: &str, submit: &Submit) -> Result<Submitted, EngineError> {
        if !is_run_name(name) {
            let refused =
                EngineError::Refused { why: "the name of a run is one line of 1 to 128 characters".to_owned() };
            return self.recorded(Err(refused), "open a run", submit).await;
        }
        let start = Start {
            name: name.to_owned(),
            version: None,
            mode: Mode::Open,
            steps: Vec::new(),
            text: String::new(),
            deadline: None,
        };
        let started = self.start(start, StoredInputs::default(), submit).await;
        self.recorded(started, &format!("open {name}"), submit).await
    }

    async fn start(&self, start: Start, stored: StoredInputs, submit: &Submit) -> Result<Submitted, EngineError> {
        let inner = &self.inner;
        inner.journal.free_space_ok()?;
        let binary = tokio::task::spawn_blocking(super::binary_digest).await.ok().flatten();
        let now = inner.clock.now();
        let json = |value: &Value| -> Result<Payload, EngineError> {
            let bytes = canonical_bytes(value).map_err(|error| EngineError::Refused { why: error.to_string() })?;
            Ok(Payload::new(bytes)?)
        };
        let workflow = Payload::new(start.text)?;
        let inputs = json(&Value::Object(stored.inputs.clone()))?;
        let templates = stored.templates().map_err(|error| EngineError::Refused { why: error.to_string() })?;
        let templates = json(&templates)?;
        let run = RunId::parse(&new_id()).map_err(|error| EngineError::Refused { why: error.to_string() })?;
        let used = start.steps.iter().flat_map(capabilities);
        let kept = Kept { components: inner.registry.kept(used), policies: self.policy_texts() };
        let submitted = RunSubmitted {
            run,
            name: start.name,
            version: start.version,
            principal: submit.principal.clone(),
            agent: submit.agent.clone(),
            mode: start.mode,
            steps: start.steps,
            workflow: workflow.reference(),
            inputs: inputs.reference(),
            templates: Some(templates.reference()),
            engine: env!("CARGO_PKG_VERSION").to_owned(),
            binary,
            max_parallel: submit.max_parallel,
            deadline: start.deadline.map(|deadline| now.plus(deadline)),
            idle_timeout: submit.idle_timeout,
            settle_timeout: submit.settle_timeout,
            undo_window: submit.undo_window,
            run_key: submit.run_key.clone(),
        };
        // The core refuses what could not be read back.
        let first = Entry { seq: 1, at: now, event: Event::RunSubmitted(Box::new(submitted.clone())) };
        State::begin(&first).map_err(|illegal| EngineError::Refused { why: illegal.why })?;
        let again = (workflow.clone(), inputs.clone());
        let new = NewRun {
            submitted: submitted.clone(),
            at: now,
            owner: inner.owner.identity().clone(),
            payloads: vec![workflow, inputs, templates],
            kept,
            summary: Summary { seq: 2, state: RunState::Running, due: None },
        };
        match inner.journal.create_run(new).await? {
            Submission::Existing { run } => {
                same_submission(&*inner.journal, &run, &submitted, &again.0, &again.1)?;
                Ok(Submitted::Existing(run))
            }
            Submission::Created { entries } => {
                let state =
                    crate::saga::fold(&entries).map_err(|error| EngineError::Refused { why: error.to_string() })?;
                for entry in &entries {
                    inner.observer.seen(&state, entry);
                }
                Ok(Submitted::New(Run { live: Arc::new(Live::new(inner.clone(), state, stored)) }))
            }
        }
    }

    fn spec(&self, step: &Step, depends_on: Vec<StepName>) -> Result<StepSpec, EngineError> {
        let info = step.capability().map(|capability| self.info(capability)).transpose()?;
        let compensation = match &step.compensation {
            Some(named) => Some(CompensationSpec {
                capability: named.capability.clone(),
                component: self.info(&named.capability)?.component,
            }),
            None => None,
        };
        Ok(StepSpec {
            name: step.name.clone(),
            capability: info.map(|info| info.id.clone()),
            component: info.map(|info| info.component),
            effect: info.map_or(EffectKind::None, |info| info.effect),
            idempotent: info.is_none_or(|info| info.idempotent),
            risk: info.map_or(Risk::Low, |info| info.risk),
            step_risk: step.risk,
            agent: step.agent.clone(),
            depends_on,
            retry: step.retry,
            timeout: step.timeout,
            compensation,
        })
    }

    fn info(&self, capability: &CapabilityId) -> Result<&CapabilityInfo, EngineError> {
        let found = self.inner.registry.capability(capability.as_str());
        found.ok_or_else(|| EngineError::UnknownCapability(capability.clone()))
    }
}

/// Refuses a submission that differs from the run that its key names. What was erased is compared by its length.
fn same_submission(
    journal: &dyn Journal,
    run: &RunId,
    again: &RunSubmitted,
    workflow: &Payload,
    inputs: &Payload,
) -> Result<(), EngineError> {
    let first = journal.entries(run, 0, 1)?;
    let Some(Entry { event: Event::RunSubmitted(first), .. }) = first.first() else {
        return Err(EngineError::NoSuchRun(run.clone()));
    };
    let same = |stored: &PayloadRef, given: &Payload| -> Result<bool, EngineError> {
        let equal = |bytes: bytes::Bytes| bytes == *given.bytes();
        Ok(stored.len == given.reference().len && journal.payload(&stored.digest)?.is_none_or(equal))
    };
    let what = if first.principal != again.principal {
        Submittal::Principal
    } else if (&first.name, first.mode) != (&again.name, again.mode) || !same(&first.workflow, workflow)? {
        Submittal::Workflow
    } else if !same(&first.inputs, inputs)? {
        Submittal::Inputs
    } else {
        return Ok(());
    };
    let key = again.run_key.clone().unwrap_or_default();
    Err(EngineError::KeyTaken { key, run: run.clone(), what })
}

struct Start {
    name: String,
    version: Option<String>,
    mode: Mode,
    steps: Vec<StepSpec>,
    text: String,
    deadline: Option<Duration>,
}

/// What a step may call.
fn capabilities(step: &StepSpec) -> impl Iterator<Item = &CapabilityId> {
    step.capability.iter().chain(step.compensation.as_ref().map(|compensation| &compensation.capability))
}

impl Run {
    /// Submits one more step to an open run. What it refers to is resolved now. It runs when the run is driven. A refusal is
    /// recorded in the system chain.
    pub async fn submit_step(&self, step: &Step) -> Result<(), EngineError> {
        let submitted = self.add_step(step).await;
        if let Err(error) = &submitted {
            let by = self.live.lock().state.submitted.principal.clone();
            let (journal, request) = (&*self.live.engine.journal, format!("step {} of {}", step.name, self.id()));
            record_refusal(journal, &by, &request, error, self.live.now()).await?;
        }
        submitted
    }

    async fn add_step(&self, step: &Step) -> Result<(), EngineError> {
        let live = &self.live;
        let engine = Engine { inner: live.engine.clone() };
        let (spec, input) = {
            let mut core = live.lock();
            let parents = step.depends_on.iter().filter_map(|parent| core.state.step(*parent));
            let spec = engine.spec(step, parents.map(|parent| parent.spec.name.clone()).collect())?;
            let input = live.resolve_templates(&mut core, &step.inputs)?;
            (spec, input.map_err(|failure| EngineError::Refused { why: failure.to_string() })?)
        };
        let kept = Kept { components: live.engine.registry.kept(capabilities(&spec)), policies: engine.policy_texts() };
        live.engine.journal.keep(kept, live.now()).await?;
        let bytes = canonical_bytes(&input).map_err(|error| EngineError::Refused { why: error.to_string() })?;
        let inputs = Payload::new(bytes)?;
        let mut declared = None;
        if let Some(named) = &step.compensation {
            let refused = |error: serde_json::Error| EngineError::Refused { why: error.to_string() };
            declared = Some(Payload::new(serde_json::to_vec(&named.inputs).map_err(refused)?)?);
            live.lock().stored.declare(step.name.clone(), named.inputs.clone());
        }
        let event = Event::StepSubmitted(Box::new(StepSubmitted {
            step: spec,
            inputs: inputs.reference(),
            compensation: declared.as_ref().map(Payload::reference),
        }));
        live.append_checked(event, std::iter::once(inputs).chain(declared).collect()).await
    }

    /// Commits an open run: no more steps will come.
    pub async fn seal(&self) -> Result<(), EngineError> {
        self.live.append_checked(Event::Sealed(Sealed {}), Vec::new()).await
    }

    /// Drives the run without being told to stop.
    pub async fn finish(&self) -> Result<runner::Driven, EngineError> {
        self.drive(&runner::Stop::default()).await
    }
}
