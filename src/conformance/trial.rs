//! One component in one world, and the host's part: it keeps what is saved, ends the component where it is told to, and
//! gives the records back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::Value;

use super::case::Case;
use super::fake::Fault;
use super::world::{Folder, GUEST, Snapshot};
use super::{Kit, KitError};
use crate::sandbox::{Call, CallKind, Cancel, Durable, Reach, Report as Ran, Watcher};
use crate::types::{
    Access, CapabilityInfo, DirGrant, EffectKind, EffectStatus, Failure, Grant, HttpMethod, Permission, SecretGrant,
    SecretSource, Target, TargetState, UrlGrant, canonical_bytes, code,
};

/// Where an execution is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Nowhere.
    Whole,
    /// With its record saved, before its first effect.
    DieBefore,
    /// At its `n`th effect, counted from 1, which happens.
    DieAt(u64),
    /// At its `n`th effect, a request, which arrives when the kit says so.
    DieAtLate(u64),
    /// Goes on, and the `n`th effect is refused.
    Refuse(u64),
}

/// How an execution ended.
#[derive(Clone, Debug)]
pub(super) struct Done {
    pub(super) result: Result<Value, Failure>,
    /// Kind and target of each effect that was done.
    pub(super) effects: Vec<String>,
    /// The kind of each effect that was let out, in order, whatever came of it.
    pub(super) let_out: Vec<String>,
    /// Whether something may have changed although it failed.
    pub(super) unclear: bool,
}

/// The host's side of one call.
struct Host {
    plan: Plan,
    cancel: Cancel,
    fake: Arc<super::fake::Fake>,
    kinds: Mutex<Vec<String>>,
    dead: AtomicBool,
    saved: Mutex<Option<Vec<u8>>>,
    appended: Mutex<Vec<Vec<u8>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ready(answer: Result<(), Failure>) -> Durable {
    std::future::ready(answer).boxed()
}

impl Host {
    fn die(&self) {
        self.dead.store(true, Ordering::SeqCst);
        self.cancel.cancel();
    }

    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst) || self.cancel.is_cancelled()
    }
}

impl Watcher for Host {
    fn claim(&self, target: &Target, kind: &str) -> Result<(), Failure> {
        match self.plan {
            Plan::Refuse(n) if locked(&self.kinds).len() as u64 + 1 == n => Err(Failure::new(
                code::CONFLICT,
                format!("the kit refuses {kind} of `{target}`, to see what is done then"),
            )),
            _ => Ok(()),
        }
    }

    fn release(&self, _: &Target) {}

    fn intent(&self, undo: Option<&[u8]>, _: &Target, _: &TargetState) -> Durable {
        *locked(&self.saved) = undo.map(<[u8]>::to_vec);
        if self.plan == Plan::DieBefore {
            self.die();
        }
        ready(Ok(()))
    }

    fn before(&self, _: &Target, _: &TargetState) {}

    fn appended(&self, undo: &[u8]) -> Durable {
        // What a dead host was told is not kept.
        if self.is_dead() {
            return ready(Err(Failure::new(code::INTERRUPTED, "the call was interrupted")));
        }
        locked(&self.appended).push(undo.to_vec());
        ready(Ok(()))
    }

    fn admitted(&self, kind: &str) {
        let now = {
            let mut kinds = locked(&self.kinds);
            kinds.push(kind.to_owned());
            kinds.len() as u64
        };
        let fault = match self.plan {
            Plan::DieAt(n) if n == now => Fault::LoseAnswer,
            Plan::DieAtLate(n) if n == now => Fault::ArriveLate,
            _ => return,
        };
        if kind.starts_with("http.") {
            self.fake.fault(1, fault, self.cancel.clone());
        } else {
            self.die();
        }
    }
}

/// What is not granted although it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Withheld {
    Nothing,
    /// No directory at all.
    Files,
    /// Directories for reading only.
    Writing,
    /// One permission.
    One(Permission),
}

/// See the module.
pub(super) struct Trial<'k> {
    kit: &'k Kit,
    info: CapabilityInfo,
    case: &'k Case,
    input: String,
    folder: Folder,
    /// The undo records in force.
    records: Vec<Vec<u8>>,
    attempts: u32,
    undos: u32,
    pub(super) clock_ahead: Duration,
    pub(super) withheld: Withheld,
    /// All that was changed by any execution.
    targets: Vec<Target>,
    /// What was done, for the report.
    pub(super) did: Vec<String>,
}

const KEY: &str = "kit-run-step";

/// An undo that says that it must wait waits at most so often; the clock is moved on each time.
const MOST_WAITS: u32 = 20;

impl<'k> Trial<'k> {
    /// Makes the world of the case anew.
    pub(super) fn new(kit: &'k Kit, case: &'k Case) -> Result<Trial<'k>, KitError> {
        let Some(info) = kit.info(&case.capability).cloned() else {
            return Err(KitError::Server(format!("the component has no capability `{}`", case.capability)));
        };
        let folder = Folder::new(&case.files)?;
        kit.fake.begin(&case.script);
        for (name, value) in &case.secrets {
            let file = folder.beside(&format!("secret-{name}"));
            std::fs::write(&file, value).map_err(KitError::io(&file))?;
        }
        let bytes = canonical_bytes(&case.input).unwrap_or_default();
        Ok(Trial {
            kit,
            info,
            case,
            input: String::from_utf8(bytes).unwrap_or_default(),
            folder,
            records: Vec::new(),
            attempts: 0,
            undos: 0,
            clock_ahead: Duration::ZERO,
            withheld: Withheld::Nothing,
            targets: Vec::new(),
            did: Vec::new(),
        })
    }

    /// The world now.
    pub(super) fn snapshot(&self) -> Result<Snapshot, KitError> {
        Ok(Snapshot { files: self.folder.files()?, collections: self.kit.fake.collections() })
    }

    pub(super) fn info(&self) -> &CapabilityInfo {
        &self.info
    }

    /// Whether an undo record was kept.
    pub(super) fn has_record(&self) -> bool {
        !self.records.is_empty()
    }

    fn grant(&self) -> Grant {
        let asks = |wanted: &Permission| self.info.permissions.contains(wanted);
        let given = |permission: &&Permission| self.withheld != Withheld::One((*permission).clone());
        let access = match (asks(&Permission::FsWrite), asks(&Permission::FsRead), &self.withheld) {
            (_, _, Withheld::Files) | (false, false, _) => None,
            // Whoever declares no effect is let into a place where it could have one.
            (false, true, Withheld::Nothing) if self.info.effect == EffectKind::None => Some(Access::ReadWrite),
            (true, _, Withheld::Writing) | (false, true, _) => Some(Access::ReadOnly),
            (true, ..) => Some(Access::ReadWrite),
        };
        let host = self.folder.root().display().to_string();
        let filesystem = access.map(|access| DirGrant { host, guest: GUEST.to_owned(), access });
        let open = |origin: &String| UrlGrant {
            url: format!("{origin}/**"),
            methods: HttpMethod::ALL.to_vec(),
            query: true,
            local: true,
            reads_are_effects: false,
        };
        let sends = self.info.permissions.iter().any(|asked| matches!(asked, Permission::Http { .. }));
        let origins = self.case.script.origins();
        let hosts: Vec<String> =
            origins.iter().filter_map(|origin| origin.strip_prefix("https://")).map(str::to_owned).collect();
        let asked_by = |name: &str| {
            self.info
                .permissions
                .iter()
                .filter(given)
                .any(|asked| matches!(asked, Permission::Secret(wanted) if wanted == name || wanted == "*"))
        };
        let secrets = self.case.secrets.keys().filter(|name| asked_by(name)).map(|name| SecretGrant {
            name: name.clone(),
            source: SecretSource::File(self.folder.beside(&format!("secret-{name}")).display().to_string()),
            hosts: hosts.clone(),
        });
        let config = self.case.config.iter().filter(|(name, _)| {
            self.info
                .permissions
                .iter()
                .filter(given)
                .any(|asked| matches!(asked, Permission::Config(wanted) if wanted == *name))
        });
        Grant {
            filesystem: filesystem.into_iter().collect(),
            network: if sends { origins.iter().map(open).collect() } else { Vec::new() },
            secrets: secrets.collect(),
            config: config.map(|(name, value)| (name.clone(), value.clone())).collect(),
            ..Grant::default()
        }
    }

    fn call(&self, kind: CallKind, key: String, attempt: u32) -> Call {
        let mut capability = self.info.clone();
        if let Withheld::One(withheld) = &self.withheld {
            capability.permissions.retain(|permission| permission != withheld);
        }
        let context = [("run", "kit-run"), ("step", "step"), ("principal", "agent:kit")];
        Call {
            component: Arc::clone(&self.kit.component),
            capability,
            kind,
            input: self.input.clone(),
            key,
            attempt,
            timeout: None,
            grant: self.grant(),
            context: context.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            clock_ahead: self.clock_ahead,
        }
    }

    async fn run(&self, call: Call, plan: Plan) -> (Ran, Arc<Host>) {
        let cancel = Cancel::new();
        let host = Arc::new(Host {
            plan,
            cancel: cancel.clone(),
            fake: Arc::clone(&self.kit.fake),
            kinds: Mutex::default(),
            dead: AtomicBool::new(false),
            saved: Mutex::default(),
            appended: Mutex::default(),
        });
        let ran = self.kit.sandbox.call(call, Arc::clone(&host) as Arc<dyn Watcher>, cancel).await;
        (ran, host)
    }

    /// Executes once more, with the same key; with the records of an earlier attempt, if that saved some.
    pub(super) async fn execute(&mut self, plan: Plan) -> Done {
        self.attempts += 1;
        self.did.push(match plan {
            Plan::Whole if self.attempts == 1 => "execute".to_owned(),
            Plan::Whole => format!("execute again with the same key, attempt {}", self.attempts),
            Plan::DieBefore => "execute, and end it before its first effect, its record saved".to_owned(),
            Plan::DieAt(n) => format!("execute, and end it at its effect {n}, which happens"),
            Plan::DieAtLate(n) => format!("execute, and end it at its effect {n}, a request that is still on its way"),
            Plan::Refuse(n) => format!("execute, and refuse its effect {n}"),
        });
        let in_force = (!self.records.is_empty()).then(|| self.records.clone());
        let call = self.call(CallKind::Execute { undo_in_force: in_force }, KEY.to_owned(), self.attempts);
        let (ran, host) = self.run(call, plan).await;
        self.kit.fake.no_more_faults();
        if self.records.is_empty() {
            self.records.extend(locked(&host.saved).take());
        }
        self.records.append(&mut locked(&host.appended));
        self.targets.extend(ran.evidence.targets.iter().map(|record| record.target.clone()));
        let done = ran.evidence.effects.iter().filter(|effect| effect.status == EffectStatus::Done);
        let effects = done.map(|effect| match &effect.to {
            Some(to) => format!("{} {} -> {to}", effect.kind, effect.target),
            None => match &effect.target {
                Target::Http { url, .. } => format!("{} {url}", effect.kind),
                Target::File { .. } => format!("{} {}", effect.kind, effect.target),
            },
        });
        Done {
            effects: effects.collect(),
            let_out: std::mem::take(&mut *locked(&host.kinds)),
            unclear: ran.result.is_err() && ran.evidence.let_out,
            result: ran
                .result
                .map(|output| output.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(Value::Null)),
        }
    }

    /// Executes again with the same key, as the host does after an unclear end: a failure that may pass is waited for, with the
    /// clock moved on. What is late arrives after the first try.
    pub(super) async fn retry(&mut self) -> Done {
        for _ in 0..MOST_WAITS {
            let done = self.execute(Plan::Whole).await;
            if self.kit.fake.has_late() {
                self.did.push("the request arrives".to_owned());
                self.kit.fake.arrive();
            }
            match &done.result {
                Err(failure) if failure.retryable && failure.retry_after_ms.is_some() => self.wait(failure),
                _ => return done,
            }
        }
        self.execute(Plan::Whole).await
    }

    fn wait(&mut self, failure: &Failure) {
        let wait = Duration::from_millis(failure.retry_after_ms.unwrap_or(1_000).max(1_000));
        self.did.push(format!("it says `{}`: again {} s later", failure.code, wait.as_secs()));
        self.clock_ahead = self.clock_ahead.saturating_add(wait);
    }

    /// Undoes as far as its `n`th effect, and ends it there; whether it came so far.
    pub(super) async fn undo_and_die(&mut self, output: Option<&Value>, n: u64) -> bool {
        self.undos += 1;
        self.did.push(format!("undo, and end it at its effect {n}, which happens"));
        let (_, host) = self.run(self.undo_call(output), Plan::DieAt(n)).await;
        self.kit.fake.no_more_faults();
        locked(&host.kinds).len() as u64 >= n
    }

    fn undo_call(&self, output: Option<&Value>) -> Call {
        let kind = CallKind::Compensate {
            execute_key: KEY.to_owned(),
            output: output.map(Value::to_string),
            undo: self.records.clone(),
            may_change: match output {
                Some(_) => Reach::Only(self.targets.clone()),
                None => Reach::AllBut(Vec::new()),
            },
        };
        self.call(kind, format!("{KEY}-undo"), self.undos)
    }

    /// Undoes: with the output if it is known. An undo that says that it must wait is asked again, with its clock moved on as
    /// far as it said; what is late arrives before that.
    pub(super) async fn undo(&mut self, output: Option<&Value>) -> Result<(), Failure> {
        self.did.push(match output {
            Some(_) => "undo, knowing the output".to_owned(),
            None => "undo, the outcome unknown".to_owned(),
        });
        let mut waits = 0;
        loop {
            self.undos += 1;
            let (ran, _) = self.run(self.undo_call(output), Plan::Whole).await;
            let late = self.kit.fake.has_late();
            if late {
                self.did.push("the request arrives".to_owned());
                self.kit.fake.arrive();
            }
            match ran.result {
                Ok(_) => return Ok(()),
                Err(failure) if failure.code == code::NOT_SETTLED && waits < MOST_WAITS => {
                    waits += 1;
                    self.wait(&failure);
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Counted from now on, the `nth` request is answered with 500; carried out all the same, or not.
    pub(super) fn fail_request(&mut self, nth: u64, done: bool) {
        let (fault, words) = match done {
            true => (Fault::ErrorAfterDoing, ", and carried out"),
            false => (Fault::ServerError, ""),
        };
        self.did.push(format!("request {nth} from now on will be answered with 500{words}"));
        self.kit.fake.fault(nth, fault, Cancel::new());
    }

    /// Nothing goes wrong any more.
    pub(super) fn no_more_faults(&self) {
        self.kit.fake.no_more_faults();
    }

    /// How many requests came.
    pub(super) fn requests(&self) -> u64 {
        self.kit.fake.requests()
    }
}
