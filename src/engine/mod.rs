//! The engine: composes the policy, the sandbox, the journal and the saga core into runs that are permitted, confined,
//! recorded and undone.
//!
//! A call's way is a straight line: [`Engine::submit`] makes a checked workflow a run; [`Run::drive`] asks the core what is
//! next and does it; a step is decided (`decide`, by what `policies` holds), executed in the sandbox (`attempt`) and its result appended; a run that
//! turns back is undone step by step (`rollback`). Whatever stops the process, the journal says what was done, and
//! [`Engine::take`] goes on from there.
//!
//! What waits for a person is put into the outbox together with the event that says so, and sent from there (`outbox`).
//!
//! The engine adds nothing to what the core decides: it never orders, retries or undoes by itself.

mod attempt;
mod auditor;
mod binary;
mod change;
mod clock;
mod decide;
mod described;
mod error;
mod explain;
mod history;
mod live;
mod mask;
mod named;
mod outbox;
mod plan;
mod policies;
mod question;
mod reboot;
mod recovery;
mod registry;
mod request;
pub mod review;
mod rollback;
mod runner;
pub mod simulate;
mod stored;
mod submit;
mod told;
mod view;
mod waiting;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use auditor::{Auditor, Found, Report, Signer, audit};
pub use binary::{binary_digest, prepare_binary_digest};
pub use change::{Change, Line, LineKind, Present, change_for, change_of};
pub use clock::{Clock, SimClock, SystemClock};
pub(crate) use decide::human;
pub use error::EngineError;
pub use explain::{Explained, Supposed, explained};
pub use history::{LookedThrough, each_page, each_run, entries_of, state_of};
pub use mask::{Called, InForce, Mask};
pub use named::{NamedPayload, payloads_of, payloads_of_event};
pub use outbox::{Outbox, SECRET_PREFIX, Sent, Webhook, WebhookError, send_test, vote_command, voter};
pub use plan::{Egress, Foreseen, Plan, PlannedStep, known_problems, plan, refuse_known_problems, undo_of};
pub use recovery::{Candidates, Orphans, Recovery, orphans};
pub use registry::{Installed, Registry, embedded};
pub use request::{MAX_REASON, VoteRequest, check_reason, operate, vote};
pub use runner::{Driven, Stop};
pub use submit::{Submit, Submittal, Submitted};
pub use view::{
    ApprovalView, DecisionView, Done, HostView, Reason, RunView, StepView, TargetView, UndoView, VoidVoteView,
    VoteView, outline, reason, rfc3339, view,
};
pub use waiting::{Waiting, waiting};

use crate::journal::{Journal, OwnerLock};
use crate::policy::Policy;
use crate::saga::State;
use crate::saga::event::Entry;
use crate::sandbox::Sandbox;
use crate::types::{Access, RunId, Timestamp};

use live::Live;
use policies::Policies;

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
    /// The policy that decides beside it, if there is one: what it answers otherwise is recorded, and changes nothing.
    pub shadow: Option<Arc<Policy>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Who watches.
    pub observer: Arc<dyn Observer>,
    /// What is not for components.
    pub protected: Protected,
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
    policies: Policies,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
    owner: OwnerLock,
    webhook: Option<Webhook>,
}

impl Engine {
    /// An engine. Refused if a grant of the policy would let a component change what guards it.
    pub fn new(parts: Parts) -> Result<Engine, EngineError> {
        for policy in std::iter::once(&parts.policy).chain(&parts.shadow) {
            check_grants(policy, &parts.protected, parts.webhook.as_ref())?;
        }
        let owner = OwnerLock::acquire(&parts.owners)?;
        let inner = Inner {
            journal: parts.journal,
            owners: parts.owners,
            sandbox: parts.sandbox,
            registry: parts.registry,
            policies: Policies::new(parts.policy, parts.shadow),
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

    /// The time that it goes by.
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// The journal.
    pub fn journal(&self) -> &Arc<dyn Journal> {
        &self.inner.journal
    }
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

    /// How it is shown in a list, without its steps.
    pub fn outline(&self) -> RunView {
        outline(&self.live.lock().state)
    }

    /// Does what is to be done until nothing moves without a person, or until it is told to stop.
    pub async fn drive(&self, stop: &Stop) -> Result<Driven, EngineError> {
        self.live.drive(stop).await
    }
}

/// What lies on the host and is not for components.
#[derive(Clone, Debug, Default)]
pub struct Protected {
    /// What none may change, because it guards what they may do: the journal, the policy, settings, components.
    pub guards: Vec<PathBuf>,
    /// What none may even read, besides the secrets that the policy and the webhook name.
    pub secrets: Vec<PathBuf>,
}

impl Protected {
    /// Only what none may change.
    pub fn guards(guards: Vec<PathBuf>) -> Protected {
        Protected { guards, secrets: Vec::new() }
    }
}

/// Refuses a policy with a grant that contains what is protected: a guard for writing, or a secret at all. Nothing need be there yet.
pub fn check_grants(policy: &Policy, protected: &Protected, webhook: Option<&Webhook>) -> Result<(), EngineError> {
    let of_policy = policy.secret_files().into_iter().map(Path::new);
    let named = of_policy.chain(webhook.and_then(Webhook::secret_file));
    let secrets: Vec<PathBuf> =
        named.chain(protected.secrets.iter().map(PathBuf::as_path)).flat_map(names_of).collect();
    let guards: Vec<PathBuf> = protected.guards.iter().flat_map(|path| names_of(path)).collect();
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
pub(crate) fn names_of(path: &Path) -> Vec<PathBuf> {
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
