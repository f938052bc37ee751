//! `redress webhook`: try the webhook, send what waits, and see what was sent.

use std::fmt::Write as _;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::Exit;
use super::context::{Context, Opening};
use super::drive::Interrupt;
use super::error::CliError;
use super::output::quoted;
use crate::engine::{Sent, Webhook, rfc3339, send_test};
use crate::journal::{Answer, Ended, Journal, MessageRow, Messages, Then};
use crate::types::{RunId, StepName};

/// How many messages are read at a time.
const PAGE: usize = 500;

/// The verbs.
#[derive(Subcommand, Debug)]
pub(super) enum Verb {
    /// Send a test message once, and say what came back
    Test(Test),
    /// Send the messages that are due
    Deliver(Deliver),
    /// List the messages that were made for people and what came of them, newest first
    List(List),
}

/// What `webhook test` is given.
#[derive(Args, Debug)]
#[command(after_help = "Exits with 6 if the receiver does not take it.\n\nExample: redress webhook test")]
pub(super) struct Test {}

/// What `webhook deliver` is given.
#[derive(Args, Debug)]
#[command(after_help = "Exits with 6 if one of them was not delivered.\n\nExample: redress webhook deliver --wait")]
pub(super) struct Deliver {
    /// Stay until every message is delivered or given up
    #[arg(long)]
    wait: bool,
}

/// What `webhook list` is given.
#[derive(Args, Debug)]
#[command(after_help = "Example: redress webhook list")]
pub(super) struct List {
    /// Only those that still wait, in the order in which they are due
    #[arg(long)]
    waiting: bool,
}

pub(super) async fn execute(verb: &Verb, context: &Context) -> Result<Exit, CliError> {
    match verb {
        Verb::Test(_) => test(context).await,
        Verb::Deliver(arguments) => deliver(arguments, context).await,
        Verb::List(arguments) => list(arguments, context),
    }
}

/// What `webhook test` prints.
#[derive(Debug, Serialize)]
struct Tested {
    schema: u32,
    id: String,
    origin: String,
    delivered: bool,
    #[serde(flatten)]
    answer: Shown,
}

/// What came back, of which one is there.
#[derive(Debug, Serialize)]
struct Shown {
    status: Option<u16>,
    failure: Option<String>,
}

impl From<&Answer> for Shown {
    fn from(answer: &Answer) -> Shown {
        match answer {
            Answer::Status(status) => Shown { status: Some(*status), failure: None },
            Answer::Failed(why) => Shown { status: None, failure: Some(why.clone()) },
        }
    }
}

impl Shown {
    fn text(&self) -> String {
        match (&self.status, &self.failure) {
            (Some(status), _) => format!("status {status}"),
            (None, why) => quoted(why.as_deref().unwrap_or("nothing")),
        }
    }
}

async fn test(context: &Context) -> Result<Exit, CliError> {
    let webhook: &Webhook = context.settings()?.webhook()?;
    let (id, answer) = send_test(webhook, &context.net()?, context.now()).await?;
    let delivered = matches!(answer, Answer::Status(200..=299));
    let tested = Tested { schema: 1, id, origin: webhook.origin(), delivered, answer: Shown::from(&answer) };
    context.output.result(&tested, || {
        let verdict = if delivered { "took the test message" } else { "did not take the test message" };
        format!("{} {verdict}: {}", tested.origin, tested.answer.text())
    })?;
    Ok(if delivered { Exit::Done } else { Exit::Refused })
}

async fn deliver(arguments: &Deliver, context: &Context) -> Result<Exit, CliError> {
    context.settings()?.webhook()?;
    let journal = context.journal(Opening::Existing)?;
    let owners = journal.owners_dir();
    let Some(outbox) = context.outbox(Arc::new(journal), &owners)? else { return Ok(Exit::Done) };
    let mut all = Vec::new();
    let mut tell = |sent: &Sent| {
        if !context.output.is_json() {
            context.output.note(&line(sent));
        }
        all.push(sent.clone());
    };
    let mut interrupted = false;
    if arguments.wait {
        let interrupt = Interrupt::listen(context, "redress webhook deliver".to_owned())?;
        tokio::select! {
            done = outbox.deliver_all(&mut tell) => done?,
            () = interrupt.wait() => interrupted = true,
        }
    } else {
        outbox.deliver().await?.iter().for_each(&mut tell);
    }
    let missed = missed(&all, arguments.wait);
    let rows: Vec<Tried> = all.iter().map(Tried::of).collect();
    context.output.list(&rows, if arguments.wait { "nothing was sent" } else { "nothing is due" }, || {
        format!("{} sent, {missed} not delivered", rows.len())
    })?;
    Ok(match (interrupted, missed) {
        (true, _) => Exit::Interrupted,
        (false, 0) => Exit::Done,
        (false, _) => Exit::Refused,
    })
}

/// How many tries ended without a delivery; with `ended`, only those that were the last of their message.
fn missed(all: &[Sent], ended: bool) -> usize {
    all.iter()
        .filter(|sent| match sent.tried.then {
            Then::End(end) => end != Ended::Delivered,
            Then::Again(_) => !ended,
        })
        .count()
}

/// What is said of every message.
#[derive(Debug, Serialize)]
struct Head {
    schema: u32,
    id: String,
    event: &'static str,
    run: RunId,
    step: StepName,
    state: &'static str,
}

impl Head {
    fn of(message: &MessageRow, ended: Option<Ended>) -> Head {
        Head {
            schema: 1,
            id: message.id.clone(),
            event: message.kind.as_str(),
            run: message.run.clone(),
            step: message.step.clone(),
            state: ended.map_or(WAITING, Ended::as_str),
        }
    }
}

/// One try as `webhook deliver` prints it.
#[derive(Debug, Serialize)]
struct Tried {
    #[serde(flatten)]
    head: Head,
    #[serde(flatten)]
    answer: Shown,
    /// When it is tried again.
    next: Option<String>,
}

impl Tried {
    fn of(sent: &Sent) -> Tried {
        let Sent { message, tried } = sent;
        let (ended, next) = match tried.then {
            Then::End(end) => (Some(end), None),
            Then::Again(due) => (None, Some(rfc3339(due))),
        };
        Tried { head: Head::of(message, ended), answer: Shown::from(&tried.answer), next }
    }
}

/// What came of a try, for a person.
pub(super) fn line(sent: &Sent) -> String {
    let Tried { head: Head { event, run, step, state, .. }, answer, next } = Tried::of(sent);
    let next = next.map_or_else(String::new, |next| format!(", tried again at {next}"));
    format!("{event} of run {run}, step {step}: {state} ({}){next}", answer.text())
}

const WAITING: &str = "waiting";

/// One message in the delivery log.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    head: Head,
    created: String,
    tries: u32,
    /// When the last try ended, and what came back.
    tried: Option<String>,
    #[serde(flatten)]
    answer: Shown,
    /// When it is tried next.
    next: Option<String>,
}

impl Row {
    fn of(message: MessageRow) -> Row {
        let head = Head::of(&message, message.ended);
        let (tried, answer) = message.last.unzip();
        Row {
            head,
            created: rfc3339(message.created),
            tries: message.tries,
            tried: tried.map(rfc3339),
            answer: answer.as_ref().map_or(Shown { status: None, failure: None }, Shown::from),
            next: message.due.map(rfc3339),
        }
    }
}

fn list(arguments: &List, context: &Context) -> Result<Exit, CliError> {
    let journal = context.journal_to_read()?;
    let rows: Vec<Row> = match arguments.waiting {
        true => journal.messages(Messages::Waiting, usize::MAX)?.into_iter().map(Row::of).collect(),
        false => log(&journal)?,
    };
    context.output.list(&rows, "there are no messages", || text(&rows))?;
    Ok(Exit::Done)
}

fn log(journal: &dyn Journal) -> Result<Vec<Row>, CliError> {
    let mut rows: Vec<Row> = Vec::new();
    loop {
        let before = rows.last().map(|row| row.head.id.clone());
        let page = journal.messages(Messages::Log { before: before.as_deref() }, PAGE)?;
        let last = page.len() < PAGE;
        rows.extend(page.into_iter().map(Row::of));
        if last {
            return Ok(rows);
        }
    }
}

fn text(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        let Head { id, event, run, step, state, .. } = &row.head;
        let _ = writeln!(text, "{state} {event} {id}");
        let _ = writeln!(text, "  run {run}, step {step}, made {}", row.created);
        if let Some(tried) = &row.tried {
            let _ = writeln!(text, "  tries {}, the last at {tried}: {}", row.tries, row.answer.text());
        }
        if let Some(next) = &row.next {
            let _ = writeln!(text, "  next try {next}");
        }
    }
    text
}
