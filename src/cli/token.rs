//! `redress token`: secrets with which clients of the service act as somebody.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::Exit;
use super::context::{Context, Opening};
use super::error::CliError;
use super::output::quoted;
use crate::document::escape;
use crate::engine::rfc3339;
use crate::journal::{Journal as _, Scope, SystemEvent};
use crate::serve::Actor;
use crate::serve::token::{Token, Tokens, draw};
use crate::types::{Duration, Principal};

/// What is done with tokens.
#[derive(Subcommand, Debug)]
pub(super) enum Verb {
    /// Make a token, and print its secret once
    Add(Add),
    /// List the tokens that were not revoked
    List(List),
    /// Make a token count no more
    Revoke(Revoke),
}

/// See [`Verb::Add`].
#[derive(Args, Debug)]
#[command(after_help = "The secret is kept nowhere: if it is lost, make another one.\n\n\
    Example: redress token add agent:assistant --may submit --expires 90d --reason 'the assistant of the office'\n\
    Example: redress token add agent:assistant --for user:alice --may submit --reason 'it books for her'")]
pub(super) struct Add {
    /// Who acts with it, such as `agent:assistant`
    #[arg(value_name = "PRINCIPAL", value_parser = super::parse_principal)]
    acts_as: Principal,
    /// For whom, if an agent acts for somebody: the runs are theirs, and the policy decides on both
    #[arg(long = "for", value_name = "PRINCIPAL", value_parser = super::parse_principal)]
    acting_for: Option<Principal>,
    /// What it may be used for: `submit`, `read-all`, `vote`, `operate`; may be given again
    #[arg(long, value_name = "SCOPE", value_parser = parse_scope, required = true)]
    may: Vec<Scope>,
    /// How long it counts, such as `90d`
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "90d")]
    expires: Duration,
    /// Why
    #[arg(long, value_parser = super::parse_reason)]
    reason: String,
}

/// See [`Verb::List`].
#[derive(Args, Debug)]
#[command(after_help = "Example: redress token list")]
pub(super) struct List {}

/// See [`Verb::Revoke`].
#[derive(Args, Debug)]
#[command(
    after_help = "Whoever serves heeds it at once.\n\nExample: redress token revoke t1a2b3c4d --reason 'it was in a log'"
)]
pub(super) struct Revoke {
    /// Its name, as `token list` has it
    id: String,
    /// Why
    #[arg(long, value_parser = super::parse_reason)]
    reason: String,
}

#[derive(Serialize)]
struct Shown {
    schema: u32,
    id: String,
    principal: Principal,
    /// For whom it acts, if for somebody else.
    acting_for: Option<Principal>,
    scopes: BTreeSet<Scope>,
    expires: Option<String>,
    /// Whether its time is over.
    expired: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

fn parse_scope(word: &str) -> Result<Scope, String> {
    Scope::parse(word).ok_or_else(|| {
        let words: Vec<&str> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
        format!("it is one of {}", words.join(", "))
    })
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let length = Duration::parse(text).map_err(|error| error.to_string())?;
    if length == Duration(0) { Err("it would be over already".to_owned()) } else { Ok(length) }
}

pub(super) async fn execute(verb: &Verb, context: &Context) -> Result<Exit, CliError> {
    match verb {
        Verb::Add(arguments) => add(arguments, context).await,
        Verb::List(_) => list(context),
        Verb::Revoke(arguments) => revoke(arguments, context).await,
    }
}

/// Who acts, for whom `--for` says.
pub(super) fn acting(principal: &Principal, acting_for: Option<&Principal>) -> Result<Actor, CliError> {
    Actor::acting(principal.clone(), acting_for.cloned()).map_err(|why| {
        CliError::usage("bad-principal", why)
            .help("`--for` is for an agent, such as `agent:assistant`, and names another principal")
    })
}

async fn add(arguments: &Add, context: &Context) -> Result<Exit, CliError> {
    let by = context.principal()?.clone();
    if let Some(other) = &arguments.acting_for {
        // Whoever votes or operates answers for that alone.
        if arguments.may.iter().any(|scope| *scope != Scope::Submit) {
            let message = format!("who acts for {other} may only `submit`");
            return Err(CliError::usage("bad-scope", message).help("make another token, without `--for`, for the rest"));
        }
    }
    let Actor { principal, acting_for } = acting(&arguments.acts_as, arguments.acting_for.as_ref())?;
    let journal = context.journal(Opening::Existing)?;
    let (secret, digest) = draw()?;
    let now = context.now();
    let id: String =
        format!("t{}", digest.to_string().trim_start_matches("sha256:").chars().take(8).collect::<String>());
    let expires = now.plus(arguments.expires);
    let scopes: BTreeSet<Scope> = arguments.may.iter().copied().collect();
    let event = SystemEvent::TokenAdded {
        id: id.clone(),
        digest,
        principal: principal.clone(),
        acting_for: acting_for.clone(),
        scopes: scopes.clone(),
        expires: Some(expires),
        by,
        reason: arguments.reason.clone(),
    };
    journal.record(event, now).await?;
    let shown = Shown {
        schema: 1,
        id,
        principal,
        acting_for,
        scopes,
        expires: Some(rfc3339(expires)),
        expired: false,
        secret: Some(secret),
    };
    context.output.result(&shown, || {
        let secret = shown.secret.as_deref().unwrap_or_default();
        format!("{secret}\n")
    })?;
    context
        .output
        .note(&format!("the secret of the token `{}` for {}: it is not shown again", shown.id, shown.principal));
    Ok(Exit::Done)
}

fn list(context: &Context) -> Result<Exit, CliError> {
    let journal = context.journal_to_read()?;
    let now = context.now();
    let all = Tokens::of(std::sync::Arc::new(journal)).all()?;
    let shown: Vec<Shown> = all
        .into_iter()
        .map(|token| {
            let expired = !token.counts(now);
            let Token { id, actor: Actor { principal, acting_for }, scopes, expires } = token;
            Shown { schema: 1, id, principal, acting_for, scopes, expires: expires.map(rfc3339), expired, secret: None }
        })
        .collect();
    context.output.list(&shown, "there is no token", || {
        let mut text = String::new();
        for Shown { id, principal, acting_for, scopes, expires, expired, .. } in &shown {
            let whose = acting_for.as_ref().map_or_else(String::new, |other| format!(" for {other}"));
            let scopes: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
            let over = if *expired { ", EXPIRED" } else { "" };
            let until = expires.as_deref().unwrap_or("for ever");
            let _ = writeln!(text, "{}  {principal}{whose}  {}  until {until}{over}", escape(id), scopes.join(", "));
        }
        text
    })?;
    Ok(Exit::Done)
}

async fn revoke(arguments: &Revoke, context: &Context) -> Result<Exit, CliError> {
    let by = context.principal()?.clone();
    let journal = std::sync::Arc::new(context.journal(Opening::Existing)?);
    let tokens = Tokens::of(journal.clone());
    if !tokens.all()?.iter().any(|token| token.id == arguments.id) {
        return Err(CliError::usage("no-such-token", format!("there is no token {}", quoted(&arguments.id)))
            .help("`redress token list` has those that were not revoked"));
    }
    let event = SystemEvent::TokenRevoked { id: arguments.id.clone(), by, reason: arguments.reason.clone() };
    journal.record(event, context.now()).await?;
    context.output.note(&format!("the token {} counts no more", quoted(&arguments.id)));
    Ok(Exit::Done)
}
