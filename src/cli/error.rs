//! One error for all verbs: what, where, what to do, and the exit code.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Exit;
use crate::document::{Diagnostics, Severity, escape};
use crate::engine::{EngineError, WebhookError};
use crate::journal::JournalError;
use crate::sandbox::SandboxError;

/// Why a verb did not do its work.
#[derive(Debug)]
pub(super) enum CliError {
    /// Something that is not about a place in a document.
    Plain(Box<Plain>),
    /// Everything that is wrong with a document.
    Document(Box<Diagnostics>),
}

/// See [`CliError::Plain`].
#[derive(Debug)]
pub(super) struct Plain {
    exit: Exit,
    code: &'static str,
    message: String,
    help: Option<String>,
    file: Option<String>,
}

impl CliError {
    fn new(exit: Exit, code: &'static str, message: impl Into<String>) -> CliError {
        CliError::Plain(Box::new(Plain { exit, code, message: message.into(), help: None, file: None }))
    }

    /// The engine failed: exit 1.
    pub(super) fn engine(code: &'static str, message: impl Into<String>) -> CliError {
        CliError::new(Exit::Engine, code, message)
    }

    /// Usage, or something that does not load: exit 2.
    pub(super) fn usage(code: &'static str, message: impl Into<String>) -> CliError {
        CliError::new(Exit::Usage, code, message)
    }

    /// A check, a vote or a verb was answered with no: exit 6.
    pub(super) fn refused(code: &'static str, message: impl Into<String>) -> CliError {
        CliError::new(Exit::Refused, code, message)
    }

    /// A file that cannot be read.
    pub(super) fn unreadable(file: &str, error: &std::io::Error) -> CliError {
        CliError::usage("unreadable", format!("`{file}` cannot be read: {error}")).in_file(file)
    }

    /// The same with what to do.
    pub(super) fn help(mut self, help: impl Into<String>) -> CliError {
        if let CliError::Plain(plain) = &mut self {
            plain.help = Some(help.into());
        }
        self
    }

    /// The same about a file.
    pub(super) fn in_file(mut self, file: impl Into<String>) -> CliError {
        if let CliError::Plain(plain) = &mut self {
            plain.file = Some(file.into());
        }
        self
    }

    /// A word that programs compare; none of a document, which may be wrong in several ways.
    pub(super) fn code(&self) -> &'static str {
        match self {
            CliError::Plain(plain) => plain.code,
            CliError::Document(_) => "invalid-document",
        }
    }

    /// What to do, if that is known.
    pub(super) fn way_out(&self) -> Option<String> {
        match self {
            CliError::Plain(plain) => plain.help.clone(),
            CliError::Document(_) => Some("the message of the verb that reads it shows each place".to_owned()),
        }
    }

    /// What the process ends with.
    pub(super) fn exit(&self) -> Exit {
        match self {
            CliError::Plain(plain) => plain.exit,
            CliError::Document(_) => Exit::Usage,
        }
    }

    /// The first word that programs compare, and how much is wrong, without anything that the document or the inputs say.
    pub(super) fn without_input(&self) -> (&'static str, String) {
        match self {
            CliError::Plain(plain) => (plain.code, "it does not load".to_owned()),
            CliError::Document(diagnostics) => {
                let errors = || diagnostics.iter().filter(|d| d.severity == Severity::Error);
                let (code, line) = errors().next().map_or(("document", 1), |first| (first.code, first.span.line));
                (code, format!("it does not load: mistakes: {}, the first in line {line}", errors().count()))
            }
        }
    }

    /// What is wrong, alone.
    pub(super) fn message(&self) -> String {
        match self {
            CliError::Plain(plain) => plain.message.clone(),
            CliError::Document(diagnostics) => diagnostics.to_string(),
        }
    }

    /// For a person.
    pub(super) fn text(&self) -> String {
        match self {
            CliError::Document(diagnostics) => diagnostics.to_string(),
            CliError::Plain(plain) => {
                let mut text = format!("error: {}\n", lines(&plain.message));
                if let Some(help) = &plain.help {
                    let _ = writeln!(text, "help: {}", lines(help));
                }
                text
            }
        }
    }

    /// For a program: `error` is the first, `errors` are all of them if there are more.
    pub(super) fn json(&self) -> Value {
        match self {
            CliError::Plain(plain) => json!({ "error": {
                "code": plain.code, "message": plain.message, "file": plain.file, "line": null, "column": null,
                "help": plain.help,
            } }),
            CliError::Document(diagnostics) => {
                let all = diagnostics.iter().zip(diagnostics.to_json());
                let errors: Vec<Value> =
                    all.filter(|(d, _)| d.severity == Severity::Error).map(|(_, object)| object).collect();
                match errors.as_slice() {
                    [only] => json!({ "error": only }),
                    all => json!({ "error": all.first(), "errors": all }),
                }
            }
        }
    }
}

/// Text that may have several lines, each safe to print.
fn lines(text: &str) -> String {
    text.lines().map(escape).collect::<Vec<_>>().join("\n")
}

impl From<Diagnostics> for CliError {
    fn from(diagnostics: Diagnostics) -> CliError {
        CliError::Document(Box::new(diagnostics))
    }
}

impl From<SandboxError> for CliError {
    fn from(error: SandboxError) -> CliError {
        CliError::engine("sandbox", error.to_string())
    }
}

impl From<JournalError> for CliError {
    fn from(error: JournalError) -> CliError {
        let message = error.to_string();
        let help = match &error {
            JournalError::UnknownRun { .. } => Some(LIST),
            JournalError::Changed { .. } => Some("`redress audit verify` says what was changed"),
            error => error.help(),
        };
        let answer = match error {
            JournalError::NotFound { .. } | JournalError::Empty { .. } => CliError::usage("no-journal", message),
            JournalError::UnknownRun { .. } => CliError::usage("no-such-run", message),
            JournalError::GoesOn { .. } => CliError::refused("run-not-closed", message),
            JournalError::SharedKey { .. } => CliError::refused("shared-key", message).help(
                "move one of the journals, and what has its name, to a folder of its own first; each makes a key there",
            ),
            JournalError::Backup { .. } | JournalError::StrangeLog { .. } => CliError::usage("backup", message),
            JournalError::NotABackup { .. } => CliError::usage("no-backup", message),
            JournalError::Exists { .. } => CliError::usage("exists", message),
            JournalError::Network { .. } => CliError::usage("network-filesystem", message),
            JournalError::Newer { .. } => CliError::engine("newer-journal", message),
            JournalError::LowSpace { .. } => CliError::engine("low-space", message),
            JournalError::Damaged { .. } | JournalError::NotAJournal { .. } | JournalError::Shortened { .. } => {
                CliError::engine("damaged-journal", message)
            }
            JournalError::Unreadable(_) | JournalError::Changed { .. } | JournalError::DamagedRow { .. } => {
                CliError::engine("unreadable-run", message)
            }
            _ => CliError::engine("journal", message),
        };
        match help {
            Some(help) => answer.help(help),
            None => answer,
        }
    }
}

impl From<WebhookError> for CliError {
    fn from(error: WebhookError) -> CliError {
        match error {
            WebhookError::Journal(error) => error.into(),
            WebhookError::Secret { .. } => CliError::usage("no-secret", error.to_string()).help(
                "it is `whsec_` and 24 to 64 random bytes in base64, in the variable or file that `webhook:` names",
            ),
        }
    }
}

const LIST: &str = "`redress runs` lists the runs of this journal";

impl From<EngineError> for CliError {
    fn from(error: EngineError) -> CliError {
        let (code, message) = (error.code(), error.to_string());
        match error {
            EngineError::Journal(error) => error.into(),
            EngineError::Sandbox(error) => error.into(),
            EngineError::Refused { .. } => CliError::refused(code, message),
            EngineError::WrongState { run, .. } => {
                CliError::refused(code, message).help(format!("`redress show {run}` says what it waits for"))
            }
            EngineError::Owned { run, .. } => CliError::refused(code, message)
                .help(format!("let that process finish, or end it; then `redress recover {run}`")),
            EngineError::KeyTaken { run, .. } => CliError::usage(code, message)
                .help(format!("give this submission a key of its own; `redress show {run}` says what the run is")),
            EngineError::NoSuchRun(_) => CliError::usage(code, message).help(LIST),
            EngineError::UnknownCapability(_) => CliError::usage(code, message)
                .help("`redress capability list` shows what is installed; `--components DIR` adds components"),
            EngineError::Component { file, .. } => CliError::usage(code, message)
                .in_file(file)
                .help("build it anew against this version's WIT, or take it out of the folder of components"),
            EngineError::Duplicate { file, .. } => CliError::usage(code, message)
                .in_file(file)
                .help("take one of the two out of the folders of components"),
            EngineError::UnsafeGrant { .. } => CliError::usage(code, message),
            EngineError::Io { path, .. } => CliError::engine(code, message).in_file(path),
            EngineError::Illegal { .. } => {
                CliError::engine(code, message).help("`redress audit verify` says whether the journal was changed")
            }
            EngineError::Bug { .. } => CliError::engine(code, message)
                .help("the run can be resumed: `redress recover`; please report it with what the log says"),
            EngineError::MissingComponent { .. } => CliError::usage(code, message)
                .help("put the component into a folder of components, as `--components DIR` or in the settings"),
            EngineError::Erased { .. } => CliError::engine(code, message)
                .help("the run cannot go on without it: `redress kill` ends it and names what stays"),
        }
    }
}
