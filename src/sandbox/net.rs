//! Connections, and nothing above them: one look-up of a name, one dial of an address that somebody has checked, TLS for a
//! name. What may be dialled is decided elsewhere; nothing here looks a name up twice or follows anything.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use super::limits::leaves_room;
use super::tls::TlsError;

/// Looks names up.
pub trait Resolver: Send + Sync {
    /// The addresses of `host`, each with `port`. Called once a request; its answer is what is checked and dialled.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// How many names the system looks up at the same time: what waits for an answer holds a thread, also after whoever asked has
/// gone.
const LOOK_UPS: usize = 32;
static SLOTS: Semaphore = Semaphore::const_new(LOOK_UPS);

/// The system's resolver. A look-up cannot be called off: one whose caller has gone goes on until the system answers, and
/// changes nothing. At most 32 are under way, in all of the process; more wait for their turn.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let name = (host.to_owned(), port);
        let look_up = move || Ok((name.0.as_str(), name.1).to_socket_addrs()?.collect());
        in_turn(&SLOTS, look_up).boxed()
    }
}

/// Does what blocks on a thread of its own, once one of the slots is free; it holds the slot to its end, whoever waits.
async fn in_turn<T: Send + 'static>(
    slots: &'static Semaphore,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let slot = slots.acquire().await.map_err(io::Error::other)?;
    let work = move || {
        let done = work();
        drop(slot);
        done
    };
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Bytes both ways, in the clear or not.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An open connection.
pub type Connection = Box<dyn Stream>;

/// The certificates that TLS is to trust besides the usual ones cannot be read.
#[derive(Debug, Error)]
#[error("the additional certificates cannot be used: {0}")]
pub struct NetError(String);

/// How the host reaches others. Cheap to clone.
#[derive(Clone)]
pub struct Net {
    resolver: Arc<dyn Resolver>,
    tls: TlsConnector,
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Net").finish_non_exhaustive()
    }
}

impl Net {
    /// Trusts Mozilla's certificate authorities, and those in `extra_ca`, certificates in PEM.
    pub fn new(resolver: Arc<dyn Resolver>, extra_ca: Option<&[u8]>) -> Result<Net, NetError> {
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        if let Some(pem) = extra_ca {
            let before = roots.len();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| NetError(error.to_string()))?;
                roots.add(certificate).map_err(|error| NetError(error.to_string()))?;
            }
            if roots.len() == before {
                return Err(NetError("they hold no `BEGIN CERTIFICATE`".into()));
            }
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| NetError(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Net { resolver, tls: TlsConnector::from(Arc::new(config)) })
    }

    /// The addresses of a name, looked up once. An address in place of a name is its own answer.
    pub async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        match host.parse() {
            Ok(address) => Ok(vec![SocketAddr::new(address, port)]),
            Err(_) => self.resolver.resolve(host, port).await,
        }
    }

    /// Opens a connection to exactly this address.
    pub async fn dial(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address).await?;
        if !leaves_room(&stream) {
            return Err(io::Error::other("the host keeps its last descriptors for itself"));
        }
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// TLS over an open connection, if its certificate is for `host`.
    pub async fn secure(&self, host: &str, stream: TcpStream) -> Result<Connection, TlsError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| TlsError::no_name(host, error))?;
        let connected = self.tls.connect(name, stream).await;
        Ok(Box::new(connected.map_err(|error| TlsError::new(host, &error))?))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_look_up_whose_caller_has_gone_counts_until_it_ends() {
        static ONE: Semaphore = Semaphore::const_new(1);
        let (answer, asked) = mpsc::channel::<()>();
        let (begin, begun) = tokio::sync::oneshot::channel::<()>();
        let blocks = move || {
            begin.send(()).unwrap();
            asked.recv().map_err(io::Error::other)
        };
        tokio::select! {
            biased;
            _ = in_turn(&ONE, blocks) => panic!("nobody has answered"),
            begun = begun => begun.unwrap(),
        }
        assert_eq!(ONE.available_permits(), 0);
        answer.send(()).unwrap();
        assert_eq!(in_turn(&ONE, || Ok(7)).await.unwrap(), 7);
    }
}
