//! A run for a person who reads step by step: who asked, which rule said yes, what was asked, granted and touched, how it
//! was before and after, and whether it was undone.
//!
//! What the host knows stands plain. What workflows, agents and components wrote stands in quotes, as JSON, with control,
//! bidirectional and zero-width characters escaped: no text of theirs can end its quotes, begin a line or look like the
//! host's own.

use std::fmt::{Display, Write as _};

use serde::Serialize;

use super::logs::undo_word;
use super::output::{decided, json_text, quoted};
use crate::document::escape;
use crate::engine::{ApprovalView, Done, RunView, StepView, TargetView, VoidVoteView, VoteView};
use crate::saga::event::{ReadRecord, Residue, ResidueKind};
use crate::saga::{RunState, StepState};
use crate::types::{Effect, EffectStatus, Exchange, Grant, SecretGrant, SecretSource, UrlGrant};

/// The most characters of an input or output that are shown of a step.
const MAX_VALUE: usize = 2_000;

/// A value on many lines, safe to print, each line after `indent`.
pub(super) fn json_lines(value: &impl Serialize, indent: &str) -> String {
    let pretty = serde_json::to_string_pretty(value).unwrap_or_default();
    pretty.lines().fold(String::new(), |mut out, line| {
        let _ = writeln!(out, "{indent}{}", escape(line));
        out
    })
}

/// Many lines that somebody else wrote, each after `indent`.
pub(super) fn foreign_lines(text: &str, indent: &str) -> String {
    text.lines().fold(String::new(), |mut out, line| {
        let _ = writeln!(out, "{indent}{}", escape(line));
        out
    })
}

/// A run, step by step; with every effect one by one, if `effects` says so.
pub fn run(view: &RunView, effects: bool) -> String {
    let mut page = Page::default();
    page.line(format_args!("run {} {}", view.run, view.state));
    page.field("workflow", quoted(&view.workflow));
    page.field("principal", &view.principal);
    if let Some(binary) = &view.host.binary {
        page.field("host", format_args!("redress {}, {binary}", escape(&view.host.version)));
    }
    page.field("submitted", &view.submitted);
    if let Some(closed) = &view.closed {
        page.field("closed", closed);
    }
    if let Some(reason) = &view.reason {
        let at = reason.step.as_ref().map_or(String::new(), |step| format!(" at `{step}`"));
        page.field("reason", format_args!("{}{at}: {}", reason.code, quoted(&reason.message)));
    }
    for (index, one) in view.steps.iter().enumerate() {
        page.line("");
        page.line(format_args!("step {} of {}: {} {}", index + 1, view.steps.len(), one.name, state(one, view)));
        step(&mut page, one, view, effects);
    }
    if !view.residue.is_empty() {
        page.line("");
        page.line("what remains");
        for residue in &view.residue {
            page.line(format_args!("  {}", remains(residue)));
        }
    }
    page.0
}

/// Lines, and fields with their names below one another.
#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, text: impl Display) {
        let _ = writeln!(self.0, "{text}");
    }

    fn field(&mut self, name: &str, text: impl Display) {
        let _ = writeln!(self.0, "  {name:<11} {text}");
    }

    /// A field for each; the first carries the name.
    fn fields(&mut self, name: &str, texts: impl Iterator<Item = String>) {
        for (index, text) in texts.enumerate() {
            self.field(if index == 0 { name } else { "" }, text);
        }
    }
}

/// The step's state; of one that was undone, who says so.
fn state(step: &StepView, view: &RunView) -> String {
    let said = match (step.state, view.state) {
        (StepState::Undone, _) if step.checked => ", undone (checked)",
        (StepState::Undone, _) => ", undone (component says)",
        (StepState::Succeeded, RunState::RolledBack | RunState::RolledBackWithResidue) => ", nothing to undo",
        _ => "",
    };
    format!("{}{said}", step.state)
}

fn step(page: &mut Page, step: &StepView, view: &RunView, effects: bool) {
    match (&step.capability, &step.component) {
        (Some(capability), Some(component)) => page.field("capability", format_args!("{capability} of {component}")),
        (Some(capability), None) => page.field("capability", capability),
        (None, _) => page.field("capability", "none: it waits for a person"),
    }
    match &step.agent {
        Some(agent) => page.field("asked by", format_args!("{agent} for {}", view.principal)),
        None => page.field("asked by", &view.principal),
    }
    if let Some(input) = &step.input {
        page.field("input", json_text(input, MAX_VALUE));
    }
    if let Some(decision) = &step.decision {
        page.field("decision", decided(decision));
        page.field("policy", decision.policy);
    }
    if let Some(approval) = &step.approval {
        approved(page, approval);
    }
    for VoidVoteView { vote, void, .. } in &step.void_votes {
        page.field("void vote", said(vote));
        page.field("", format_args!("void: {void}"));
    }
    if let Some(asks) = &step.asks {
        page.field("asks for", if asks.is_empty() { "nothing".to_owned() } else { escape(&asks.join(", ")) });
    }
    if let (Some(decision), Some(_)) = (&step.decision, &step.capability) {
        page.fields("granted", granted(&decision.grant).into_iter());
    }
    if step.attempts > 0 {
        page.field("attempts", step.attempts);
    }
    page.fields("touched", step.targets.iter().map(touched));
    if effects {
        done(page, "", &step.done);
        undos(page, step);
    }
    if let Some(output) = &step.output {
        page.field("output", json_text(output, MAX_VALUE));
    }
    if let Some(error) = &step.error {
        page.field("error", format_args!("{}: {}", escape(&error.code), quoted(&error.message)));
    }
}

fn approved(page: &mut Page, approval: &ApprovalView) {
    let yes = approval.votes.iter().filter(|vote| vote.approve).count();
    page.field("approval", format_args!("{yes} of {} votes, request {}", approval.quorum, approval.id));
    page.field("", format_args!("until {}, by {}", approval.expires, escape(&approval.approvers.join(", "))));
    for vote in &approval.votes {
        page.field("", said(vote));
    }
}

fn said(vote: &VoteView) -> String {
    let said = if vote.approve { "approved" } else { "rejected" };
    format!("{said} by {}: {}", vote.by, quoted(&vote.reason))
}

/// A line for each thing that is opened.
pub(super) fn granted(grant: &Grant) -> Vec<String> {
    let dirs = grant
        .filesystem
        .iter()
        .map(|dir| format!("{} is {}, {}", quoted(&dir.guest), quoted(&dir.host), dir.access.as_str()));
    let urls = grant.network.iter().map(granted_url);
    let secrets = grant.secrets.iter().map(granted_secret);
    let config = grant.config.iter().map(|(name, value)| format!("config {name} = {}", quoted(value)));
    let lines: Vec<String> = dirs.chain(urls).chain(secrets).chain(config).collect();
    if lines.is_empty() { vec!["nothing".to_owned()] } else { lines }
}

/// `GET, POST https://api.example.com/**`, and what else the entry says.
pub(super) fn granted_url(grant: &UrlGrant) -> String {
    let methods: Vec<&str> = grant.methods.iter().map(|method| method.as_str()).collect();
    let flags = [
        (grant.query, ", with query"),
        (grant.local, ", a local host"),
        (grant.reads_are_effects, ", reads are effects"),
    ];
    let flags: String = flags.into_iter().filter(|(set, _)| *set).map(|(_, text)| text).collect();
    format!("{} {}{flags}", methods.join(", "), quoted(&grant.url))
}

fn granted_secret(secret: &SecretGrant) -> String {
    let source = match &secret.source {
        SecretSource::Env(name) => format!("variable {}", quoted(name)),
        SecretSource::File(path) => format!("file {}", quoted(path)),
    };
    format!("secret {} from {source}, for {}", secret.name, escape(&secret.hosts.join(", ")))
}

fn touched(target: &TargetView) -> String {
    let after = target.after.as_deref().map_or_else(|| "not known".to_owned(), host_word);
    format!("{}: before {}, after {after}", quoted(&target.target), host_word(&target.before))
}

/// A target's state; it can hold what a link says, or what the system calls an error.
fn host_word(state: &str) -> String {
    let plain = state.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b','));
    if plain && !state.starts_with("link") { state.to_owned() } else { quoted(state) }
}

/// Every effect, request and read of a step's attempts, or of one attempt to undo it.
fn done(page: &mut Page, undo: &str, done: &Done) {
    let name = |name: &str| if undo.is_empty() { name.to_owned() } else { format!("{undo}{name}") };
    page.fields(&name("effects"), done.effects.iter().map(effect));
    page.fields(&name("egress"), done.egress.iter().map(effect));
    page.fields(&name("reads"), done.reads.iter().map(reads));
    if done.unlisted > 0 {
        page.field("", format_args!("{} more effects and requests are counted, and not listed", done.unlisted));
    }
}

fn undos(page: &mut Page, step: &StepView) {
    for undo in &step.undos {
        let checked = if undo.checked { " (checked)" } else { "" };
        page.field("undo", format_args!("attempt {}: {}{checked}", undo.attempt, undo_word(undo.outcome)));
        // What the step ended with stands below.
        if let Some(error) = undo.error.as_ref().filter(|error| step.error.as_ref() != Some(error)) {
            page.field("", format_args!("{}: {}", escape(&error.code), quoted(&error.message)));
        }
        done(page, "  ", &undo.done);
    }
}

/// What was read in a directory.
pub(super) fn reads(read: &ReadRecord) -> String {
    let place = quoted(&read.place);
    match read.count {
        0 if read.bytes == 0 => format!("{place}: looked at"),
        count => format!("{place}: {count} opened, {} bytes", read.bytes),
    }
}

pub(super) fn effect(effect: &Effect) -> String {
    let to = effect.to.as_ref().map_or(String::new(), |to| format!(" to {}", quoted(&to.to_string())));
    let bytes = if effect.bytes > 0 { format!(", {} bytes", effect.bytes) } else { String::new() };
    let status = match effect.status {
        EffectStatus::Refused => "refused: nothing changed",
        EffectStatus::LetOut => "let out, no answer",
        EffectStatus::Done => "done",
        EffectStatus::Failed => "failed after it was let out",
    };
    let exchange = effect.exchange.as_ref().map_or(String::new(), exchange);
    format!("{} {}{to}: {status}{bytes}{exchange}", escape(&effect.kind), quoted(&effect.target.to_string()))
}

/// With whom a request was exchanged, and what came of it.
fn exchange(exchange: &Exchange) -> String {
    let mut text = match exchange.address.as_str() {
        "" => ", the name has no address".to_owned(),
        address => format!(", to {}", escape(address)),
    };
    match exchange.status {
        Some(status) => {
            let _ = write!(text, ", status {status}, {} bytes received", exchange.received);
        }
        None => text.push_str(", no answer"),
    }
    if let Some(body) = &exchange.body {
        let _ = write!(text, ", body {}", body.short());
    }
    if !exchange.secrets.is_empty() {
        let _ = write!(text, ", with secret {}", escape(&exchange.secrets.join(", ")));
    }
    text
}

/// What is known of something that remains.
pub(super) fn remains(residue: &Residue) -> String {
    let what = match residue.what {
        ResidueKind::Happened => "happened and cannot be undone",
        ResidueKind::PossiblyHappened => "possibly happened and cannot be undone",
        ResidueKind::UndoneByHand => "an operator says that it was undone by hand",
        ResidueKind::Left => "left as it is by an operator",
        ResidueKind::NotUndone => "not undone",
    };
    let targets: Vec<String> = residue.targets.iter().map(|target| quoted(target)).collect();
    let targets = if targets.is_empty() { String::new() } else { format!(": {}", targets.join(", ")) };
    let reason = residue.reason.as_ref().map_or(String::new(), |reason| format!(" ({})", quoted(reason)));
    format!("{}: {what}{targets}{reason}", residue.step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{HttpMethod, Target, sha256};

    #[test]
    fn lines_of_others_stay_behind_their_indent() {
        assert_eq!(foreign_lines("a\nb\u{1b}c\n", "| "), "| a\n| b\\u{1b}c\n");
        assert_eq!(json_lines(&serde_json::json!({"k": "\u{202e}"}), " "), " {\n   \"k\": \"\\u{202e}\"\n }\n");
    }

    #[test]
    fn what_a_link_says_cannot_look_like_a_state() {
        assert_eq!(host_word("file of 5 bytes, 2cf24dba5fb0"), "file of 5 bytes, 2cf24dba5fb0");
        assert_eq!(host_word("link to x, after absent"), "\"link to x, after absent\"");
        assert_eq!(host_word("unknown: a\nb"), "\"unknown: a\\nb\"");
    }

    #[test]
    fn a_request_says_with_whom_it_was_exchanged_and_what_came_of_it() {
        let target = Target::Http { method: HttpMethod::Post, url: "https://api.test/v1?q=\"".into() };
        let exchange = Exchange {
            address: "192.0.2.1:443".into(),
            status: Some(201),
            received: 7,
            body: Some(sha256(b"hello")),
            secrets: vec!["TOKEN".into()],
        };
        let kind = "http.post".to_owned();
        let sent = Effect { kind, target, to: None, status: EffectStatus::Done, bytes: 5, exchange: Some(exchange) };
        assert_eq!(
            effect(&sent),
            "http.post \"POST https://api.test/v1?q=\\\"\": done, 5 bytes, to 192.0.2.1:443, status 201, 7 bytes received, \
             body 2cf24dba5fb0, with secret TOKEN"
        );
        let unsent = Effect { status: EffectStatus::Refused, bytes: 0, exchange: Some(Exchange::default()), ..sent };
        assert!(effect(&unsent).ends_with("refused: nothing changed, the name has no address, no answer"));
    }
}
