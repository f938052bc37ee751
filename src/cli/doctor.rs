//! `redress doctor`: is everything there that runs need, and does anything wait for somebody? Changes nothing.
//!
//! Each finding says what is wrong and what to do. One thing that is wrong keeps nothing else from being looked at.

use std::fmt::Write as _;

use clap::Args;
use serde::Serialize;

use super::Exit;
use super::context::{Context, Opening};
use super::error::CliError;
use crate::document::escape;
use crate::engine::{orphans, rfc3339};
use crate::journal::{Journal, RunFilter, SqliteJournal};
use crate::policy::lint;
use crate::saga::RunState;
use crate::types::Timestamp;

/// See [`super::Command::Doctor`].
#[derive(Args, Debug)]
#[command(
    after_help = "Exits with 6 if anything is wrong. What is only worth knowing changes nothing of that.\n\nExample: redress doctor"
)]
pub(super) struct Arguments {}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Good,
    Note,
    Wrong,
}

#[derive(Debug, Serialize)]
struct Finding {
    /// What was looked at.
    about: &'static str,
    verdict: Verdict,
    says: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    way_out: Option<String>,
}

#[derive(Serialize)]
struct Report {
    schema: u32,
    healthy: bool,
    findings: Vec<Finding>,
}

/// What was found so far.
#[derive(Default)]
struct Found(Vec<Finding>);

impl Found {
    fn good(&mut self, about: &'static str, says: impl Into<String>) {
        self.0.push(Finding { about, verdict: Verdict::Good, says: says.into(), way_out: None });
    }

    fn note(&mut self, about: &'static str, says: impl Into<String>, way_out: &str) {
        self.0.push(Finding { about, verdict: Verdict::Note, says: says.into(), way_out: Some(way_out.to_owned()) });
    }

    fn wrong(&mut self, about: &'static str, says: impl Into<String>, way_out: Option<String>) {
        self.0.push(Finding { about, verdict: Verdict::Wrong, says: says.into(), way_out });
    }

    fn error(&mut self, about: &'static str, error: &CliError) {
        self.wrong(about, error.message(), error.way_out());
    }
}

pub(super) fn execute(_: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let mut found = Found::default();
    if settings(context, &mut found) {
        policy_and_components(context, &mut found);
        match context.journal_to_read() {
            Ok(journal) => of_journal(&journal, context.now(), &mut found),
            Err(error) if error.code() == "no-journal" => {
                found.note(
                    "journal",
                    "there is none yet",
                    "the first `redress run`, `call`, `serve` or `mcp` makes it",
                );
            }
            Err(error) => found.error("journal", &error),
        }
    }
    let healthy = found.0.iter().all(|finding| finding.verdict != Verdict::Wrong);
    let report = Report { schema: 1, healthy, findings: found.0 };
    context.output.result(&report, || text(&report))?;
    Ok(if healthy { Exit::Done } else { Exit::Refused })
}

/// Whether the others can be looked at.
fn settings(context: &Context, found: &mut Found) -> bool {
    let settings = match context.settings() {
        Ok(settings) => settings,
        Err(error) => {
            found.error("settings", &error);
            return false;
        }
    };
    match (&settings.file, settings.check_complete()) {
        (_, Err(error)) => found.error("settings", &error),
        (Some(file), Ok(())) => found.good("settings", format!("`{}` says all that a run needs", file.display())),
        (None, Ok(())) => found.good("settings", "variables and flags say all that a run needs"),
    }
    true
}

fn policy_and_components(context: &Context, found: &mut Found) {
    let policy = match context.policy() {
        Ok(policy) => policy,
        Err(error) => return found.error("policy", &error),
    };
    match context.tools(Opening::Create) {
        Ok(tools) => {
            let warnings = lint(&policy, &tools.registry);
            let all = tools.registry.installed().len();
            found.good("components", format!("{all} are there, and the policy lets them in"));
            match warnings.iter().count() {
                0 => found.good("policy", format!("it loads, its tests pass, nothing to warn of: {}", policy.digest())),
                warnings => {
                    let says = format!("it loads and its tests pass, with {warnings} warnings");
                    found.note("policy", says, "`redress policy check FILE` has each with its place");
                }
            }
        }
        Err(error) => found.error("components", &error),
    }
}

fn of_journal(journal: &SqliteJournal, now: Timestamp, found: &mut Found) {
    match journal.lost_end() {
        Some(lost) => {
            found.wrong(
                "journal",
                lost.to_string(),
                Some("`redress audit verify` says more; see docs/TROUBLESHOOTING.md".to_owned()),
            );
        }
        None => found.good("journal", format!("`{}` opens, and its tables are whole", journal.path().display())),
    }
    match journal.free_space_ok() {
        Ok(()) => found.good("space", "there is enough for new runs"),
        Err(error) => found.wrong(
            "space",
            error.to_string(),
            Some("make room: new runs are refused, and rollbacks go on".to_owned()),
        ),
    }
    match journal.count_runs() {
        Ok(counted) => {
            let of = |state: RunState| counted.iter().find(|(other, _)| *other == state).map_or(0, |(_, count)| *count);
            match of(RunState::Stuck) {
                0 => found.good("runs", "none is stuck"),
                stuck => found.wrong(
                    "runs",
                    format!("{stuck} stuck: an undo failed for good"),
                    Some("`redress runs --state STUCK`, then `redress repair`".to_owned()),
                ),
            }
            if let paused @ 1.. = of(RunState::Paused) {
                found.note("approvals", format!("{paused} runs wait for a person"), "`redress approvals`");
            }
        }
        Err(error) => found.wrong("runs", error.to_string(), Some("`redress audit verify` says where".to_owned())),
    }
    match orphans(journal, &journal.owners_dir(), now) {
        Ok(waiting) => {
            let (runs, unreadable) = (waiting.runs.len(), waiting.unreadable.len());
            match runs {
                0 => found.good("owners", "no run waits for somebody to take it over"),
                _ => found.note(
                    "owners",
                    format!("{runs} runs of processes that died wait"),
                    "`redress recover`, or a `redress serve` that runs",
                ),
            }
            if unreadable > 0 {
                found.wrong(
                    "owners",
                    format!("{unreadable} runs cannot be read"),
                    Some("`redress audit verify` says why".to_owned()),
                );
            }
        }
        Err(error) => found.wrong("owners", error.to_string(), None),
    }
    // The journal never goes back in time: whatever is younger than now was written by a clock that was ahead.
    match journal.runs(&RunFilter::default(), None, 1) {
        Ok(page) => match page.rows.first().map(|row| row.submitted) {
            Some(last) if last > now => {
                let says = format!("it is {} here, and the last run was submitted at {}", rfc3339(now), rfc3339(last));
                found.wrong("clock", says, Some("set it: until then nothing expires".to_owned()));
            }
            _ => found.good("clock", format!("it is {}", rfc3339(now))),
        },
        Err(error) => found.wrong("clock", error.to_string(), None),
    }
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for Finding { about, verdict, says, way_out } in &report.findings {
        let word = match verdict {
            Verdict::Good => "good ",
            Verdict::Note => "note ",
            Verdict::Wrong => "WRONG",
        };
        // An error with its place in a file has several lines.
        let lines: Vec<String> = says.lines().map(escape).collect();
        let _ = writeln!(text, "{word}  {about:<10}  {}", lines.join("\n                   "));
        if let Some(way_out) = way_out {
            let _ = writeln!(text, "{:19}{}", "", escape(way_out));
        }
    }
    text
}
