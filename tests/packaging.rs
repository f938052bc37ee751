//! The unit and the image agree with the program, with each other and with the guide, as far as a machine without systemd and
//! without containers can tell.
// A test that cannot go on has failed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/tree.rs"]
#[allow(dead_code, reason = "each test file uses its own part")]
mod tree;

use std::fs;
use std::process::Command;

use redress::engine::Submit;
use redress::types::{Duration, Principal};
use tree::root;

const UNIT: &str = "packaging/redress.service";
const IMAGE: &str = "packaging/Containerfile";
const SETTINGS: &str = "packaging/redress.yaml";
const GUIDE: &str = "docs/OPERATIONS.md";

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands behind `key` on the last line that begins with it.
fn said(path: &str, key: &str) -> String {
    let text = read(path);
    let line = text.lines().rev().find_map(|line| line.strip_prefix(key));
    line.unwrap_or_else(|| panic!("{path} has no `{key}`")).trim().to_owned()
}

/// The first word behind `key`.
fn word(path: &str, key: &str) -> String {
    said(path, key).split_whitespace().next().unwrap_or_default().to_owned()
}

/// The words of a JSON array behind `key`.
fn array(path: &str, key: &str) -> Vec<String> {
    serde_json::from_str(&said(path, key)).unwrap_or_else(|error| panic!("{path}, {key}: {error}"))
}

/// What would be typed after `redress`: what the unit and the image start, and what stands between backticks.
fn commands() -> Vec<Vec<String>> {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let started = words(&said(UNIT, "ExecStart="));
    assert_eq!(started.first().map(String::as_str), Some("/usr/local/bin/redress"));
    assert_eq!(array(IMAGE, "ENTRYPOINT "), ["redress"]);
    let mut found = vec![started.into_iter().skip(1).collect(), array(IMAGE, "CMD ")];
    for path in [UNIT, IMAGE, SETTINGS] {
        for quoted in read(path).split('`').skip(1).step_by(2) {
            found.extend(quoted.split_once("redress ").map(|(_, rest)| words(rest)));
        }
    }
    // The blocks of the guide: a verb stands behind the last `redress`, whoever types it and wherever it runs.
    for block in read(GUIDE).split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()) {
        let block = block.replace("\\\n", " ");
        let typed = block.lines().filter_map(|line| line.split('#').next());
        let typed = typed.filter_map(|line| Some(format!(" {line}").rsplit_once(" redress ")?.1.to_owned()));
        found.extend(
            typed.filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase())).map(|rest| shell_words(&rest)),
        );
    }
    found
}

/// The words of a line as a shell has them, which knows of no quotes but `'`.
fn shell_words(line: &str) -> Vec<String> {
    let parts = line.split('\'').enumerate();
    let words = parts.flat_map(|(index, part)| match index % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    });
    words.collect()
}

/// The words that are no option are read before help is given, and so is every option.
#[test]
fn every_command_of_the_packaging_and_its_guide_is_one_of_the_program() {
    let commands = commands();
    assert!(commands.len() > 10, "{commands:?}");
    for command in commands {
        let program = env!("CARGO_BIN_EXE_redress");
        let answer = Command::new(program).args(&command).arg("--help").output().unwrap();
        assert!(answer.status.success(), "{command:?}: {}", String::from_utf8_lossy(&answer.stderr));
    }
}

#[test]
fn unit_image_settings_and_guide_name_the_same_places() {
    let (state, guide) = (format!("/var/lib/{}", word(UNIT, "StateDirectory=")), read(GUIDE));
    assert_eq!(word(IMAGE, "VOLUME "), state);
    assert!(word(SETTINGS, "journal:").starts_with(&format!("{state}/")));
    let folder = word(UNIT, "WorkingDirectory=");
    assert_eq!(word(IMAGE, "WORKDIR "), folder);
    assert!(said(IMAGE, "COPY --chown=").ends_with(&format!("{folder}/redress.yaml")));
    for named in [UNIT, IMAGE, SETTINGS, &state, &folder] {
        assert!(guide.contains(named), "{GUIDE} does not name {named}");
    }
    assert_eq!(word(UNIT, "User="), said(IMAGE, "RUN groupadd").split_whitespace().nth(2).unwrap_or_default());
}

#[test]
fn unit_image_and_settings_have_the_port_that_the_program_has_by_default() {
    let listen = word(SETTINGS, "listen:");
    assert!(read("src/cli/serve.rs").contains(&format!("const LISTEN: &str = \"{listen}\";")), "{listen}");
    assert!(read(GUIDE).contains(&format!("http://{listen}")), "{listen}");
    let port = listen.rsplit(':').next().unwrap_or_default();
    assert_eq!(word(IMAGE, "EXPOSE "), port);
    assert_eq!(word(UNIT, "SocketBindAllow="), format!("ipv4:tcp:{port}"));
}

/// How long telling people may take at the end, which `TELL` of `src/cli/drive.rs` says.
const TELL: u64 = 15;

#[test]
fn the_unit_waits_longer_than_an_end_takes_by_default() {
    assert!(read("src/cli/drive.rs").contains(&format!("const TELL: Duration = Duration::from_secs({TELL});")));
    let settle = Submit::by(Principal::parse("user:op").unwrap()).settle_timeout;
    // Once for what is being answered, and once for what runs.
    let end = Duration(2 * settle.0 + TELL * 1000);
    let stop = Duration::parse(&word(UNIT, "TimeoutStopSec=")).unwrap();
    assert!(stop > end, "{stop:?} is not more than {end:?}");
}

#[test]
fn the_unit_lets_components_be_compiled() {
    assert!(!read(UNIT).lines().any(|line| line.starts_with("MemoryDenyWriteExecute=")));
}

#[test]
fn the_image_is_built_with_the_toolchain_of_the_project() {
    let channel = said("rust-toolchain.toml", "channel = ");
    let version = word(IMAGE, "FROM rust:");
    let version = version.split('-').next().unwrap_or_default();
    assert!(channel.trim_matches('"').starts_with(&format!("{version}.")), "{channel} is not {version}");
}

#[test]
fn the_settings_of_the_packaging_load() {
    // A verb that reads settings and needs no journal, in their folder.
    let packaging = root().join("packaging");
    let mut command = Command::new(env!("CARGO_BIN_EXE_redress"));
    for variable in ["REDRESS_POLICY", "REDRESS_JOURNAL", "REDRESS_AS", "REDRESS_COMPONENTS"] {
        command.env_remove(variable);
    }
    let answer = command.args(["policy", "check", "../policies/strict.yaml"]).current_dir(packaging).output().unwrap();
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
}
