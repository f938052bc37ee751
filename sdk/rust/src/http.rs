//! Requests through `wasi:http`. The host sends nothing that is not granted, and keeps an answer until it is whole.

use serde::Serialize;
use serde::de::DeserializeOwned;
use wasip2::http::outgoing_handler::{OutgoingRequest, handle};
use wasip2::http::types::{ErrorCode, Fields, IncomingResponse, Method, OutgoingBody, Scheme};
use wasip2::io::streams::{OutputStream, StreamError};

use crate::Failure;

/// A request that is about to be sent.
#[derive(Clone, Debug)]
pub struct Request {
    method: &'static str,
    url: String,
    headers: Vec<(String, String)>,
    body: Result<Vec<u8>, String>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Headers by lower-case name.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    name: String,
}

impl Request {
    fn new(method: &'static str, url: impl Into<String>) -> Request {
        Request { method, url: url.into(), headers: Vec::new(), body: Ok(Vec::new()) }
    }

    /// Reads; no effect.
    pub fn get(url: impl Into<String>) -> Request {
        Request::new("GET", url)
    }

    /// Makes or does something.
    pub fn post(url: impl Into<String>) -> Request {
        Request::new("POST", url)
    }

    /// Puts something in place.
    pub fn put(url: impl Into<String>) -> Request {
        Request::new("PUT", url)
    }

    /// Changes something.
    pub fn patch(url: impl Into<String>) -> Request {
        Request::new("PATCH", url)
    }

    /// Removes something.
    pub fn delete(url: impl Into<String>) -> Request {
        Request::new("DELETE", url)
    }

    /// Adds a header. `${secret:NAME}` in its value stands for a granted secret, which the host puts in.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Request {
        self.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// Adds the idempotency key, for targets that know one.
    pub fn key(self, key: &str) -> Request {
        self.header("idempotency-key", key)
    }

    /// A body of JSON.
    pub fn json(mut self, value: &impl Serialize) -> Request {
        self.body = serde_json::to_vec(value).map_err(|error| error.to_string());
        self.header("content-type", "application/json")
    }

    /// A body of bytes.
    pub fn body(mut self, content_type: &str, bytes: impl Into<Vec<u8>>) -> Request {
        self.body = Ok(bytes.into());
        self.header("content-type", content_type)
    }

    /// Method and URL without the query.
    fn name(&self) -> String {
        format!("{} {}", self.method, self.url.split('?').next().unwrap_or_default())
    }

    /// Sends it and returns the whole answer, whatever its status.
    pub fn send(self) -> Result<Response, Failure> {
        let name = self.name();
        let bytes = self.body.clone().map_err(|why| Failure::invalid_input(format!("the body of `{name}`: {why}")))?;
        let request = outgoing(&self, &name, bytes.len())?;
        let body = request.body().map_err(|()| broken("the request has no body"))?;
        let answer = handle(request, None).map_err(|error| failure(&name, &error))?;
        // A target may answer before it has read everything; its answer counts.
        let written = body.write().is_ok_and(|stream| write(&stream, &bytes).is_ok());
        if written {
            match OutgoingBody::finish(body, None) {
                Ok(()) | Err(ErrorCode::InternalError(_)) => {}
                Err(error) => return Err(failure(&name, &error)),
            }
        } else {
            drop(body);
        }
        answer.subscribe().block();
        match answer.get() {
            Some(Ok(Ok(answer))) => receive(name, &answer),
            Some(Ok(Err(error))) => Err(failure(&name, &error)),
            Some(Err(())) | None => Err(broken("the host has no answer after it said so")),
        }
    }
}

impl Response {
    /// This answer if its status says success, else the failure that its status means.
    pub fn ok(self) -> Result<Response, Failure> {
        if (200..300).contains(&self.status) { Ok(self) } else { Err(self.failure()) }
    }

    /// The body, read as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Failure::new("bad-answer", format!("the answer to `{}` is not what was expected: {error}", self.name))
        })
    }

    /// What its status means where it is no success. `Retry-After` in seconds counts.
    pub fn failure(&self) -> Failure {
        let (code, retryable) = match self.status {
            401 | 403 => ("unauthorized", false),
            404 | 410 => ("not-found", false),
            409 | 412 => ("conflict", false),
            408 | 425 => ("unavailable", true),
            429 => ("rate-limited", true),
            400..=499 => ("invalid-input", false),
            500..=599 => ("unavailable", true),
            _ => ("unexpected-status", false),
        };
        let wait = self
            .headers
            .iter()
            .find(|(name, _)| name == "retry-after")
            .and_then(|(_, value)| value.parse::<u64>().ok());
        let text: String = String::from_utf8_lossy(&self.body).chars().take(1_000).collect();
        Failure {
            retryable,
            retry_after_ms: wait.map(|seconds| seconds.saturating_mul(1_000)),
            details: (!text.is_empty()).then_some(text),
            ..Failure::new(code, format!("`{}` was answered with {}", self.name, self.status))
        }
    }
}

fn outgoing(from: &Request, name: &str, length: usize) -> Result<OutgoingRequest, Failure> {
    let not_a_url = || Failure::invalid_input(format!("`{name}` is not a URL that can be sent to"));
    let (scheme, rest) = from.url.split_once("://").ok_or_else(not_a_url)?;
    let scheme = match scheme {
        "https" => Scheme::Https,
        "http" => Scheme::Http,
        _ => return Err(not_a_url()),
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let mut headers: Vec<(String, Vec<u8>)> =
        from.headers.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect();
    if from.method != "GET" || length > 0 {
        headers.push(("content-length".to_owned(), length.to_string().into_bytes()));
    }
    let headers = Fields::from_list(&headers)
        .map_err(|error| Failure::invalid_input(format!("a header of `{name}` cannot be sent: {error:?}")))?;
    let request = OutgoingRequest::new(headers);
    let method = match from.method {
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "PATCH" => Method::Patch,
        "DELETE" => Method::Delete,
        _ => Method::Get,
    };
    request
        .set_method(&method)
        .and_then(|()| request.set_scheme(Some(&scheme)))
        .and_then(|()| request.set_authority(Some(authority)))
        .and_then(|()| request.set_path_with_query(Some(&path)))
        .map_err(|()| not_a_url())?;
    Ok(request)
}

fn write(stream: &OutputStream, mut rest: &[u8]) -> Result<(), StreamError> {
    while !rest.is_empty() {
        let room = usize::try_from(stream.check_write()?).unwrap_or(usize::MAX).min(rest.len());
        if room == 0 {
            stream.subscribe().block();
            continue;
        }
        let (now, later) = rest.split_at(room);
        stream.write(now)?;
        rest = later;
    }
    stream.blocking_flush()
}

fn receive(name: String, answer: &IncomingResponse) -> Result<Response, Failure> {
    let status = answer.status();
    let headers = answer.headers().entries().into_iter();
    let headers = headers.map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned())).collect();
    let body = answer.consume().map_err(|()| broken("the answer has no body"))?;
    let stream = body.stream().map_err(|()| broken("the answer's body cannot be read"))?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(64 << 10) {
            Ok(more) => bytes.extend_from_slice(&more),
            Err(StreamError::Closed) => return Ok(Response { status, headers, body: bytes, name }),
            Err(StreamError::LastOperationFailed(error)) => {
                let why = error.to_debug_string();
                return Err(Failure::unavailable(format!("the answer to `{name}` broke off: {why}")));
            }
        }
    }
}

fn broken(what: &str) -> Failure {
    Failure::new("io-error", what)
}

/// Why there is no answer.
fn failure(name: &str, error: &ErrorCode) -> Failure {
    let message = format!("`{name}` has no answer: {error:?}");
    match error {
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => Failure::new("unauthorized", message),
        ErrorCode::HttpRequestUriInvalid | ErrorCode::HttpRequestMethodInvalid => Failure::invalid_input(message),
        ErrorCode::TlsCertificateError | ErrorCode::TlsProtocolError | ErrorCode::TlsAlertReceived(_) => {
            Failure::new("tls-failed", message)
        }
        _ => Failure::unavailable(message),
    }
}
