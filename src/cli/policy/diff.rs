//! `redress policy diff`: what a change of the policy opens and closes.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{Context, Exit, untested};
use crate::cli::error::CliError;
use crate::document::escape;
use crate::policy::{Answer, Change, Direction, diff};
use crate::types::Digest;

/// See [`Verb`](super::Verb).
#[derive(Args, Debug)]
#[command(
    after_help = "For every principal that acts for itself, every capability and risk, one of each class that the two files answer \
    otherwise.\nConditions are opaque: beyond five different ones every change counts as looser. Exits with 6 if anything is answered less \
    strictly,\nmore is granted, or `signers:` or `providers:` differ; not if only who approves differs.\n\n\
    Example: redress policy diff policy.yaml policy.new.yaml"
)]
pub(in crate::cli) struct Arguments {
    /// The policy as it is
    old: PathBuf,
    /// The policy as it is to be
    new: PathBuf,
}

#[derive(Serialize)]
struct Compared {
    schema: u32,
    old: Digest,
    new: Digest,
    loosens: bool,
    /// Whether `signers:` or `providers:` differ; which way is for a person to see.
    components_differ: bool,
    changes: Vec<Change>,
}

pub(super) fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let ((old, _), (new, _)) = (untested(&arguments.old)?, untested(&arguments.new)?);
    let changes = diff(&old, &new).map_err(|error| {
        CliError::usage("too-many-patterns", error.to_string()).help("write fewer patterns with stars in mid-segment")
    })?;
    let components_differ = !old.lets_in_as(&new);
    let loosens = components_differ || changes.iter().any(|change| change.direction == Direction::Looser);
    let compared = Compared { schema: 1, old: old.digest(), new: new.digest(), loosens, components_differ, changes };
    context.output.result(&compared, || text(&compared))?;
    Ok(if loosens { Exit::Refused } else { Exit::Done })
}

fn text(compared: &Compared) -> String {
    let mut text = String::new();
    for change in &compared.changes {
        let way = match change.direction {
            Direction::Looser => "LOOSER",
            Direction::Stricter => "stricter",
            Direction::Other => "other approval",
        };
        let (who, what) = (escape(&change.principal), escape(&change.capability));
        let risks: Vec<&str> = change.risks.iter().map(|risk| risk.as_str()).collect();
        match &change.grant {
            None => {
                let _ = writeln!(text, "{way}: {who} {what} at {}", risks.join(", "));
                let (was, is) = (answers(&change.old), answers(&change.new));
                // Conditions are equal or not: which of two lets more through is not known.
                let otherwise = if was == is { ", by another condition, which may let more through" } else { "" };
                let _ = writeln!(text, "  was {was}\n  is  {is}{otherwise}");
            }
            Some(grant) => {
                let _ = writeln!(text, "{way}: what is granted to {who} for {what}");
                for line in &grant.removed {
                    let _ = writeln!(text, "  - {}", escape(line));
                }
                for line in &grant.added {
                    let _ = writeln!(text, "  + {}", escape(line));
                }
            }
        }
        if change.more > 0 {
            let _ = writeln!(text, "  and {} more classes in the same way", change.more);
        }
    }
    let count = |direction| compared.changes.iter().filter(|change| change.direction == direction).count();
    let (looser, stricter, other) = (count(Direction::Looser), count(Direction::Stricter), count(Direction::Other));
    if compared.components_differ {
        let _ = writeln!(text, "LOOSER, or stricter: `signers:` or `providers:` differ; look at them");
    }
    let _ = match compared.changes.len() {
        0 if compared.components_differ => writeln!(text, "what is answered and granted is the same"),
        0 => writeln!(text, "both answer and grant the same, whoever asks for whatever"),
        _ => writeln!(text, "{looser} looser, {stricter} stricter, {other} with another approval"),
    };
    text
}

/// The rules in order, as far as they can decide.
fn answers(answers: &[Answer]) -> String {
    let one = |answer: &Answer| {
        let rule = match &answer.rule {
            Some(rule) => format!("rule {} (line {})", rule.index, rule.line),
            None => "the default".to_owned(),
        };
        let when = if answer.when { ", if its condition holds" } else { "" };
        format!("{} by {rule}{when}", answer.action)
    };
    answers.iter().map(one).collect::<Vec<_>>().join("; else ")
}
