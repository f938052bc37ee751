//! Bringing a run to rest, and reporting it.
//!
//! A run is driven here if its owner is dead or gone, which the lock of the owner file says. A run that another living process
//! drives is left to it: the verb waits until that run rests, or its owner dies, and then goes on itself.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::context::{Context, Host};
use super::error::CliError;
use super::output::{Output, Tone};
use super::{Exit, lookup};
use crate::engine::{self, Driven, Engine, EngineError, InForce, Run, Stop};
use crate::journal::{Ended, Then};
use crate::saga::{RunState, StepState};
use crate::serve::Keeper;
use crate::types::{Principal, RunId};

/// How often a run that somebody else drives is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// How long a verb gives to telling people, once its run rests, and how long before that the last try must have its end: so
/// each try that is begun is noted, and what is not begun stays due.
const TELL: Duration = Duration::from_secs(15);
const NOTE: Duration = Duration::from_secs(1);

/// Ctrl-C, SIGTERM, and SIGHUP unless it is ignored: the first stops what starts new things, the second ends the process at once.
#[derive(Clone)]
pub(super) struct Interrupt {
    stop: Stop,
    asked: watch::Receiver<bool>,
}

impl Interrupt {
    /// Listens from now on. `resume` is the command that goes on with what is ended at once.
    pub(super) fn listen(context: &Context, resume: String) -> Result<Interrupt, CliError> {
        let failed = |error| CliError::engine("signals", format!("signals cannot be listened to: {error}"));
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        // Listening would undo what `nohup` did.
        let mut hangup = match ignores_hangup() {
            true => None,
            false => Some(signal(SignalKind::hangup()).map_err(failed)?),
        };
        let (ask, asked) = watch::channel(false);
        let stop = Stop::default();
        let (output, stopper) = (context.output, stop.clone());
        tokio::spawn(async move {
            let mut next = async || {
                let hung_up = async {
                    match &mut hangup {
                        Some(hangup) => hangup.recv().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hung_up => {}
                }
            };
            next().await;
            stopper.stop();
            ask.send_replace(true);
            output.note("stopping: what runs is given its time to end; once more ends it at once");
            next().await;
            output.note(&format!("ended at once: what ran is unclear until it is looked at; go on with `{resume}`"));
            std::process::exit(i32::from(Exit::Interrupted.number()));
        });
        Ok(Interrupt { stop, asked })
    }

    /// What stops those who drive a run.
    pub(super) fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Whether the process was asked to stop.
    pub(super) fn was_asked(&self) -> bool {
        *self.asked.borrow()
    }

    /// Waits until the process is asked to stop.
    pub(super) async fn wait(&self) {
        let mut asked = self.asked.clone();
        if asked.wait_for(|asked| *asked).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits for a moment; true if the process was asked to stop.
    async fn pause(&self) -> bool {
        let mut asked = self.asked.clone();
        // An error says that nobody can ask any more.
        drop(tokio::time::timeout(LOOK, asked.wait_for(|asked| *asked)).await);
        self.was_asked()
    }
}

/// Whether whoever started the process had it ignore SIGHUP, as the system tells.
fn ignores_hangup() -> bool {
    const HANGUP: u64 = 1;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & HANGUP != 0)
}

/// Brings a run to rest, here or in the process that owns it.
pub(super) async fn to_rest(
    output: &Output,
    engine: &Engine,
    run: &RunId,
    interrupt: &Interrupt,
) -> Result<Driven, CliError> {
    let mut waits = Waits { told: false, version: None };
    loop {
        let owner = match engine.take(run).await {
            Ok(run) => return Ok(run.drive(&interrupt.stop).await?),
            // It has come to its end, and nobody asked to undo it.
            Err(EngineError::WrongState { state, .. }) => return Ok(Driven::Rest(state)),
            Err(EngineError::Owned { owner, .. }) => owner,
            Err(error) => return Err(error.into()),
        };
        if let Some(state) = waits.look(engine, run)? {
            return Ok(Driven::Rest(state));
        }
        if !waits.told {
            waits.told = true;
            output.note(&format!("run {run} is driven by another process (owner {owner}): waiting for it"));
        }
        if interrupt.pause().await {
            return Ok(Driven::Stopped);
        }
    }
}

/// A look at a run that somebody else drives, only when something was committed.
struct Waits {
    told: bool,
    version: Option<u64>,
}

impl Waits {
    fn look(&mut self, engine: &Engine, run: &RunId) -> Result<Option<RunState>, CliError> {
        let journal = engine.journal();
        let version = Some(journal.version()?);
        if self.version == version {
            return Ok(None);
        }
        self.version = version;
        let state = engine::state_of(&**journal, run)?;
        let shown = state.shown();
        Ok((shown.is_rest() && state.turn_back.is_none()).then_some(shown))
    }
}

/// Drives a new run to rest and reports it.
pub(super) async fn finish_new(context: &Context, host: &Host, run: Run) -> Result<Exit, CliError> {
    let interrupt = Interrupt::listen(context, format!("redress recover {}", run.id()))?;
    let driven = run.drive(&interrupt.stop).await?;
    let exit = report(context, host, run.id(), driven)?;
    tell_people(context, host, &interrupt).await;
    Ok(exit)
}

/// Brings a run that exists to rest and reports it.
pub(super) async fn finish(context: &Context, host: &Host, run: &RunId) -> Result<Exit, CliError> {
    let interrupt = Interrupt::listen(context, format!("redress recover {run}"))?;
    let driven = to_rest(&context.output, &host.engine, run, &interrupt).await?;
    let exit = report(context, host, run, driven)?;
    tell_people(context, host, &interrupt).await;
    Ok(exit)
}

/// Prints a run as it is now, and what to do next.
fn report(context: &Context, host: &Host, run: &RunId, driven: Driven) -> Result<Exit, CliError> {
    host.progress.finish();
    let mut view = engine::view(&**host.engine.journal(), run)?;
    let policy = host.engine.policy();
    context.mask_run(&**host.engine.journal(), InForce::Policy(&policy), &mut view);
    let output = &context.output;
    output.result(&view, || output.run(&view))?;
    let next = |text: String| output.note(&output.paint(Tone::Dim, &text));
    Ok(match driven {
        Driven::Stopped => {
            output.note(&format!("interrupted: nothing new was started; go on with `redress recover {run}`"));
            Exit::Interrupted
        }
        Driven::Idle => Exit::Done,
        Driven::Rest(state) => {
            match state {
                RunState::Paused => {
                    let mut waiting = view.steps.iter().filter(|step| step.state == StepState::Waiting);
                    let asked = waiting.find_map(|step| Some((step, step.approval.as_ref()?)));
                    let (step, voter) = match asked {
                        Some((step, approval)) => {
                            let requesters =
                                step.agent.clone().into_iter().chain(Principal::parse(&view.principal).ok());
                            let requesters: Vec<Principal> = requesters.collect();
                            (step.name.as_str(), engine::voter(&approval.approvers, &requesters))
                        }
                        None => ("STEP", "PRINCIPAL".to_owned()),
                    };
                    next(format!(
                        "next: `redress approvals`, then `redress approve {run} {step} --as {voter} --reason REASON`"
                    ));
                }
                RunState::Stuck => {
                    let failed = view.steps.iter().find(|step| step.state == StepState::UndoFailed);
                    let step = failed.map_or("STEP", |step| step.name.as_str());
                    next(format!(
                        "next: `redress show {run} --effects`, then `redress repair {run} {step} retry --reason REASON`; or, in place \
                         of `retry`, `resolve --undone` if it was undone by hand, or `resolve --left` if it may stay"
                    ));
                }
                _ => {}
            }
            Exit::from(state)
        }
    })
}

/// Sends what people are to be told by now. Whatever comes of it changes nothing: what could not be sent stays in the outbox,
/// and a line says so.
pub(super) async fn tell_people(context: &Context, host: &Host, interrupt: &Interrupt) {
    let deliver = async {
        match context.outbox(host.engine.journal().clone(), &host.owners)? {
            Some(outbox) => Ok::<_, CliError>(outbox.deliver_within(TELL.saturating_sub(NOTE)).await?),
            None => Ok((Vec::new(), 0)),
        }
    };
    let note = |why: &str| context.output.note(&format!("webhook: {why}; see `redress webhook list`"));
    tokio::select! {
        biased;
        () = interrupt.wait() => {}
        told = tokio::time::timeout(TELL, deliver) => match told {
            Ok(Ok((sent, left))) => {
                let missed = sent.iter().filter(|sent| sent.tried.then != Then::End(Ended::Delivered));
                if let [first, rest @ ..] = missed.collect::<Vec<_>>().as_slice() {
                    let more = if rest.is_empty() { String::new() } else { format!(", and {} more", rest.len()) };
                    note(&format!("{}{more}", super::webhook::line(first)));
                }
                if left > 0 {
                    note(&format!("there was no time for {left} more, which `redress webhook deliver` sends"));
                }
            }
            Ok(Err(error)) => note(error.text().lines().next().unwrap_or_default().trim_start_matches("error: ")),
            Err(_) => note("not everything could be sent in time"),
        },
    }
}

/// How often it is looked whether a message is due.
const DUE: Duration = Duration::from_secs(1);
/// How long it waits after messages could not be sent at all.
const AGAIN: Duration = Duration::from_secs(60);

/// Tells people what waits for them: what a process before has left, whenever a run has come to rest, and what is to be tried again.
/// Never returns but with an error.
pub(super) async fn tell(context: &Context, host: &Host, keeper: &Keeper) -> CliError {
    let outbox = match context.outbox(host.engine.journal().clone(), &host.owners) {
        Ok(Some(outbox)) => outbox,
        Ok(None) => return std::future::pending().await,
        Err(error) => return error,
    };
    let mut rests = keeper.rests();
    loop {
        let mut wait = DUE;
        if let Err(error) = outbox.deliver().await {
            context.output.note(&format!("webhook: {error}; see `redress webhook list`"));
            wait = AGAIN;
        }
        loop {
            tokio::select! {
                changed = rests.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return std::future::pending().await,
                },
                () = tokio::time::sleep(wait) => {
                    if outbox.is_due().unwrap_or(true) {
                        break;
                    }
                }
            }
        }
    }
}

/// Says which other runs wait for somebody to take them over.
pub(super) fn tell_of_orphans(context: &Context, host: &Host) -> Result<(), CliError> {
    let orphans = host.engine.orphans()?;
    for (run, what) in &orphans.unreadable {
        context.output.note(&lookup::damage_note(run, what));
    }
    match orphans.runs.as_slice() {
        [] => {}
        [run] => context.output.note(&format!("run {run} waits for recovery: `redress recover`")),
        runs => context.output.note(&format!("{} other runs wait for recovery: `redress recover`", runs.len())),
    }
    tell_of_adopted(context, &orphans.adopted);
    Ok(())
}

/// Says which runs of an adopted backup are recovered only by name.
pub(super) fn tell_of_adopted(context: &Context, runs: &[RunId]) {
    for run in runs {
        context.output.note(&format!(
            "run {run} comes from a backup that was adopted, and may have gone on elsewhere: `redress show {run}`, then \
             `redress recover {run}`"
        ));
    }
}

/// Runs what blocks on the disk without holding up the runtime's other work.
pub(super) async fn blocking<T: Send + 'static>(
    host: &Host,
    work: impl FnOnce(&Engine) -> Result<T, EngineError> + Send + 'static,
) -> Result<T, CliError> {
    let engine = host.engine.clone();
    let done = tokio::task::spawn_blocking(move || work(&engine)).await;
    Ok(done.map_err(|error| CliError::engine("runtime", error.to_string()))??)
}
