//! The project's own files and tests, for tests that look at them.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// Folders that hold nothing that was written by hand, or nothing that stands as it is.
const SKIPPED: [&str; 6] = ["target", ".git", ".redress", "workspace", "node_modules", "template"];

/// The project's folder.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of the project with one of these endings.
pub fn files(endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !SKIPPED.contains(&name) {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| endings.iter().any(|wanted| ending == *wanted)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The functions of the project's sources that are marked as tests.
pub fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in files(&["rs"]) {
        let text = fs::read_to_string(file).unwrap();
        let mut marked = false;
        for line in text.lines().map(str::trim_start) {
            if let Some(rest) = line.trim_start_matches("async ").strip_prefix("fn ").filter(|_| marked) {
                found.extend(rest.split('(').next().map(str::to_owned));
            }
            marked =
                line.starts_with("#[test]") || line.starts_with("#[tokio::test") || (marked && line.starts_with('#'));
        }
    }
    found
}
