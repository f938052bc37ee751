//! The command line: one file a verb, and what they share.
//!
//! | module | what is inside |
//! |---|---|
//! | `settings` | `redress.yaml`, then `REDRESS_*` variables, then flags: what is in force |
//! | `context` | opens what a verb needs: journal, policy, components, engine |
//! | `drive` | brings a run to rest, here or in the process that owns it, and reports it |
//! | `progress` | what a terminal shows while a run goes on |
//! | `output` | results as text or JSON; everything that strangers wrote is quoted |
//! | `text` | a run step by step, for a reviewer |
//! | `lookup` | runs as a person names them, and whether anybody drives them |
//! | `error` | one error, its text, its JSON, its exit code |
//!
//! A verb gets its arguments and the [`Context`], and returns the [`Exit`] code of the process or a [`CliError`]. Results go
//! to stdout, everything else to stderr; with `--json` stdout is one JSON document, also if that is an error.

mod approvals;
mod approve;
mod audit;
mod call;
mod cancel;
mod capability;
mod completions;
mod context;
mod doctor;
mod drive;
mod error;
mod events;
mod init;
mod inputs;
mod journal;
mod kill;
mod logs;
mod lookup;
mod mcp;
mod operate;
mod output;
mod peers;
mod plan;
mod policy;
mod progress;
mod recover;
mod reject;
mod reload;
mod repair;
mod run;
mod runs;
mod schema;
mod serve;
mod settings;
mod show;
mod text;
mod token;
mod undo;
mod version;
mod vote;
mod webhook;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::engine::check_reason;
use crate::saga::RunState;
use crate::types::{Digest, Principal};

use context::Context;
use error::CliError;
use output::Output;

/// Runs side effects so that each is permitted, confined, recorded and reversible.
#[derive(Parser)]
#[command(name = "redress", version, max_term_width = 120, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// Options of every verb.
#[derive(Args, Clone, Debug, Default)]
struct Globals {
    /// Print JSON: one document, or for `events` one a line
    #[arg(long, global = true)]
    json: bool,
    /// The policy in force [variable: REDRESS_POLICY]
    #[arg(long, global = true, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The journal [variable: REDRESS_JOURNAL]
    #[arg(long, global = true, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Who acts, such as `user:alice` [variable: REDRESS_AS]
    #[arg(long = "as", global = true, value_name = "PRINCIPAL", value_parser = parse_principal)]
    principal: Option<Principal>,
    /// A folder with components; may be given again [variable: REDRESS_COMPONENTS, joined by `:`]
    #[arg(long, global = true, value_name = "DIR")]
    components: Vec<PathBuf>,
    /// Show values that a schema or the policy marks as sensitive
    #[arg(long, global = true)]
    show_sensitive: bool,
    /// Log one line for each attempt; the variable REDRESS_LOG sets the log more finely
    #[arg(short, long, global = true, action = ArgAction::SetTrue)]
    verbose: bool,
}

fn parse_reason(text: &str) -> Result<String, String> {
    check_reason(text).map(|()| text.to_owned())
}

fn parse_digest(text: &str) -> Result<Digest, String> {
    Digest::parse(text).ok_or_else(|| format!("`{text}` is not a digest: write `sha256:` and 64 hexadecimal digits"))
}

fn parse_principal(text: &str) -> Result<Principal, String> {
    Principal::parse(text).map_err(|error| error.to_string())
}

#[derive(Subcommand)]
enum Command {
    /// Write settings, a strict policy and an example workflow into this folder
    Init(init::Arguments),
    /// Run a workflow
    Run(run::Arguments),
    /// Run a single capability
    Call(call::Arguments),
    /// Decide what a workflow would be answered, without executing it
    Plan(plan::Arguments),
    /// Take over and finish runs whose process died
    Recover(recover::Arguments),
    /// Roll a run back
    Cancel(cancel::Arguments),
    /// Roll a completed run back
    Undo(undo::Arguments),
    /// End a run without undoing anything
    Kill(kill::Arguments),
    /// Go on with a run whose undo failed
    Repair(repair::Arguments),
    /// Vote for a step that waits for approval
    Approve(approve::Arguments),
    /// Vote against a step that waits for approval
    Reject(reject::Arguments),
    /// Look whether everything is there that runs need, and whether anything waits for somebody
    Doctor(doctor::Arguments),
    /// Serve programs and people elsewhere, over HTTP
    Serve(serve::Arguments),
    /// Secrets with which clients of the service act as somebody
    #[command(subcommand, after_help = "Example: redress token list")]
    Token(token::Verb),
    /// Serve an agent that started this process: capabilities as tools, over the Model Context Protocol
    Mcp(mcp::Arguments),
    /// List runs, newest first
    Runs(runs::Arguments),
    /// Show a run step by step: who asked, what was decided, granted and touched, and whether it was undone
    Show(show::Arguments),
    /// Show what components printed
    Logs(logs::Arguments),
    /// List the events of a run, or of the system chain, as the journal has them
    Events(events::Arguments),
    /// List what waits for a person
    Approvals(approvals::Arguments),
    /// Look at policy files
    #[command(subcommand, after_help = "Example: redress policy check policies/default.yaml")]
    Policy(policy::Verb),
    /// Look at capabilities and components
    #[command(subcommand, after_help = "Example: redress capability list")]
    Capability(capability::Verb),
    /// Check the record
    #[command(subcommand, after_help = "Example: redress audit verify")]
    Audit(audit::Verb),
    /// Copy the journal, or adopt a copy
    #[command(subcommand, after_help = "Example: redress journal backup ../journal-monday.db")]
    Journal(journal::Verb),
    /// Tell people that something waits for them
    #[command(subcommand, after_help = "Example: redress webhook test")]
    Webhook(webhook::Verb),
    /// Print the JSON Schema of a policy, a workflow or the settings
    Schema(schema::Arguments),
    /// Print what makes a shell complete this command line
    Completions(completions::Arguments),
    /// Print the version, that of the engine below, and the digests of the components inside
    Version(version::Arguments),
}

impl Command {
    async fn execute(self, context: &Context) -> Result<Exit, CliError> {
        match self {
            Command::Init(arguments) => init::execute(&arguments, context),
            Command::Run(arguments) => run::execute(&arguments, context).await,
            Command::Call(arguments) => call::execute(&arguments, context).await,
            Command::Plan(arguments) => plan::execute(&arguments, context),
            Command::Recover(arguments) => recover::execute(&arguments, context).await,
            Command::Cancel(arguments) => cancel::execute(&arguments, context).await,
            Command::Undo(arguments) => undo::execute(&arguments, context).await,
            Command::Kill(arguments) => kill::execute(&arguments, context).await,
            Command::Repair(arguments) => repair::execute(&arguments, context).await,
            Command::Approve(arguments) => approve::execute(&arguments, context).await,
            Command::Reject(arguments) => reject::execute(&arguments, context).await,
            Command::Doctor(arguments) => doctor::execute(&arguments, context),
            Command::Serve(arguments) => serve::execute(&arguments, context).await,
            Command::Token(verb) => token::execute(&verb, context).await,
            Command::Mcp(arguments) => mcp::execute(&arguments, context).await,
            Command::Runs(arguments) => runs::execute(&arguments, context),
            Command::Show(arguments) => show::execute(&arguments, context),
            Command::Logs(arguments) => logs::execute(&arguments, context),
            Command::Events(arguments) => events::execute(&arguments, context),
            Command::Approvals(arguments) => approvals::execute(&arguments, context),
            Command::Policy(verb) => policy::execute(&verb, context),
            Command::Capability(verb) => capability::execute(&verb, context).await,
            Command::Audit(verb) => audit::execute(&verb, context).await,
            Command::Journal(verb) => journal::execute(&verb, context),
            Command::Webhook(verb) => webhook::execute(&verb, context).await,
            Command::Schema(arguments) => schema::execute(&arguments, context),
            Command::Completions(arguments) => completions::execute(&arguments, context),
            Command::Version(arguments) => version::execute(&arguments, context),
        }
    }
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, or the run COMPLETED · 1 the engine failed · 2 usage, or a document that does not load · 3 ROLLED_BACK
4 PAUSED · 5 STUCK, or tampering was found · 6 a check said no, a vote or verb was refused
7 ROLLED_BACK_WITH_RESIDUE or KILLED · 130 interrupted, the run can be resumed

Example: redress init && redress run example.yaml";

/// What the process ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    /// The verb did its work, or the run COMPLETED.
    Done,
    /// The engine failed: journal, I/O, a bug.
    Engine,
    /// Usage, or a document that does not load.
    Usage,
    /// The run was ROLLED_BACK.
    RolledBack,
    /// The run is PAUSED.
    Paused,
    /// The run is STUCK, or tampering was found.
    Stuck,
    /// A check said no, or a vote or an operator's verb was refused.
    Refused,
    /// The run is ROLLED_BACK_WITH_RESIDUE or KILLED.
    Residue,
    /// Nothing new was started, and the run can be resumed.
    Interrupted,
}

impl Exit {
    fn number(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Engine => 1,
            Exit::Usage => 2,
            Exit::RolledBack => 3,
            Exit::Paused => 4,
            Exit::Stuck => 5,
            Exit::Refused => 6,
            Exit::Residue => 7,
            Exit::Interrupted => 130,
        }
    }
}

impl From<RunState> for Exit {
    fn from(state: RunState) -> Exit {
        match state {
            RunState::Completed => Exit::Done,
            RunState::RolledBack => Exit::RolledBack,
            RunState::Paused => Exit::Paused,
            RunState::Stuck => Exit::Stuck,
            RunState::RolledBackWithResidue | RunState::Killed => Exit::Residue,
            // Not at rest: somebody has to resume it.
            RunState::Running | RunState::RollingBack => Exit::Interrupted,
        }
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let (output, ended) = match Cli::try_parse() {
        Ok(cli) => (Output::new(cli.globals.json), execute(cli)),
        Err(error) => {
            let json = std::env::args_os().any(|argument| argument == "--json");
            (Output::new(json), usage(&error, json))
        }
    };
    let exit = ended.unwrap_or_else(|error| {
        output.error(&error);
        error.exit()
    });
    ExitCode::from(exit.number())
}

fn execute(cli: Cli) -> Result<Exit, CliError> {
    start_log(cli.globals.verbose)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::engine("runtime", format!("the runtime cannot be started: {error}")))?;
    let context = Context::new(cli.globals);
    runtime.block_on(cli.command.execute(&context))
}

/// What clap has to say: help and the version are results, everything else is a mistake in usage.
fn usage(error: &clap::Error, json: bool) -> Result<Exit, CliError> {
    if json && error.use_stderr() {
        let text = error.to_string();
        let message = text.trim().trim_start_matches("error: ").to_owned();
        return Err(CliError::usage("usage", message));
    }
    // A reader that has gone away does not change the answer.
    drop(error.print());
    Ok(if error.use_stderr() { Exit::Usage } else { Exit::Done })
}

fn start_log(verbose: bool) -> Result<(), CliError> {
    // A request that fails is told by whoever sent it: what is beneath would only say it twice, in other words. What a client of ours
    // sends that is refused is its own affair, and must not fill the log.
    let default = match verbose {
        true => "warn,wasmtime_wasi_http=error,rmcp=error,redress=info",
        false => "warn,wasmtime_wasi_http=error,rmcp=error",
    };
    let wanted = std::env::var("REDRESS_LOG").ok().filter(|filter| !filter.is_empty());
    let filter = EnvFilter::try_new(wanted.as_deref().unwrap_or(default))
        .map_err(|error| CliError::usage("bad-filter", format!("the variable REDRESS_LOG: {error}")))?;
    let colour = output::colour_allowed(&std::io::stderr());
    // A log that cannot be written is lost. Told of on stderr, which is what cannot be written, it would be a panic.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    // A second log in the same process has no effect.
    drop(log.with_ansi(colour).with_target(false).try_init());
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_verb_has_an_example() {
        let command = Cli::command();
        command.clone().debug_assert();
        let groups = command.get_subcommands().flat_map(clap::Command::get_subcommands);
        for verb in command.get_subcommands().chain(groups) {
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "`{}` has no example", verb.get_name());
        }
    }

    #[test]
    fn every_state_at_rest_has_the_exit_code_of_the_table() {
        let code = |state| Exit::from(state).number();
        assert_eq!(code(RunState::Completed), 0);
        assert_eq!(code(RunState::RolledBack), 3);
        assert_eq!(code(RunState::Paused), 4);
        assert_eq!(code(RunState::Stuck), 5);
        assert_eq!(code(RunState::RolledBackWithResidue), 7);
        assert_eq!(code(RunState::Killed), 7);
    }
}
