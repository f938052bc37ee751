//! The engine: composes the policy, the sandbox, the journal and the saga core into runs that are permitted, confined,
//! recorded and undone.
//!
//! A call's way is a straight line: [`Engine::submit`] makes a checked workflow a run; [`Run::drive`] asks the core what is
//! next and does it; a step is decided (`decide`), executed in the sandbox (`attempt`) and its result appended; a run that
//! turns back is undone step by step (`rollback`). Whatever stops the process, the journal says what was done, and
//! [`Engine::take`] goes on from there.
//!
//! What waits for a person is put into the outbox together with the event that says so, and sent from there (`outbox`).
//!
//! The engine adds nothing to what the core decides: it never orders, retries or undoes by itself.

mod attempt;
mod binary;
mod clock;
mod decide;
mod error;
mod history;
mod live;
mod outbox;
mod plan;
mod reboot;
mod registry;
mod request;
pub mod review;
mod rollback;
mod runner;
mod stored;
mod submit;
mod told;
mod view;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

pub use binary::{binary_digest, prepare_binary_digest};
pub use clock::{Clock, SimClock, SystemClock};
pub use error::EngineError;
pub use history::{entries_of, misrepresented, state_of};
pub use outbox::{Outbox, SECRET_PREFIX, Sent, Webhook, WebhookError, send_test, vote_command};
pub use plan::{Egress, Foreseen, Plan, PlannedStep, known_problems, plan, undo_of};
pub use registry::{Installed, Registry, embedded};
pub use request::{VoteRequest, operate, vote};
pub use runner::{Driven, Stop};
pub use submit::{Submit, Submittal, Submitted};
pub use view::{
    ApprovalView, DecisionView, Done, HostView, Reason, RunView, StepView, TargetView, UndoView, VoteView, reason,
    rfc3339, view,
};

use crate::journal::{Guard, Journal, JournalError, Left, Message, OwnerIdentity, OwnerLock, RunFilter, try_lock_dead};
use crate::policy::Policy;
use crate::saga::event::{Entry, Event, Owner};
use crate::saga::{self, Command, InFlight, Phase, RunState, State};
use crate::sandbox::Sandbox;
use crate::types::{Access, RunId, Timestamp};

use live::Live;
use stored::StoredInputs;

/// Watches events as they are appended. Called under the run's lock: must return at once and ask the engine nothing.
pub trait Observer: Send + Sync {
    /// An event was applied; it may not be durable yet.
    fn seen(&self, state: &State, entry: &Entry);
}

/// Watches nothing.
pub struct NoObserver;

impl Observer for NoObserver {
    fn seen(&self, _: &State, _: &Entry) {}
}

/// What an engine is made of.
pub struct Parts {
    /// Where runs are recorded.
    pub journal: Arc<dyn Journal>,
    /// The folder in which owner files lie.
    pub owners: PathBuf,
    /// Where components run.
    pub sandbox: Sandbox,
    /// The components.
    pub registry: Registry,
    /// Who may do what.
    pub policy: Arc<Policy>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Who watches.
    pub observer: Arc<dyn Observer>,
    /// Paths that no component may ever change: the journal, the policy, settings, components.
    pub protected: Vec<PathBuf>,
    /// Where people are told, if they are: then messages for them are put into the outbox.
    pub webhook: Option<Webhook>,
}

/// Drives runs. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    journal: Arc<dyn Journal>,
    owners: PathBuf,
    sandbox: Sandbox,
    registry: Registry,
    policy: RwLock<Arc<Policy>>,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
    owner: OwnerLock,
    webhook: Option<Webhook>,
}

impl Inner {
    fn policy(&self) -> Arc<Policy> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Engine {
    /// An engine. Refused if a grant of the policy would let a component change what guards it.
    pub fn new(parts: Parts) -> Result<Engine, EngineError> {
        check_grants(&parts.policy, &parts.protected, parts.webhook.as_ref())?;
        let owner = OwnerLock::acquire(&parts.owners)?;
        let inner = Inner {
            journal: parts.journal,
            owners: parts.owners,
            sandbox: parts.sandbox,
            registry: parts.registry,
            policy: RwLock::new(parts.policy),
            clock: parts.clock,
            observer: parts.observer,
            owner,
            webhook: parts.webhook,
        };
        Ok(Engine { inner: Arc::new(inner) })
    }

    /// The components.
    pub fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    /// The journal.
    pub fn journal(&self) -> &Arc<dyn Journal> {
        &self.inner.journal
    }

    /// The policy in force.
    pub fn policy(&self) -> Arc<Policy> {
        self.inner.policy()
    }

    /// Puts another policy in force: for steps that are decided from now on.
    pub fn set_policy(&self, policy: Arc<Policy>, protected: &[PathBuf]) -> Result<(), EngineError> {
        check_grants(&policy, protected, self.inner.webhook.as_ref())?;
        *self.inner.policy.write().unwrap_or_else(PoisonError::into_inner) = policy;
        Ok(())
    }

    /// Takes a run over from a process that is dead, or from one that has left it.
    pub async fn take(&self, run: &RunId) -> Result<Run, EngineError> {
        let journal = &self.inner.journal;
        let row = journal.run(run)?.ok_or_else(|| EngineError::NoSuchRun(run.clone()))?;
        let state = state_of(&**journal, run)?;
        if state.phase == Phase::Closed && state.turn_back.is_none() {
            return Err(EngineError::WrongState { run: run.clone(), state: state.shown() });
        }
        let _dead = self.lock_owner(run, &row.owner)?;
        submit::keep_policy(self).await?;
        let mut noted = journal.noted_targets(run)?;
        noted.retain(|note| state.has_open_attempt(&note.step, note.attempt));
        let (owner, now) = (self.inner.owner.identity(), self.inner.clock.now());
        let messages = self.stuck_by_taking(&state, now)?;
        let left = Left { noted, lost: reboot::lost_targets(&state, &owner.boot) };
        match journal.take_over(run, row.epoch, owner, left, messages, now).await {
            Ok(_) => {}
            // Somebody else was faster, and lives.
            Err(JournalError::StaleEpoch { .. }) => {
                let owner = journal.run(run)?.map_or(row.owner, |row| row.owner);
                return Err(EngineError::Owned { run: run.clone(), owner });
            }
            Err(error) => return Err(error.into()),
        }
        let state = state_of(&**journal, run)?;
        let stored = self.stored(&state)?;
        Ok(Run { live: Arc::new(Live::new(self.inner.clone(), state, stored)) })
    }

    /// What people are to be told because the owner before died in the last attempt to undo a step: the `OWNER` event is what
    /// ends that attempt.
    fn stuck_by_taking(&self, state: &State, now: Timestamp) -> Result<Vec<Message>, EngineError> {
        let undoing: Vec<usize> =
            (0..).zip(&state.steps).filter(|(_, s)| s.undo.open.is_some()).map(|(i, _)| i).collect();
        if undoing.is_empty() || self.inner.webhook.is_none() {
            return Ok(Vec::new());
        }
        let OwnerIdentity { id, boot } = self.inner.owner.identity().clone();
        let event = Event::Owner(Owner::new(state.epoch() + 1, id, boot));
        let (mut taken, at) = (state.clone(), now.max(state.at));
        let run = state.run().clone();
        let entry = Entry { seq: state.seq + 1, at, event };
        taken.apply(&entry).map_err(|illegal| EngineError::Illegal { run, illegal })?;
        let steps = undoing.into_iter().filter_map(|index| taken.step(index));
        Ok(steps.filter_map(|step| outbox::run_stuck(&taken, step, at)).collect())
    }

    /// Whether the process that owns a run is dead, or this one; the guard keeps others from finding out meanwhile.
    fn lock_owner(&self, run: &RunId, owner: &str) -> Result<Option<Guard>, EngineError> {
        if owner == self.inner.owner.identity().id {
            return Ok(None);
        }
        match try_lock_dead(&self.inner.owners, owner)? {
            Some(guard) => Ok(Some(guard)),
            None => Err(EngineError::Owned { run: run.clone(), owner: owner.to_owned() }),
        }
    }

    fn stored(&self, state: &State) -> Result<StoredInputs, EngineError> {
        let erased = |what| EngineError::Erased { run: state.run().clone(), what };
        let read = |reference: &crate::types::PayloadRef, what| -> Result<serde_json::Value, EngineError> {
            let bytes = self.inner.journal.payload(&reference.digest)?.ok_or_else(|| erased(what))?;
            Ok(live::parse(&bytes))
        };
        let inputs = read(&state.submitted.inputs, "inputs")?;
        let templates = match &state.submitted.templates {
            Some(reference) => read(reference, "templates")?,
            None => serde_json::json!({}),
        };
        let mut stored = StoredInputs::read(inputs, templates).map_err(|_| erased("templates"))?;
        for step in &state.steps {
            if let Some(reference) = &step.declared {
                let inputs = serde_json::from_value(read(reference, "inputs of a compensation")?);
                stored.declare(step.spec.name.clone(), inputs.map_err(|_| erased("inputs of a compensation"))?);
            }
        }
        Ok(stored)
    }

    /// See [`orphans`].
    pub fn orphans(&self) -> Result<Orphans, EngineError> {
        orphans(&*self.inner.journal, &self.inner.owners, self.inner.clock.now())
    }
}

/// See [`orphans`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Orphans {
    /// The runs, oldest first.
    pub runs: Vec<RunId>,
    /// Those of them that come from a backup and that nobody has taken over since it was adopted: they are not among `runs`,
    /// since they may have gone on elsewhere, and somebody has to look at each.
    pub adopted: Vec<RunId>,
    /// Runs of which it cannot be said, because their rows or events are damaged: each as it is named, and what is wrong.
    pub unreadable: Vec<(String, String)>,
}

/// Runs in which something can move and whose owner is dead: what `recover` takes over. Besides those that are not at rest,
/// paused ones whose approval has expired or whose deadline has passed by `now`. A damaged run does not hide the others.
pub fn orphans(journal: &dyn Journal, owners: &Path, now: Timestamp) -> Result<Orphans, EngineError> {
    let mut found = Orphans::default();
    for state in [RunState::Running, RunState::RollingBack, RunState::Paused] {
        let filter = RunFilter { state: Some(state), ..RunFilter::default() };
        let mut before = None;
        loop {
            let page = journal.runs(&filter, before.as_ref(), 500)?;
            found.unreadable.extend(page.damaged.into_iter().map(|row| (row.run, row.what)));
            for row in &page.rows {
                if try_lock_dead(owners, &row.owner)?.is_none() {
                    continue;
                }
                match state_of(journal, &row.run) {
                    Ok(folded) if state == RunState::Paused && !is_due(&folded, now) => {}
                    Ok(folded) if folded.owner.as_ref().is_some_and(|owner| owner.adopted) => {
                        found.adopted.push(row.run.clone());
                    }
                    Ok(_) => found.runs.push(row.run.clone()),
                    Err(error) => found.unreadable.push((row.run.to_string(), error.to_string())),
                }
            }
            match page.rows.last() {
                Some(last) => before = Some(last.run.clone()),
                None => break,
            }
        }
    }
    found.runs.sort();
    found.adopted.sort();
    // A row in no state there is was met with each of them.
    found.unreadable.sort();
    found.unreadable.dedup();
    Ok(found)
}

fn is_due(state: &State, now: Timestamp) -> bool {
    let commands = saga::next(state, now, &InFlight::default());
    commands.iter().any(|command| !matches!(command, Command::WaitUntil(_)))
}

/// A run that this process owns.
pub struct Run {
    live: Arc<Live>,
}

impl Run {
    /// Its id.
    pub fn id(&self) -> &RunId {
        &self.live.run
    }

    /// Its state as it is now in this process.
    pub fn state(&self) -> State {
        self.live.lock().state.clone()
    }

    /// Does what is to be done until nothing moves without a person, or until it is told to stop.
    pub async fn drive(&self, stop: &Stop) -> Result<Driven, EngineError> {
        self.live.drive(stop).await
    }
}

/// Refuses a policy with a grant that contains one of the paths in `protected` for writing, or a secret at all. Nothing need be
/// there yet.
pub fn check_grants(policy: &Policy, protected: &[PathBuf], webhook: Option<&Webhook>) -> Result<(), EngineError> {
    let of_policy = policy.secret_files().into_iter().map(Path::new);
    let secrets: Vec<PathBuf> = of_policy.chain(webhook.and_then(Webhook::secret_file)).flat_map(names_of).collect();
    let guards: Vec<PathBuf> = protected.iter().flat_map(|path| names_of(path)).collect();
    for grant in policy.granted_hosts() {
        let host = Path::new(grant.host);
        let host = host.canonicalize().unwrap_or_else(|_| host.to_owned());
        let inside = |paths: &[PathBuf]| paths.iter().find(|path| path.starts_with(&host)).cloned();
        let guard = if grant.access == Access::ReadWrite { inside(&guards) } else { None };
        let found = guard.map(|path| (path, "guards what components may do")).or_else(|| {
            // Whoever reads it has the secret; whoever writes it chooses what is sent.
            inside(&secrets).map(|path| (path, "holds a secret"))
        });
        if let Some((path, what)) = found {
            let why = format!(
                "{}:{}:{}: the grant of `{}` ({}) contains {}, which {what}: grant a folder without it",
                policy.name(),
                grant.span.line,
                grant.span.column,
                grant.host,
                grant.access.as_str(),
                path.display()
            );
            return Err(EngineError::UnsafeGrant { why });
        }
    }
    Ok(())
}

/// Every place whose change would change what is found under `path`: the links on its way, each where it lies, and what is there
/// in the end, or would be.
fn names_of(path: &Path) -> Vec<PathBuf> {
    const HOPS: usize = 40;
    let mut names = Vec::new();
    let mut at = PathBuf::new();
    let mut rest: VecDeque<OsString> = path.components().map(|part| part.as_os_str().to_owned()).collect();
    let mut hops = 0;
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            at.pop();
            continue;
        }
        let name = at.join(&part);
        match name.read_link() {
            Ok(target) if hops < HOPS => {
                hops += 1;
                names.push(name);
                if target.is_absolute() {
                    at = PathBuf::new();
                }
                for part in target.components().rev() {
                    rest.push_front(part.as_os_str().to_owned());
                }
            }
            _ => at = name,
        }
    }
    names.push(at);
    names
}

/// A new id: a UUID of version 7.
fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}
