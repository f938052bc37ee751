//! Paths in inputs, checked once.

use std::fs::{self, Metadata};
use std::io::ErrorKind;

use redress_guest::Failure;

/// Refuses a path that is not absolute and in normal form, so that what was decided is what is touched.
pub fn check(path: &str) -> Result<&str, Failure> {
    let Some(rest) = path.strip_prefix('/') else {
        return Err(Failure::invalid_input(format!("`{path}` is not absolute: write `/workspace/...`")));
    };
    if path.contains('\0') {
        return Err(Failure::invalid_input("a path cannot contain a NUL byte"));
    }
    if !rest.is_empty() && rest.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(Failure::invalid_input(format!(
            "`{path}` has an empty segment, `.` or `..`: write the path itself"
        )));
    }
    Ok(path)
}

/// The directory that a checked path lies in; none for `/`.
pub fn parent(path: &str) -> Option<&str> {
    match path.rsplit_once('/')? {
        ("", "") => None,
        ("", _) => Some("/"),
        (parent, _) => Some(parent),
    }
}

/// What is at a path, links not followed; none if nothing is there.
pub fn look(path: &str) -> Result<Option<Metadata>, Failure> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(Failure::io("look at", path, &error)),
    }
}

/// Refuses the top of a granted directory: it can be neither removed nor renamed. Nothing above it can be seen.
pub fn below_grant(path: &str) -> Result<(), Failure> {
    if let Some(parent) = parent(path)
        && look(parent)?.is_some()
    {
        return Ok(());
    }
    Err(Failure::invalid_input(format!("`{path}` is the top of a granted directory, or lies in none")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absolute_paths_in_normal_form_are_taken() {
        for good in ["/", "/workspace", "/workspace/a b/ä..txt"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["", "a", "./a", "/a/../b", "/..", "/a//b", "/a/", "/a/./b", "/a\0b"] {
            assert_eq!(check(bad).unwrap_err().code, "invalid-input", "{bad}");
        }
    }

    #[test]
    fn the_top_of_a_grant_is_told_by_its_missing_parent() {
        assert!(below_grant("/tmp").is_ok());
        for top in ["/", "/none/top"] {
            assert_eq!(below_grant(top).unwrap_err().code, "invalid-input");
        }
    }

    #[test]
    fn a_parent_is_one_segment_shorter() {
        assert_eq!(parent("/a/b"), Some("/a"));
        assert_eq!(parent("/a"), Some("/"));
        assert_eq!(parent("/"), None);
    }
}
