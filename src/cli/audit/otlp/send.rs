//! One request to a receiver of OTLP over HTTP, and what came back.

use std::error::Error as _;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use reqwest::header::CONTENT_TYPE;

use super::spans::text;
use crate::cli::error::CliError;
use crate::document::escape;
use crate::types::{AddressClass, UrlParts};

const PROTOBUF: &str = "application/x-protobuf";
/// The longest answer that is read.
const MAX_ANSWER: usize = 64 << 10;
const AGAIN: &str = "send it again when that is mended: the same runs are the same traces";

/// Who takes traces.
pub(super) struct Receiver {
    client: reqwest::Client,
    url: String,
    origin: String,
}

/// What a receiver that refuses says: `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

impl Receiver {
    /// The receiver at a URL; `http` is for loopback addresses only. Redirects are not followed.
    pub(super) fn new(url: &str, extra_ca: Option<&[u8]>) -> Result<Receiver, CliError> {
        let (origin, local) = check(url).map_err(|why| {
            CliError::usage("bad-url", format!("`--otlp`: `{}` {why}", escape(url)))
                .help("write where the receiver listens, such as `http://127.0.0.1:4318` or `https://otlp.example.com`")
        })?;
        let path = url.get(origin.len()..).unwrap_or_default();
        let url = if matches!(path, "" | "/") { format!("{origin}/v1/traces") } else { url.to_owned() };
        // Whoever was first has set it.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = client(extra_ca, local)
            .map_err(|error| CliError::engine("network", format!("nothing can be sent: {error}")))?;
        Ok(Receiver { client, url, origin })
    }

    /// Scheme, host and port: a path may be as good as a password.
    pub(super) fn shown(&self) -> &str {
        &self.origin
    }

    /// Sends spans, which the receiver takes whole; it may have something to say all the same.
    pub(super) async fn send(&self, spans: Vec<Span>) -> Result<Option<String>, CliError> {
        let sent = self.client.post(&self.url).header(CONTENT_TYPE, PROTOBUF).body(request(spans).encode_to_vec());
        let failed = |error: reqwest::Error| {
            let error = error.without_url();
            let why = std::iter::successors(error.source(), |error| (*error).source()).last();
            let why = why.map_or_else(|| error.to_string(), ToString::to_string);
            self.error("unreachable", &format!("was not reached: {}", escape(&why)))
        };
        let mut answer = sent.send().await.map_err(failed)?;
        let (status, mut body) = (answer.status(), Vec::new());
        while let Some(more) = answer.chunk().await.map_err(failed)? {
            body.extend_from_slice(&more);
            if body.len() > MAX_ANSWER {
                break;
            }
        }
        if !status.is_success() {
            let said = Status::decode(body.as_slice()).ok().filter(|said| !said.message.is_empty());
            let said = said.map_or(String::new(), |said| format!(": {}", escape(&said.message)));
            return Err(self.error("not-taken", &format!("answered {}{said}", status.as_u16())));
        }
        let answer = ExportTraceServiceResponse::decode(body.as_slice())
            .map_err(|_| self.error("not-taken", "did not answer as OTLP has it; what it took is not known"))?;
        match answer.partial_success {
            Some(part) if part.rejected_spans != 0 => {
                let why = escape(&part.error_message);
                Err(self.error("not-taken", &format!("refused {} of the spans: {why}", part.rejected_spans)))
            }
            part => Ok(part.map(|part| part.error_message).filter(|message| !message.is_empty())),
        }
    }

    fn error(&self, code: &'static str, what: &str) -> CliError {
        CliError::engine(code, format!("{} {what}", escape(&self.origin))).help(AGAIN)
    }
}

/// The origin of a URL, and whether it is on this machine; the error goes on after the URL.
fn check(url: &str) -> Result<(String, bool), &'static str> {
    let parts = UrlParts::parse(url)?;
    let host = parts.host_and_port().0;
    let address = host.parse().is_ok_and(|address| AddressClass::of(address) == AddressClass::Loopback);
    let local = address || host == "localhost";
    if parts.scheme != "https" && !local {
        return Err("is not `https`, and not on this machine either");
    }
    Ok((parts.origin(), local))
}

fn client(extra_ca: Option<&[u8]>, local: bool) -> reqwest::Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .https_only(!local)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("redress/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(20))
        .timeout(Duration::from_secs(60));
    if local {
        builder = builder.no_proxy();
    }
    for certificate in extra_ca.map(reqwest::Certificate::from_pem_bundle).transpose()?.unwrap_or_default() {
        builder = builder.add_root_certificate(certificate);
    }
    builder.build()
}

fn request(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let version = env!("CARGO_PKG_VERSION");
    let resource = Resource {
        attributes: vec![text("service.name", "redress"), text("service.version", version)],
        ..Resource::default()
    };
    let scope = InstrumentationScope { name: "redress".into(), version: version.into(), ..Default::default() };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, schema_url: String::new() }];
    let resource_spans = vec![ResourceSpans { resource: Some(resource), scope_spans, schema_url: String::new() }];
    ExportTraceServiceRequest { resource_spans }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_go_over_plain_http_on_this_machine_only() {
        for good in ["http://127.0.0.1:4318", "http://localhost:4318/", "http://[::1]:4318/v1/traces"] {
            assert!(Receiver::new(good, None).is_ok(), "{good}");
        }
        for bad in
            ["http://otlp.example.com", "http://10.0.0.1:4318", "ftp://127.0.0.1", "otlp.example.com", "https://"]
        {
            assert_eq!(Receiver::new(bad, None).err().unwrap().exit().number(), 2, "{bad}");
        }
    }

    #[test]
    fn a_url_without_a_path_gets_that_of_the_specification() {
        let url = |url| Receiver::new(url, None).unwrap().url;
        assert_eq!(url("https://otlp.example.com"), "https://otlp.example.com/v1/traces");
        assert_eq!(url("http://127.0.0.1:4318/"), "http://127.0.0.1:4318/v1/traces");
        assert_eq!(url("https://otlp.example.com/otlp/v1/traces"), "https://otlp.example.com/otlp/v1/traces");
        let token = Receiver::new("https://otlp.example.com/token-4711", None).unwrap();
        assert_eq!(token.shown(), "https://otlp.example.com");
    }
}
