//! A server on loopback that counts what reaches it and answers what the test says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned, crypto};

/// One request as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Received {
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

type Talk = Box<dyn FnOnce(&mut dyn Write) + Send>;

/// What the server does with a request.
pub enum Reply {
    /// Answers with status, headers and body; the length is added.
    Answer(u16, Vec<(String, String)>, Vec<u8>),
    /// Writes exactly these bytes, then closes.
    Raw(Vec<u8>),
    /// Closes without a word.
    Close,
    /// Calls this with the connection.
    Talk(Talk),
}

impl Reply {
    pub fn ok(body: impl Into<Vec<u8>>) -> Reply {
        Reply::Answer(200, Vec::new(), body.into())
    }
}

type Answers = dyn Fn(&Received) -> Reply + Send + Sync;

struct Shared {
    connections: AtomicUsize,
    received: Mutex<Vec<Received>>,
    answers: Box<Answers>,
    tls: Option<Arc<ServerConfig>>,
    open: std::sync::atomic::AtomicBool,
}

/// Listens until it is dropped.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    tls_name: Option<String>,
}

impl Server {
    /// Listens on a free port of 127.0.0.1.
    pub fn start(answers: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Server {
        Server::listen(Box::new(answers), None)
    }

    /// The same with TLS, for this name.
    pub fn start_tls(
        authority: &Authority,
        name: &str,
        answers: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) -> Server {
        Server::start_with(authority.server(authority.certificate(name)), name, answers)
    }

    /// The same with exactly this configuration of TLS, whatever its certificate says.
    pub fn start_with(
        tls: ServerConfig,
        name: &str,
        answers: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) -> Server {
        Server::listen(Box::new(answers), Some((Arc::new(tls), name.to_owned())))
    }

    fn listen(answers: Box<Answers>, tls: Option<(Arc<ServerConfig>, String)>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tls, tls_name) = tls.unzip();
        let shared = Arc::new(Shared {
            connections: AtomicUsize::new(0),
            received: Mutex::default(),
            answers,
            tls,
            open: std::sync::atomic::AtomicBool::new(true),
        });
        let serving = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for connection in listener.incoming() {
                if !serving.open.load(Ordering::SeqCst) {
                    break;
                }
                let shared = Arc::clone(&serving);
                std::thread::spawn(move || shared.serve(connection.unwrap()));
            }
        });
        Server { address, shared, thread: Some(thread), tls_name }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// A URL on this server; by its name if it has TLS.
    pub fn url(&self, path: &str) -> String {
        match &self.tls_name {
            Some(name) => format!("https://{name}:{}{path}", self.port()),
            None => format!("http://127.0.0.1:{}{path}", self.port()),
        }
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The requests so far.
    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.open.store(false, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) {
        self.connections.fetch_add(1, Ordering::SeqCst);
        match &self.tls {
            Some(config) => {
                let connection = ServerConnection::new(Arc::clone(config)).unwrap();
                self.talk(&mut StreamOwned::new(connection, stream));
            }
            None => self.talk(&mut { stream }),
        }
    }

    fn talk(&self, stream: &mut (impl Read + Write)) {
        let Some(received) = read(stream) else { return };
        self.received.lock().unwrap().push(received.clone());
        match (self.answers)(&received) {
            Reply::Answer(status, headers, body) => {
                let mut head = format!("HTTP/1.1 {status} .\r\ncontent-length: {}\r\n", body.len());
                for (name, value) in headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                let body = if received.method == "HEAD" { Vec::new() } else { body };
                drop(stream.write_all(format!("{head}\r\n").as_bytes()).and_then(|()| stream.write_all(&body)));
            }
            Reply::Raw(bytes) => drop(stream.write_all(&bytes)),
            Reply::Close => {}
            Reply::Talk(talk) => talk(stream),
        }
        drop(stream.flush());
    }
}

fn read(stream: &mut impl Read) -> Option<Received> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let mut received = Received { method: words.next()?.into(), path: words.next()?.into(), ..Received::default() };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => received.headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
            None => break,
        }
    }
    if let Some(length) = received.header("content-length") {
        received.body = vec![0; length.parse().ok()?];
        reader.read_exact(&mut received.body).ok()?;
    } else if received.header("transfer-encoding").is_some() {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).ok()?;
            let mut chunk = vec![0; usize::from_str_radix(size.trim(), 16).ok()?];
            reader.read_exact(&mut chunk).ok()?;
            reader.read_line(&mut String::new()).ok()?;
            if chunk.is_empty() {
                break;
            }
            received.body.extend(chunk);
        }
    }
    Some(received)
}

/// A certificate authority of the tests.
pub struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
}

impl Authority {
    pub fn new() -> Authority {
        Authority::named("authority of a test")
    }

    pub fn named(name: &str) -> Authority {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: rcgen::Issuer::new(params, key), pem }
    }

    /// What must be trusted for its servers to be believed.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// What a certificate for this name says.
    pub fn certificate(&self, name: &str) -> rcgen::CertificateParams {
        rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap()
    }

    /// TLS with a certificate that says this and is signed by the authority.
    pub fn server(&self, params: rcgen::CertificateParams) -> ServerConfig {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap()
    }
}
