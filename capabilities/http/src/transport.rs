//! One request through `wasi:http`, from its first byte to the last of its answer.

use redress_guest::Failure;
use wasip2::http::outgoing_handler::{OutgoingRequest, handle};
use wasip2::http::types::{ErrorCode, Fields, IncomingResponse, Method as WasiMethod, OutgoingBody, Scheme};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

use crate::answer::{Answer, MAX_OUTPUT};
use crate::request::{Message, Method};

/// Sends a request and returns its whole answer, whatever its status.
pub fn send(message: &Message) -> Result<Answer, Failure> {
    let name = message.name();
    let request = request(message)?;
    let body = request.body().map_err(|()| broken("the request has no body"))?;
    let answer = handle(request, None).map_err(|error| failure(&name, &error))?;
    // A target may answer before it has read everything; its answer counts.
    if write(&body, &message.body) {
        match OutgoingBody::finish(body, None) {
            Ok(()) | Err(ErrorCode::InternalError(_)) => {}
            Err(error) => return Err(failure(&name, &error)),
        }
    } else {
        drop(body);
    }
    answer.subscribe().block();
    match answer.get() {
        Some(Ok(Ok(answer))) => receive(&name, &answer),
        Some(Ok(Err(error))) => Err(failure(&name, &error)),
        Some(Err(())) | None => Err(broken("the host has no answer after it said so")),
    }
}

fn request(message: &Message) -> Result<OutgoingRequest, Failure> {
    let headers: Vec<(String, Vec<u8>)> =
        message.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone().into_bytes())).collect();
    let headers = Fields::from_list(&headers).map_err(|error| {
        Failure::invalid_input(format!("a header of `{}` cannot be sent: {error:?}", message.name()))
    })?;
    let request = OutgoingRequest::new(headers);
    let method = match message.method {
        Method::Get => WasiMethod::Get,
        Method::Head => WasiMethod::Head,
        Method::Options => WasiMethod::Options,
        Method::Post => WasiMethod::Post,
        Method::Put => WasiMethod::Put,
        Method::Patch => WasiMethod::Patch,
        Method::Delete => WasiMethod::Delete,
    };
    let scheme = if message.tls { Scheme::Https } else { Scheme::Http };
    let set = request
        .set_method(&method)
        .and_then(|()| request.set_scheme(Some(&scheme)))
        .and_then(|()| request.set_authority(Some(&message.authority)))
        .and_then(|()| request.set_path_with_query(Some(&message.path)));
    set.map_err(|()| Failure::invalid_input(format!("`{}` is not a URL that can be sent to", message.name())))?;
    Ok(request)
}

/// Whether all of it was taken.
fn write(body: &OutgoingBody, bytes: &[u8]) -> bool {
    let Ok(stream) = body.write() else { return false };
    write_to(&stream, bytes).is_ok()
}

fn write_to(stream: &OutputStream, mut rest: &[u8]) -> Result<(), StreamError> {
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

fn receive(name: &str, answer: &IncomingResponse) -> Result<Answer, Failure> {
    let status = answer.status();
    let headers: Vec<(String, String)> = answer
        .headers()
        .entries()
        .into_iter()
        .map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned()))
        .collect();
    let body = answer.consume().map_err(|()| broken("the answer has no body"))?;
    let stream = body.stream().map_err(|()| broken("the answer's body cannot be read"))?;
    let bytes = read(name, &stream)?;
    Ok(Answer::new(status, headers.iter().map(|(name, value)| (name.as_str(), value.as_str())), bytes))
}

/// The body, or so much of it that it is too long.
fn read(name: &str, stream: &InputStream) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    while bytes.len() <= MAX_OUTPUT {
        match stream.blocking_read(64 << 10) {
            Ok(more) => bytes.extend_from_slice(&more),
            Err(StreamError::Closed) => return Ok(bytes),
            Err(StreamError::LastOperationFailed(error)) => {
                let message = format!("the answer to `{name}` broke off: {}", error.to_debug_string());
                return Err(Failure { retryable: true, ..Failure::new("unavailable", message) });
            }
        }
    }
    Ok(bytes)
}

fn broken(what: &str) -> Failure {
    Failure::new("io-error", what)
}

/// Why there is no answer.
fn failure(name: &str, error: &ErrorCode) -> Failure {
    let code = match error {
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => "unauthorized",
        ErrorCode::TlsCertificateError | ErrorCode::TlsProtocolError | ErrorCode::TlsAlertReceived(_) => "tls-failed",
        ErrorCode::HttpRequestBodySize(_) | ErrorCode::HttpResponseBodySize(_) => "too-large",
        ErrorCode::HttpRequestLengthRequired
        | ErrorCode::HttpRequestMethodInvalid
        | ErrorCode::HttpRequestUriInvalid
        | ErrorCode::HttpRequestUriTooLong
        | ErrorCode::HttpRequestHeaderSectionSize(_)
        | ErrorCode::HttpRequestHeaderSize(_) => "invalid-input",
        ErrorCode::HttpResponseHeaderSectionSize(_)
        | ErrorCode::HttpResponseHeaderSize(_)
        | ErrorCode::HttpResponseTransferCoding(_)
        | ErrorCode::HttpResponseContentCoding(_)
        | ErrorCode::HttpProtocolError => "protocol-error",
        _ => "unavailable",
    };
    Failure { retryable: code == "unavailable", ..Failure::new(code, format!("`{name}` has no answer: {error:?}")) }
}
