//! `redress schema`: the JSON Schemas of the files that people write, for editors that complete and check.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::Exit;
use super::context::Context;
use super::error::CliError;
use super::peers::PEER_KEYS;
use super::settings::{CHECKPOINT_KEYS, KEYS, RETENTION_KEYS, SECRET_KEYS, WEBHOOK_KEYS};
use crate::document::schema::{count, described, document, flag, items, mapping, text, texts, time, word};
use crate::journal::Scope;

/// See [`super::Command::Schema`].
#[derive(Args, Debug)]
#[command(
    after_help = "`redress init` puts all three into `.redress/schemas`. An editor finds the one that the first line of \
    a file names:\n# yaml-language-server: $schema=.redress/schemas/policy.schema.json\n\n\
    Example: redress schema policy > .redress/schemas/policy.schema.json"
)]
pub(super) struct Arguments {
    /// Of which file
    file: File,
}

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum File {
    /// A policy
    Policy,
    /// A workflow
    Workflow,
    /// The settings, `redress.yaml`
    Settings,
}

impl File {
    /// All of them.
    pub(super) const ALL: [File; 3] = [File::Policy, File::Workflow, File::Settings];

    /// The name of the file that holds its schema.
    pub(super) fn name(self) -> &'static str {
        match self {
            File::Policy => "policy.schema.json",
            File::Workflow => "workflow.schema.json",
            File::Settings => "settings.schema.json",
        }
    }

    /// Its schema, as it is written to files.
    pub(super) fn text(self) -> String {
        format!("{:#}\n", self.schema())
    }

    fn schema(self) -> Value {
        match self {
            File::Policy => crate::policy::schema(),
            File::Workflow => crate::workflow::schema(),
            File::Settings => {
                let description = "What is in force for every `redress` command in this folder and below it.";
                document("Redress settings", description, mapping(KEYS, &[], of_settings))
            }
        }
    }
}

/// Prints a schema; with `--json` it is the same document.
pub(super) fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    context.output.result(&arguments.file.schema(), || arguments.file.text())?;
    Ok(Exit::Done)
}

/// A mapping that has one key or the other, or neither.
fn either(one: &str, other: &str, mut mapping: Value) -> Value {
    if let Some(mapping) = mapping.as_object_mut() {
        mapping.insert("not".to_owned(), json!({ "required": [one, other] }));
    }
    mapping
}

fn of_settings(key: &str) -> Value {
    match key {
        "policy" => text("The policy in force: who may do what, and what the sandbox opens."),
        "policy_shadow" => {
            text("A policy that decides beside it: what it answers otherwise is recorded, and changes nothing.")
        }
        "journal" => text("The record of every run; `.redress/journal.db` if left out."),
        "principal" => text("On whose behalf runs are, such as `agent:demo`."),
        "components" => texts("Folders with components, besides the standard library."),
        "listen" => described(
            "Where `redress serve` listens; 127.0.0.1:7433 if left out.",
            json!({ "type": "string", "pattern": r"^([0-9]{1,3}(\.[0-9]{1,3}){3}|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}$" }),
        ),
        "socket" => text("A socket of this machine at which `redress serve` listens."),
        "peers" => items(
            "Users of this machine who need no token at the socket.",
            &mapping(&PEER_KEYS, &PEER_KEYS, |key| match key {
                "uid" => count("The number of the user.", 0),
                "principal" => text("Who they act as, such as `user:alice`."),
                _ => items("What they may.", &word("What one may.", &Scope::ALL.map(Scope::as_str))),
            }),
        ),
        "extra_ca" => text("Certificates of authorities that TLS trusts besides the usual ones, in PEM."),
        "max_parallel" => described(
            "How many steps of a run go on at the same time; 8 if left out.",
            json!({ "type": "integer", "minimum": 1, "maximum": u32::MAX }),
        ),
        "max_runs" => described(
            "How many runs a service has in memory, driven or open, before it begins no more; 1024 if left out.",
            json!({ "type": "integer", "minimum": 1, "maximum": u32::MAX }),
        ),
        "settle_timeout" => time("How long running attempts may go on once nothing new starts; 10s if left out."),
        "idle_timeout" => time("How long an open run may be idle; 10m if left out."),
        "trust_owner" => flag("Whether the owner that a workflow names is the principal."),
        "webhook" => described(
            "Where people are told that something waits for them.",
            mapping(&WEBHOOK_KEYS, &["url", "secret"], |key| match key {
                "url" => text("Where messages are sent, by https."),
                "console" => text("Where people reach the console, for links in messages."),
                _ => {
                    let mut secret = mapping(&SECRET_KEYS, &[], |key| match key {
                        "env" => text("The variable that holds it."),
                        _ => text("The file that holds it."),
                    });
                    if let Some(secret) = secret.as_object_mut() {
                        secret.insert("oneOf".to_owned(), json!(SECRET_KEYS.map(|key| json!({ "required": [key] }))));
                    }
                    described("What signs messages: either a variable or a file.", secret)
                }
            }),
        ),
        "checkpoints" => described(
            "When signed statements over the journal are made, and where they are handed over to.",
            either(
                "file",
                "command",
                mapping(&CHECKPOINT_KEYS, &[], |key| match key {
                    "every_events" => count("After how many events at the latest; 1000 if left out.", 1),
                    "every" => time("After how long at the latest, if anything was written; 1m if left out."),
                    "file" => {
                        text("A file to which each is appended; keep it where whoever can write the journal cannot.")
                    }
                    _ => {
                        texts("In place of a file: a program and its arguments, which gets each on its standard input.")
                    }
                }),
            ),
        ),
        "retention" => described(
            "What `redress audit prune` erases from closed runs.",
            mapping(&RETENTION_KEYS, &[], |key| match key {
                "undo" => time("How long undo records are kept after the run can be undone no more."),
                _ => time("How long what components printed is kept after the run was closed."),
            }),
        ),
        _ => json!({}),
    }
}
