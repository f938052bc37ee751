use std::io::{self, ErrorKind};

use crate::Failure;

impl Failure {
    /// A failure that trying again does not mend.
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

    /// An error of the system at a path; `doing` completes "cannot ...".
    pub fn io(doing: &str, path: &str, error: &io::Error) -> Failure {
        let code = io_code(error.kind());
        let said = words(error);
        Failure { retryable: code == "unavailable", ..Failure::new(code, format!("cannot {doing} `{path}`: {said}")) }
    }

    /// The same failure with more for a person.
    pub fn with_details(self, details: impl Into<String>) -> Failure {
        Failure { details: Some(details.into()), ..self }
    }
}

/// What the system says, without its number: in a component that is WASI's, and not the one of the machine's manual.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let number = error.raw_os_error().map(|number| format!(" (os error {number})"));
    number.and_then(|number| text.strip_suffix(&number).map(str::to_owned)).unwrap_or(text)
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
        | ErrorKind::CrossesDevices
        | ErrorKind::FileTooLarge => "invalid-input",
        ErrorKind::Interrupted
        | ErrorKind::WouldBlock
        | ErrorKind::TimedOut
        | ErrorKind::ResourceBusy
        | ErrorKind::StorageFull
        | ErrorKind::QuotaExceeded => "unavailable",
        _ => "io-error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_error_becomes_a_code_and_names_the_path() {
        let failure = Failure::io("open", "/workspace/x", &io::Error::from(ErrorKind::NotFound));
        assert_eq!(failure.code, "not-found");
        assert!(failure.message.starts_with("cannot open `/workspace/x`: "), "{}", failure.message);
        assert!(!failure.retryable);
    }

    #[test]
    fn a_system_error_is_told_in_words_without_a_number() {
        let failure = Failure::io("open", "/x", &io::Error::from_raw_os_error(2));
        assert_eq!(failure.message, "cannot open `/x`: No such file or directory");
        let failure = Failure::io("open", "/x", &io::Error::other("a word (os error)"));
        assert_eq!(failure.message, "cannot open `/x`: a word (os error)");
    }

    #[test]
    fn only_what_may_pass_by_itself_is_retryable() {
        for (kind, code, retryable) in [
            (ErrorKind::PermissionDenied, "unauthorized", false),
            (ErrorKind::AlreadyExists, "conflict", false),
            (ErrorKind::IsADirectory, "invalid-input", false),
            (ErrorKind::StorageFull, "unavailable", true),
            (ErrorKind::Other, "io-error", false),
        ] {
            let failure = Failure::io("open", "/x", &io::Error::from(kind));
            assert_eq!((failure.code.as_str(), failure.retryable), (code, retryable));
        }
    }
}
