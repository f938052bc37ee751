//! Why TLS did not come about, in words for whoever operates the host.
//!
//! The guest is told of what kind the failure is and no more: the rest stands in the failure that the host reports.

use std::io;

use thiserror::Error;
use tokio_rustls::rustls::{self, CertificateError};

use crate::types::cut;

/// The most names of a certificate that are shown, and the most characters of whatever the server has chosen.
const MOST_NAMES: usize = 3;
const MOST_TEXT: usize = 200;

/// There is no TLS with a server.
#[derive(Debug, Error)]
#[error("{why}")]
pub struct TlsError {
    pub(super) kind: TlsErrorKind,
    why: String,
}

/// What a guest may know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TlsErrorKind {
    /// The host does not accept the certificate.
    Certificate,
    /// The server has refused, with this number.
    Refused(u8),
    /// They do not understand each other.
    Protocol,
}

impl TlsError {
    /// What a handshake with `host` failed with.
    pub(super) fn new(host: &str, error: &io::Error) -> TlsError {
        let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let (kind, why) = match cause {
            Some(rustls::Error::InvalidCertificate(why)) => (TlsErrorKind::Certificate, certificate(host, why)),
            Some(rustls::Error::NoCertificatesPresented) => {
                (TlsErrorKind::Certificate, format!("`{host}` has shown no certificate"))
            }
            Some(rustls::Error::AlertReceived(alert)) => {
                (TlsErrorKind::Refused(u8::from(*alert)), format!("`{host}` has refused TLS: {alert:?}"))
            }
            Some(rustls::Error::InvalidMessage(_)) => {
                (TlsErrorKind::Protocol, format!("`{host}` has answered with something that is not TLS"))
            }
            Some(other) => (TlsErrorKind::Protocol, format!("TLS with `{host}` failed: {}", text(other))),
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                (TlsErrorKind::Protocol, format!("`{host}` has hung up before TLS was made"))
            }
            None => (TlsErrorKind::Protocol, format!("TLS with `{host}` failed: {}", text(error))),
        };
        TlsError { kind, why }
    }

    /// The host has no name that a certificate could be for.
    pub(super) fn no_name(host: &str, error: impl ToString) -> TlsError {
        TlsError { kind: TlsErrorKind::Protocol, why: format!("`{host}` can have no certificate: {}", text(error)) }
    }
}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> io::Error {
        io::Error::other(error)
    }
}

fn certificate(host: &str, why: &CertificateError) -> String {
    match why {
        CertificateError::NotValidForNameContext { presented, .. } => {
            format!("the certificate of `{host}` is not for that name, but for {}", names(presented))
        }
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("the certificate of `{host}` has expired: it was valid until {}", moment(not_after.as_secs()))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("the certificate of `{host}` is not valid before {}", moment(not_before.as_secs()))
        }
        CertificateError::UnknownIssuer => format!(
            "the certificate of `{host}` is from an authority that is not trusted (`extra_ca` in the settings adds one)"
        ),
        CertificateError::BadSignature => format!(
            "the certificate of `{host}` is not signed by the authority that it names, or that one has another key here"
        ),
        other => format!("the certificate of `{host}` is not accepted: {}", text(other)),
    }
}

/// The names in a certificate, which the server has chosen.
fn names(presented: &[String]) -> String {
    let plain = |name: &String| {
        let name = name.strip_prefix("DnsName(\"").and_then(|rest| rest.strip_suffix("\")")).unwrap_or(name);
        format!("`{}`", text(name))
    };
    let shown: Vec<String> = presented.iter().take(MOST_NAMES).map(plain).collect();
    match (shown.is_empty(), presented.len().saturating_sub(MOST_NAMES)) {
        (true, _) => "none".to_owned(),
        (false, 0) => shown.join(", "),
        (false, more) => format!("{} and {more} more", shown.join(", ")),
    }
}

fn text(said: impl ToString) -> String {
    cut(said.to_string(), MOST_TEXT)
}

fn moment(seconds: u64) -> String {
    let at = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    at.map_or_else(|| format!("second {seconds}"), |at| at.to_string())
}
