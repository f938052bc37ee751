//! Connections, and nothing above them: one look-up of a name, one dial of an address that somebody has checked, TLS for a
//! name. What may be dialled is decided elsewhere; nothing here looks a name up twice or follows anything.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

/// Looks names up.
pub trait Resolver: Send + Sync {
    /// The addresses of `host`, each with `port`. Called once a request; its answer is what is checked and dialled.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// The system's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) }.boxed()
    }
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
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// TLS over an open connection, if its certificate is for `host`.
    pub async fn secure(&self, host: &str, stream: TcpStream) -> io::Result<Connection> {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Box::new(self.tls.connect(name, stream).await?))
    }
}
