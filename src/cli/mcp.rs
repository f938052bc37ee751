//! `redress mcp`: an agent that started this process calls capabilities as tools, over standard input and output.
//!
//! Whoever is in force as the principal is who acts, for whom `--for` says. When the client closes the connection, what it left open is
//! rolled back; what waits for a person stays, and goes on with whoever approves it. When the process is told to end, every run stays resumable.

use std::borrow::Cow;
use std::io::{BufRead, IsTerminal as _, Read as _, Write};
use std::os::unix::net::UnixStream as Pair;
use std::time::Duration;

use clap::Args;
use rmcp::service::{Peer, RoleServer, ServiceExt as _};
use rmcp::transport::async_rw::AsyncRwTransport;
use tokio::net::UnixStream;

use super::Exit;
use super::context::{Context, Opening};
use super::drive::{self, Interrupt};
use super::error::CliError;
use super::token::acting;
use crate::engine::Engine;
use crate::serve::Keeper;
use crate::serve::mcp::{Connection, strict};
use crate::types::Principal;

/// The longest message that is taken: an input may have as much.
const MAX_MESSAGE: usize = 32 << 20;
/// How often it is looked whether another policy is in force.
const LOOK: Duration = Duration::from_millis(200);

/// See [`super::Command::Mcp`].
#[derive(Args, Debug)]
#[command(after_help = "A client starts it by itself, from settings such as\n\n  \
    { \"mcpServers\": { \"redress\": { \"command\": \"redress\", \"args\": [\"mcp\", \"--as\", \"agent:assistant\"], \"cwd\": \"/srv/acme\" } } }\n\n\
    Example: redress mcp --as agent:assistant\n\
    Example: redress mcp --as agent:assistant --for user:alice")]
pub(super) struct Arguments {
    /// For whom the agent acts, if for somebody else: the runs are theirs, and the policy decides on both
    #[arg(long = "for", value_name = "PRINCIPAL", value_parser = super::parse_principal)]
    acting_for: Option<Principal>,
}

pub(super) async fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let settings = context.settings()?;
    settings.check_complete()?;
    let principal = context.principal()?.clone();
    let actor = acting(&principal, arguments.acting_for.as_ref())?;
    let host = context.host(context.tools(Opening::Create)?)?;
    drive::tell_of_orphans(context, &host)?;
    if std::io::stdin().is_terminal() {
        context.output.note("waiting for messages of the Model Context Protocol on standard input; end it with Ctrl-D");
    }
    let interrupt = Interrupt::listen(context, "redress recover".to_owned())?;
    let keeper = Keeper::new(host.engine.clone(), settings.max_runs());
    let connection = Connection::new(keeper.clone(), actor, settings.submit(principal), context.globals.show_sensitive);
    let told = drive::tell(context, &host, &keeper);
    let served = serve(context, &connection, &keeper, &interrupt);
    let served = tokio::select! {
        served = served => served,
        never = told => Err(never),
    };
    keeper.stop().await;
    drive::tell_people(context, &host, &interrupt).await;
    served.map(|()| Exit::Done)
}

/// Answers until the client closes the connection, or the process is told to end.
async fn serve(
    context: &Context,
    connection: &Connection,
    keeper: &Keeper,
    interrupt: &Interrupt,
) -> Result<(), CliError> {
    let io = |error: std::io::Error| CliError::engine("io", format!("standard input cannot be read: {error}"));
    let transport = AsyncRwTransport::new_server(standard_input().map_err(io)?, tokio::io::stdout());
    let begun = tokio::select! {
        begun = connection.clone().serve(transport.with_max_line_length(MAX_MESSAGE)) => begun,
        () = interrupt.wait() => return Ok(()),
    };
    let mut running = match begun {
        Ok(running) => running,
        Err(rmcp::service::ServerInitializeError::ConnectionClosed(_)) => {
            context.output.note("the connection ended before a client had said who it is");
            return Ok(());
        }
        Err(error) => {
            return Err(CliError::usage("protocol", format!("the client does not begin as it should: {error}")));
        }
    };
    let peer = running.peer().clone();
    tokio::select! {
        () = closed(&peer) => {
            connection.end().await;
            // What was called goes on to its end.
            tokio::select! {
                () = keeper.all_rest() => {}
                () = interrupt.wait() => {}
            }
        }
        () = interrupt.wait() => {}
        () = follow_policy(keeper.engine(), &peer) => {}
    }
    drop(running.close().await);
    Ok(())
}

/// Waits until nobody is at the other end.
async fn closed(peer: &Peer<RoleServer>) {
    while !peer.is_transport_closed() {
        tokio::time::sleep(LOOK).await;
    }
}

/// Says that there are other tools whenever there is another policy.
async fn follow_policy(engine: &Engine, peer: &Peer<RoleServer>) {
    let mut known = engine.policy().digest();
    loop {
        tokio::time::sleep(LOOK).await;
        let now = engine.policy().digest();
        if std::mem::replace(&mut known, now) != now {
            // A client that has gone is seen elsewhere.
            drop(peer.notify_tool_list_changed().await);
        }
    }
}

/// Standard input, read by a thread of its own: one that waits for it keeps the process from ending in no case.
fn standard_input() -> std::io::Result<UnixStream> {
    let (mut inner, outer) = Pair::pair()?;
    outer.set_nonblocking(true)?;
    std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        // Whoever reads has gone, or nothing more comes: either way that is the end.
        drop(pass_on(&mut std::io::stdin().lock(), &mut inner));
    })?;
    UnixStream::from_std(outer)
}

/// Passes messages on, a line each, as [`strict`] reads them. What is longer than a message may be passes as it is: it is refused there.
fn pass_on(from: &mut impl BufRead, to: &mut impl Write) -> std::io::Result<()> {
    let (mut line, mut begins) = (Vec::new(), true);
    loop {
        line.clear();
        let read = from.take(MAX_MESSAGE as u64).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        let ends = line.ends_with(b"\n") || read < MAX_MESSAGE;
        match strict(&line) {
            Cow::Owned(mut message) if begins && ends => {
                message.push(b'\n');
                to.write_all(&message)?;
            }
            _ => to.write_all(&line)?,
        }
        begins = ends;
    }
}
