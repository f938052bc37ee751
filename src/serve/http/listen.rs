//! Connections: how many there are, how long they may take to say what they want, and how they end.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

use super::guard::Peer;

/// How many connections there are at the same time; who comes after them waits.
const CONNECTIONS: usize = 512;
/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(10);
/// How long it waits before it accepts again if the system has no room for more.
const NO_ROOM: Duration = Duration::from_millis(200);

/// Where somebody may come in.
#[derive(Debug, Default)]
pub struct Doors {
    /// Over the network.
    pub network: Option<TcpListener>,
    /// Through a file of this machine.
    pub socket: Option<UnixListener>,
}

/// Whatever bytes come and go over.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Doors {
    /// The next who comes in, and who that is, if the system says.
    async fn next(&self) -> io::Result<(Box<dyn Stream>, Option<Peer>)> {
        let network = async {
            match &self.network {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        let socket = async {
            match &self.socket {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = network => Ok((Box::new(accepted?.0), None)),
            accepted = socket => {
                let stream = accepted?.0;
                let peer = Peer(stream.peer_cred()?.uid());
                Ok((Box::new(stream), Some(peer)))
            }
        }
    }
}

/// Answers until `ends`; then what was asked is answered within `last`, and every connection ends.
pub(super) async fn answer(doors: Doors, router: Router, ends: impl Future<Output = ()>, last: Duration) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let graceful = GracefulShutdown::new();
    tokio::pin!(ends);
    loop {
        let accepted = async {
            let permit = room.clone().acquire_owned().await;
            (doors.next().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut ends => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("a connection cannot be accepted: {error}");
                tokio::time::sleep(NO_ROOM).await;
                continue;
            }
        };
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
        builder.http2().timer(TokioTimer::new()).keep_alive_interval(HEAD);
        let router = match peer {
            Some(peer) => router.clone().layer(Extension(peer)),
            None => router.clone(),
        };
        let service = TowerToHyperService::new(router);
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            let _permit = permit;
            if let Err(error) = connection.await {
                tracing::debug!("a connection ended: {error}");
            }
        });
    }
    drop(doors);
    if tokio::time::timeout(last, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections were cut that did not end by themselves");
    }
}
