//! The documents say what is true of the code, as far as a machine can tell: names of tests, links, tables, examples, and
//! the wording of the guarantee.
// A test that cannot go on has failed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;
#[path = "support/tree.rs"]
mod tree;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use redress::document::Source;
use redress::policy::Policy;
use redress::types::Limits;
use redress::workflow::Workflow;
use serde_json::Map;
use tree::{files, root, tests};

const GUARANTEE: &str = "an effect is attempted only after its intent is durable, its outcome is recorded exactly once, and it is \
    effectively-once where the target honours the idempotency key; otherwise the outcome is reported as unclear. Runs are atomic \
    and durable, not isolated: others may see or change a target before the run ends.";

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The text with every run of white space as one space.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What stands between backticks, code blocks left out.
fn in_backticks(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    prose.flat_map(|part| part.split('`').skip(1).step_by(2)).collect()
}

/// Names of tests have at least three underscores; no key of a file has as many.
fn is_test_name(word: &str) -> bool {
    word.matches('_').count() >= 3 && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[test]
fn the_thirteen_principles_stand_and_name_their_tests() {
    let text = read("docs/PRINCIPLES.md");
    let tests = tests();
    let sections: Vec<&str> = text.split("\n## ").skip(1).collect();
    assert_eq!(sections.len(), 13);
    for (index, section) in sections.into_iter().enumerate() {
        let heading = section.lines().next().unwrap();
        assert!(heading.starts_with(&format!("{}. ", index + 1)), "{heading}");
        let named: Vec<&str> = in_backticks(section).into_iter().filter(|word| is_test_name(word)).collect();
        assert!(!named.is_empty(), "{heading} names no test");
        for name in named {
            assert!(tests.contains(name), "{heading}: there is no test `{name}`");
        }
    }
}

#[test]
fn every_invariant_names_its_tests_or_says_that_there_is_none() {
    let text = read("docs/SEMANTICS.md");
    let tests = tests();
    for name in in_backticks(&text).into_iter().filter(|word| is_test_name(word)) {
        assert!(tests.contains(name), "there is no test `{name}`");
    }
    for number in 1..=14 {
        let row = text.lines().find(|line| line.starts_with(&format!("| I{number} |")));
        let row = row.unwrap_or_else(|| panic!("I{number} has no row"));
        let held = in_backticks(row).into_iter().any(is_test_name);
        assert!(held || row.contains("no test yet"), "{row}");
    }
}

#[test]
fn every_row_of_the_guarantees_names_tests_that_there_are() {
    let text = read("docs/GUARANTEES.md");
    let tests = tests();
    for name in in_backticks(&text).into_iter().filter(|word| is_test_name(word)) {
        assert!(tests.contains(name), "there is no test `{name}`");
    }
    let tables = text.split("\n## ").filter(|section| section.contains("| shown by |"));
    for row in tables.flat_map(|section| section.lines()).filter(|line| line.starts_with("| ")) {
        let shown = row.rsplit('|').nth(1).unwrap();
        let heading = shown.trim() == "shown by";
        assert!(heading || in_backticks(shown).into_iter().any(is_test_name), "no test: {row}");
    }
}

#[test]
fn the_guarantee_stands_word_for_word() {
    for file in ["README.md", "docs/SEMANTICS.md", "docs/GUARANTEES.md"] {
        assert!(flat(&read(file)).contains(GUARANTEE), "{file} has another wording");
    }
}

/// How a heading is called in a link.
fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

#[test]
fn every_link_leads_somewhere() {
    for file in files(&["md"]) {
        let text = fs::read_to_string(&file).unwrap();
        let prose: String = text.split("```").step_by(2).collect();
        for link in prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
            let target = if path.is_empty() { file.clone() } else { file.parent().unwrap().join(path) };
            assert!(target.exists(), "{}: `{link}` leads nowhere", file.display());
            if let Some(anchor) = anchor {
                let text = fs::read_to_string(&target).unwrap();
                let headings = text.lines().filter(|line| line.starts_with('#'));
                let found = headings.map(|line| slug(line.trim_start_matches('#').trim())).any(|slug| slug == anchor);
                assert!(found, "{}: `{link}` names no heading", file.display());
            }
        }
    }
}

#[test]
fn every_document_can_be_reached_from_the_readme() {
    let readme = read("README.md");
    for file in files(&["md"]) {
        let inside = file.strip_prefix(root()).unwrap();
        if inside.starts_with("docs") || inside == Path::new("CONTRIBUTING.md") {
            assert!(
                readme.contains(&format!("({})", inside.display())),
                "README.md does not link {}",
                inside.display()
            );
        }
    }
}

#[test]
fn the_examples_of_the_documents_load() {
    for file in files(&["md"]) {
        let text = fs::read_to_string(&file).unwrap();
        for block in text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            let place = format!("{}:\n{block}", file.display());
            let source = Source::new("example.yaml", block);
            if block.starts_with("default:") {
                Policy::load(source, "/base").unwrap_or_else(|errors| panic!("{place}\n{errors}"));
            } else if block.starts_with("name:") {
                Workflow::load(&source, &support::catalog(), &Map::new()).unwrap_or_else(|e| panic!("{place}\n{e}"));
            }
        }
    }
}

#[test]
fn the_table_of_limits_is_that_of_the_code() {
    let text = read("docs/POLICY.md");
    let rows = text.split("## Limits").nth(1).unwrap().split("\n## ").next().unwrap();
    let named: Vec<&str> = rows.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let limits: Vec<&str> = Limits::NAMES.iter().map(|(name, _)| *name).collect();
    assert_eq!(named, limits);
}

#[test]
fn every_failure_code_of_the_host_is_explained() {
    let codes = read("src/types/failure.rs");
    let explained = read("docs/TROUBLESHOOTING.md");
    let codes = codes.lines().filter(|line| line.contains("pub const")).filter_map(|line| line.split('"').nth(1));
    for code in codes {
        assert!(explained.contains(&format!("`{code}`")), "`{code}` is not explained");
    }
}

/// Every code that an answer of the service can have. `Problem` is made in few ways, each with its code.
#[test]
fn every_code_of_a_problem_of_the_service_is_explained() {
    let explained = read("docs/TROUBLESHOOTING.md");
    let mut codes = BTreeSet::new();
    let of_service = root().join("src/serve/http");
    for file in files(&["rs"]).into_iter().filter(|file| file.starts_with(&of_service)) {
        let text = flat(&fs::read_to_string(&file).unwrap());
        for made in ["Problem::new(", "Problem::bad_request(", "StatusCode::CONFLICT,"] {
            for after in text.split(made).skip(1) {
                let code = after.split('"').nth(1).unwrap_or_default();
                let is_code = !code.is_empty() && code.bytes().all(|byte| byte == b'-' || byte.is_ascii_lowercase());
                let near = after.find('"').is_some_and(|at| at < 60);
                codes.extend((is_code && near).then(|| code.to_owned()));
            }
        }
    }
    assert!(codes.len() >= 15, "{codes:?}");
    let unexplained: Vec<&String> = codes.iter().filter(|code| !explained.contains(&format!("`{code}`"))).collect();
    assert!(unexplained.is_empty(), "{unexplained:?}");
}

#[test]
fn every_dependency_has_its_line_and_every_line_its_dependency() {
    let manifests = [
        "Cargo.toml",
        "capabilities/Cargo.toml",
        "capabilities/common/Cargo.toml",
        "capabilities/data/Cargo.toml",
        "capabilities/fs/Cargo.toml",
        "capabilities/http/Cargo.toml",
        "tests/components/Cargo.toml",
        "sdk/rust/Cargo.toml",
        "fuzz/Cargo.toml",
        "tests/tracer/Cargo.toml",
    ];
    let mut used = BTreeSet::new();
    for file in manifests {
        let mut inside = false;
        for line in read(file).lines() {
            if line.starts_with('[') {
                inside = line.ends_with("dependencies]");
            }
            let name = line.split(['=', '.']).next().unwrap().trim();
            if inside && !name.is_empty() && !name.starts_with(['[', '#']) {
                used.insert(name.to_owned());
            }
        }
    }
    let text = read("docs/dependencies.md");
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let told = rows.flat_map(|row| in_backticks(row.split('|').nth(1).unwrap()));
    assert_eq!(told.map(str::to_owned).collect::<BTreeSet<_>>(), used);
}

#[test]
fn no_text_knows_the_machine_it_was_written_on() {
    // In parts, so that this file may be looked at too.
    let (home, root_home, users) = (concat!("/ho", "me/"), concat!("/ro", "ot"), concat!("/Us", "ers/"));
    let registry = concat!("registry", "/src");
    for file in files(&["md", "rs", "yaml", "toml", "wit"]) {
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        let shown = file.display();
        for word in [users, registry] {
            assert!(!text.contains(word), "{shown} contains `{word}`");
        }
        for rest in text.split(home).skip(1) {
            assert!(
                rest.starts_with("you/"),
                "{shown} names a home folder: {}",
                rest.lines().next().unwrap_or_default()
            );
        }
        // `/workspace/root` is no home: only where the path begins.
        for (place, _) in text.match_indices(root_home) {
            let before = text[..place].chars().next_back().unwrap_or(' ');
            let after = text[place + root_home.len()..].chars().next().unwrap_or(' ');
            let inside = |c: char| c.is_ascii_alphanumeric() || "_-.}".contains(c);
            assert!(inside(before) || inside(after), "{shown} names `{root_home}`");
        }
    }
}

#[test]
fn every_verb_and_example_that_a_document_names_is_there() {
    for file in files(&["md"]) {
        let text = flat(&fs::read_to_string(&file).unwrap());
        for rest in text.split("`redress ").skip(1).chain(text.split("$ redress ").skip(1)) {
            let verb: String = rest.chars().take_while(|c| c.is_ascii_lowercase()).collect();
            let folder = root().join("src/cli").join(&verb);
            let found = verb.is_empty() || folder.is_dir() || folder.with_extension("rs").is_file();
            assert!(found, "{}: there is no verb `{verb}`", file.display());
        }
        for rest in text.split("examples/").skip(1) {
            let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || "_-.".contains(*c)).collect();
            if name.ends_with(".yaml") {
                assert!(root().join("examples").join(&name).is_file(), "{}: no example `{name}`", file.display());
            }
        }
    }
}

/// Components that were built against 0.1.0 go on working: what is declared stays as it was, whatever comes to stand beside it.
#[test]
fn the_contract_0_1_0_is_frozen() {
    let text = read("wit/capability.wit");
    let declared: Vec<&str> =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).collect();
    let digest = redress::types::sha256(declared.join("\n").as_bytes());
    assert!(declared[0].ends_with("@0.1.0;"), "{}", declared[0]);
    assert_eq!(digest.hex(), "e046ff09db329cb0c44237a1fccbbcc22cd47d23586955d11d8ec94f9f87cb54");
}
