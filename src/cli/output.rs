//! Results as text or JSON, on stdout.
//!
//! What the host says of itself is printed as it is. Everything that workflows, agents or components wrote is quoted, with
//! control, bidirectional and zero-width characters escaped, so that it can neither pass for the host's words nor steer a
//! terminal.

use std::fmt::Write as _;
use std::io::{ErrorKind, IsTerminal, Write as _};

use serde::Serialize;
use serde_json::Value;

use super::error::CliError;
use super::text::remains;
use crate::document::{escape, escape_json};
use crate::engine::{DecisionView, RunView, StepView};
use crate::saga::{RunState, StepState};
use crate::types::Action;

/// How much of a value is shown where not all of it is needed.
const SHORT: usize = 400;

/// Where results go, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    json: bool,
    colour: bool,
}

/// What a colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// It went well.
    Good,
    /// Somebody should look.
    Warn,
    /// It went wrong.
    Bad,
    /// Less important.
    Dim,
}

/// Whether a stream is a terminal on which colour is wanted.
pub(super) fn colour_allowed(stream: &impl IsTerminal) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    stream.is_terminal() && !set("NO_COLOR") && !dumb
}

impl Output {
    /// To the stdout of this process.
    pub(super) fn new(json: bool) -> Output {
        Output { json, colour: !json && colour_allowed(&std::io::stdout()) }
    }

    /// Whether results are JSON.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints a result: one JSON document, or the text that is made only if it is needed.
    pub(super) fn result(&self, json: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), CliError> {
        let text = if self.json {
            let text = serde_json::to_string_pretty(json);
            escape_json(
                &text.map_err(|error| CliError::engine("output", format!("the result has no JSON form: {error}")))?,
            )
        } else {
            text()
        };
        self.line(text.trim_end())
    }

    /// Prints a list, or says in a note that there is nothing in it.
    pub(super) fn list<T: Serialize>(
        &self,
        list: &[T],
        nothing: &str,
        text: impl FnOnce() -> String,
    ) -> Result<(), CliError> {
        if list.is_empty() && !self.json {
            self.note(nothing);
            return Ok(());
        }
        self.result(&list, text)
    }

    /// Prints one of many JSON documents, on a line of its own.
    pub(super) fn json_line(&self, json: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string(json);
        let text = text.map_err(|error| CliError::engine("output", format!("the result has no JSON form: {error}")))?;
        self.line(&escape_json(&text))
    }

    /// Prints one line, or several, to stdout. A reader that has gone away is no error.
    pub(super) fn line(&self, text: &str) -> Result<(), CliError> {
        let mut stdout = std::io::stdout().lock();
        match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(CliError::engine("output", format!("the result cannot be written: {error}")))
            }
            _ => Ok(()),
        }
    }

    /// Tells a person something besides the result, on stderr.
    pub(super) fn note(&self, text: &str) {
        drop(writeln!(std::io::stderr().lock(), "{text}"));
    }

    /// Prints an error: text on stderr, or the JSON document of this verb.
    pub(super) fn error(&self, error: &CliError) {
        if self.json {
            drop(self.line(&escape_json(&format!("{:#}", error.json()))));
        } else {
            drop(write!(std::io::stderr().lock(), "{}", error.text()));
        }
    }

    /// Text in a colour, if colours are wanted.
    pub(super) fn paint(&self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31",
            Tone::Dim => "2",
        };
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// The state of a run, in its colour.
    pub(super) fn run_state(&self, state: RunState) -> String {
        let tone = match state {
            RunState::Completed => Tone::Good,
            RunState::Stuck | RunState::Killed | RunState::RolledBackWithResidue => Tone::Bad,
            RunState::Running | RunState::Paused | RunState::RollingBack | RunState::RolledBack => Tone::Warn,
        };
        self.paint(tone, state.as_str())
    }

    /// A run as the verbs that drive it print it at its end; `show` tells all of it.
    pub(super) fn run(&self, view: &RunView) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "{} {} {}", self.run_state(view.state), view.run, quoted(&view.workflow));
        let closed = view.closed.as_ref().map_or_else(String::new, |closed| format!(", closed {closed}"));
        let times = format!("  for {}, submitted {}{closed}", escape(&view.principal), view.submitted);
        let _ = writeln!(text, "{}", self.paint(Tone::Dim, &times));
        if let Some(reason) = &view.reason {
            let step = reason.step.as_ref().map_or_else(String::new, |step| format!(" {}", escape(step)));
            let _ = writeln!(text, "  because {}{step}: {}", reason.code, quoted(&reason.message));
        }
        let width = |of: fn(&StepView) -> usize| view.steps.iter().map(of).max().unwrap_or(0);
        let (names, capabilities) = (width(|step| step.name.len()), width(|step| kind(step).len()));
        for step in &view.steps {
            let _ = writeln!(
                text,
                "  {:names$}  {:capabilities$}  {}",
                escape(&step.name),
                kind(step),
                self.step_state(step)
            );
            self.details(step, &mut text);
        }
        for residue in &view.residue {
            let line = format!("  remains: {}", remains(residue));
            let _ = writeln!(text, "{}", self.paint(Tone::Bad, &line));
        }
        text
    }

    fn details(&self, step: &StepView, text: &mut String) {
        if let Some(error) = &step.error {
            let _ = writeln!(text, "      {}: {}", escape(&error.code), quoted(&error.message));
        }
        if let Some(output) = step.output.as_ref().filter(|_| step.state == StepState::Succeeded) {
            let _ = writeln!(text, "      -> {}", json_text(output, SHORT));
        }
        if let Some(approval) = step.approval.as_ref().filter(|_| step.state == StepState::Waiting) {
            let yes = approval.votes.iter().filter(|vote| vote.approve).count();
            let _ = writeln!(
                text,
                "      waits for {} of {} from {}, until {}",
                yes,
                approval.quorum,
                approval.approvers.join(", "),
                approval.expires
            );
        }
        if let Some(decision) = step.decision.as_ref().filter(|d| d.action != Action::Allow) {
            let _ = writeln!(text, "      {}", decided(decision));
        }
    }

    fn step_state(&self, step: &StepView) -> String {
        let word = step.state.as_str().to_lowercase().replace('_', " ");
        let attempts = if step.attempts > 1 { format!(" after {} attempts", step.attempts) } else { String::new() };
        let (tone, word) = match step.state {
            StepState::Succeeded => (Tone::Good, format!("{word}{attempts}")),
            StepState::Undone if step.checked => (Tone::Good, format!("{word} (checked)")),
            StepState::Undone => (Tone::Good, format!("{word} (component says)")),
            StepState::Failed => (Tone::Bad, format!("{word}{attempts}")),
            StepState::UndoFailed | StepState::Residue => (Tone::Bad, word),
            StepState::Waiting | StepState::Running | StepState::Unclear | StepState::Undoing => (Tone::Warn, word),
        };
        self.paint(tone, &word)
    }
}

/// Who decided what, and by which risk.
pub(super) fn decided(decision: &DecisionView) -> String {
    let rule = match (decision.rule, decision.line) {
        (Some(rule), Some(line)) => format!("rule {rule} (line {line})"),
        _ => "the default".to_owned(),
    };
    let escalated = if decision.escalated { ", escalated by risk" } else { "" };
    let reason = decision.reason.as_ref().map_or_else(String::new, |reason| format!(": {}", quoted(reason)));
    format!("{} by {rule}, risk {}{escalated}{reason}", decision.action, decision.risk)
}

fn kind(step: &StepView) -> &str {
    step.capability.as_deref().unwrap_or("waits for a person")
}

/// Text of a stranger: a JSON string, so that it cannot end its quotes, and safe to print.
pub(super) fn quoted(text: &str) -> String {
    escape(&Value::from(text).to_string())
}

/// A value of a stranger as JSON, safe to print; cut after `limit` characters.
pub(super) fn json_text(value: &Value, limit: usize) -> String {
    shortened(&value.to_string(), limit)
}

/// Text that a stranger may have written, safe to print; cut after `limit` characters.
pub(super) fn shortened(text: &str, limit: usize) -> String {
    let text = escape(text);
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}... ({} characters)", text.get(..end).unwrap_or_default(), text.chars().count()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strangers_wrote_is_quoted_and_cannot_steer_a_terminal() {
        assert_eq!(quoted("a\"b\u{1b}[2J\u{202e}\n\\"), r#""a\"b\u001b[2J\u{202e}\n\\""#);
        let text = json_text(&serde_json::json!({"k": "\u{9b}x\u{200b}"}), 100);
        assert!(text.chars().all(|c| (' '..='~').contains(&c)), "{text}");
    }

    #[test]
    fn a_long_value_is_cut_and_says_so() {
        let text = json_text(&Value::String("x".repeat(50)), 10);
        assert_eq!(text, "\"xxxxxxxxx... (52 characters)");
    }
}
