//! `redress capability review`: what capabilities ask for, what the policy opens for them, and what the journal says they used.
//!
//! All of the journal is read, or the runs that were submitted since a moment. A run that cannot be read is counted and said.

use std::fmt::Write as _;

use clap::Args;
use serde::Serialize;

use super::{Context, Exit, Opening, asked, unknown};
use crate::cli::error::CliError;
use crate::cli::lookup::moment;
use crate::cli::output::quoted;
use crate::cli::text::{granted, reads};
use crate::document::escape;
use crate::engine::review::{Granted, Opened, Refused, Review, Reviewed, Reviewer, Used, yaml};
use crate::engine::{LookedThrough, each_run, rfc3339};
use crate::policy::Pattern;
use crate::saga::event::ReadRecord;
use crate::types::{CapabilityInfo, Catalog as _, DirGrant, Grant};

/// See [`Verb`](super::Verb).
#[derive(Args, Debug)]
#[command(after_help = "Example: redress capability review 'io.fs.*' --since 30d")]
pub(in crate::cli) struct Arguments {
    /// The id of an installed capability, or a pattern such as `io.fs.*`
    #[arg(value_name = "ID|PATTERN", value_parser = parse_pattern)]
    what: Pattern,
    /// Only runs that were submitted since then: a moment such as 2026-11-01T00:00:00Z, or a length of time such as 30d
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
}

fn parse_pattern(text: &str) -> Result<Pattern, String> {
    Pattern::capability(text).map_err(|error| format!("{}: {}", error.message, error.help))
}

#[derive(Serialize)]
struct Reported<'r> {
    schema: u32,
    /// Only runs since then.
    since: Option<String>,
    /// How many runs could not be read.
    unreadable: u64,
    #[serde(flatten)]
    review: &'r Review,
    /// What is suggested, as it stands in a policy file.
    yaml: String,
}

pub(super) fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let since = arguments.since.as_deref().map(|text| moment(text, context.now())).transpose()?;
    let policy = context.policy()?;
    let journal = context.journal_to_read()?;
    let (_, registry) = context.registry_by(Opening::Existing, Some(&policy))?;
    let ids = registry.ids();
    let matching = ids.iter().filter(|id| arguments.what.matches(id.as_str()));
    let subjects: Vec<&CapabilityInfo> = matching.filter_map(|id| registry.capability(id.as_str())).collect();
    if subjects.is_empty() {
        return Err(unknown(arguments.what.as_str(), &registry));
    }
    let mut reviewer = Reviewer::new(subjects, context.globals.principal.as_ref());
    let LookedThrough { unreadable, .. } = each_run(&journal, since, usize::MAX, |entries| reviewer.run(entries))?;
    let review = reviewer.finish(&policy);
    if unreadable > 0 {
        context
            .output
            .note(&format!("{unreadable} runs cannot be read and are left out: `redress audit verify` says why"));
    }
    let yaml = yaml(&review.suggested);
    let reported = Reported { schema: 1, since: since.map(rfc3339), unreadable, review: &review, yaml };
    context.output.result(&reported, || text(&reported))?;
    Ok(Exit::Done)
}

fn text(reported: &Reported<'_>) -> String {
    let review = reported.review;
    let since = reported.since.as_ref().map_or(String::new(), |since| format!(" since {since}"));
    let mut text = format!("{}{since}, against the policy {}\n\n", counted(review.runs, "run"), review.policy);
    table(&mut text, &review.capabilities);
    for one in &review.capabilities {
        details(&mut text, one);
    }
    let _ = writeln!(
        text,
        "\nthe smallest grants that would have sufficed, in place of the entries for these capabilities\n"
    );
    text.push_str(&reported.yaml);
    text
}

fn table(text: &mut String, capabilities: &[Reviewed]) {
    let heads = ["CAPABILITY", "RUNS", "CALLS", "UNDOS", "ASKED", "GRANTED", "USED"].map(str::to_owned);
    let rows: Vec<[String; 7]> = capabilities
        .iter()
        .map(|one| {
            let permissions: Vec<_> = one.asked.iter().map(|asked| asked.permission.clone()).collect();
            let used = &one.used;
            [
                one.capability.to_string(),
                used.runs.to_string(),
                used.executed.to_string(),
                used.undone.to_string(),
                asked(&permissions),
                or_word(one.granted.iter().map(|granted| short(&granted.what)).collect(), "nothing"),
                or_word(uses(used), if used.executed == 0 { "never" } else { "nothing" }),
            ]
        })
        .collect();
    let all = || std::iter::once(&heads).chain(&rows);
    let widths: [usize; 7] =
        std::array::from_fn(|column| all().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0));
    for row in all() {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .enumerate()
            .map(
                |(column, (cell, width))| {
                    if (1..=3).contains(&column) { format!("{cell:>width$}") } else { format!("{cell:width$}") }
                },
            )
            .collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn or_word(parts: Vec<String>, word: &str) -> String {
    if parts.is_empty() { word.to_owned() } else { parts.join(", ") }
}

fn short(what: &Opened) -> String {
    match what {
        Opened::Directory(dir) => format!("{} {}", quoted(&dir.guest), dir.access.as_str()),
        Opened::Url(url) => quoted(&url.url),
        Opened::Secret(secret) => format!("secret {}", secret.name),
        Opened::Config(name) => format!("config {name}"),
    }
}

fn uses(used: &Used) -> Vec<String> {
    let read = used.read.iter().map(|dir| format!("reads {}", quoted(&dir.guest)));
    let changed = used.changed.iter().map(|dir| format!("changes {}", quoted(&dir.guest)));
    let requests = used.requests.iter().map(|request| format!("{} {}", request.method, quoted(&request.url)));
    let secrets = used.secrets.iter().map(|name| format!("secret {}", escape(name)));
    read.chain(changed).chain(requests).chain(secrets).collect()
}

fn details(text: &mut String, one: &Reviewed) {
    let quiet = one.asked.is_empty() && one.granted.is_empty() && one.refused.is_empty();
    if quiet && uses(&one.used).is_empty() {
        return;
    }
    let Reviewed { capability, component, effect, risk, used, .. } = one;
    let _ = writeln!(text, "\n{capability} of {component}, {risk}, effect {}", effect.as_str());
    let mut fields = |name: &str, lines: Vec<String>| {
        for (index, line) in lines.iter().enumerate() {
            let _ = writeln!(text, "  {:<10} {line}", if index == 0 { name } else { "" });
        }
    };
    let said = |used: Option<bool>| match used {
        Some(true) => "used",
        Some(false) => "never used",
        None => "whether it is used is not recorded",
    };
    fields(
        "asked",
        one.asked.iter().map(|a| format!("{}: {}", escape(&a.permission.to_string()), said(a.used))).collect(),
    );
    let granted = |granted: &Granted| {
        let unused =
            if granted.unused.is_empty() { String::new() } else { format!(", never {}", granted.unused.join(", ")) };
        let whom = granted.principals.as_ref().map_or_else(|| "everybody".to_owned(), |whom| whom.join(", "));
        format!("{}, to {}: {}{}", shown(&granted.what), escape(&whom), said(granted.used), escape(&unused))
    };
    fields("granted", one.granted.iter().map(granted).collect());
    fields("used by", used.principals.iter().map(ToString::to_string).collect());
    let read = |dir: &crate::engine::review::ReadDir| {
        let record = ReadRecord { place: dir.guest.clone(), count: dir.opened, bytes: dir.bytes };
        reads(&record)
    };
    fields("read", used.read.iter().map(read).collect());
    let changed =
        |dir: &crate::engine::review::ChangedDir| format!("{}: {}", quoted(&dir.guest), counted(dir.targets, "target"));
    fields("changed", used.changed.iter().map(changed).collect());
    let requested = |request: &crate::engine::review::Requested| {
        let query = if request.query { ", with query" } else { "" };
        let (sent, received) = (request.sent, request.received);
        let url = quoted(&request.url);
        format!(
            "{} {url}{query}: {}, {sent} bytes sent, {received} received",
            request.method,
            counted(request.count, "time")
        )
    };
    fields("requested", used.requests.iter().map(requested).collect());
    fields("secrets", used.secrets.iter().map(|name| escape(name)).collect());
    let refused = |refused: &Refused| {
        let Refused { code, message, count, run, step } = refused;
        let count = counted(*count, "time");
        format!("{count} {}: {}, first in run {run}, step {step}", escape(code), quoted(message))
    };
    fields("refused", one.refused.iter().map(refused).collect());
    if used.unlisted > 0 {
        let line = format!("{} more effects and requests: the suggestion may be too small", used.unlisted);
        fields("unlisted", vec![line]);
    }
}

/// One thing that is opened, as `show` says it.
fn shown(what: &Opened) -> String {
    let mut grant = Grant::default();
    match what {
        Opened::Directory(dir) => grant.filesystem.push(DirGrant::clone(dir)),
        Opened::Url(url) => grant.network.push(url.clone()),
        Opened::Secret(secret) => grant.secrets.push(secret.clone()),
        Opened::Config(name) => return format!("config {name}"),
    }
    granted(&grant).join(", ")
}
