//! The HTTP gate: every request of a component comes through [`Sending::exchange`], and there is no other way out.
//!
//! It decides in this order, and stops at the first no. Nothing is sent before step 8, and no packet before step 6.
//!
//! 1. was the call interrupted, or has it sent as many requests as it may?
//! 2. is the method one that can be granted, and the URL in normal form: `http` or `https`, a host in lower case without a
//!    user, no dot segments, no escaped dots and slashes, no usual port?
//! 3. does the capability ask for it, and does one entry of the grant open it: scheme, host, port, path, method, query?
//! 4. if it is an effect (a method other than GET, HEAD, OPTIONS, or a grant with `reads_are_effects`): may this capability
//!    change anything, and is its undo record saved? In an undo: did `execute` send something that changes to this origin?
//! 5. are the secrets in its headers granted, for this host, and does it go by https?
//! 6. the name is looked up, once. Is every address that comes back one that the grant opens?
//! 7. a connection to one of the checked addresses, and TLS for the name. What fails up to here was not sent: it is clean
//! 8. if it is an effect: does another step of the run claim the URL? Is the intent durable? (`attempt`)
//! 9. the secrets are put into the headers, the request is sent, and the answer is read to its end, within the limits
//! 10. the record is made: address, status, bytes, the digest of the body. Secrets that stand in the answer are taken out,
//!     and it is handed over
//!
//! The host keeps an answer until it is whole. So an effect is *answered* exactly if all of its answer came; else it was let
//! out and not answered, and the attempt is unclear whatever the component makes of it. A redirect is an answer like any
//! other: where it leads is a new request. By plain `http` an answer without a length ends with its connection, and one that was
//! cut off cannot be told from a whole one. Everything runs on the thread of the guest and is gone when the call has ended, save
//! a look-up of a name that the system has not answered: it may go on, and changes nothing (`net`).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, SizeHint};
use hyper::client::conn::http1;
use sha2::{Digest as _, Sha256};
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpHooks,
};

use super::attempt::{Admitted, Answer, Attempt, Refusal};
use super::explain::limit;
use super::net::{Connection, Net};
use super::secret::{self, Secret};
use super::tls::{TlsError, TlsErrorKind};
use crate::types::{
    AddressClass, Digest, Exchange, Failure, Grant, HttpMethod, Limits, Opened, Permission, SecretGrant, Target,
    UrlParts, code, opened,
};

/// The longest URL.
const LONGEST_URL: usize = 8 << 10;

/// How long a connection may take to be made, TLS included, unless the component wants less.
const CONNECT: Duration = Duration::from_secs(10);

/// Headers by which some servers take a request for one of another method or path, in whatever spelling.
const OVERRIDES: [&str; 9] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
    "x-forwarded-uri",
    "x-forwarded-prefix",
    "x-forwarded-host",
];

/// What a call may send, and what it has sent.
pub(super) struct Sending {
    attempt: Arc<Attempt>,
    net: Net,
    grant: Grant,
    asked: Vec<Permission>,
    used: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    requests: u64,
    sent: u64,
    received: u64,
    /// By name; each is read once, when the first request needs it.
    secrets: BTreeMap<String, Arc<Secret>>,
}

/// A request that is inside the grant.
struct Asked {
    method: HttpMethod,
    target: Target,
    scheme_is_https: bool,
    authority: String,
    host: String,
    port: u16,
    opened: Opened,
    secrets: Vec<String>,
}

/// How a request was let out.
enum LetOut {
    Effect(Admitted),
    Read(u64),
}

/// What came of a request that was let out.
struct Told {
    status: Option<u16>,
    received: u64,
    answer: Result<Response<Bytes>, Error>,
}

impl Sending {
    pub(super) fn new(attempt: Arc<Attempt>, net: Net, grant: Grant, asked: Vec<Permission>) -> Arc<Sending> {
        Arc::new(Sending { attempt, net, grant, asked, used: Mutex::default() })
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn limits(&self) -> &Limits {
        &self.grant.limits
    }

    async fn exchange(
        self: Arc<Self>,
        request: Request<WasiBody>,
        options: RequestOptions,
    ) -> Result<Response<WasiBody>, Error> {
        if self.attempt.stopped() {
            return Err(stopped());
        }
        if !self.count_request() {
            self.attempt.note_refusal(limit("requests", self.limits().requests));
            return Err(Error::HttpRequestDenied);
        }
        self.attempt.note_cause(None);
        let (mut parts, body) = request.into_parts();
        let asked = self.ask(&parts)?;
        address_to(&asked, &mut parts)?;
        let addresses = self.resolve(&asked).await?;
        let (address, connection) = self.connect(&asked, &addresses, &options).await?;
        let exchange = Exchange { address: address.to_string(), secrets: asked.secrets.clone(), ..Exchange::default() };
        let let_out = self.let_out(&asked, &exchange).await?;
        let sent = Arc::new(Mutex::new(Sent::default()));
        let told = self.talk(connection, self.fill(parts, body, &sent), &options).await;
        let (bytes, digest) = sent.lock().unwrap_or_else(PoisonError::into_inner).finish();
        let exchange = Exchange { status: told.status, received: told.received, body: digest, ..exchange };
        let whole = told.answer.is_ok();
        match let_out {
            LetOut::Effect(admitted) => self.attempt.answer(admitted, Answer::Exchanged { bytes, exchange, whole }),
            LetOut::Read(number) => self.attempt.answered_read(number, bytes, exchange, whole),
        }
        told.answer.and_then(|response| self.without_secrets(response))
    }

    fn count_request(&self) -> bool {
        let mut used = self.used();
        used.requests += 1;
        used.requests <= self.limits().requests
    }

    /// Steps 2 to 5.
    fn ask(&self, parts: &Parts) -> Result<Asked, Error> {
        let Some(method) = HttpMethod::parse(parts.method.as_str()) else {
            let method: String = parts.method.as_str().chars().take(32).collect();
            let message = format!("requests with the method `{method}` are granted to nobody");
            self.attempt.note_refusal(Failure::new(code::NOT_GRANTED, message));
            return Err(Error::HttpRequestDenied);
        };
        let text: String = parts.uri.to_string();
        let target = |url: &str| Target::Http { method, url: url.to_owned() };
        if text.len() > LONGEST_URL {
            let cut: String = text.chars().take(200).collect();
            let why = format!("the URL has {} characters; at most {LONGEST_URL} are sent", text.len());
            return Err(self.refuse(method, !method.is_read(), &target(&cut), Failure::new(code::NOT_GRANTED, why)));
        }
        let target = target(&text);
        let refuse = |effect: bool, code: &str, why: String| {
            Err(self.refuse(method, effect, &target, Failure::new(code, format!("`{target}` {why}"))))
        };
        let url = match UrlParts::parse(&text) {
            Ok(url) => url,
            Err(why) => return refuse(!method.is_read(), code::NOT_GRANTED, why.to_owned()),
        };
        let opened = match opened(&self.grant.network, &self.asked, method, &url) {
            Ok(opened) => opened,
            Err(why) => return refuse(!method.is_read(), code::NOT_GRANTED, why.to_owned()),
        };
        if opened.effect && self.attempt.permit_request(method.effect_kind(), &target).is_err() {
            return Err(Error::HttpRequestDenied);
        }
        let mut secrets: Vec<String> = parts.headers.values().flat_map(secret::names).collect();
        secrets.sort_unstable();
        secrets.dedup();
        for name in &secrets {
            let granted = self.grant.secrets.iter().find(|secret| secret.name == *name);
            let why = match granted {
                None => format!("asks for the secret `{name}`, which is not granted"),
                Some(_) if url.scheme != "https" => format!("asks for the secret `{name}`, which goes by https only"),
                Some(secret) if !secret.hosts.iter().any(|host| host == url.authority) => {
                    format!("asks for the secret `{name}`, which is not granted for this host")
                }
                Some(secret) => match self.read_secret(secret) {
                    Ok(()) => continue,
                    Err(failure) => return Err(self.refuse(method, opened.effect, &target, failure)),
                },
            };
            return refuse(opened.effect, code::NOT_GRANTED, why);
        }
        let (host, port) = url.host_and_port();
        Ok(Asked {
            method,
            scheme_is_https: url.scheme == "https",
            authority: url.authority.to_owned(),
            host: host.to_owned(),
            port,
            opened,
            secrets,
            target,
        })
    }

    fn read_secret(&self, grant: &SecretGrant) -> Result<(), Failure> {
        let mut used = self.used();
        if !used.secrets.contains_key(&grant.name) {
            let secret = Secret::read(grant)?;
            used.secrets.insert(grant.name.clone(), Arc::new(secret));
        }
        Ok(())
    }

    /// The longest value first: one that begins like another must not leave the rest of it behind.
    fn secrets(&self) -> Vec<Arc<Secret>> {
        let mut secrets: Vec<Arc<Secret>> = self.used().secrets.values().cloned().collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets
    }

    /// Remembers a refusal where it belongs: one of an effect fails the attempt, one of a read explains its failure.
    fn refuse(&self, method: HttpMethod, effect: bool, target: &Target, failure: Failure) -> Error {
        if effect {
            self.attempt.refuse_request(method.effect_kind(), target, failure);
        } else {
            self.attempt.note_hint(failure);
            self.attempt.refused_read(method.effect_kind(), target);
        }
        Error::HttpRequestDenied
    }

    /// Step 6.
    async fn resolve(&self, asked: &Asked) -> Result<Vec<SocketAddr>, Error> {
        let looked_up = tokio::time::timeout(CONNECT, self.net.resolve(&asked.host, asked.port)).await;
        let unknown = |why: String| {
            self.not_sent(asked, String::new());
            Error::DnsError { rcode: Some(why), info_code: None }
        };
        let addresses = match looked_up {
            Err(_) => {
                self.not_sent(asked, String::new());
                return Err(Error::DnsTimeout);
            }
            Ok(Err(error)) => return Err(unknown(error.to_string())),
            Ok(Ok(addresses)) if addresses.is_empty() => return Err(unknown("the name has no address".into())),
            Ok(Ok(addresses)) => addresses,
        };
        for address in &addresses {
            if let Some(class) = closed(address.ip(), asked.opened) {
                let what = class.as_str();
                let help = if class.is_local() {
                    "grant a URL with this address, or `local: true` for this host"
                } else if class.can_be_named() {
                    "grant a URL with this address, if it is meant"
                } else {
                    "no grant opens it"
                };
                let message = format!("`{}` leads to {}, which is {what}", asked.target, address.ip());
                let failure = Failure { details: Some(help.into()), ..Failure::new(code::NOT_GRANTED, message) };
                self.refuse(asked.method, asked.opened.effect, &asked.target, failure);
                return Err(Error::DestinationIpProhibited);
            }
        }
        Ok(addresses)
    }

    /// Step 7: the first of the checked addresses that answers.
    async fn connect(
        &self,
        asked: &Asked,
        addresses: &[SocketAddr],
        options: &RequestOptions,
    ) -> Result<(SocketAddr, Connection), Error> {
        let within = options.connect_timeout.map_or(CONNECT, |wanted| wanted.min(CONNECT));
        let until = tokio::time::Instant::now() + within;
        let mut failed = Error::ConnectionRefused;
        let mut without_tls = None;
        for address in addresses {
            let dialled = tokio::time::timeout_at(until, self.net.dial(*address)).await;
            failed = match dialled {
                Ok(Ok(stream)) if asked.scheme_is_https => {
                    match tokio::time::timeout_at(until, self.net.secure(&asked.host, stream)).await {
                        Ok(Ok(connection)) => return Ok((*address, connection)),
                        Ok(Err(error)) => told_of(without_tls.insert(error)),
                        Err(_) => Error::ConnectionTimeout,
                    }
                }
                Ok(Ok(stream)) => return Ok((*address, Box::new(stream))),
                Ok(Err(error)) => Error::Connect(error),
                Err(_) => Error::ConnectionTimeout,
            };
            self.not_sent(asked, address.to_string());
        }
        // Of several addresses, one at which somebody answered tells more than those at which nobody did.
        let Some(error) = without_tls else { return Err(failed) };
        self.attempt.note_cause(Some(format!("`{}` was not sent: {error}", asked.target)));
        Err(told_of(&error))
    }

    /// A request came to nobody: that stands in the evidence, and nothing was let out.
    fn not_sent(&self, asked: &Asked, address: String) {
        let exchange = Exchange { address, ..Exchange::default() };
        let kind = asked.method.effect_kind();
        if asked.opened.effect {
            self.attempt.not_sent(kind, &asked.target, exchange);
        } else {
            self.attempt.read_not_sent(kind, &asked.target, exchange);
        }
    }

    /// Step 8.
    async fn let_out(&self, asked: &Asked, exchange: &Exchange) -> Result<LetOut, Error> {
        let kind = asked.method.effect_kind();
        if !asked.opened.effect {
            return Ok(LetOut::Read(self.attempt.begin_read(kind, &asked.target, exchange)));
        }
        match self.attempt.admit_request(kind, &asked.target, exchange).await {
            Ok(admitted) => Ok(LetOut::Effect(admitted)),
            Err(Refusal::NotPermitted) => Err(Error::HttpRequestDenied),
            Err(Refusal::Stopped) => Err(stopped()),
        }
    }

    /// The request as it is sent.
    fn fill(self: &Arc<Self>, mut parts: Parts, body: WasiBody, sent: &Arc<Mutex<Sent>>) -> Request<Counted> {
        let secrets = self.secrets();
        for value in parts.headers.values_mut() {
            // Values of secrets were looked at when they were read: they fit into a header.
            if let Some(filled) =
                Some(&*value).filter(|v| !secret::names(v).is_empty()).and_then(|v| secret::filled(v, &secrets))
            {
                *value = filled;
            }
        }
        let body = Counted { body, sending: Arc::clone(self), sent: Arc::clone(sent) };
        Request::from_parts(parts, body)
    }

    /// Sends, and reads the answer to its end.
    async fn talk(&self, connection: Connection, request: Request<Counted>, options: &RequestOptions) -> Told {
        let mut told = Told { status: None, received: 0, answer: Err(Error::ConnectionTerminated) };
        let header_bytes = usize::try_from(self.limits().header_bytes).unwrap_or(usize::MAX).max(8 << 10);
        let handshake = http1::Builder::new().max_buf_size(header_bytes).handshake(TokioIo::new(connection)).await;
        let (mut sender, connection) = match handshake {
            Ok(both) => both,
            Err(error) => {
                told.answer = Err(Error::Hyper(error));
                return told;
            }
        };
        let driven = async {
            // How it ended shows in the answer; polled for as long as the answer is awaited.
            drop(connection.await);
            std::future::pending::<()>().await;
        };
        let deadline = tokio::time::Instant::from_std(self.attempt.deadline());
        let answer = async {
            let first = within(deadline, options.first_byte_timeout);
            let response = tokio::time::timeout_at(first, sender.send_request(request)).await;
            let response = response.map_err(|_| Error::HttpResponseTimeout)?.map_err(|error| self.told_by(error))?;
            told.status = Some(response.status().as_u16());
            let (parts, mut body) = response.into_parts();
            let header: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
            if header as u64 > self.limits().header_bytes {
                self.attempt.note_refusal(limit("header_bytes", self.limits().header_bytes));
                return Err(Error::HttpResponseHeaderSectionSize(None));
            }
            let mut bytes = Vec::new();
            loop {
                let next = within(deadline, options.between_bytes_timeout);
                let frame = tokio::time::timeout_at(next, body.frame()).await;
                let Some(frame) = frame.map_err(|_| Error::ConnectionReadTimeout)? else { break };
                let frame = frame.map_err(|error| self.told_by(error))?;
                if let Ok(data) = frame.into_data() {
                    told.received += data.len() as u64;
                    if !self.count_received(data.len() as u64) {
                        self.attempt.note_refusal(limit("response_bytes", self.limits().response_bytes));
                        return Err(Error::HttpResponseBodySize(Some(self.limits().response_bytes)));
                    }
                    bytes.extend_from_slice(&data);
                }
            }
            Ok(Response::from_parts(parts, Bytes::from(bytes)))
        };
        let answer = tokio::select! {
            biased;
            answer = answer => answer,
            () = driven => Err(Error::ConnectionTerminated),
        };
        Told { answer, ..told }
    }

    /// What hyper's error means: a limit of ours, or a failure of the other side.
    fn told_by(&self, error: hyper::Error) -> Error {
        let mut source = std::error::Error::source(&error);
        while let Some(inner) = source {
            if inner.downcast_ref::<TooMuch>().is_some() {
                return Error::HttpRequestBodySize(Some(self.limits().request_bytes));
            }
            source = inner.source();
        }
        if error.is_parse_too_large() {
            self.attempt.note_refusal(limit("header_bytes", self.limits().header_bytes));
            return Error::HttpResponseHeaderSectionSize(None);
        }
        Error::Hyper(error)
    }

    fn count_received(&self, bytes: u64) -> bool {
        let mut used = self.used();
        used.received = used.received.saturating_add(bytes);
        used.received <= self.limits().response_bytes
    }

    fn count_sent(&self, bytes: u64) -> bool {
        let mut used = self.used();
        used.sent = used.sent.saturating_add(bytes);
        used.sent <= self.limits().request_bytes
    }

    /// Step 10: what the component sees of an answer. A placeholder may be longer than what it stands for: the limit holds for
    /// what is handed over, too.
    fn without_secrets(&self, response: Response<Bytes>) -> Result<Response<WasiBody>, Error> {
        let secrets = self.secrets();
        let at_most = self.limits().response_bytes;
        let (mut parts, mut body) = response.into_parts();
        if !secrets.is_empty() {
            mask_headers(&mut parts.headers, &secrets);
            let longer = secret::masked_len(&body, &secrets);
            if longer > at_most {
                self.attempt.note_refusal(limit("response_bytes", at_most));
                return Err(Error::HttpResponseBodySize(Some(at_most)));
            }
            if let Some(masked) = secret::masked(&body, &secrets) {
                if parts.headers.contains_key(CONTENT_LENGTH) {
                    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(masked.len()));
                }
                body = Bytes::from(masked);
            }
        }
        Ok(Response::from_parts(parts, Full::new(body).map_err(|never| match never {}).boxed_unsync()))
    }
}

/// Writes down where a request goes, in the form in which it is sent over a connection.
fn address_to(asked: &Asked, parts: &mut Parts) -> Result<(), Error> {
    let host = HeaderValue::from_str(&asked.authority).map_err(|_| Error::HttpRequestUriInvalid)?;
    parts.headers.insert(HOST, host);
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
    Ok(())
}

fn mask_headers(headers: &mut HeaderMap, secrets: &[Arc<Secret>]) {
    for value in headers.values_mut() {
        if let Some(masked) = secret::masked(value.as_bytes(), secrets) {
            *value = HeaderValue::from_bytes(&masked).unwrap_or(HeaderValue::from_static(""));
        }
    }
}

/// Why an address is not opened; none if it is.
fn closed(address: IpAddr, opened: Opened) -> Option<AddressClass> {
    let class = AddressClass::of(address);
    let open =
        class == AddressClass::Public || (opened.named && class.can_be_named()) || (opened.local && class.is_local());
    (!open).then_some(class)
}

fn within(deadline: tokio::time::Instant, wanted: Option<Duration>) -> tokio::time::Instant {
    wanted.and_then(|wanted| Instant::now().checked_add(wanted)).map_or(deadline, |until| deadline.min(until.into()))
}

/// What the guest is told of failed TLS.
fn told_of(error: &TlsError) -> Error {
    match error.kind {
        TlsErrorKind::Certificate => Error::TlsCertificateError,
        TlsErrorKind::Refused(alert) => Error::TlsAlertReceived { alert_id: Some(alert), alert_message: None },
        TlsErrorKind::Protocol => Error::TlsProtocolError,
    }
}

fn stopped() -> Error {
    Error::InternalError(Some("the call was stopped".into()))
}

/// What of a body went out.
#[derive(Default)]
struct Sent {
    bytes: u64,
    digest: Sha256,
}

impl Sent {
    fn finish(&mut self) -> (u64, Option<Digest>) {
        let digest = std::mem::take(&mut self.digest);
        (self.bytes, (self.bytes > 0).then(|| Digest(digest.finalize().into())))
    }
}

/// A body as the component writes it, counted and digested on its way out.
struct Counted {
    body: WasiBody,
    sending: Arc<Sending>,
    sent: Arc<Mutex<Sent>>,
}

/// The bodies of a call's requests are over their limit.
#[derive(Debug, thiserror::Error)]
#[error("the request bodies of the call are over the limit `request_bytes`")]
struct TooMuch;

impl Body for Counted {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    if !self.sending.count_sent(data.len() as u64) {
                        let limits = self.sending.limits();
                        self.sending.attempt.note_refusal(limit("request_bytes", limits.request_bytes));
                        return Poll::Ready(Some(Err(TooMuch.into())));
                    }
                    let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
                    sent.bytes += data.len() as u64;
                    sent.digest.update(data);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.to_string().into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The library's way to the gate.
pub(super) struct HttpGate(pub(super) Arc<Sending>);

type Sends =
    dyn Future<Output = Result<(Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>> + Send;

impl WasiHttpHooks for HttpGate {
    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::new(|name: &HeaderName| {
            DEFAULT_FORBIDDEN_HEADERS.contains(name) || OVERRIDES.contains(&&*name.as_str().replace('_', "-"))
        })
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _read: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<Sends> {
        let sending = Arc::clone(&self.0);
        let running = sending.attempt.running();
        Box::new(async move {
            let response = sending.exchange(request, options.unwrap_or_default()).await;
            drop(running);
            let done: Box<dyn Future<Output = Result<(), Error>> + Send> = Box::new(async { Ok(()) });
            Ok((response?, done))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_open_if_it_is_public_or_the_grant_says_so() {
        let nothing = Opened { named: false, local: false, effect: false };
        let (named, local) = (Opened { named: true, ..nothing }, Opened { local: true, ..nothing });
        let is_open = |address: &str, opened| closed(address.parse().unwrap(), opened).is_none();
        assert!(is_open("1.1.1.1", nothing));
        for (address, by_name, as_local) in [
            ("127.0.0.1", true, true),
            ("10.0.0.1", true, true),
            ("169.254.169.254", true, false),
            ("0.0.0.0", false, false),
            ("::ffff:10.0.0.1", false, false),
            ("64:ff9b::a00:1", false, false),
            ("2002:a00:1::", false, false),
            ("224.0.0.1", false, false),
        ] {
            let found = (is_open(address, nothing), is_open(address, named), is_open(address, local));
            assert_eq!(found, (false, by_name, as_local), "{address}");
        }
    }
}
