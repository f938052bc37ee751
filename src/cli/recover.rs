//! `redress recover`: runs whose process died are taken over and brought to rest.
//!
//! Without a run: every run that can move and that nobody drives. That is more than those whose state says so: a vote, a verb
//! or the time may have moved a run that rested when its process ended.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use clap::Args;
use serde_json::{Value, json};

use super::Exit;
use super::context::{Context, Host};
use super::drive::{self, Interrupt};
use super::error::CliError;
use super::output::quoted;
use super::vote::parse_run;
use crate::engine::{self, Driven, RunView};
use crate::journal::{Journal, RunFilter};
use crate::saga::{Command, RunState, State, next};
use crate::types::{RunId, Timestamp};

/// How many rows are read at once.
const PAGE: usize = 500;

/// See [`super::Command::Recover`].
#[derive(Args, Debug)]
#[command(after_help = "Example: redress recover")]
pub(super) struct Arguments {
    /// Only this run
    #[arg(value_parser = parse_run)]
    run: Option<RunId>,
}

pub(super) async fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let host = context.existing_host()?;
    match &arguments.run {
        Some(run) => drive::finish(context, &host, run).await,
        None => recover_all(context, &host).await,
    }
}

/// One after the other; a run that cannot be recovered does not keep the others from it.
async fn recover_all(context: &Context, host: &Host) -> Result<Exit, CliError> {
    let interrupt = Interrupt::listen(context)?;
    let now = context.now();
    let waiting = drive::blocking(host, move |engine| {
        let mut waiting: BTreeSet<RunId> = engine.orphans()?.into_iter().collect();
        for state in [RunState::Paused, RunState::Stuck] {
            waiting.extend(moved(&**engine.journal(), state, now)?);
        }
        Ok(waiting)
    })
    .await?;
    let mut recovered: Vec<RunView> = Vec::new();
    let (mut failed, mut stopped) = (false, false);
    for run in waiting {
        match drive::to_rest(context, &host.engine, &run, &interrupt).await {
            Ok(driven) => {
                recovered.push(engine::view(&**host.engine.journal(), &run)?);
                if driven == Driven::Stopped {
                    stopped = true;
                    break;
                }
            }
            Err(error) => {
                failed = true;
                context.output.note(&format!("run {run}: {}", error.text().trim_end()));
            }
        }
    }
    host.progress.finish();
    print(context, &recovered)?;
    if stopped {
        context.output.note("interrupted: nothing new was started; go on with `redress recover`");
        return Ok(Exit::Interrupted);
    }
    Ok(if failed { Exit::Engine } else { Exit::Done })
}

/// Runs that are listed as resting and can move: somebody voted or asked for something, or a request expired.
fn moved(journal: &dyn Journal, state: RunState, now: Timestamp) -> Result<Vec<RunId>, engine::EngineError> {
    let filter = RunFilter { state: Some(state.as_str().to_owned()), closed: Some(false) };
    let mut found = Vec::new();
    let mut before: Option<RunId> = None;
    loop {
        let page = journal.runs(&filter, before.as_ref(), PAGE)?;
        for row in &page {
            if can_move(&engine::state_of(journal, &row.run)?, now) {
                found.push(row.run.clone());
            }
        }
        match page.last() {
            Some(last) => before = Some(last.run.clone()),
            None => return Ok(found),
        }
    }
}

fn can_move(state: &State, now: Timestamp) -> bool {
    next(state, now, &crate::saga::InFlight::default()).iter().any(|command| !matches!(command, Command::WaitUntil(_)))
}

fn print(context: &Context, recovered: &[RunView]) -> Result<(), CliError> {
    let rows: Vec<Value> = recovered.iter().map(row).collect();
    context.output.result(&rows, || {
        if recovered.is_empty() {
            return "no run waits for recovery".to_owned();
        }
        let mut text = String::new();
        for view in recovered {
            let state = context.output.run_state(view.state);
            let _ = writeln!(text, "{} {state} {}", view.run, quoted(&view.workflow));
        }
        text
    })
}

/// A run as it is listed: without its steps.
fn row(view: &RunView) -> Value {
    let mut row = json!(view);
    if let Some(fields) = row.as_object_mut() {
        fields.remove("steps");
    }
    row
}
