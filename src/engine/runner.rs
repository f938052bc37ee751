//! Driving a run: do what `next` says, wait for what it waits for, stop when nothing moves without a person.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use super::EngineError;
use super::decide::{failed_before, step_at};
use super::live::Live;
use crate::document::escape;
use crate::journal::{Durability, Payload};
use crate::saga::event::{Event, Evidence, Outcome, RollbackStarted, RunClosed, StepResult};
use crate::saga::{Command, RunState, StepIndex, next};
use crate::sandbox::sync_paths;
use crate::types::{Duration, Failure, Timestamp, code};

/// How often a running run looks for votes and verbs of other processes.
const POLL: Duration = Duration(150);

/// Why [`Run::drive`](super::Run::drive) came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driven {
    /// Nothing moves without a person; all of it is durable.
    Rest(RunState),
    /// An open run has nothing to do until its client comes back.
    Idle,
    /// It was told to stop; the run can be resumed.
    Stopped,
}

/// Tells a runner to stop starting things. What runs is given its time to end.
#[derive(Clone, Default)]
pub struct Stop(Arc<(AtomicBool, Notify)>);

impl Stop {
    /// Stops every runner that was given this.
    pub fn stop(&self) {
        self.0.0.store(true, Ordering::SeqCst);
        self.0.1.notify_waiters();
    }

    fn is_set(&self) -> bool {
        self.0.0.load(Ordering::SeqCst)
    }

    /// Waits until it is told.
    pub async fn wait(&self) {
        let notified = self.0.1.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if !self.is_set() {
            notified.await;
        }
    }
}

/// What a round of commands came to.
enum Round {
    /// Something was done: ask `next` again.
    Acted,
    /// Nothing to do before this moment, if there is one.
    Wait(Option<Timestamp>),
}

impl Live {
    pub(super) async fn drive(self: &Arc<Self>, stop: &Stop) -> Result<Driven, EngineError> {
        let driven = self.drive_on(stop).await;
        if driven.is_err() {
            self.abandon().await;
        }
        driven
    }

    async fn drive_on(self: &Arc<Self>, stop: &Stop) -> Result<Driven, EngineError> {
        let mut stopped_at = None;
        self.look_for_others()?;
        loop {
            let failed = self.lock().failed.take();
            if let Some(error) = failed {
                return Err(error);
            }
            if stop.is_set() {
                let since = *stopped_at.get_or_insert_with(|| self.now());
                if self.lock().running.is_empty() {
                    self.engine.journal.flush().await?;
                    return Ok(Driven::Stopped);
                }
                let until = since.plus(self.lock().state.submitted.settle_timeout);
                if self.now() >= until {
                    self.interrupt_all();
                }
                self.wait(Some(until), stop, true).await?;
                continue;
            }
            match self.round().await? {
                Round::Acted => {}
                Round::Wait(until) => {
                    if let Some(driven) = self.at_rest() {
                        self.engine.journal.flush().await?;
                        self.look_for_others()?;
                        if self.at_rest() == Some(driven) {
                            return Ok(driven);
                        }
                        continue;
                    }
                    self.wait(until, stop, false).await?;
                }
            }
        }
    }

    fn at_rest(&self) -> Option<Driven> {
        let core = self.lock();
        if !core.running.is_empty() || core.state.turn_back.is_some() {
            return None;
        }
        let shown = core.state.shown();
        if shown.is_rest() {
            return Some(Driven::Rest(shown));
        }
        (core.state.is_idle() && core.state.kill.is_none()).then_some(Driven::Idle)
    }

    async fn round(self: &Arc<Self>) -> Result<Round, EngineError> {
        let commands = {
            let core = self.lock();
            next(&core.state, self.now(), &Live::in_flight(&core))
        };
        let mut acted = false;
        let mut until: Option<Timestamp> = None;
        for command in commands {
            match command {
                Command::WaitUntil(moment) => until = Some(until.map_or(moment, |u| u.min(moment))),
                Command::Interrupt { step } => {
                    if let Some((_, cancel)) = self.lock().running.get(&step) {
                        cancel.cancel();
                    }
                }
                command => {
                    self.obey(command).await?;
                    acted = true;
                }
            }
        }
        Ok(if acted { Round::Acted } else { Round::Wait(until) })
    }

    async fn obey(self: &Arc<Self>, command: Command) -> Result<(), EngineError> {
        match command {
            Command::Decide { step } => self.decide(&mut self.lock(), step),
            Command::Execute { step, attempt } => {
                if attempt == 1 && !self.confirm(&mut self.lock(), step)? {
                    return Ok(());
                }
                self.attempt(step, attempt)
            }
            Command::Settle { step } => {
                let mut core = self.lock();
                if self.confirm(&mut core, step)? { self.settle_human(&mut core, step) } else { Ok(()) }
            }
            Command::Expire { step } => {
                let name = step_at(&self.lock(), step)?.spec.name.clone();
                let failure = Failure::new(code::EXPIRED, "nobody approved it in time");
                self.append_if_unmoved(failed_before(&name, failure)).await.map(drop)
            }
            Command::StartRollback(cause) => {
                tracing::info!(run = %self.run, "rolling back: {}", escape(&cause.to_string()));
                let event = Event::RollbackStarted(RollbackStarted { cause });
                self.append_lazily(&mut self.lock(), event, Vec::new())
            }
            Command::Undo { step, attempt } => {
                self.undo(step, attempt);
                Ok(())
            }
            Command::Close(closed) => self.close(closed).await,
            Command::Interrupt { .. } | Command::WaitUntil(_) => Ok(()),
        }
    }

    fn settle_human(&self, core: &mut super::live::Core, index: StepIndex) -> Result<(), EngineError> {
        let Some(step) = core.state.step(index) else { return Ok(()) };
        let approvers: Vec<String> = step.votes.iter().filter(|v| v.approve).map(|v| v.by.to_string()).collect();
        let output = serde_json::json!({ "approved_by": approvers });
        let name = step.spec.name.clone();
        let payload = Payload::new(output.to_string())?;
        core.outputs.insert(index, Arc::new(output));
        let event = Event::Result(Box::new(StepResult {
            step: name,
            attempt: 0,
            outcome: Outcome::Succeeded,
            output: Some(payload.reference()),
            error: None,
            evidence: Evidence::default(),
            log: None,
            retry_at: None,
            compensation: None,
        }));
        self.append(core, event, vec![payload], Durability::Lazy).map(drop)
    }

    /// Ends the run: what it touched is durable before that is said.
    async fn close(&self, closed: RunClosed) -> Result<(), EngineError> {
        let paths: Vec<String> = {
            let core = self.lock();
            let steps = core.state.steps.iter();
            steps.flat_map(|step| step.touched.keys()).filter_map(|t| t.host_path().map(str::to_owned)).collect()
        };
        self.sync(paths).await?;
        self.append_if_unmoved(Event::RunClosed(closed)).await.map(drop)
    }

    /// Puts what `paths` name on disk, so that no event says of files what a machine going down could take back.
    pub(super) async fn sync(&self, paths: Vec<String>) -> Result<(), EngineError> {
        if paths.is_empty() {
            return Ok(());
        }
        let synced = match tokio::task::spawn_blocking(move || sync_paths(&paths)).await {
            Ok(synced) => synced,
            Err(error) => Err(std::io::Error::other(error)),
        };
        synced.map_err(|error| EngineError::Io { path: "files that the run touched".into(), error })
    }

    fn interrupt_all(&self) {
        self.lock().running.values().for_each(|(_, cancel)| cancel.cancel());
    }

    /// Interrupts and joins everything: this process cannot go on with the run.
    async fn abandon(&self) {
        self.interrupt_all();
        while !self.lock().running.is_empty() {
            self.wake.notified().await;
        }
    }

    /// Waits until something ends, a moment comes, somebody else may have appended, or the runner is told to stop.
    async fn wait(&self, until: Option<Timestamp>, stop: &Stop, stopping: bool) -> Result<(), EngineError> {
        let clock = &self.engine.clock;
        let idle = self.lock().running.is_empty();
        let moment = async {
            match until {
                Some(moment) => clock.until(moment, idle).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.wake.notified() => Ok(()),
            () = moment => Ok(()),
            () = stop.wait(), if !stopping => Ok(()),
            () = tokio::time::sleep(POLL.as_std()) => self.look_for_others(),
        }
    }
}
