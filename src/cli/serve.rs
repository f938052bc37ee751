//! `redress serve`: the service over HTTP, until it is told to end.
//!
//! Runs whose process died are taken over and driven, at the start and whenever there are new ones; approvals expire, retries and open
//! runs that are idle move when their time comes; a changed policy is put in force; people are told what waits for them.

use std::collections::{BTreeSet, HashSet};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio::net::{TcpListener, UnixListener};

use super::Exit;
use super::context::{Context, Opening, shown_path};
use super::drive::{self, Interrupt};
use super::error::CliError;
use crate::document::escape;
use crate::engine::Engine;
use crate::serve::http::{self, About, Doors, Service};
use crate::serve::{Keeper, blocking};
use crate::types::{Principal, RunId};

/// Where it listens unless something else is said: only who is on the machine can reach it.
const LISTEN: &str = "127.0.0.1:7433";
/// How often it is looked for runs whose process died.
const RECOVER: Duration = Duration::from_secs(5);
/// The same, if there were more than are taken over at a time.
const SOON: Duration = Duration::from_millis(100);
/// How many of them are taken over at a time.
const AT_ONCE: usize = 32;

/// See [`super::Command::Serve`].
#[derive(Args, Debug)]
#[command(
    after_help = "Who may ask for anything has a token: `redress token add`. What there is to ask is at /openapi.json.\n\
    It speaks plain HTTP: to be reached from elsewhere it belongs behind a proxy that speaks TLS, whose name `--host` gives.\n\n\
    Example: redress serve --listen 127.0.0.1:7433\n\
    Example: redress serve --socket /run/redress.sock"
)]
pub(super) struct Arguments {
    /// The address and port; `listen:` of the settings, or 127.0.0.1:7433 if nothing is said
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// A socket of this machine to listen at, where users whom `peers:` of the settings names need no token; without `--listen` nothing
    /// else is listened at
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// A further name under which it is reached, as clients write it in `Host`; may be given again
    #[arg(long, value_name = "NAME[:PORT]")]
    host: Vec<String>,
}

#[derive(Serialize)]
struct Listening {
    schema: u32,
    /// The address and port, if it listens at one.
    listen: Option<String>,
    /// The socket, if it listens at one.
    socket: Option<String>,
}

pub(super) async fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let settings = context.settings()?;
    settings.policy()?;
    let journal = settings.journal()?.to_owned();
    let socket = arguments.socket.as_ref().or(settings.socket.as_ref());
    let listen = match arguments.listen.or(settings.listen) {
        Some(listen) => Some(listen),
        None if socket.is_some() => None,
        None => Some(LISTEN.parse().map_err(|_| CliError::engine("listen", format!("`{LISTEN}` is no address")))?),
    };
    if socket.is_none() && !settings.peers.is_empty() {
        let message = "`peers` names users of a socket, and there is none to listen at";
        return Err(CliError::usage("no-socket", message)
            .help("write `socket: PATH` into the settings, or give `--socket PATH`"));
    }
    let host = context.host(context.tools(Opening::Create)?)?;
    let network = match listen {
        Some(listen) => Some(on_network(listen).await?),
        None => None,
    };
    let listen = network.as_ref().and_then(|listener| listener.local_addr().ok());
    let socket = socket.map(|path| at_socket(path)).transpose()?;
    let interrupt = Interrupt::listen(context, "redress serve".to_owned())?;
    let keeper = Keeper::new(host.engine.clone(), settings.max_runs());
    // Each run has the principal of the token that it is submitted with.
    let nobody = Principal::parse("system:serve").map_err(|error| CliError::engine("principal", error.to_string()))?;
    let about = About { hosts: hosts(listen, &arguments.host), peers: settings.peers.clone(), journal };
    let service = Service::new(keeper.clone(), settings.submit(nobody), about);
    let (socket, removed) = socket.unzip();
    let listening = Listening {
        schema: 1,
        listen: listen.map(|listen| listen.to_string()),
        socket: removed.as_ref().map(|removed| shown_path(&removed.path)),
    };
    context.output.result(&listening, || {
        let network = listening.listen.as_ref().map(|listen| format!("http://{listen}"));
        let all: Vec<String> = network.into_iter().chain(listening.socket.clone()).collect();
        format!("listening at {}", all.join(" and "))
    })?;
    let ends = {
        let interrupt = interrupt.clone();
        async move { interrupt.wait().await }
    };
    let served = tokio::select! {
        () = http::serve(service, Doors { network, socket }, ends) => Ok(()),
        never = drive::tell(context, &host, &keeper) => Err(never),
        () = recover(&host.engine, &keeper) => Ok(()),
    };
    keeper.stop().await;
    drive::tell_people(context, &host, &interrupt).await;
    drop(removed);
    served.map(|()| Exit::Done)
}

async fn on_network(listen: SocketAddr) -> Result<TcpListener, CliError> {
    TcpListener::bind(listen).await.map_err(|error| {
        CliError::engine("listen", format!("nobody can listen at {listen}: {error}"))
            .help("name another port with `--listen ADDR`")
    })
}

/// A file at which this process listens; removed when this is dropped, unless another one has taken its place.
struct Removed {
    path: PathBuf,
    /// Its device and inode.
    identity: Option<(u64, u64)>,
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    path.symlink_metadata().ok().map(|about| (about.dev(), about.ino()))
}

impl Drop for Removed {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// Listens at `path`, which every user may connect to: who is let in is decided by who that is. A file that a process left there
/// that died is replaced.
fn at_socket(path: &Path) -> Result<(UnixListener, Removed), CliError> {
    let failed = |error: &std::io::Error| {
        CliError::engine("listen", format!("nobody can listen at `{}`: {error}", path.display()))
            .help("name another file with `--socket PATH`")
    };
    let is_socket = path.symlink_metadata().is_ok_and(|about| about.file_type().is_socket());
    if is_socket {
        let answer = std::os::unix::net::UnixStream::connect(path).map_err(|error| error.kind());
        if answer.is_err_and(|kind| kind == ErrorKind::ConnectionRefused) {
            std::fs::remove_file(path).map_err(|error| failed(&error))?;
        }
    }
    let listener = UnixListener::bind(path).map_err(|error| failed(&error))?;
    let removed = Removed { path: path.to_owned(), identity: identity(path) };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).map_err(|error| failed(&error))?;
    Ok((listener, removed))
}

/// Every value of `Host` under which it is reached.
fn hosts(listen: Option<SocketAddr>, more: &[String]) -> BTreeSet<String> {
    // Whoever comes through the socket names no port.
    let mut hosts = BTreeSet::from(["localhost".to_owned()]);
    if let Some(listen) = listen {
        let port = listen.port();
        hosts.extend(["127.0.0.1", "localhost", "[::1]"].iter().map(|name| format!("{name}:{port}")));
        hosts.insert(listen.to_string());
    }
    hosts.extend(more.iter().map(|name| name.to_ascii_lowercase()));
    hosts
}

/// Takes over runs whose process died, oldest first. Never returns: what keeps it from that now need not do so later.
async fn recover(engine: &Engine, keeper: &Keeper) {
    let mut left: HashSet<RunId> = HashSet::new();
    loop {
        let asked = engine.clone();
        let found = blocking(move || asked.candidates()).await;
        let runs = found.map(|found| found.runs).unwrap_or_else(|error| {
            tracing::warn!("nobody can be taken over from now: {}", escape(&error.to_string()));
            Vec::new()
        });
        let wanted: Vec<RunId> = runs.into_iter().filter(|run| !left.contains(run)).take(AT_ONCE).collect();
        let more = wanted.len() == AT_ONCE;
        left.extend(keeper.recover(wanted).await);
        tokio::time::sleep(if more { SOON } else { RECOVER }).await;
    }
}
