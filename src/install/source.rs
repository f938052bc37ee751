//! Where a component comes from, as a person writes it.

use std::fmt;
use std::path::{Path, PathBuf};

use oci_client::Reference;

use super::InstallError;

/// Where a component comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file; its absolute path without symbolic links.
    File(PathBuf),
    /// An artifact in a registry: `oci://REGISTRY/NAME:TAG` or `oci://REGISTRY/NAME@sha256:...`.
    Oci(Reference),
}

const OCI: &str = "oci://";
const FILE: &str = "file://";

impl Source {
    /// Reads what a person wrote: a path, or `oci://...`.
    pub fn parse(text: &str) -> Result<Source, InstallError> {
        if let Some(reference) = text.strip_prefix(OCI) {
            return Source::oci(text, reference);
        }
        if text.contains("://") && !text.starts_with(FILE) {
            let message = format!("`{text}` is neither a file nor an artifact in a registry");
            return Err(InstallError::usage("bad-source", message, HELP));
        }
        let path = Path::new(text.strip_prefix(FILE).unwrap_or(text));
        let absolute = path
            .canonicalize()
            .map_err(|error| InstallError::usage("unreadable", format!("`{text}` cannot be read: {error}"), HELP))?;
        match absolute.to_str() {
            Some(_) => Ok(Source::File(absolute)),
            None => Err(InstallError::usage("not-utf8", format!("`{text}` has a name that is not UTF-8"), HELP)),
        }
    }

    fn oci(text: &str, reference: &str) -> Result<Source, InstallError> {
        // What the parser takes for a name on a public registry if there is no registry: it must be written out.
        let registry = reference.split('/').next().unwrap_or_default();
        let named = registry.contains(['.', ':']) || registry == "localhost";
        let parsed = reference.parse::<Reference>();
        match parsed {
            Ok(parsed) if named && reference.contains('/') => Ok(Source::Oci(parsed)),
            Ok(_) => {
                let message = format!("`{text}` names no registry");
                Err(InstallError::usage("bad-source", message, HELP))
            }
            Err(error) => Err(InstallError::usage(
                "bad-source",
                format!("`{text}` is not the name of an artifact: {error}"),
                HELP,
            )),
        }
    }

    /// Where it comes from, without tag and digest: what stays the same from version to version, and what a policy matches.
    pub fn origin(&self) -> String {
        match self {
            Source::File(path) => format!("{FILE}{}", path.display()),
            Source::Oci(reference) => format!("{OCI}{}/{}", reference.registry(), reference.repository()),
        }
    }

    /// The origin of a source as it was written down; nothing is looked up.
    pub fn origin_of(text: &str) -> Option<String> {
        match text.strip_prefix(OCI) {
            Some(reference) => Source::oci(text, reference).ok().map(|source| source.origin()),
            None => text.starts_with(FILE).then(|| text.to_owned()),
        }
    }

    /// What a person calls the component, unless they say otherwise: the last part of the name.
    pub fn name(&self) -> String {
        match self {
            Source::File(path) => path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default(),
            Source::Oci(reference) => reference.repository().rsplit('/').next().unwrap_or_default().to_owned(),
        }
    }
}

const HELP: &str = "write a file, `oci://registry.example.com/acme/notes:1.0.0`, or the same with `@sha256:...`";

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path) => write!(f, "{FILE}{}", path.display()),
            Source::Oci(reference) => {
                write!(f, "{OCI}{}/{}", reference.registry(), reference.repository())?;
                match (reference.tag(), reference.digest()) {
                    (_, Some(digest)) => write!(f, "@{digest}"),
                    (Some(tag), None) => write!(f, ":{tag}"),
                    (None, None) => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_is_read_back_as_it_was_written() {
        for text in [
            "oci://registry.example.com/acme/notes:1.0.0",
            "oci://localhost:5000/notes:latest",
            "oci://r.example/a/b@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        ] {
            assert_eq!(Source::parse(text).unwrap().to_string(), text);
        }
        let source = Source::parse("oci://registry.example.com/acme/notes:1.0.0").unwrap();
        assert_eq!(
            (source.origin().as_str(), source.name().as_str()),
            ("oci://registry.example.com/acme/notes", "notes")
        );
    }

    #[test]
    fn what_names_no_registry_is_refused_and_never_looked_for_on_a_public_one() {
        for text in
            ["oci://notes", "oci://acme/notes:1", "oci://r.example/../x", "oci://r.example/A:1", "https://r.example/x"]
        {
            assert!(Source::parse(text).is_err(), "{text}");
        }
    }
}
