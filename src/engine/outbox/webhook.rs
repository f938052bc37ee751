//! One message on its way: where it goes, how it is signed, and what came back.
//!
//! Messages have the form of Standard Webhooks: the headers `webhook-id`, `webhook-timestamp` and `webhook-signature`, which is
//! HMAC-SHA256 over id, time and body with the secret that only the receiver knows. The secret is read when something is about
//! to be sent; it is shown by nothing. Of the URL only scheme and host are shown, since a path may be as good as a password.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::Full;
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use sha2::Sha256;
use thiserror::Error;
use tokio::net::TcpStream;

use crate::journal::{Answer, JournalError};
use crate::sandbox::{Net, read_secret};
use crate::types::{AddressClass, Duration, SecretSource, Timestamp, UrlParts};

/// How long one try may take.
pub(super) const TRY: Duration = Duration::from_secs(10);
/// What the secret of a webhook begins with.
pub const SECRET_PREFIX: &str = "whsec_";
/// How many bytes a secret has, as Standard Webhooks wants it.
const SECRET: std::ops::RangeInclusive<usize> = 24..=64;

/// Where messages for people go.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    url: String,
    secret: SecretSource,
    /// Where people reach the console, without a slash at its end.
    console: Option<String>,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("origin", &self.origin()).finish_non_exhaustive()
    }
}

/// Why no message could be sent.
#[derive(Debug, Error)]
pub enum WebhookError {
    /// The secret is not there, or is none.
    #[error("the webhook's secret cannot be used: {place} {why}")]
    Secret {
        /// Where it was looked for.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// The journal failed or refused.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// A URL that nobody on the way can read along.
fn guarded(url: &str) -> Result<UrlParts<'_>, &'static str> {
    let parts = UrlParts::parse(url)?;
    let address = parts.host_and_port().0.parse::<IpAddr>();
    let local = address.is_ok_and(|address| AddressClass::of(address) == AddressClass::Loopback);
    match parts.scheme == "https" || local {
        true => Ok(parts),
        false => Err("is not `https`, and not a loopback address either"),
    }
}

impl Webhook {
    /// A webhook; the error says what is wrong with the URL, as a sentence that goes on after it. `http` is for loopback
    /// addresses only: everywhere else somebody on the way could read the messages.
    pub fn new(url: &str, secret: SecretSource) -> Result<Webhook, &'static str> {
        guarded(url)?;
        Ok(Webhook { url: url.to_owned(), secret, console: None })
    }

    /// The same, with links to the console at `url`; the error says what is wrong with it.
    pub fn with_console(self, url: &str) -> Result<Webhook, &'static str> {
        let parts = guarded(url)?;
        if parts.query.is_some() || parts.segments.iter().any(|segment| !segment.is_empty()) {
            return Err("has more than scheme, host and port: the console is at `/console` there");
        }
        Ok(Webhook { console: Some(url.trim_end_matches('/').to_owned()), ..self })
    }

    /// Where people reach the console, if that is said.
    pub(in crate::engine) fn console(&self) -> Option<&str> {
        self.console.as_deref()
    }

    /// Scheme, host and port: what may be shown of the URL.
    pub fn origin(&self) -> String {
        UrlParts::parse(&self.url).map_or_else(|_| String::new(), |parts| parts.origin())
    }

    /// The file that holds the secret, if one does.
    pub(in crate::engine) fn secret_file(&self) -> Option<&Path> {
        match &self.secret {
            SecretSource::File(path) => Some(Path::new(path)),
            SecretSource::Env(_) => None,
        }
    }

    /// Reads the secret.
    pub(super) fn key(&self) -> Result<Key, WebhookError> {
        let (place, text) = read_secret(&self.secret);
        let key = text.and_then(|text| Key::parse(text.trim()).map_err(str::to_owned));
        key.map_err(|why| WebhookError::Secret { place, why })
    }

    /// Sends a message once.
    pub(super) async fn post(&self, net: &Net, key: &Key, id: &str, at: Timestamp, body: Bytes) -> Answer {
        match tokio::time::timeout(TRY.as_std(), self.exchange(net, key, id, at, body)).await {
            Ok(Ok(status)) => Answer::Status(status),
            Ok(Err(error)) => Answer::Failed(with_causes(&error)),
            Err(_) => Answer::Failed(format!("no answer within {TRY}")),
        }
    }

    async fn exchange(&self, net: &Net, key: &Key, id: &str, at: Timestamp, body: Bytes) -> io::Result<u16> {
        let parts = UrlParts::parse(&self.url).map_err(io::Error::other)?;
        let (host, port) = parts.host_and_port();
        let tcp = connect(net, host, port).await?;
        let connection = match parts.scheme {
            "https" => net.secure(host, tcp).await?,
            _ => Box::new(tcp),
        };
        let target = self.url.get(parts.origin().len()..).filter(|path| path.starts_with('/')).unwrap_or("/");
        let seconds = at.0 / 1_000;
        let request = Request::post(target)
            .header(HOST, parts.authority)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("redress/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", key.sign(id, seconds, &body))
            .body(Full::new(body))
            .map_err(io::Error::other)?;
        let (mut sender, driver) = http1::handshake(TokioIo::new(connection)).await.map_err(io::Error::other)?;
        let answered = sender.send_request(request);
        tokio::pin!(answered);
        let response = tokio::select! {
            biased;
            response = &mut answered => response,
            // The answer may have come together with the end of the connection, however abrupt.
            ended = driver => answered.await.map_err(|error| ended.err().unwrap_or(error)),
        };
        Ok(response.map_err(io::Error::other)?.status().as_u16())
    }
}

/// An error with what caused it.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// A connection to the first of a host's addresses that takes one.
async fn connect(net: &Net, host: &str, port: u16) -> io::Result<TcpStream> {
    let mut failed = io::Error::other("the name has no address");
    for address in net.resolve(host, port).await? {
        match net.dial(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// The secret, ready to sign with.
pub(super) struct Key(Hmac<Sha256>);

impl Key {
    fn parse(text: &str) -> Result<Key, &'static str> {
        let encoded = text.strip_prefix(SECRET_PREFIX).ok_or("does not begin with `whsec_`")?;
        let bytes = STANDARD.decode(encoded).map_err(|_| "is not base64 after `whsec_`")?;
        if !SECRET.contains(&bytes.len()) {
            return Err("does not hold 24 to 64 bytes in base64");
        }
        Hmac::new_from_slice(&bytes).map(Key).map_err(|_| "has a length that no key has")
    }

    fn sign(&self, id: &str, seconds: u64, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(format!("{id}.{seconds}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> SecretSource {
        SecretSource::Env(name.into())
    }

    #[test]
    fn plain_http_is_for_loopback_addresses_only() {
        for good in ["https://hooks.example.com/a", "http://127.0.0.1:8080/x", "http://[::1]:9/", "https://10.0.0.1/"] {
            assert!(Webhook::new(good, env("S")).is_ok(), "{good}");
        }
        for bad in [
            "http://hooks.example.com/",
            "http://localhost/",
            "http://10.0.0.1/",
            "http://127.0.0.1.example.com/",
            "ftp://127.0.0.1/",
            "https://user:word@example.com/",
            "https://Example.com/",
            "hooks.example.com",
        ] {
            assert!(Webhook::new(bad, env("S")).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_signature_is_that_of_the_specification() {
        let key = Key::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").ok().unwrap();
        let signed = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_that_is_none_is_refused_without_being_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let file = || SecretSource::File(path.to_string_lossy().into_owned());
        let webhook = Webhook::new("https://hooks.example.com/token", file()).unwrap();
        for (text, why) in [
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "begin with"),
            ("whsec_not base64", "not base64"),
            ("whsec_c2hvcnQ=", "24 to 64 bytes"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = webhook.key().err().unwrap().to_string();
            assert!(error.contains(why) && !error.contains(text), "{error}");
        }
        std::fs::write(&path, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        assert!(webhook.key().is_ok());
        assert!(!format!("{webhook:?}").contains("token"));
        let missing = Webhook::new("https://h/", env("REDRESS_TEST_NO_SUCH_VARIABLE")).unwrap();
        assert!(missing.key().err().unwrap().to_string().contains("`REDRESS_TEST_NO_SUCH_VARIABLE` is not set"));
    }
}
