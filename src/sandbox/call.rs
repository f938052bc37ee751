//! One call of a component, from start to report.
//!
//! The directories of the grant are opened, a fresh store and instance are made, the guest runs on a worker thread until it
//! returns, traps, its time is over or it is cancelled; then the store is dropped, the host makes sure that nothing of the
//! call is left, and only then the states of the targets are taken and the report is written.
//!
//! The report says what the *host* saw. A guest that was refused an effect has failed with the host's reason, whatever it
//! returned itself. The outcome is `succeeded`, or `clean` if no effect was let out, or `unclear`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use wasmtime::component::ResourceTable;
use wasmtime::{Engine, Store, Trap, UpdateDeadline};
use wasmtime_wasi::{Deterministic, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxBuilder};
use wasmtime_wasi_http::WasiHttpCtx;

use super::attempt::{Attempt, Durable, Mode, Reasons, Setup, Watcher};
use super::cancel::Cancel;
use super::component::Component;
use super::engine::{Inner, Sandbox};
use super::explain::{explained, failure, from_guest, limit};
use super::grant::{self, Roots};
use super::http::{HttpGate, Sending};
use super::limits::{self, Limiter};
use super::state::{Gate, State};
use super::stdio::Log;
use super::undo::bindings::CapabilityPre;
use super::undo::bindings::exports::redress::capability::provider;
use crate::saga::event::{Evidence, Outcome};
use crate::types::{
    CapabilityInfo, Duration, EffectKind, Failure, Grant, Limits, Target, TargetState, canonical_bytes, code,
    parse_strict,
};

/// One call of a capability.
#[derive(Clone, Debug)]
pub struct Call {
    /// The component.
    pub component: Arc<Component>,
    /// Which of its capabilities.
    pub capability: CapabilityInfo,
    /// Do or undo.
    pub kind: CallKind,
    /// The input, canonical JSON that [`Component::validate_input`] has accepted.
    pub input: String,
    /// The idempotency key of this call.
    pub key: String,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// How long it may take, if less than the grant says.
    pub timeout: Option<Duration>,
    /// What the sandbox opens, and the limits.
    pub grant: Grant,
    /// What the component may know of the run, by name; the granted configuration values are added as `config.NAME`.
    pub context: BTreeMap<String, String>,
    /// How far the component's wall clock is ahead of the host's: none, unless somebody tests what it does with time.
    pub clock_ahead: std::time::Duration,
}

/// Do or undo.
#[derive(Clone, Debug)]
pub enum CallKind {
    /// `execute`.
    Execute {
        /// The undo records of an earlier attempt that was not clean: `undo.save` returns them and keeps nothing new.
        undo_in_force: Option<Vec<Vec<u8>>>,
    },
    /// `execute` of the capability that a workflow names to undo a step: UNDO_INTENT is durable, and nothing undoes it, so
    /// `undo.save` keeps nothing.
    ExecuteAsUndo,
    /// `compensate`.
    Compensate {
        /// The key that `execute` was given.
        execute_key: String,
        /// What `execute` returned; none if the outcome is unclear.
        output: Option<String>,
        /// The record in force, then what was appended.
        undo: Vec<Vec<u8>>,
        /// What may be changed.
        may_change: Reach,
    },
}

/// What an undo may change of what is granted.
#[derive(Clone, Debug)]
pub enum Reach {
    /// These paths, and the origins of these requests: all that the step changed.
    Only(Vec<Target>),
    /// Any path but these, where not all is known that the step changed: what other steps changed that are not ordered before or
    /// after it, so that it cannot have.
    AllBut(Vec<Target>),
}

impl Reach {
    pub(super) fn holds(&self, target: &Target) -> bool {
        match self {
            Reach::Only(targets) => targets.iter().any(|own| own.reach() == target.reach()),
            Reach::AllBut(targets) => !targets.iter().any(|other| other.claim_key() == target.claim_key()),
        }
    }
}

/// How a call ended. When it is there, the call is over and nothing of it can still happen.
#[derive(Clone, Debug)]
pub struct Report {
    /// The output of `execute` as canonical JSON, none of `compensate`; or why it failed.
    pub result: Result<Option<String>, Failure>,
    /// Whether it succeeded, and if not, whether it can have changed anything.
    pub outcome: Outcome,
    /// What it did.
    pub evidence: Evidence,
    /// What it printed, if anything.
    pub log: Option<Vec<u8>>,
}

impl Report {
    fn clean(failure: Failure) -> Report {
        Report { result: Err(failure), outcome: Outcome::Clean, evidence: Evidence::default(), log: None }
    }

    /// The host itself failed, so that nobody knows what was let out.
    fn of_bug() -> Report {
        Report {
            result: Err(Failure::new(code::TRAP, "the host failed while it ran the component")),
            outcome: Outcome::Unclear,
            evidence: Evidence { let_out: true, ..Evidence::default() },
            log: None,
        }
    }
}

impl Sandbox {
    /// Runs one call, and hands its report to `then`, on the thread on which it ran. Must be called within a tokio runtime.
    /// That the call was cancelled or its time is up does not hand anything over earlier: the call is over by then.
    pub fn start(
        &self,
        call: Call,
        watcher: Arc<dyn Watcher>,
        cancel: Cancel,
        then: impl FnOnce(Report) + Send + 'static,
    ) {
        let inner = Arc::clone(&self.0);
        let work = move |permit: OwnedSemaphorePermit| {
            let ran = catch_unwind(AssertUnwindSafe(|| run(&inner, &call, watcher, cancel)));
            drop(permit);
            then(ran.unwrap_or_else(|_| Report::of_bug()));
        };
        // Whoever has a place at once goes to its thread at once, past the runtime's other threads.
        let calls = Arc::clone(&self.0.calls);
        match Arc::clone(&calls).try_acquire_owned() {
            Ok(permit) => drop(tokio::task::spawn_blocking(|| work(permit))),
            Err(_) => drop(tokio::spawn(async {
                if let Ok(permit) = calls.acquire_owned().await {
                    tokio::task::spawn_blocking(|| work(permit));
                }
            })),
        }
    }

    /// Runs one call. Must be polled within a tokio runtime. Resolves only when the call is over, also if it was cancelled
    /// or its time is up; dropping the future does not end the call.
    pub fn call(
        &self,
        call: Call,
        watcher: Arc<dyn Watcher>,
        cancel: Cancel,
    ) -> impl Future<Output = Report> + Send + 'static {
        let sandbox = self.clone();
        async move {
            let (answer, report) = oneshot::channel();
            sandbox.start(call, watcher, cancel, |report| drop(answer.send(report)));
            report.await.unwrap_or_else(|_| Report::of_bug())
        }
    }
}

fn run(inner: &Inner, call: &Call, watcher: Arc<dyn Watcher>, cancel: Cancel) -> Report {
    let limits = &call.grant.limits;
    if call.input.len() as u64 > limits.input {
        return Report::clean(limit("input", limits.input));
    }
    if cancel.is_cancelled() {
        return Report::clean(Failure::new(code::INTERRUPTED, "the call was interrupted before it began"));
    }
    let started = Instant::now();
    let wall = call.timeout.map_or(limits.wall(), |timeout| timeout.min(limits.wall()));
    let log = Log::new(limits.stdout, limits.stderr);
    let mut builder = WasiCtxBuilder::new();
    builder
        // The guest has this thread for itself, and what runs on it is over when it returns: effects must not be handed
        // to another thread.
        .allow_blocking_current_thread(true)
        .max_random_size(limits.random_bytes)
        .stdout(log.stdout())
        .stderr(log.stderr());
    if !call.clock_ahead.is_zero() {
        builder.wall_clock(Ahead(call.clock_ahead));
    }
    let roots = match grant::open(&call.grant, &mut builder) {
        Ok(roots) => roots,
        Err(failure) => return Report::clean(failure),
    };
    let attempt = Arc::new(Attempt::new(Setup {
        roots,
        cancel: cancel.clone(),
        watcher,
        deadline: started + wall.as_std(),
        capability: call.capability.id.to_string(),
        effect: call.capability.effect,
        mode: mode(&call.kind),
        undo_limit: limits.undo,
        target_limit: limits.targets,
        effects_listed: limits.effects_listed,
    }));
    let guest = Guest {
        engine: &inner.engine,
        pre: &call.component.pre,
        wasi: builder.build(),
        attempt: Arc::clone(&attempt),
        http: Sending::new(
            Arc::clone(&attempt),
            inner.net.clone(),
            call.grant.clone(),
            call.capability.permissions.clone(),
        ),
        context: context(call),
        limits,
        wall,
    };
    let ended = guest.run(async |store, provider| match &call.kind {
        CallKind::Execute { .. } | CallKind::ExecuteAsUndo => {
            let request = provider::Call {
                capability: call.capability.id.to_string(),
                input: call.input.clone(),
                key: call.key.clone(),
                attempt: call.attempt,
                timeout_ms: wall.0,
            };
            Ok(provider.call_execute(store, &request).await?.map(Some))
        }
        CallKind::Compensate { execute_key, output, undo, .. } => {
            let request = provider::Compensation {
                capability: call.capability.id.to_string(),
                input: call.input.clone(),
                execute_key: execute_key.clone(),
                key: call.key.clone(),
                attempt: call.attempt,
                timeout_ms: wall.0,
                output: output.clone(),
                undo: undo.clone(),
            };
            Ok(provider.call_compensate(store, &request).await?.map(|()| None))
        }
    });
    let (ledger, reasons) = attempt.finish();
    let result = match ended.result {
        Ok(Ok(output)) => match reasons.refusal {
            Some(refusal) => Err(refusal),
            None if ledger.unanswered() => Err(unanswered()),
            None => output.map(|output| accepted(call, &output)).transpose(),
        },
        Ok(Err(said)) => Err(explained(from_guest(said), reasons)),
        Err(failure) => Err(explained(failure, Reasons { refusal: reasons.refusal, ..Reasons::default() })),
    };
    let outcome = match (&result, ledger.let_out()) {
        (Ok(_), _) => Outcome::Succeeded,
        (Err(_), false) => Outcome::Clean,
        (Err(_), true) => Outcome::Unclear,
    };
    let wall_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Report { result, outcome, evidence: ledger.finish(ended.fuel, wall_ms), log: log.take() }
}

fn unanswered() -> Failure {
    Failure::new(code::UNANSWERED, "the component returned, and a request that it let out had no whole answer")
}

/// What `context.get` knows: what the engine gave, and the granted configuration values.
fn context(call: &Call) -> BTreeMap<String, String> {
    let config = call.grant.config.iter().map(|(name, value)| (format!("config.{name}"), value.clone()));
    call.context.clone().into_iter().chain(config).collect()
}

fn mode(kind: &CallKind) -> Mode {
    match kind {
        CallKind::Execute { undo_in_force } => Mode::Execute { in_force: undo_in_force.clone().unwrap_or_default() },
        CallKind::ExecuteAsUndo => Mode::Compensate { may_change: Reach::AllBut(Vec::new()) },
        CallKind::Compensate { may_change, .. } => Mode::Compensate { may_change: may_change.clone() },
    }
}

/// The output in its canonical form, if it is JSON within the limit that the schema accepts.
fn accepted(call: &Call, output: &str) -> Result<String, Failure> {
    let at_most = call.grant.limits.output;
    if output.len() as u64 > at_most {
        return Err(limit("output", at_most));
    }
    let invalid = |why: String| Failure::new(code::INVALID_OUTPUT, why);
    let value = parse_strict(output.as_bytes()).map_err(|error| invalid(error.to_string()))?;
    call.component.validate_output(&call.capability.id, &value)?;
    let bytes = canonical_bytes(&value).map_err(|error| invalid(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| invalid(error.to_string()))
}

/// A guest that is about to run.
struct Guest<'a> {
    engine: &'a Engine,
    pre: &'a CapabilityPre<State>,
    wasi: WasiCtx,
    attempt: Arc<Attempt>,
    http: Arc<Sending>,
    context: BTreeMap<String, String>,
    limits: &'a Limits,
    wall: Duration,
}

/// A guest that is over: its store is gone.
struct Ended<T> {
    result: Result<T, Failure>,
    fuel: u64,
}

enum End<T> {
    Returned(wasmtime::Result<T>),
    TimedOut,
    Cancelled,
}

impl Guest<'_> {
    /// Instantiates the component and calls `body`, until it returns or must stop; then joins it.
    fn run<T>(self, body: impl AsyncFnOnce(&mut Store<State>, &provider::Guest) -> wasmtime::Result<T>) -> Ended<T> {
        let Guest { engine, pre, wasi, attempt, http, context, limits, wall } = self;
        let gate = Gate { attempt: Arc::clone(&attempt), places: std::collections::HashMap::new(), context };
        let mut ctx = WasiHttpCtx::new();
        ctx.set_field_size_limit(usize::try_from(limits.header_bytes).unwrap_or(usize::MAX));
        let state = State {
            wasi,
            table: ResourceTable::new(),
            limiter: Limiter::new(limits),
            gate,
            http: ctx,
            http_gate: HttpGate(http),
        };
        let mut store = Store::new(engine, state);
        let watched = Arc::clone(&attempt);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |_| {
            if watched.stopped() { Err(Trap::Interrupt.into()) } else { Ok(UpdateDeadline::Yield(1)) }
        });
        let end = match limits::apply(&mut store, limits) {
            Err(error) => End::Returned(Err(error)),
            Ok(()) => on_this_thread(async {
                let work = async {
                    let instance = pre.instantiate_async(&mut store).await?;
                    body(&mut store, instance.redress_capability_provider()).await
                };
                tokio::select! {
                    biased;
                    result = work => End::Returned(result),
                    () = attempt.cancel.cancelled() => End::Cancelled,
                    () = tokio::time::sleep(wall.as_std()) => End::TimedOut,
                }
            })
            .unwrap_or_else(|error| End::Returned(Err(error.into()))),
        };
        let fuel = limits.fuel.saturating_sub(store.get_fuel().unwrap_or_default());
        let refused = store.data().limiter.refused;
        drop(store);
        join(&attempt);
        let interrupted = || {
            if attempt.cancel.is_cancelled() {
                Failure::new(code::INTERRUPTED, "the call was interrupted")
            } else {
                Failure::new(code::TIMEOUT, format!("the call took longer than {wall}"))
            }
        };
        let result = match end {
            End::Returned(Ok(value)) => Ok(value),
            End::Returned(Err(error)) => Err(failure(&error, refused, limits).unwrap_or_else(interrupted)),
            End::TimedOut | End::Cancelled => Err(interrupted()),
        };
        Ended { result, fuel }
    }
}

/// Waits until nothing of the call is left. Everything runs on this thread: requests that were on their way are dropped as
/// soon as its runtime turns once more, and files were closed with the store. Should anything still be open, some effect may
/// still be under way, and going on would break the order of undo.
fn join(attempt: &Attempt) {
    let mut said = false;
    for _ in 0..64 {
        if attempt.outstanding() == 0 || on_this_thread(tokio::task::yield_now()).is_err() {
            break;
        }
    }
    while attempt.outstanding() > 0 {
        if !said {
            tracing::error!(
                "a call has ended and {} of its files and requests are still open: waiting",
                attempt.outstanding()
            );
            said = true;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Runs `future` on this thread, in the runtime that belongs to it.
fn on_this_thread<F: Future>(future: F) -> std::io::Result<F::Output> {
    thread_local! {
        static RUNTIME: RefCell<Option<Runtime>> = const { RefCell::new(None) };
    }
    RUNTIME.with_borrow_mut(|slot| {
        let runtime = match slot.take() {
            Some(runtime) => runtime,
            None => Builder::new_current_thread().enable_all().build()?,
        };
        Ok(slot.insert(runtime).block_on(future))
    })
}

/// Calls `describe` in an empty sandbox where time stands still and chance is fixed, both at what `chance` says.
pub(super) fn describe(inner: &Inner, pre: &CapabilityPre<State>, chance: u8) -> Result<String, Failure> {
    let limits = Limits { fuel: 1_000_000_000, wall_time: 10_000, ..Limits::default() };
    let mut builder = WasiCtxBuilder::new();
    builder
        .allow_blocking_current_thread(true)
        .max_random_size(limits.random_bytes)
        .wall_clock(Standstill(chance))
        .monotonic_clock(Standstill(chance))
        .secure_random(Deterministic::new(vec![chance]))
        .insecure_random(Deterministic::new(vec![chance]))
        .insecure_random_seed(chance.into());
    let attempt = Arc::new(Attempt::new(Setup {
        roots: Roots::default(),
        cancel: Cancel::new(),
        watcher: Arc::new(Nobody),
        deadline: Instant::now() + limits.wall().as_std(),
        capability: "describe".into(),
        effect: EffectKind::None,
        mode: Mode::Describe,
        undo_limit: 0,
        target_limit: 0,
        effects_listed: 0,
    }));
    let guest = Guest {
        engine: &inner.engine,
        pre,
        wasi: builder.build(),
        http: Sending::new(Arc::clone(&attempt), inner.net.clone(), Grant::default(), Vec::new()),
        attempt,
        context: BTreeMap::new(),
        limits: &limits,
        wall: limits.wall(),
    };
    // A thread of its own, since the caller may be inside a runtime.
    let ended = std::thread::scope(|scope| {
        let work = || {
            let _permit = on_this_thread(inner.descriptions.acquire());
            guest.run(async |store, provider| provider.call_describe(store).await)
        };
        scope.spawn(work).join()
    });
    ended.map_err(|_| Failure::new(code::TRAP, "the host failed while it ran the component"))?.result
}

/// The system's clock, moved on.
struct Ahead(std::time::Duration);

impl HostWallClock for Ahead {
    fn resolution(&self) -> std::time::Duration {
        std::time::Duration::from_nanos(1)
    }

    fn now(&self) -> std::time::Duration {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        now.saturating_add(self.0)
    }
}

/// A clock that does not move from so many days after its beginning.
struct Standstill(u8);

impl Standstill {
    fn time(&self) -> std::time::Duration {
        std::time::Duration::from_secs(86_400 * u64::from(self.0))
    }
}

impl HostWallClock for Standstill {
    fn resolution(&self) -> std::time::Duration {
        std::time::Duration::from_secs(1)
    }

    fn now(&self) -> std::time::Duration {
        self.time()
    }
}

impl HostMonotonicClock for Standstill {
    fn resolution(&self) -> u64 {
        1_000_000_000
    }

    fn now(&self) -> u64 {
        u64::try_from(self.time().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Watches `describe`, which never gets as far as asking.
struct Nobody;

impl Watcher for Nobody {
    fn claim(&self, _: &Target, _: &str) -> Result<(), Failure> {
        Err(Failure::new(code::EFFECT_FORBIDDEN, "`describe` cannot change anything"))
    }

    fn release(&self, _: &Target) {}

    fn intent(&self, _: Option<&[u8]>, _: &Target, _: &TargetState) -> Durable {
        pending().boxed()
    }

    fn before(&self, _: &Target, _: &TargetState) {}

    fn appended(&self, _: &[u8]) -> Durable {
        pending().boxed()
    }
}
