//! Keeps the runs of this process going while their clients do something else.
//!
//! A run is begun and driven in a task of its own until nothing of it moves: a client that goes away in the middle leaves nothing half
//! begun. What rests and is not over is looked at again when somebody appended to it, which is a vote or a verb, or when its time has
//! come: an approval that expires, a retry, an open run that was idle for too long. Once it is over nothing of it is kept.
//!
//! Whoever drives a run holds its turn, so that a client that adds a step to an open run and waits for it sees the whole of that.
//!
//! A run that the host cannot drive, since a disk is full or a component is missing, is told of in the log and tried again, later each
//! time. How many runs are in memory is bounded: those that are driven or open, not those that wait for a person.
//!
//! When the process is to end, nothing new starts, and what runs is given its time; every run can be resumed by whoever takes it
//! over.

use std::collections::BTreeMap;
use std::future::Future;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::blocking;
use crate::document::escape;
use crate::engine::{Driven, Engine, EngineError, Recovery, Run, Stop, Submitted, state_of};
use crate::journal::JournalError;
use crate::saga::due;
use crate::saga::event::Verb;
use crate::types::{Principal, RunId, StepName, Timestamp};
use crate::workflow::{Earlier, Step};

/// How often it is looked whether anybody appended anything.
const LOOK: Duration = Duration::from_millis(150);
/// How many locks there are for taking runs over. Two runs may have the same.
const TAKING: usize = 64;
/// How long after a failure of the host a run is tried again; twice as long each time, up to the second.
const AGAIN: (u64, u64) = (10_000, 3_600_000);

/// See the page of this module. Cheap to clone.
#[derive(Clone)]
pub struct Keeper {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    stop: Stop,
    kept: Mutex<BTreeMap<RunId, Arc<Kept>>>,
    tasks: Mutex<JoinSet<()>>,
    /// Read while a run is begun, until it is kept: in between it can be seen in the journal, and must not be taken from whoever begins it.
    beginning: tokio::sync::RwLock<()>,
    /// One of them is held while a run is taken over: two who take one at the same time would take it from each other.
    taking: [tokio::sync::Mutex<()>; TAKING],
    /// How often a run came to rest.
    rests: watch::Sender<u64>,
    /// How many runs are in memory, and before how many more are begun.
    in_memory: Arc<AtomicUsize>,
    most: usize,
}

/// A place for a run in memory, which is counted until this is dropped.
pub struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A run in memory.
struct InMemory {
    run: Arc<Run>,
    _place: Place,
}

/// A run that this process keeps.
pub struct Kept {
    id: RunId,
    /// The run; none while it rests and is sealed, when it is taken once more.
    run: Mutex<Option<InMemory>>,
    /// Whoever drives the run holds it.
    turn: tokio::sync::Mutex<()>,
    /// How it rests; none while it is driven.
    resting: Mutex<Option<Resting>>,
    /// How long it waits after the next failure of the host, in milliseconds.
    again: AtomicU64,
}

/// A call that is added to an open run.
pub struct AddedCall {
    /// The name of its step; made up if none is given.
    pub name: Option<String>,
    /// What is called.
    pub capability: String,
    /// With what, exactly.
    pub inputs: Map<String, Value>,
    /// Who acts in it for whom the run is, if somebody does.
    pub agent: Option<Principal>,
}

/// How a run rests that is not over.
#[derive(Clone, Copy)]
struct Resting {
    /// Its last event.
    seq: u64,
    /// When it can move by itself.
    due: Option<Timestamp>,
    /// Whether it was looked at since it rests: what was appended just then changed the journal before.
    looked: bool,
    /// How driving it ended; none if the host failed.
    driven: Option<Driven>,
}

/// What came of beginning a run.
pub enum Begun {
    /// It is a new one, and is driven: the answer comes when it rests.
    New(Arc<Kept>, Driving),
    /// The same was begun before under the same key.
    Existing(RunId),
}

/// Answers when a run has come to rest. It goes on if that is not waited for.
pub struct Driving(oneshot::Receiver<Result<Driven, EngineError>>);

impl Driving {
    /// How it rests.
    pub async fn rests(&mut self) -> Result<Driven, EngineError> {
        (&mut self.0).await.unwrap_or_else(|_| Err(no_end()))
    }
}

fn no_end() -> EngineError {
    EngineError::Bug { why: "what was begun did not come to an end".to_owned() }
}

/// What came of a turn.
enum Turned {
    Driven(Driven),
    /// What was to be done before was refused, and nothing was driven.
    Refused(EngineError),
}

/// Does nothing with a run before it is driven.
type Nothing = fn(Arc<Run>) -> std::future::Ready<Result<(), EngineError>>;

impl Kept {
    /// Its id.
    pub fn id(&self) -> &RunId {
        &self.id
    }

    /// The run, if it is in memory.
    fn run(&self) -> Option<Arc<Run>> {
        lock(&self.run).as_ref().map(|in_memory| in_memory.run.clone())
    }

    /// Whether there is anything to do, given that somebody appended something if `moved` says so.
    fn is_due(&self, engine: &Engine, now: Timestamp, moved: bool) -> Result<bool, JournalError> {
        let Some(resting) = *lock(&self.resting) else { return Ok(false) };
        if resting.due.is_some_and(|due| due <= now) {
            return Ok(true);
        }
        let look = moved || !resting.looked;
        if let (true, Some(resting)) = (look, lock(&self.resting).as_mut()) {
            resting.looked = true;
        }
        Ok(look && engine.journal().head(&self.id)?.is_some_and(|head| head > resting.seq))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keeper {
    /// Keeps runs of `engine`, from now on until [`Keeper::stop`]; no more are begun while `most` are in memory. Call it within a
    /// runtime.
    pub fn new(engine: Engine, most: usize) -> Keeper {
        let (stop, kept, tasks, in_memory, beginning) = Default::default();
        let taking = std::array::from_fn(|_| tokio::sync::Mutex::default());
        let inner =
            Inner { engine, stop, kept, tasks, beginning, taking, rests: watch::Sender::new(0), in_memory, most };
        let keeper = Keeper { inner: Arc::new(inner) };
        let looking = keeper.clone();
        keeper.spawn(async move { looking.look().await });
        keeper
    }

    /// What drives the runs.
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// Tells whenever a run has come to rest.
    pub fn rests(&self) -> watch::Receiver<u64> {
        self.inner.rests.subscribe()
    }

    /// Keeps a run that this process owns. Without a place of its own it takes one, whether there is room or not.
    pub fn keep(&self, run: Run, place: Option<Place>) -> Arc<Kept> {
        let id = run.id().clone();
        let (turn, resting) = Default::default();
        let run = Mutex::new(Some(self.in_memory(run, place)));
        let kept = Arc::new(Kept { id: id.clone(), run, turn, resting, again: AtomicU64::new(AGAIN.0) });
        lock(&self.inner.kept).insert(id, kept.clone());
        kept
    }

    fn in_memory(&self, run: Run, place: Option<Place>) -> InMemory {
        InMemory { run: Arc::new(run), _place: place.unwrap_or_else(|| self.one_more().0) }
    }

    /// A place, and how many were taken before.
    fn one_more(&self) -> (Place, usize) {
        let before = self.inner.in_memory.fetch_add(1, Ordering::Relaxed);
        (Place(self.inner.in_memory.clone()), before)
    }

    /// A place for one more run to be begun here, if there is room. Those that wait for a person are not in memory, and take none.
    pub fn place(&self) -> Option<Place> {
        let (place, before) = self.one_more();
        (before < self.inner.most).then_some(place)
    }

    /// Whether an open run takes more steps. That it does not is durable when this returns: whoever is told that it was committed must not
    /// find it open after a crash.
    pub async fn is_open(&self, kept: &Kept) -> Result<bool, EngineError> {
        let journal = self.inner.engine.journal();
        let open = match kept.run() {
            Some(run) => run.state().is_open(),
            // It has ended, or the host could not drive it, and it is taken anew.
            None => state_of(&**journal, &kept.id)?.is_open(),
        };
        if !open {
            journal.flush().await?;
        }
        Ok(open)
    }

    /// How many runs it keeps.
    pub fn count(&self) -> usize {
        lock(&self.inner.kept).len()
    }

    /// A run that this process keeps.
    pub fn find(&self, run: &RunId) -> Option<Arc<Kept>> {
        lock(&self.inner.kept).get(run).cloned()
    }

    /// The same, or one that it can take over, and whatever that was in the middle of goes on.
    pub async fn find_or_take(&self, run: &RunId) -> Result<Arc<Kept>, EngineError> {
        if let Some(kept) = self.find(run) {
            return Ok(kept);
        }
        let (keeper, run) = (self.clone(), run.clone());
        self.whole(async move {
            let _taking = keeper.taking(&run).await;
            // Whoever begins it keeps it first.
            drop(keeper.inner.beginning.write().await);
            if let Some(kept) = keeper.find(&run) {
                return Ok(kept);
            }
            let kept = keeper.keep(keeper.inner.engine.take(&run).await?, None);
            keeper.go_on(kept.clone());
            Ok(kept)
        })
        .await
    }

    /// Held while a run is taken over.
    async fn taking(&self, run: &RunId) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        let mut hasher = DefaultHasher::new();
        run.hash(&mut hasher);
        let place = usize::try_from(hasher.finish() % TAKING as u64).unwrap_or_default();
        Some(self.inner.taking.get(place)?.lock().await)
    }

    /// Begins a run, and drives it. All of that is done, also if nobody waits for the answer any more.
    pub async fn begin<F>(
        &self,
        place: Option<Place>,
        submit: impl FnOnce(Engine) -> F + Send + 'static,
    ) -> Result<Begun, EngineError>
    where
        F: Future<Output = Result<Submitted, EngineError>> + Send,
    {
        let keeper = self.clone();
        self.whole(async move {
            let beginning = keeper.inner.beginning.read().await;
            match submit(keeper.inner.engine.clone()).await? {
                Submitted::New(run) => {
                    let kept = keeper.keep(run, place);
                    drop(beginning);
                    Ok(Begun::New(kept.clone(), keeper.driving(kept, None::<Nothing>)))
                }
                Submitted::Existing(run) => Ok(Begun::Existing(run)),
            }
        })
        .await
    }

    /// Does something in a task of its own, which comes to its end if nobody waits for the answer any more.
    async fn whole<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, EngineError>> + Send + 'static,
    ) -> Result<T, EngineError> {
        let (answer, answered) = oneshot::channel();
        self.spawn(async move { drop(answer.send(work.await)) });
        answered.await.unwrap_or_else(|_| Err(no_end()))
    }

    /// Takes over runs whose process died, and goes on with them. Those that it leaves are told in the log, and answered.
    pub async fn recover(&self, runs: impl IntoIterator<Item = RunId>) -> Vec<RunId> {
        let mut left = Vec::new();
        for run in runs {
            let _taking = self.taking(&run).await;
            // Somebody may have asked for it since it was found.
            if self.find(&run).is_some() {
                continue;
            }
            match self.inner.engine.recover(&run).await {
                Ok(Recovery::Taken(taken)) => self.go_on(self.keep(taken, None)),
                // It is due later, or another process was faster.
                Ok(Recovery::Rests) | Err(EngineError::Owned { .. } | EngineError::WrongState { .. }) => {}
                Ok(Recovery::Adopted) => {
                    tracing::warn!(run = %run, "it comes from a backup, and is recovered only by name: `redress recover {run}`");
                    left.push(run);
                }
                Ok(Recovery::Unreadable(what)) => {
                    tracing::warn!(run = %run, "it cannot be read: {}", escape(&what));
                    left.push(run);
                }
                Err(error) => {
                    tracing::warn!(run = %run, "it cannot be taken over: {}", escape(&error.to_string()));
                    left.push(run);
                }
            }
        }
        left
    }

    /// Drives a run for which nobody waits.
    pub fn go_on(&self, kept: Arc<Kept>) {
        let keeper = self.clone();
        self.spawn(async move {
            // That the host could not drive it is told where it is.
            drop(keeper.turn(&kept, None::<Nothing>).await);
        });
    }

    /// Drives a run until nothing moves. It goes on if the answer is not waited for.
    pub async fn drive(&self, kept: Arc<Kept>) -> Result<Driven, EngineError> {
        match self.driving(kept, None::<Nothing>).rests().await {
            // Somebody else has driven it to its end.
            Err(EngineError::WrongState { state, .. }) if state.is_end() => Ok(Driven::Rest(state)),
            driven => driven,
        }
    }

    /// The same, and does `before` with the run in the same turn.
    pub async fn drive_after<F>(
        &self,
        kept: Arc<Kept>,
        before: impl FnOnce(Arc<Run>) -> F + Send + 'static,
    ) -> Result<Driven, EngineError>
    where
        F: Future<Output = Result<(), EngineError>> + Send,
    {
        self.driving(kept, Some(before)).rests().await
    }

    fn driving<F>(&self, kept: Arc<Kept>, before: Option<impl FnOnce(Arc<Run>) -> F + Send + 'static>) -> Driving
    where
        F: Future<Output = Result<(), EngineError>> + Send,
    {
        let (answer, answered) = oneshot::channel();
        let keeper = self.clone();
        self.spawn(async move { drop(answer.send(keeper.turn(&kept, before).await)) });
        Driving(answered)
    }

    /// Adds a call to an open run, and drives it: the name of the step.
    pub async fn call(&self, kept: Arc<Kept>, call: AddedCall) -> Result<(StepName, Driven), EngineError> {
        let AddedCall { name, capability, inputs, agent } = call;
        let (told, step) = oneshot::channel();
        let engine = self.inner.engine.clone();
        let driven = self
            .drive_after(kept, move |run| async move {
                let state = run.state();
                let name = name.unwrap_or_else(|| format!("call{}", state.steps.len() + 1));
                let spec = |step: &Arc<crate::saga::Step>| {
                    (step.spec.name.clone(), step.spec.capability.clone(), step.output.is_some())
                };
                let steps: Vec<_> = state.steps.iter().map(spec).collect();
                let earlier = Earlier { inputs: &Map::new(), steps: &steps };
                let step = Step::call(&name, &capability, &inputs, earlier, engine.registry());
                let (mut step, _) = step.map_err(|wrong| EngineError::Refused { why: wrong.to_string() })?;
                if let Some(agent) = &agent {
                    step.let_act(agent).map_err(|error| EngineError::Refused { why: error.to_string() })?;
                }
                run.submit_step(&step).await?;
                // Whoever asked may have gone.
                drop(told.send(step.name));
                Ok(())
            })
            .await?;
        let gone = |_| EngineError::Bug { why: "a step that was added has no name".to_owned() };
        Ok((step.await.map_err(gone)?, driven))
    }

    /// Asks for something as an operator. It is durable when this returns; whoever keeps the run acts on it.
    pub async fn operate(&self, run: &RunId, verb: Verb, by: &Principal, reason: &str) -> Result<(), EngineError> {
        let (engine, run, by, reason) = (self.inner.engine.clone(), run.clone(), by.clone(), reason.to_owned());
        blocking(move || engine.operate(&run, verb, None, &by, &reason).map(drop)).await
    }

    async fn turn<F>(&self, kept: &Kept, before: Option<impl FnOnce(Arc<Run>) -> F>) -> Result<Driven, EngineError>
    where
        F: Future<Output = Result<(), EngineError>>,
    {
        let _turn = kept.turn.lock().await;
        if let (None, Some(driven)) = (&before, self.rests_still(kept)?) {
            return Ok(driven);
        }
        let resting = lock(&kept.resting).take();
        match self.one_turn(kept, before).await {
            Ok(Turned::Driven(driven)) => {
                if driven != Driven::Stopped {
                    kept.again.store(AGAIN.0, Ordering::Relaxed);
                    self.inner.rests.send_modify(|rests| *rests += 1);
                }
                Ok(driven)
            }
            // That concerns whoever asked; the run is as it was. One that was not driven yet is in the task that waits for its turn.
            Ok(Turned::Refused(error)) => {
                *lock(&kept.resting) = resting;
                Err(error)
            }
            // Another process has it.
            Err(error @ (EngineError::Owned { .. } | EngineError::WrongState { .. })) => {
                self.forget(kept);
                Err(error)
            }
            Err(error) => {
                tracing::warn!(run = %kept.id, "it rests: {}", escape(&error.to_string()));
                self.try_again(kept);
                Err(error)
            }
        }
    }

    /// How a run rests, if it was driven and nothing has come since.
    fn rests_still(&self, kept: &Kept) -> Result<Option<Driven>, EngineError> {
        let Some(resting) = *lock(&kept.resting) else { return Ok(None) };
        if resting.due.is_some_and(|due| due <= self.inner.engine.now()) {
            return Ok(None);
        }
        let head = self.inner.engine.journal().head(&kept.id)?;
        Ok(resting.driven.filter(|_| head.is_some_and(|head| head <= resting.seq)))
    }

    /// Keeps a run no more.
    fn forget(&self, kept: &Kept) {
        let mut all = lock(&self.inner.kept);
        if all.get(&kept.id).is_some_and(|known| std::ptr::eq(Arc::as_ptr(known), kept)) {
            all.remove(&kept.id);
        }
    }

    /// Lets a run rest that the host could not drive, until it is tried again. What it did is on record, and so it is taken anew.
    fn try_again(&self, kept: &Kept) {
        drop(lock(&kept.run).take());
        let wait = kept.again.load(Ordering::Relaxed);
        kept.again.store((wait * 2).min(AGAIN.1), Ordering::Relaxed);
        let due = self.inner.engine.now().plus(crate::types::Duration(wait));
        // What others append meanwhile does not make it go sooner.
        *lock(&kept.resting) = Some(Resting { seq: u64::MAX, due: Some(due), looked: true, driven: None });
    }

    async fn one_turn<F>(&self, kept: &Kept, before: Option<impl FnOnce(Arc<Run>) -> F>) -> Result<Turned, EngineError>
    where
        F: Future<Output = Result<(), EngineError>>,
    {
        let run = match kept.run() {
            Some(run) => run,
            None => {
                let taken = self.in_memory(self.inner.engine.take(&kept.id).await?, None);
                lock(&kept.run).insert(taken).run.clone()
            }
        };
        if let Some(before) = before
            && let Err(error) = before(run.clone()).await
        {
            return if error.is_refusal() { Ok(Turned::Refused(error)) } else { Err(error) };
        }
        let driven = run.drive(&self.inner.stop).await?;
        let state = run.state();
        let open = state.is_open();
        let (rests, due) = (Some(driven), due(&state));
        match driven {
            Driven::Rest(rest) if rest.is_end() => {
                *lock(&kept.resting) = Some(Resting { seq: state.seq, due: None, looked: true, driven: rests });
                self.forget(kept);
                drop(lock(&kept.run).take());
            }
            Driven::Rest(_) | Driven::Idle => {
                *lock(&kept.resting) = Some(Resting { seq: state.seq, due, looked: false, driven: rests });
                if !open {
                    drop((run, lock(&kept.run).take()));
                }
            }
            Driven::Stopped => {}
        }
        Ok(Turned::Driven(driven))
    }

    /// Drives what can move again, until the process is to end.
    async fn look(&self) {
        let mut version = None;
        loop {
            tokio::select! {
                () = self.inner.stop.wait() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let now = self.inner.engine.journal().version();
            let moved = now.as_ref().is_ok_and(|now| version != Some(*now));
            version = now.ok().or(version);
            let kept: Vec<Arc<Kept>> = lock(&self.inner.kept).values().cloned().collect();
            for kept in kept {
                match kept.is_due(&self.inner.engine, self.inner.engine.now(), moved) {
                    Ok(false) => {}
                    Ok(true) => self.go_on(kept),
                    Err(error) => {
                        tracing::warn!(run = %kept.id, "it cannot be looked at: {}", escape(&error.to_string()));
                    }
                }
            }
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = lock(&self.inner.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// Waits until every run rests.
    pub async fn all_rest(&self) {
        while lock(&self.inner.kept).values().any(|kept| lock(&kept.resting).is_none()) {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Starts nothing new, and returns when everything that ran has come to an end.
    pub async fn stop(&self) {
        self.inner.stop.stop();
        loop {
            let mut tasks = std::mem::take(&mut *lock(&self.inner.tasks));
            if tasks.is_empty() {
                return;
            }
            while tasks.join_next().await.is_some() {}
        }
    }
}
