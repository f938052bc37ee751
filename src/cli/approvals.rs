//! `redress approvals`: who waits for a person, for what exactly, and how to answer.
//!
//! The input is shown whole, however long it is: an approval is for exactly that input.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use clap::Args;
use serde::Serialize;

use super::context::Context;
use super::error::CliError;
use super::output::quoted;
use super::text::{granted, json_lines};
use super::{Exit, lookup};
use crate::document::escape;
use crate::engine::{self, Change, LineKind, Present, Waiting, change_of, state_of};
use crate::journal::{Journal, RunFilter};
use crate::saga::RunState;
use crate::types::{Principal, RunId};

/// How many runs are read at a time.
const PAGE: usize = 500;

/// See [`super::Command::Approvals`].
#[derive(Args, Debug)]
#[command(after_help = "Example: redress approvals --changes")]
pub(super) struct Arguments {
    /// Show also, line by line, what the calls would change in files
    #[arg(long)]
    changes: bool,
}

/// A request, and what its call would change if that is shown.
#[derive(Serialize)]
pub(super) struct Shown {
    #[serde(flatten)]
    pub(super) waiting: Waiting,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) change: Option<Change>,
}

impl Shown {
    /// The command to approve is for what is shown, so that it also names what stands in the file.
    pub(super) fn new(mut waiting: Waiting, change: Option<Change>) -> Shown {
        if let Some(seen) = change.as_ref().and_then(|change| change.seen) {
            let _ = write!(waiting.approve, " --seen {seen}");
        }
        Shown { waiting, change }
    }
}

pub(super) fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let journal = context.journal_to_read()?;
    let now = context.now();
    let policy = context.policy_to_mask_by();
    let mut mask = context.mask(&journal, policy.in_force());
    let mut waiting = Vec::new();
    // A row in no state there is is met with both, and told once.
    let mut damage = BTreeSet::new();
    for state in [RunState::Paused, RunState::Running] {
        let filter = RunFilter { state: Some(state), ..RunFilter::default() };
        let mut before: Option<RunId> = None;
        loop {
            let page = journal.runs(&filter, before.as_ref(), PAGE)?;
            damage.extend(page.damaged.iter().map(|row| lookup::damage_note(&row.run, &row.what)));
            for row in &page.rows {
                match state_of(&journal, &row.run) {
                    Ok(state) => {
                        for (_, step) in state.awaiting_approval() {
                            let found = engine::waiting(&journal, &state, step, now, mask.as_mut())?;
                            let change = match arguments.changes {
                                true => change_of(&journal, step, mask.as_mut())?,
                                false => None,
                            };
                            waiting.extend(found.map(|waiting| Shown::new(waiting, change)));
                        }
                    }
                    // One run that cannot be read does not hide the requests of the others.
                    Err(error) => {
                        damage.insert(lookup::damage_note(row.run.as_str(), &error.to_string()));
                    }
                }
            }
            before = page.rows.last().map(|row| row.run.clone());
            if page.rows.len() < PAGE {
                break;
            }
        }
    }
    for note in &damage {
        context.output.note(note);
    }
    waiting.sort_by(|Shown { waiting: a, .. }, Shown { waiting: b, .. }| (a.until, &a.run).cmp(&(b.until, &b.run)));
    context.output.list(&waiting, "nothing waits for approval", || text(&waiting))?;
    Ok(Exit::Done)
}

/// Requests with everything that a person needs to decide on them.
pub(super) fn text(waiting: &[Shown]) -> String {
    let mut text = String::new();
    for Shown { waiting: one, change } in waiting {
        if !text.is_empty() {
            text.push('\n');
        }
        let mut field = |name: &str, value: &str| {
            let _ = writeln!(text, "  {name:<11} {value}");
        };
        let what = match (&one.capability, &one.component) {
            (Some(capability), Some(component)) => format!("{capability} of {component}"),
            (Some(capability), None) => capability.to_string(),
            (None, _) => "nothing: the run only waits for an answer".to_owned(),
        };
        let requesters: Vec<&str> = one.requesters.iter().map(Principal::as_str).collect();
        let rule = match (one.rule, one.line) {
            (Some(rule), Some(line)) => {
                let name = one.rule_name.as_deref().map_or_else(String::new, |name| format!(" {}", quoted(name)));
                format!("rule {rule}{name} (line {line}) of {}", one.policy)
            }
            _ => format!("the default of {}", one.policy),
        };
        let also: String = one.also.iter().map(|also| format!(" and also {}", also.join(", "))).collect();
        let escalated = if one.escalated { ", which is why a person is asked" } else { "" };
        field("run", &format!("{} {}", one.run, quoted(&one.workflow)));
        field("step", one.step.as_str());
        field("asked by", &requesters.join(" for "));
        field("capability", &what);
        field("risk", &format!("{}{escalated}", one.risk));
        field("rule", &rule);
        if let Some(reason) = &one.reason {
            field("because", &quoted(reason));
        }
        if one.capability.is_some() {
            for line in granted(&one.grant) {
                field("grants", &line);
            }
        }
        field("undo", &one.undo);
        field("votes", &format!("{} of {}", one.approvals, one.quorum));
        field("approvers", &escape(&format!("{}{also}", one.approvers.join(", "))));
        field("expires", &one.expires);
        if let Some(deadline) = &one.deadline {
            field("deadline", deadline);
        }
        if one.expired {
            field("", "too late: a vote is refused");
        }
        match &one.input {
            Some(input) => {
                let masked =
                    if one.masked { ", with sensitive values masked: `--show-sensitive` shows them" } else { "" };
                text.push_str(&format!("  input{masked}\n{}", json_lines(input, "    ")));
            }
            None => field("input", "erased"),
        }
        if let Some(change) = change {
            text.push_str(&changes(change));
        }
        let _ = writeln!(text, "  approve:    {}\n  reject:     {}", escape(&one.approve), escape(&one.reject));
    }
    text
}

/// What a call would change, each line with a sign before it: nothing of a file can look like a sign.
fn changes(change: &Change) -> String {
    let becomes = match (change.now, change.then) {
        (Present::Absent, Present::File) => " would be made",
        (Present::File, Present::File) => " would be written",
        (Present::File, Present::Absent) => " would be deleted",
        (Present::Absent, _) => " is not there",
        (Present::Other, _) | (Present::File, Present::Other) => "",
    };
    let link = change.link.as_ref().map_or_else(String::new, |link| format!(", a link to {},", quoted(link)));
    let mut text = format!("  {:<11} {}{link}{becomes}\n", "changes", quoted(&change.target));
    for line in &change.lines {
        let sign = match line.kind {
            LineKind::Stays => ' ',
            LineKind::Added => '+',
            LineKind::Removed => '-',
            LineKind::LeftOut => '~',
        };
        let _ = writeln!(text, "    {sign} {}", exact(&line.text));
        if line.no_end {
            text.push_str("    \\ no end of line\n");
        }
    }
    match change.why {
        Some(why) => text.push_str(&format!("    not shown whole: {why}\n")),
        None if change.lines.is_empty() => text.push_str("    no line changes\n"),
        None => {}
    }
    text
}

/// A line whose tabs, and whose blanks at the end, are written out: they may be all that changes. So is the backslash of what only looks
/// like something written out.
fn exact(line: &str) -> String {
    let text = line.trim_end_matches(' ');
    let part = |part: &str| part.split("\\u{").map(escape).collect::<Vec<_>>().join("\\u{5c}u{");
    let parts: Vec<String> = text.split('\t').map(part).collect();
    format!("{}{}", parts.join("\\u{9}"), "\\u{20}".repeat(line.len() - text.len()))
}
