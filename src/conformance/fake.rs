//! A server on loopback that stands for every host that a case names, by TLS and without.
//!
//! It keeps *collections*, as a small REST service does, so that their content can be compared: GET of a collection lists it,
//! `?field=value` only items that say so; POST makes an item and chooses its id; GET, PUT, PATCH and DELETE of `/ID` do what
//! they say. A request with an `idempotency-key` that was answered before is answered again and does nothing. What is no
//! collection is answered from the case's script, in order, or with 404.
//!
//! It can be told that something goes wrong with one of the next requests.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Map, Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{ServerConfig, crypto};

use super::KitError;
use crate::sandbox::{Cancel, Resolver};

/// A request is read up to here.
const MOST_BYTES: usize = 32 << 20;

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is carried out, and its answer is lost because the component is ended.
    LoseAnswer,
    /// The component is ended before it is answered, and it is carried out when the kit says so.
    ArriveLate,
    /// It is answered with 500 and not carried out.
    ServerError,
    /// It is carried out and answered with 500 all the same.
    ErrorAfterDoing,
}

/// What a case says of its hosts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Script {
    /// By URL.
    pub(super) collections: BTreeMap<String, Collection>,
    /// In order; several for one request are given one after the other, the last of them for ever.
    pub(super) answers: Vec<Scripted>,
}

/// A collection of a REST service.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Collection {
    /// The field that holds the id.
    pub(super) id: String,
    /// By id.
    pub(super) items: BTreeMap<String, Value>,
}

/// One scripted answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scripted {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) status: StatusCode,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Bytes,
}

impl Script {
    /// Every scheme and authority that it names.
    pub(super) fn origins(&self) -> Vec<String> {
        let urls = self.collections.keys().chain(self.answers.iter().map(|answer| &answer.url));
        let mut origins: Vec<String> = urls.filter_map(|url| origin(url)).collect();
        origins.sort_unstable();
        origins.dedup();
        origins
    }
}

/// Scheme and authority of a URL.
pub(super) fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?']).next()?;
    Some(format!("{scheme}://{authority}"))
}

#[derive(Clone)]
struct Answer {
    status: StatusCode,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Answer {
    fn json(status: StatusCode, value: &Value) -> Answer {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Answer { status, headers, body: Bytes::from(value.to_string()) }
    }

    fn bare(status: StatusCode) -> Answer {
        Answer { status, headers: Vec::new(), body: Bytes::new() }
    }
}

/// A request as it arrived.
struct Arrived {
    method: Method,
    /// Without its query.
    url: String,
    query: String,
    key: Option<String>,
    body: Bytes,
}

#[derive(Default)]
struct State {
    script: Script,
    made: u64,
    /// Answers by method, URL and idempotency key.
    answered: BTreeMap<(String, String, String), Answer>,
    /// How many requests came.
    requests: u64,
    faults: VecDeque<(u64, Fault, Cancel)>,
    late: Vec<Arrived>,
}

/// See the module.
pub(super) struct Fake {
    address: SocketAddr,
    authority: Vec<u8>,
    state: Mutex<State>,
}

impl Fake {
    /// Listens on a free port of 127.0.0.1 until the runtime ends.
    pub(super) async fn start() -> Result<Arc<Fake>, KitError> {
        let failed = |error: std::io::Error| KitError::Server(error.to_string());
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
        let (authority, acceptor) = certificates().map_err(KitError::Server)?;
        let address = listener.local_addr().map_err(failed)?;
        let fake = Arc::new(Fake { address, authority, state: Mutex::default() });
        let serving = Arc::downgrade(&fake);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Some(fake) = serving.upgrade() else { return };
                tokio::spawn(serve(fake, stream, acceptor.clone()));
            }
        });
        Ok(fake)
    }

    /// Looks every name up as this server.
    pub(super) fn resolver(&self) -> Arc<dyn Resolver> {
        Arc::new(Everywhere(self.address))
    }

    /// The certificate of the authority that vouches for it, in PEM.
    pub(super) fn authority(&self) -> &[u8] {
        &self.authority
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins anew with the script of a case.
    pub(super) fn begin(&self, script: &Script) {
        *self.state() = State { script: script.clone(), ..State::default() };
    }

    /// The items of each collection.
    pub(super) fn collections(&self) -> BTreeMap<String, BTreeMap<String, Value>> {
        let state = self.state();
        state.script.collections.iter().map(|(url, collection)| (url.clone(), collection.items.clone())).collect()
    }

    /// How many requests came since it began.
    pub(super) fn requests(&self) -> u64 {
        self.state().requests
    }

    /// Lets something go wrong with the `nth` request from now on, counted from 1; `cancel` ends the component.
    pub(super) fn fault(&self, nth: u64, fault: Fault, cancel: Cancel) {
        let mut state = self.state();
        let at = state.requests + nth;
        state.faults.push_back((at, fault, cancel));
    }

    /// What has not gone wrong yet will not.
    pub(super) fn no_more_faults(&self) {
        self.state().faults.clear();
    }

    /// Whether a request is still on its way.
    pub(super) fn has_late(&self) -> bool {
        !self.state().late.is_empty()
    }

    /// The requests that are still on their way arrive.
    pub(super) fn arrive(&self) {
        let mut state = self.state();
        for request in std::mem::take(&mut state.late) {
            let _ = state.answer(&request);
        }
    }

    async fn handle(self: Arc<Self>, request: Request<Incoming>, tls: bool) -> Result<Response<Full<Bytes>>, Gone> {
        let (parts, body) = request.into_parts();
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (host, key) = (header("host").unwrap_or_default(), header("idempotency-key"));
        let scheme = if tls { "https" } else { "http" };
        let url = format!("{scheme}://{host}{}", parts.uri.path());
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let body = Limited::new(body, MOST_BYTES).collect().await.map_err(|_| Gone)?.to_bytes();
        let arrived = Arrived { method: parts.method, url, query, key, body };
        let answer = {
            let mut state = self.state();
            state.requests += 1;
            let now = state.requests;
            let due = state.faults.iter().position(|(at, ..)| *at == now);
            match due.and_then(|index| state.faults.remove(index)) {
                None => state.answer(&arrived),
                Some((_, Fault::ServerError, _)) => Answer::bare(StatusCode::INTERNAL_SERVER_ERROR),
                Some((_, Fault::ErrorAfterDoing, _)) => {
                    let _ = state.answer(&arrived);
                    Answer::bare(StatusCode::INTERNAL_SERVER_ERROR)
                }
                Some((_, Fault::LoseAnswer, cancel)) => {
                    let _ = state.answer(&arrived);
                    cancel.cancel();
                    return Err(Gone);
                }
                Some((_, Fault::ArriveLate, cancel)) => {
                    state.late.push(arrived);
                    cancel.cancel();
                    return Err(Gone);
                }
            }
        };
        let mut response = Response::builder().status(answer.status);
        for (name, value) in &answer.headers {
            response = response.header(name, value);
        }
        response.body(Full::new(answer.body)).map_err(|_| Gone)
    }
}

impl State {
    fn answer(&mut self, request: &Arrived) -> Answer {
        let key = request.key.clone().map(|key| (request.method.to_string(), request.url.clone(), key));
        if let Some(answer) = key.as_ref().and_then(|key| self.answered.get(key)) {
            return answer.clone();
        }
        let answer = self.carry_out(request);
        if let Some(key) = key {
            self.answered.insert(key, answer.clone());
        }
        answer
    }

    /// Does what is asked for.
    fn carry_out(&mut self, request: &Arrived) -> Answer {
        let answer = self.of_collection(request).or_else(|| self.of_script(request));
        answer.unwrap_or_else(|| Answer::bare(StatusCode::NOT_FOUND))
    }

    fn of_script(&mut self, request: &Arrived) -> Option<Answer> {
        let full = match request.query.as_str() {
            "" => request.url.clone(),
            query => format!("{}?{query}", request.url),
        };
        let fits = |one: &Scripted| one.method == request.method && one.url == full;
        let first = self.script.answers.iter().position(fits)?;
        let again = self.script.answers.iter().skip(first + 1).any(fits);
        let scripted = if again { self.script.answers.remove(first) } else { self.script.answers.get(first)?.clone() };
        let headers = scripted.headers.into_iter().collect();
        Some(Answer { status: scripted.status, headers, body: scripted.body })
    }

    fn of_collection(&mut self, request: &Arrived) -> Option<Answer> {
        let of = |(url, collection)| match request.url.strip_prefix(url as &String)? {
            "" => Some((None, collection)),
            rest => Some((Some(rest.strip_prefix('/').filter(|id| !id.is_empty() && !id.contains('/'))?), collection)),
        };
        let (id, collection) = self.script.collections.iter_mut().find_map(of)?;
        let sent = || match serde_json::from_slice(&request.body) {
            Ok(Value::Object(fields)) => Ok(fields),
            Ok(_) | Err(_) => Err(Answer::json(StatusCode::BAD_REQUEST, &json!({ "error": "an object is expected" }))),
        };
        let not_there = || Answer::bare(StatusCode::NOT_FOUND);
        let with_id = |mut fields: Map<String, Value>, name: &str, id: &str| {
            fields.insert(name.to_owned(), Value::String(id.to_owned()));
            Value::Object(fields)
        };
        Some(match (&request.method, id) {
            (&Method::GET | &Method::HEAD, None) => {
                let items = collection.items.values().filter(|item| says(item, &request.query));
                Answer::json(StatusCode::OK, &Value::Array(items.cloned().collect()))
            }
            (&Method::POST, None) => match sent() {
                Err(answer) => answer,
                Ok(fields) => {
                    let id = loop {
                        self.made += 1;
                        let id = format!("{}", 1000 + self.made);
                        if !collection.items.contains_key(&id) {
                            break id;
                        }
                    };
                    let item = with_id(fields, &collection.id, &id);
                    collection.items.insert(id.clone(), item.clone());
                    let mut answer = Answer::json(StatusCode::CREATED, &item);
                    answer.headers.push(("location".to_owned(), format!("{}/{id}", request.url)));
                    answer
                }
            },
            (&Method::GET | &Method::HEAD, Some(id)) => {
                collection.items.get(id).map_or_else(not_there, |item| Answer::json(StatusCode::OK, item))
            }
            (&Method::PUT, Some(id)) => match sent() {
                Err(answer) => answer,
                Ok(fields) => {
                    let item = with_id(fields, &collection.id, id);
                    let known = collection.items.insert(id.to_owned(), item.clone()).is_some();
                    Answer::json(if known { StatusCode::OK } else { StatusCode::CREATED }, &item)
                }
            },
            (&Method::PATCH, Some(id)) => match (sent(), collection.items.get_mut(id)) {
                (Err(answer), _) => answer,
                (Ok(_), None) => not_there(),
                (Ok(fields), Some(item)) => {
                    for (name, value) in fields.into_iter().filter(|(name, _)| *name != collection.id) {
                        if let Some(known) = item.as_object_mut() {
                            known.insert(name, value);
                        }
                    }
                    Answer::json(StatusCode::OK, item)
                }
            },
            (&Method::DELETE, Some(id)) => {
                collection.items.remove(id).map_or_else(not_there, |_| Answer::bare(StatusCode::NO_CONTENT))
            }
            _ => Answer::bare(StatusCode::METHOD_NOT_ALLOWED),
        })
    }
}

/// Whether an item has all that a query names.
fn says(item: &Value, query: &str) -> bool {
    query.split('&').filter(|part| !part.is_empty()).all(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        match item.get(decoded(name)) {
            Some(Value::String(text)) => *text == decoded(value),
            Some(other) => *other == decoded(value).parse::<Value>().unwrap_or_default(),
            None => false,
        }
    })
}

/// A part of a query without its percent encoding.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                std::str::from_utf8(&digits).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or(b'?')
            }
            byte => byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the answer is lost")]
struct Gone;

async fn serve(fake: Arc<Fake>, stream: TcpStream, acceptor: TlsAcceptor) {
    let mut first = [0];
    let Ok(1) = stream.peek(&mut first).await else { return };
    // The first byte of a TLS handshake.
    let tls = first == [0x16];
    let service = service_fn(move |request| Arc::clone(&fake).handle(request, tls));
    let http = hyper::server::conn::http1::Builder::new();
    // A connection that breaks off is one of the things that are tried.
    if tls {
        if let Ok(stream) = acceptor.accept(stream).await {
            drop(http.serve_connection(TokioIo::new(stream), service).await);
        }
    } else {
        drop(http.serve_connection(TokioIo::new(stream), service).await);
    }
}

struct Everywhere(SocketAddr);

impl Resolver for Everywhere {
    fn resolve<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, std::io::Result<Vec<SocketAddr>>> {
        std::future::ready(Ok(vec![self.0])).boxed()
    }
}

/// An authority of its own, and certificates for whatever name is asked for.
fn certificates() -> Result<(Vec<u8>, TlsAcceptor), String> {
    let said = |error: rcgen::Error| error.to_string();
    let key = KeyPair::generate().map_err(said)?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).map_err(said)?;
    let pem = authority.pem().into_bytes();
    let provider = Arc::new(crypto::ring::default_provider());
    let names = ForEveryName { issuer: Issuer::new(params, key), known: Mutex::default() };
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(names));
    Ok((pem, TlsAcceptor::from(Arc::new(config))))
}

struct ForEveryName {
    issuer: Issuer<'static, KeyPair>,
    known: Mutex<BTreeMap<String, Arc<CertifiedKey>>>,
}

impl std::fmt::Debug for ForEveryName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ForEveryName").finish_non_exhaustive()
    }
}

impl ForEveryName {
    fn make(&self, name: &str) -> Option<CertifiedKey> {
        let key = KeyPair::generate().ok()?;
        let certificate = CertificateParams::new([name.to_owned()]).ok()?.signed_by(&key, &self.issuer).ok()?;
        let private = PrivateKeyDer::try_from(key.serialize_der()).ok()?;
        let signing = crypto::ring::sign::any_supported_type(&private).ok()?;
        Some(CertifiedKey::new(vec![certificate.der().clone()], signing))
    }
}

impl ResolvesServerCert for ForEveryName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name()?.to_owned();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = known.get(&name) {
            return Some(Arc::clone(key));
        }
        let made = Arc::new(self.make(&name)?);
        known.insert(name, Arc::clone(&made));
        Some(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method, url: &str, key: Option<&str>, body: Value) -> Arrived {
        let (url, query) = url.split_once('?').unwrap_or((url, ""));
        Arrived {
            method,
            url: url.to_owned(),
            query: query.to_owned(),
            key: key.map(str::to_owned),
            body: Bytes::from(body.to_string()),
        }
    }

    fn state() -> State {
        let collection = Collection {
            id: "id".into(),
            items: [("7".to_owned(), json!({"id": "7", "name": "Ada Lovelace"}))].into(),
        };
        let collections = [("https://crm.example.com/customers".to_owned(), collection)].into();
        State { script: Script { collections, ..Script::default() }, ..State::default() }
    }

    #[test]
    fn a_collection_chooses_ids_and_answers_a_key_once() {
        let mut state = state();
        let url = "https://crm.example.com/customers";
        let made = state.answer(&request(Method::POST, url, Some("k"), json!({"name": "Bob"})));
        assert_eq!((made.status, made.body.as_ref()), (StatusCode::CREATED, br#"{"id":"1001","name":"Bob"}"#.as_ref()));
        let again = state.answer(&request(Method::POST, url, Some("k"), json!({"name": "Bob"})));
        assert_eq!(again.body, made.body);
        let other = state.answer(&request(Method::POST, url, Some("other"), json!({"name": "Bob"})));
        assert_ne!(other.body, made.body);
        let found = state.answer(&request(Method::GET, &format!("{url}?name=Ada+Lovelace"), None, json!(null)));
        assert_eq!(found.body.as_ref(), br#"[{"id":"7","name":"Ada Lovelace"}]"#);
        for (method, id, status) in [
            (Method::GET, "7", 200),
            (Method::DELETE, "7", 204),
            (Method::DELETE, "7", 404),
            (Method::PUT, "8", 201),
            (Method::PATCH, "8", 200),
            (Method::PATCH, "9", 404),
        ] {
            let answer = state.answer(&request(method.clone(), &format!("{url}/{id}"), None, json!({"a": 1})));
            assert_eq!(answer.status.as_u16(), status, "{method} {id}");
        }
    }
}
