//! `redress recover`: runs whose process died are taken over and brought to rest.
//!
//! Without a run: every run that can move and that nobody drives. That is more than those whose state says so: a vote, a verb
//! or the time may have moved a run that rested when its process ended. It is less by the runs of a backup that was adopted,
//! which may have gone on elsewhere: each is named, and recovered only by name.

use std::fmt::Write as _;

use clap::Args;
use serde_json::{Value, json};

use super::context::{Context, Host};
use super::drive::{self, Interrupt};
use super::error::CliError;
use super::output::quoted;
use super::{Exit, lookup};
use crate::engine::{self, Driven, Engine, RunView};

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

/// One after the other; a run that cannot be recovered does not keep the others from it.
async fn recover_all(context: &Context, host: &Host) -> Result<Exit, CliError> {
    let interrupt = Interrupt::listen(context)?;
    let waiting = drive::blocking(host, Engine::orphans).await?;
    let mut recovered: Vec<RunView> = Vec::new();
    let (mut failed, mut stopped) = (!waiting.unreadable.is_empty(), false);
    for (run, what) in &waiting.unreadable {
        context.output.note(&lookup::damage_note(run, what));
    }
    drive::tell_of_adopted(context, &waiting.adopted);
    for run in waiting.runs {
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
    drive::tell_people(context, host, &interrupt).await;
    if stopped {
        context.output.note("interrupted: nothing new was started; go on with `redress recover`");
        return Ok(Exit::Interrupted);
    }
    Ok(if failed { Exit::Engine } else { Exit::Done })
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
