//! What is seen while runs go on: a line for each step that moves, live on a terminal, plain elsewhere, none with `--json`.
//! Where there is more than one run, each line names its own.
//!
//! The engine tells of events under the run's lock, so they are only passed on to a thread that writes; a terminal that is
//! stopped does not stop a run.

use std::collections::HashMap;
use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::Globals;
use super::output::{colour_allowed, quoted};
use crate::document::escape;
use crate::engine::{NoObserver, Observer};
use crate::saga::State;
use crate::saga::event::{Entry, Event, Outcome, StepResult, UndoOutcome, UndoResult};
use crate::types::{Action, Failure, RunId, Timestamp};

enum Message {
    Line(Line),
    End,
}

/// What happened, as it is shown.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    /// The run, where there is more than one.
    run: Option<RunId>,
    /// The step, if it is about one.
    step: Option<String>,
    text: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The step began to move: worth a live line, not a plain one.
    Begins,
    /// It goes on moving.
    GoesOn,
    /// It rests.
    Rests,
}

/// Shows what goes on, until it is finished.
pub(super) struct Progress {
    sender: Option<Sender<Message>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    named: Arc<AtomicBool>,
}

struct Watch {
    sender: Mutex<Sender<Message>>,
    named: Arc<AtomicBool>,
}

impl Observer for Watch {
    fn seen(&self, state: &State, entry: &Entry) {
        let Some(mut line) = line(state, entry) else { return };
        if self.named.load(Ordering::Relaxed) {
            line.run = Some(state.run().clone());
        }
        // Nobody shows lines any more once the run is reported.
        drop(self.sender.lock().unwrap_or_else(PoisonError::into_inner).send(Message::Line(line)));
    }
}

impl Progress {
    /// Begins to show, as the options and the terminal allow.
    pub(super) fn start(globals: &Globals) -> Progress {
        let named = Arc::new(AtomicBool::new(false));
        if globals.json {
            return Progress { sender: None, writer: Mutex::new(None), named };
        }
        // Lines of the log would tear live lines apart.
        let live = std::io::stderr().is_terminal() && !globals.verbose;
        let (sender, receiver) = channel();
        let show = move || if live { show_live(&receiver) } else { show_plain(&receiver) };
        let writer = std::thread::Builder::new().name("progress".to_owned()).spawn(show).ok();
        Progress { sender: Some(sender), writer: Mutex::new(writer), named }
    }

    /// What an engine tells of its runs.
    pub(super) fn observer(&self) -> Arc<dyn Observer> {
        match &self.sender {
            Some(sender) => Arc::new(Watch { sender: Mutex::new(sender.clone()), named: self.named.clone() }),
            None => Arc::new(NoObserver),
        }
    }

    /// From now on each line names its run.
    pub(super) fn name_runs(&self) {
        self.named.store(true, Ordering::Relaxed);
    }

    /// Shows what is left and ends: what is printed next stands below it.
    pub(super) fn finish(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(sender), Some(writer)) = (&self.sender, writer)
            && sender.send(Message::End).is_ok()
        {
            drop(writer.join());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Line {
    fn plain(&self) -> String {
        let run = self.run.as_ref().map_or_else(String::new, |run| format!("run {run}: "));
        let step = self.step.as_ref().map_or_else(String::new, |step| format!("{step}: "));
        format!("{run}{step}{}", self.text)
    }
}

fn show_plain(receiver: &Receiver<Message>) {
    while let Ok(Message::Line(line)) = receiver.recv() {
        if line.kind != Kind::Begins {
            drop(writeln!(std::io::stderr().lock(), "{}", line.plain()));
        }
    }
}

/// A spinner for each step that moves, below the lines of those that rest.
fn show_live(receiver: &Receiver<Message>) {
    let screen = MultiProgress::new();
    let style = if colour_allowed(&std::io::stderr()) { "{spinner:.cyan} {msg}" } else { "{spinner} {msg}" };
    let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_spinner());
    let mut moving: HashMap<(Option<RunId>, String), ProgressBar> = HashMap::new();
    while let Ok(Message::Line(line)) = receiver.recv() {
        let text = line.plain();
        let step = line.step.map(|step| (line.run, step));
        let resting = step.as_ref().filter(|_| line.kind == Kind::Rests);
        if let Some(bar) = resting.and_then(|step| moving.remove(step)) {
            bar.finish_and_clear();
            screen.remove(&bar);
        }
        if line.kind != Kind::Begins {
            drop(screen.println(format!("  {text}")));
        }
        let Some(step) = step.filter(|_| line.kind != Kind::Rests) else { continue };
        let bar = moving.entry(step).or_insert_with(|| {
            let bar = screen.add(ProgressBar::new_spinner().with_style(style.clone()));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        bar.set_message(text);
    }
    drop(screen.clear());
}

fn line(state: &State, entry: &Entry) -> Option<Line> {
    let (kind, text) = match &entry.event {
        Event::Decision(decision) => match decision.action {
            Action::Allow => (Kind::Begins, "running".to_owned()),
            Action::RequireApproval => (Kind::Rests, "waits for approval".to_owned()),
            Action::Deny => {
                let reason =
                    decision.reason.as_ref().map_or_else(String::new, |reason| format!(": {}", quoted(reason)));
                (Kind::Rests, format!("denied{reason}"))
            }
        },
        Event::Vote(vote) => {
            let word = if vote.approve { "approved" } else { "rejected" };
            (Kind::Rests, format!("{word} by {}", escape(vote.by.as_str())))
        }
        Event::Result(result) => ended(state, result, entry.at),
        Event::RollbackStarted(_) => (Kind::Rests, "rolling back".to_owned()),
        Event::UndoIntent(_) => (Kind::Begins, "undoing".to_owned()),
        Event::UndoResult(result) => undone(result, entry.at),
        Event::RunSubmitted(_)
        | Event::StepSubmitted(_)
        | Event::Sealed(_)
        | Event::Owner(_)
        | Event::Intent(_)
        | Event::UndoAppended(_)
        | Event::Operator(_)
        | Event::RunClosed(_) => return None,
    };
    Some(Line { run: None, step: entry.event.step().map(ToString::to_string), text, kind })
}

fn ended(state: &State, result: &StepResult, at: Timestamp) -> (Kind, String) {
    let spec = state.index(result.step.as_str()).and_then(|index| state.step(index)).map(|step| &step.spec);
    let attempts = spec.map_or(1, |spec| spec.retry.max_attempts);
    let attempt = match result.attempt {
        0 | 1 if result.retry_at.is_none() => String::new(),
        attempt => format!("attempt {attempt} of {attempts} "),
    };
    let word = match result.outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Clean => "failed",
        Outcome::Unclear => "is unclear",
    };
    again(format!("{attempt}{word}"), result.error.as_ref(), result.retry_at, at)
}

fn undone(result: &UndoResult, at: Timestamp) -> (Kind, String) {
    let word = match result.outcome {
        UndoOutcome::Undone if result.checked => "undone (checked)",
        UndoOutcome::Undone => "undone (component says)",
        UndoOutcome::Failed | UndoOutcome::ChangedSince | UndoOutcome::NotRestored => "undo failed",
    };
    again(word.to_owned(), result.error.as_ref(), result.retry_at, at)
}

/// How something ended, and when it is tried again.
fn again(mut text: String, error: Option<&Failure>, retry_at: Option<Timestamp>, at: Timestamp) -> (Kind, String) {
    if let Some(error) = error {
        text.push_str(&format!(": {} {}", escape(&error.code), quoted(&error.message)));
    }
    match retry_at {
        Some(moment) => (Kind::GoesOn, format!("{text}, again in {}", moment.since(at))),
        None => (Kind::Rests, text),
    }
}
