use std::io::{self, ErrorKind};
use std::time::Duration;

use crate::Failure;

impl Failure {
    /// A failure that trying again does not mend. Codes with a meaning for the host: `invalid-input`, `not-found`,
    /// `unauthorized`, `rate-limited`, `unavailable`, `conflict`, `undo_too_large`, and `not-settled` of an undo that must
    /// wait; any other is the capability's own.
    pub fn new(code: &str, message: impl Into<String>) -> Failure {
        Failure {
            code: code.to_owned(),
            message: message.into(),
            retryable: false,
            retry_after_ms: None,
            details: None,
        }
    }

    /// An input that no retry makes right.
    pub fn invalid_input(message: impl Into<String>) -> Failure {
        Failure::new("invalid-input", message)
    }

    /// The world is not as the call requires.
    pub fn conflict(message: impl Into<String>) -> Failure {
        Failure::new("conflict", message)
    }

    /// Something that may pass by itself.
    pub fn unavailable(message: impl Into<String>) -> Failure {
        Failure { retryable: true, ..Failure::new("unavailable", message) }
    }

    /// An undo that must wait, at least so long: it may still be found later what is to be undone. Uses up no attempt.
    pub fn not_settled(message: impl Into<String>, wait: Duration) -> Failure {
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Failure { retryable: true, retry_after_ms: Some(wait), ..Failure::new("not-settled", message) }
    }

    /// An error of the system at a path; `doing` completes "cannot ...".
    pub fn io(doing: &str, path: &str, error: &io::Error) -> Failure {
        let code = io_code(error.kind());
        Failure { retryable: code == "unavailable", ..Failure::new(code, format!("cannot {doing} `{path}`: {error}")) }
    }

    /// The same failure with more for a person.
    pub fn with_details(self, details: impl Into<String>) -> Failure {
        Failure { details: Some(details.into()), ..self }
    }
}

fn io_code(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound => "not-found",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => "unauthorized",
        ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty => "conflict",
        ErrorKind::InvalidInput
        | ErrorKind::InvalidFilename
        | ErrorKind::IsADirectory
        | ErrorKind::NotADirectory
        | ErrorKind::FileTooLarge => "invalid-input",
        ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "unavailable"
        }
        _ => "io-error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_by_itself_is_retryable() {
        for (kind, code, retryable) in [
            (ErrorKind::NotFound, "not-found", false),
            (ErrorKind::PermissionDenied, "unauthorized", false),
            (ErrorKind::AlreadyExists, "conflict", false),
            (ErrorKind::StorageFull, "unavailable", true),
            (ErrorKind::Other, "io-error", false),
        ] {
            let failure = Failure::io("open", "/x", &io::Error::from(kind));
            assert_eq!((failure.code.as_str(), failure.retryable), (code, retryable));
            assert!(failure.message.starts_with("cannot open `/x`: "), "{}", failure.message);
        }
    }

    #[test]
    fn an_undo_that_must_wait_says_how_long() {
        let failure = Failure::not_settled("it may still arrive", Duration::from_secs(2));
        assert_eq!((failure.code.as_str(), failure.retry_after_ms), ("not-settled", Some(2_000)));
    }
}
