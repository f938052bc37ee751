//! `redress recover`: runs whose process died are taken over and brought to rest.
//!
//! Without a run: every run that can move and that nobody drives. That is more than those whose state says so: a vote, a verb
//! or the time may have moved a run that rested when its process ended. It is less by the runs of a backup that was adopted,
//! which may have gone on elsewhere: each is named, and recovered only by name.
//!
//! Several are recovered at a time, so that they share their commits. What came of them is printed at the end, in the order in
//! which they were submitted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

use clap::Args;
use serde::Serialize;
use tokio::task::JoinSet;

use super::context::{Context, Host};
use super::drive::{self, Interrupt};
use super::error::CliError;
use super::output::{Output, quoted};
use super::{Exit, lookup};
use crate::engine::{Driven, Engine, EngineError, HostView, Reason, Recovery, RunView, outline, state_of};
use crate::saga::RunState;
use crate::saga::event::Residue;
use crate::types::{Principal, RunId};

/// How many runs are recovered at a time.
const AT_ONCE: usize = 32;

/// See [`super::Command::Recover`].
#[derive(Args, Debug)]
#[command(after_help = "Runs of a backup that was adopted are recovered only by name.\n\nExample: redress recover")]
pub(super) struct Arguments {
    /// Only this run: its id, the beginning of it, or `latest`
    run: Option<String>,
}

pub(super) async fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let host = context.existing_host()?;
    match &arguments.run {
        Some(run) => {
            let run = lookup::run(&**host.engine.journal(), run)?;
            drive::finish(context, &host, &run).await
        }
        None => recover_all(context, &host).await,
    }
}

/// What came of the runs, by their ids: those sort by the time of submission.
#[derive(Default)]
struct Recovered {
    runs: BTreeMap<RunId, RunView>,
    adopted: BTreeSet<RunId>,
    /// What kept the others from being recovered, as it is said.
    failed: BTreeMap<RunId, String>,
    stopped: bool,
}

/// What came of one run.
enum Came {
    /// It was driven; the view is without its steps.
    Driven(Box<RunView>, Driven),
    Adopted,
    Damaged(String),
    /// It has nothing to do yet.
    Rests,
}

/// A run that cannot be recovered does not keep the others from it.
async fn recover_all(context: &Context, host: &Host) -> Result<Exit, CliError> {
    let interrupt = Interrupt::listen(context, "redress recover".to_owned())?;
    let waiting = drive::blocking(host, Engine::candidates).await?;
    for (run, what) in &waiting.unreadable {
        context.output.note(&lookup::damage_note(run, what));
    }
    host.progress.name_runs();
    let found = recover_each(context, host, waiting.runs, &interrupt).await;
    host.progress.finish();
    let adopted: Vec<RunId> = found.adopted.into_iter().collect();
    drive::tell_of_adopted(context, &adopted);
    for what in found.failed.values() {
        context.output.note(what);
    }
    print(context, &found.runs)?;
    drive::tell_people(context, host, &interrupt).await;
    if found.stopped {
        context.output.note("interrupted: nothing new was started; go on with `redress recover`");
        return Ok(Exit::Interrupted);
    }
    let failed = !found.failed.is_empty() || !waiting.unreadable.is_empty();
    Ok(if failed { Exit::Engine } else { Exit::Done })
}

/// Recovers up to [`AT_ONCE`] runs at a time, oldest first. Once the process is asked to stop no other one is begun.
async fn recover_each(context: &Context, host: &Host, runs: Vec<RunId>, interrupt: &Interrupt) -> Recovered {
    let mut found = Recovered::default();
    let mut coming = runs.into_iter().peekable();
    let (mut going, mut names) = (JoinSet::new(), HashMap::new());
    loop {
        while going.len() < AT_ONCE && !interrupt.was_asked() {
            let Some(run) = coming.next() else { break };
            let (engine, interrupt, output, one) =
                (host.engine.clone(), interrupt.clone(), context.output, run.clone());
            let task = going.spawn(async move { recover_one(&output, &engine, &one, &interrupt).await });
            names.insert(task.id(), run);
        }
        let (task, came) = match going.join_next_with_id().await {
            Some(Ok(done)) => done,
            // A bug of the host ended this one, and no other.
            Some(Err(error)) => (error.id(), Err(CliError::engine("runtime", error.to_string()))),
            None => break,
        };
        if let Some(run) = names.remove(&task) {
            found.take(run, came);
        }
    }
    found.stopped |= coming.peek().is_some();
    found
}

async fn recover_one(output: &Output, engine: &Engine, run: &RunId, interrupt: &Interrupt) -> Result<Came, CliError> {
    match engine.recover(run).await {
        Ok(Recovery::Taken(taken)) => {
            let driven = taken.drive(interrupt.stop()).await?;
            Ok(Came::Driven(Box::new(taken.outline()), driven))
        }
        Ok(Recovery::Adopted) => Ok(Came::Adopted),
        Ok(Recovery::Unreadable(what)) => Ok(Came::Damaged(what)),
        Ok(Recovery::Rests) => Ok(Came::Rests),
        // Another process was faster.
        Err(EngineError::Owned { .. } | EngineError::WrongState { .. }) => {
            let driven = drive::to_rest(output, engine, run, interrupt).await?;
            Ok(Came::Driven(Box::new(outline(&state_of(&**engine.journal(), run)?)), driven))
        }
        Err(error) => Err(error.into()),
    }
}

impl Recovered {
    fn take(&mut self, run: RunId, came: Result<Came, CliError>) {
        match came {
            Ok(Came::Driven(view, driven)) => {
                self.stopped |= driven == Driven::Stopped;
                self.runs.insert(run, *view);
            }
            Ok(Came::Adopted) => drop(self.adopted.insert(run)),
            Ok(Came::Damaged(what)) => drop(self.failed.insert(run.clone(), lookup::damage_note(run.as_str(), &what))),
            Ok(Came::Rests) => {}
            Err(error) => drop(self.failed.insert(run.clone(), format!("run {run}: {}", error.text().trim_end()))),
        }
    }
}

fn print(context: &Context, recovered: &BTreeMap<RunId, RunView>) -> Result<(), CliError> {
    let rows: Vec<Row<'_>> = recovered.values().map(Row::of).collect();
    context.output.result(&rows, || {
        if recovered.is_empty() {
            return "no run waits for recovery".to_owned();
        }
        let mut text = String::new();
        for view in recovered.values() {
            let state = context.output.run_state(view.state);
            let _ = writeln!(text, "{} {state} {}", view.run, quoted(&view.workflow));
        }
        text
    })
}

/// A run as it is listed: without its steps.
#[derive(Serialize)]
struct Row<'a> {
    schema: u32,
    run: &'a RunId,
    workflow: &'a str,
    principal: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a Principal>,
    host: &'a HostView,
    state: RunState,
    reason: &'a Option<Reason>,
    submitted: &'a str,
    closed: &'a Option<String>,
    residue: &'a [Residue],
}

impl Row<'_> {
    fn of(view: &RunView) -> Row<'_> {
        let RunView {
            schema,
            run,
            workflow,
            principal,
            agent,
            host,
            state,
            reason,
            submitted,
            closed,
            residue,
            steps: _,
        } = view;
        let (schema, state) = (*schema, *state);
        Row { schema, run, workflow, principal, agent: agent.as_ref(), host, state, reason, submitted, closed, residue }
    }
}
