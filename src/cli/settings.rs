//! What is in force: `redress.yaml` in the working directory or a parent, then `REDRESS_*` variables, then flags.
//!
//! The file decides who acts under which policy, so it is read as strictly as a policy: unknown keys are errors, and a file that belongs to another user is refused. Its
//! relative paths are relative to itself; those of variables and flags to the working directory. The journal defaults to
//! `.redress/journal.db` beside the file.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::Globals;
use super::context::shown_path;
use super::error::CliError;
use super::peers::read_peers;
use crate::document::{
    Diagnostic, Diagnostics, MapReader, Node, Source, boolean, duration, integer, parse, positive_duration, string,
    strings,
};
use crate::engine::{SECRET_PREFIX, Submit, Webhook, names_of};
use crate::install::Store;
use crate::journal::{Checkpoints, HandOver, Retention, SqliteJournal};
use crate::policy::read_secret_source;
use crate::serve::token::Peers;
use crate::types::{Duration, Principal};

/// The name of the settings file.
pub(super) const FILE: &str = "redress.yaml";
/// Where the journal lies beside the settings, unless they say otherwise.
const JOURNAL: &str = ".redress/journal.db";

pub(super) const KEYS: &[&str] = &[
    "policy",
    "journal",
    "principal",
    "components",
    "extra_ca",
    "max_parallel",
    "max_runs",
    "settle_timeout",
    "idle_timeout",
    "trust_owner",
    "listen",
    "socket",
    "peers",
    "webhook",
    "checkpoints",
    "retention",
    "policy_shadow",
];
pub(super) const WEBHOOK_KEYS: [&str; 3] = ["url", "secret", "console"];
pub(super) const SECRET_KEYS: [&str; 2] = ["env", "file"];

pub(super) const CHECKPOINT_KEYS: [&str; 4] = ["every_events", "every", "file", "command"];
pub(super) const RETENTION_KEYS: [&str; 2] = ["undo", "logs"];

/// The largest settings file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// What is in force. Paths are absolute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// The settings file, if there is one.
    pub file: Option<PathBuf>,
    /// Where it was looked for.
    pub looked_in: Vec<PathBuf>,
    /// The policy file.
    pub policy: Option<PathBuf>,
    /// The file of the policy that decides beside it.
    pub policy_shadow: Option<PathBuf>,
    /// The journal file.
    pub journal: Option<PathBuf>,
    /// Who acts.
    pub principal: Option<Principal>,
    /// Whether a variable or a flag said who acts.
    pub principal_is_explicit: bool,
    /// Folders with components.
    pub components: Vec<PathBuf>,
    /// Certificates of authorities that TLS trusts besides the usual ones, in PEM.
    pub extra_ca: Option<PathBuf>,
    /// How many steps of a run go on at the same time.
    pub max_parallel: Option<u32>,
    /// How many runs a service has in memory before it begins no more.
    pub max_runs: Option<u32>,
    /// Where `serve` listens.
    pub listen: Option<SocketAddr>,
    /// The socket at which `serve` listens.
    pub socket: Option<PathBuf>,
    /// Users of this machine who need no token there.
    pub peers: Peers,
    /// How long running attempts may go on once nothing new starts.
    pub settle_timeout: Option<Duration>,
    /// How long an open run may be idle.
    pub idle_timeout: Option<Duration>,
    /// Whether the owner that a workflow names is the principal.
    pub trust_owner: bool,
    /// Where people are told that something waits for them.
    pub webhook: Option<Webhook>,
    /// When checkpoints are made, and where they are handed over to.
    pub checkpoints: Checkpoints,
    /// How long closed runs keep what they do not need any more.
    pub retention: Retention,
}

/// Where components are installed.
pub(super) struct InstallPlace {
    /// `redress.lock`, beside the settings.
    pub lock: PathBuf,
    /// Their bytes.
    pub store: Store,
}

impl Settings {
    /// Where components are installed: beside the settings, if there are any.
    pub(super) fn install_place(&self) -> Option<InstallPlace> {
        let folder = self.file.as_deref()?.parent()?;
        Some(InstallPlace { lock: folder.join("redress.lock"), store: Store::new(folder.join(".redress/components")) })
    }

    /// Finds and reads the settings of this process.
    pub(super) fn find(globals: &Globals) -> Result<Settings, CliError> {
        let here = std::env::current_dir()
            .map_err(|error| CliError::engine("io", format!("the working directory cannot be found: {error}")))?;
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        Settings::of(&here, &variable, globals)
    }

    fn of(here: &Path, variable: &dyn Fn(&str) -> Option<OsString>, globals: &Globals) -> Result<Settings, CliError> {
        let looked_in: Vec<PathBuf> = here.ancestors().map(Path::to_owned).collect();
        let mut settings = match looked_in.iter().map(|folder| folder.join(FILE)).find(|file| is_there(file)) {
            Some(file) => read(&file)?,
            None => Settings::default(),
        };
        settings.looked_in = looked_in;
        let path = |name: &str, flag: &Option<PathBuf>| {
            flag.clone().or_else(|| variable(name).map(PathBuf::from)).map(|path| here.join(path))
        };
        settings.policy = path("REDRESS_POLICY", &globals.policy).or(settings.policy);
        settings.journal = path("REDRESS_JOURNAL", &globals.journal).or(settings.journal);
        if let Some(principal) = principal(globals, variable)? {
            settings.principal = Some(principal);
            settings.principal_is_explicit = true;
        }
        if !globals.components.is_empty() {
            settings.components = globals.components.iter().map(|folder| here.join(folder)).collect();
        } else if let Some(folders) = variable("REDRESS_COMPONENTS") {
            settings.components = std::env::split_paths(&folders).map(|folder| here.join(folder)).collect();
        }
        // What lies beside a journal lies beside the file, wherever a link to it is.
        if let Some(journal) = settings.journal.as_mut().filter(|journal| journal.is_symlink()) {
            *journal = journal.canonicalize().unwrap_or_else(|_| journal.clone());
        }
        refuse_own_files(&settings)?;
        Ok(settings)
    }

    /// The policy file, or how to get one.
    pub(super) fn policy(&self) -> Result<&Path, CliError> {
        self.policy.as_deref().ok_or_else(|| self.missing(&["a policy (`--policy FILE`)"]))
    }

    /// The journal file, or how to get a place for one.
    pub(super) fn journal(&self) -> Result<&Path, CliError> {
        self.journal.as_deref().ok_or_else(|| self.missing(&["a place for the journal (`--journal FILE`)"]))
    }

    /// Who acts, or how to say it.
    pub(super) fn principal(&self) -> Result<&Principal, CliError> {
        self.principal.as_ref().ok_or_else(|| self.missing(&["a principal (`--as PRINCIPAL`)"]))
    }

    /// Where people are told, or how to set it.
    pub(super) fn webhook(&self) -> Result<&Webhook, CliError> {
        self.webhook.as_ref().ok_or_else(|| {
            self.missing(&["a webhook"])
                .help("write `webhook: { url: \"https://...\", secret: { env: NAME } }` into the settings")
        })
    }

    /// How many runs a service has in memory, driven or open, before it begins no more.
    pub(super) fn max_runs(&self) -> usize {
        self.max_runs.and_then(|most| usize::try_from(most).ok()).unwrap_or(1_024)
    }

    /// A submission on behalf of `principal`, with the bounds that are set.
    pub(super) fn submit(&self, principal: Principal) -> Submit {
        let default = Submit::by(principal);
        Submit {
            max_parallel: self.max_parallel.unwrap_or(default.max_parallel),
            settle_timeout: self.settle_timeout.unwrap_or(default.settle_timeout),
            idle_timeout: self.idle_timeout.unwrap_or(default.idle_timeout),
            ..default
        }
    }

    /// Whatever a run needs and is not there, all at once.
    pub(super) fn check_complete(&self) -> Result<(), CliError> {
        let needed = [
            (self.policy.is_none(), "a policy (`--policy FILE`)"),
            (self.principal.is_none(), "a principal (`--as PRINCIPAL`)"),
            (self.journal.is_none(), "a place for the journal (`--journal FILE`)"),
        ];
        let missing: Vec<&str> = needed.iter().filter(|(missing, _)| *missing).map(|(_, what)| *what).collect();
        if missing.is_empty() { Ok(()) } else { Err(self.missing(&missing)) }
    }

    /// The additional certificates.
    pub(super) fn extra_ca(&self) -> Result<Option<Vec<u8>>, CliError> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|error| CliError::unreadable(&path.display().to_string(), &error))
        };
        self.extra_ca.as_ref().map(read).transpose()
    }

    /// Whether the journal lies where it does because nothing says otherwise.
    pub(super) fn journal_is_default(&self) -> bool {
        let beside = self.file.as_deref().and_then(Path::parent).map(|folder| folder.join(JOURNAL));
        beside.is_some() && self.journal == beside
    }

    pub(super) fn missing(&self, what: &[&str]) -> CliError {
        let place = match &self.file {
            Some(file) => format!("`{}` does not say it", file.display()),
            None => {
                let folders: Vec<String> = self.looked_in.iter().map(|folder| folder.display().to_string()).collect();
                format!("there is no `{FILE}` in {}", folders.join(", "))
            }
        };
        CliError::usage("not-set-up", format!("not set: {}; {place}", what.join(", ")))
            .help("`redress init` writes settings, a policy and an example into this folder")
    }
}

fn principal(globals: &Globals, variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Option<Principal>, CliError> {
    if let Some(principal) = &globals.principal {
        return Ok(Some(principal.clone()));
    }
    let Some(value) = variable("REDRESS_AS") else { return Ok(None) };
    let parsed = Principal::parse(&value.to_string_lossy());
    parsed.map(Some).map_err(|error| CliError::usage("bad-principal", format!("the variable REDRESS_AS: {error}")))
}

fn read(path: &Path) -> Result<Settings, CliError> {
    let name = path.display().to_string();
    let unreadable = |error| CliError::unreadable(&name, &error);
    let file = File::open(path).map_err(unreadable)?;
    let owner = file.metadata().map_err(unreadable)?.uid();
    refuse_strangers(&name, owner, rustix::process::geteuid().as_raw())?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let source = Source::from_bytes(name, &bytes)?;
    refuse_secrets(&source)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut settings = read_text(&source, folder)?;
    settings.file = Some(path.to_owned());
    Ok(settings)
}

/// Refuses to append checkpoints to what Redress itself reads or writes: it would be spoilt, and proves nothing there.
fn refuse_own_files(settings: &Settings) -> Result<(), CliError> {
    let Some(HandOver::File(file)) = &settings.checkpoints.hand_over else { return Ok(()) };
    let ends = |path: &Path| names_of(path).pop();
    let file_at = ends(file);
    let own = [&settings.file, &settings.policy, &settings.policy_shadow, &settings.extra_ca, &settings.journal];
    let key = settings.journal.as_deref().map(SqliteJournal::key_file);
    let is_own = own.into_iter().chain([&key]).flatten().any(|own| ends(own) == file_at);
    let beside_journal = settings.journal.as_deref().and_then(|journal| {
        let (folder, name) = (ends(journal.parent()?)?, journal.file_name()?.to_str()?);
        let below = file_at.as_deref()?.strip_prefix(&folder).ok()?;
        let first = below.components().next()?.as_os_str().to_str()?;
        // Its log, its mark, and the folders in it.
        Some(
            folder.ends_with(".redress")
                || first.starts_with(name)
                || first.starts_with("checkpoint.key")
                || below != Path::new(first),
        )
    });
    if !is_own && beside_journal != Some(true) && !file.is_dir() {
        return Ok(());
    }
    let message = format!("checkpoints cannot be appended to `{}`", file.display());
    let error = CliError::usage("bad-checkpoint-file", message);
    let error = match &settings.file {
        Some(settings) => error.in_file(shown_path(settings)),
        None => error,
    };
    Err(error.help(
        "name a file of their own outside of the journal's folder, best where whoever can write the journal cannot",
    ))
}

/// Whoever wrote the settings decides what may be done: only this user may, and root, who may do anything.
fn refuse_strangers(name: &str, owner: u32, user: u32) -> Result<(), CliError> {
    if owner == user || owner == 0 {
        return Ok(());
    }
    let message = format!("the settings `{name}` belong to another user ({owner}, not {user})");
    Err(CliError::usage("foreign-settings", message).in_file(name).help("make a copy that belongs to you"))
}

/// A secret does not belong into the settings, and an error about its line would show it.
fn refuse_secrets(source: &Source) -> Result<(), CliError> {
    match source.text().lines().position(|line| line.contains(SECRET_PREFIX)) {
        Some(index) => {
            let message = format!("line {} of `{}` holds the secret of a webhook", index + 1, source.name());
            let help =
                "put it into a variable or a file, and write `secret: { env: NAME }` or `secret: { file: PATH }`";
            Err(CliError::usage("secret-in-settings", message).in_file(source.name()).help(help))
        }
        None => Ok(()),
    }
}

fn read_text(source: &Source, folder: &Path) -> Result<Settings, Diagnostics> {
    let root = parse(source)?;
    let mut diagnostics = Diagnostics::new(source.clone());
    let settings = read_map(&root, folder, &mut diagnostics);
    match settings {
        Some(settings) if !diagnostics.has_errors() => Ok(settings),
        _ => Err(diagnostics),
    }
}

fn read_map(root: &Node, folder: &Path, diagnostics: &mut Diagnostics) -> Option<Settings> {
    let map = MapReader::new(root, "the settings", KEYS, diagnostics)?;
    let mut path = |key: &str| {
        let text = map.optional(key).and_then(|node| string(node, &format!("`{key}`"), diagnostics))?;
        Some(folder.join(text))
    };
    let (policy, policy_shadow) = (path("policy"), path("policy_shadow"));
    let (journal, extra_ca, socket) = (path("journal"), path("extra_ca"), path("socket"));
    let components = map.optional("components").and_then(|node| strings(node, "`components`", diagnostics));
    let principal = map.optional("principal").and_then(|node| {
        let text = string(node, "`principal`", diagnostics)?;
        let parsed = Principal::parse(text);
        parsed.map_err(|e| diagnostics.push(Diagnostic::error("wrong-value", node.span, e.to_string()))).ok()
    });
    let mut at_least_one = |key: &str| {
        map.optional(key).and_then(|node| {
            let number = integer(node, &format!("`{key}`"), diagnostics)?;
            let number = u32::try_from(number).ok().filter(|number| *number > 0);
            if number.is_none() {
                let message = format!("`{key}` must be at least 1, and at most 4294967295");
                diagnostics.push(Diagnostic::error("wrong-value", node.span, message));
            }
            number
        })
    };
    let (max_parallel, max_runs) = (at_least_one("max_parallel"), at_least_one("max_runs"));
    let listen = map.optional("listen").and_then(|node| {
        let parsed = string(node, "`listen`", diagnostics)?.parse();
        if parsed.is_err() {
            let message = "`listen` is an address and a port, such as `127.0.0.1:7433`";
            diagnostics.push(Diagnostic::error("wrong-value", node.span, message));
        }
        parsed.ok()
    });
    let peers = map.optional("peers").map(|node| read_peers(node, diagnostics)).unwrap_or_default();
    let settle_timeout =
        map.optional("settle_timeout").and_then(|node| duration(node, "`settle_timeout`", diagnostics));
    let idle_timeout =
        map.optional("idle_timeout").and_then(|node| positive_duration(node, "`idle_timeout`", diagnostics));
    let trust_owner = map.optional("trust_owner").and_then(|node| boolean(node, "`trust_owner`", diagnostics));
    let webhook = map.optional("webhook").and_then(|node| read_webhook(node, folder, diagnostics));
    let checkpoints = map.optional("checkpoints").map(|node| read_checkpoints(node, folder, diagnostics));
    let retention = map.optional("retention").and_then(|node| {
        let map = MapReader::new(node, "the retention", &RETENTION_KEYS, diagnostics)?;
        let mut length = |key| map.optional(key).and_then(|node| duration(node, &format!("`{key}`"), diagnostics));
        Some(Retention { undo: length("undo"), logs: length("logs") })
    });
    Some(Settings {
        checkpoints: checkpoints.flatten().unwrap_or_default(),
        retention: retention.unwrap_or_default(),
        webhook,
        policy,
        policy_shadow,
        journal: Some(journal.unwrap_or_else(|| folder.join(JOURNAL))),
        principal,
        components: components.unwrap_or_default().into_iter().map(|(text, _)| folder.join(text)).collect(),
        extra_ca,
        max_parallel,
        max_runs,
        listen,
        socket,
        peers,
        settle_timeout,
        idle_timeout,
        trust_owner: trust_owner.unwrap_or(false),
        ..Settings::default()
    })
}

fn read_checkpoints(node: &Node, folder: &Path, diagnostics: &mut Diagnostics) -> Option<Checkpoints> {
    let map = MapReader::new(node, "the checkpoints", &CHECKPOINT_KEYS, diagnostics)?;
    let default = Checkpoints::default();
    let every_events = map.optional("every_events").and_then(|node| {
        let number = integer(node, "`every_events`", diagnostics)?;
        if number == 0 {
            diagnostics.push(Diagnostic::error("wrong-value", node.span, "`every_events` must be at least 1"));
        }
        Some(number)
    });
    let every = map.optional("every").and_then(|node| positive_duration(node, "`every`", diagnostics));
    let file = map.optional("file").and_then(|node| string(node, "`file`", diagnostics).map(|text| folder.join(text)));
    let command = map.optional("command").and_then(|node| {
        let words = strings(node, "`command`", diagnostics)?;
        if words.is_empty() {
            diagnostics.push(Diagnostic::error("wrong-value", node.span, "`command` must name a program"));
        }
        let mut words: Vec<String> = words.into_iter().map(|(word, _)| word.to_owned()).collect();
        // A program that is named by its path is the same one wherever this is run from.
        if let Some(program) = words.first_mut().filter(|program| program.contains('/')) {
            *program = folder.join(&*program).display().to_string();
        }
        Some(words)
    });
    let hand_over = match (file, command) {
        (Some(_), Some(_)) => {
            let message = "checkpoints are handed over to either `file` or `command`";
            diagnostics.push(Diagnostic::error("wrong-value", node.span, message).help("remove one of them"));
            None
        }
        (Some(file), None) => Some(HandOver::File(file)),
        (None, command) => command.map(HandOver::Command),
    };
    Some(Checkpoints {
        every_events: every_events.unwrap_or(default.every_events),
        every: every.unwrap_or(default.every),
        hand_over,
    })
}

fn read_webhook(node: &Node, folder: &Path, diagnostics: &mut Diagnostics) -> Option<Webhook> {
    let map = MapReader::new(node, "the webhook", &WEBHOOK_KEYS, diagnostics)?;
    let url = map.required("url", diagnostics);
    let url = url.and_then(|node| string(node, "`url`", diagnostics).map(|text| (text, node)));
    let secret = map.required("secret", diagnostics).and_then(|node| {
        let map = MapReader::new(node, "the secret", &SECRET_KEYS, diagnostics)?;
        read_secret_source(&map, &folder.to_string_lossy(), diagnostics)
    });
    let ((url, node), secret) = (url?, secret?);
    let console = map.optional("console").and_then(|node| Some((string(node, "`console`", diagnostics)?, node.span)));
    let webhook = Webhook::new(url, secret);
    let webhook = webhook
        .map_err(|why| {
            let wrong = Diagnostic::error("bad-url", node.span, format!("`url` {why}"));
            diagnostics.push(wrong.help("write `https://hooks.example.com/redress`"));
        })
        .ok()?;
    let Some((console, span)) = console else { return Some(webhook) };
    let linked = webhook.with_console(console);
    linked
        .map_err(|why| {
            let wrong = Diagnostic::error("bad-url", span, format!("`console` {why}"));
            diagnostics
                .push(wrong.help("write where people reach this service, such as `https://redress.example.com`"));
        })
        .ok()
}

/// Whether a path is taken; one that cannot be looked at is, so that reading it says why.
fn is_there(path: &Path) -> bool {
    let gone = |kind| matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory);
    !matches!(path.symlink_metadata(), Err(error) if gone(error.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::SecretSource;

    fn settings(text: &str) -> Result<Settings, String> {
        read_text(&Source::new("redress.yaml", text), Path::new("/srv/app")).map_err(|errors| errors.to_string())
    }

    fn none(_: &str) -> Option<OsString> {
        None
    }

    #[test]
    fn paths_are_relative_to_the_settings_and_the_journal_has_a_place() {
        let read = settings(
            "policy: policies/p.yaml\nprincipal: agent:demo\ncomponents: [c, /d]\ntrust_owner: true\nextra_ca: ca.pem\npolicy_shadow: s.yaml\n",
        );
        let read = read.unwrap();
        assert_eq!(read.policy, Some("/srv/app/policies/p.yaml".into()));
        assert_eq!(read.policy_shadow, Some("/srv/app/s.yaml".into()));
        assert_eq!(read.journal, Some("/srv/app/.redress/journal.db".into()));
        assert_eq!(read.components, [PathBuf::from("/srv/app/c"), PathBuf::from("/d")]);
        assert!(read.trust_owner);
        assert_eq!(read.extra_ca, Some("/srv/app/ca.pem".into()));
        assert_eq!(settings("journal: ../j.db").unwrap().journal, Some("/srv/app/../j.db".into()));
    }

    #[test]
    fn a_misspelled_key_is_an_error_with_its_place() {
        let error = settings("polcy: p.yaml\n").unwrap_err();
        assert!(error.contains("unknown key `polcy`") && error.contains("redress.yaml:1:1"), "{error}");
        assert!(error.contains("did you mean `policy`?"), "{error}");
    }

    #[test]
    fn wrong_values_are_refused() {
        for text in [
            "principal: nobody",
            "listen: here",
            "max_parallel: 0",
            "max_parallel: many",
            "components: c",
            "trust_owner: yes",
            "[]",
        ] {
            assert!(settings(text).is_err(), "{text}");
        }
        assert_eq!(settings("max_parallel: 3").unwrap().max_parallel, Some(3));
    }

    #[test]
    fn a_webhook_has_a_url_and_a_secret_that_lies_elsewhere() {
        let webhook = |text: &str| settings(&format!("webhook: {text}\n"));
        let read = webhook("{ url: \"https://hooks.example.com/a\", secret: { file: secret.txt } }").unwrap().webhook;
        let file = SecretSource::File("/srv/app/secret.txt".into());
        assert_eq!(read, Some(Webhook::new("https://hooks.example.com/a", file).unwrap()));
        assert_eq!(settings("max_parallel: 1\n").unwrap().webhook, None);
        for (text, why) in [
            ("x", "the webhook must be a mapping"),
            ("{ secret: { env: S } }", "the webhook needs the key `url`"),
            ("{ url: \"https://h/\" }", "the webhook needs the key `secret`"),
            ("{ url: \"http://h/\", secret: { env: S } }", "`url` is not `https`, and not a loopback address either"),
            ("{ url: \"https://h/\", secret: { env: S, file: F } }", "either `env` or `file`"),
            ("{ url: \"https://h/\", secret: { env: S }, events: [] }", "unknown key `events`"),
        ] {
            let error = webhook(text).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn bounds_are_handed_to_runs_and_a_wrong_length_of_time_is_refused() {
        let demo = || Principal::parse("agent:demo").unwrap();
        let submit = settings("settle_timeout: 0s\nidle_timeout: 1h\nmax_parallel: 3\n").unwrap().submit(demo());
        assert_eq!((submit.settle_timeout, submit.idle_timeout), (Duration(0), Duration::from_secs(3_600)));
        assert_eq!(submit.max_parallel, 3);
        let unset = settings("{}").unwrap().submit(demo());
        assert_eq!((unset.settle_timeout, unset.idle_timeout), (Duration::from_secs(10), Duration::from_secs(600)));
        for (text, told) in [
            ("settle_timeout: 30", "`settle_timeout` needs a unit"),
            ("idle_timeout: 10 minutes", "`10 minutes` is not a length of time"),
            ("idle_timeout: 0s", "`idle_timeout` must be longer than nothing"),
            ("settle_timeout: [1s]", "`settle_timeout` must be a string"),
            ("settle-timeout: 1s", "did you mean `settle_timeout`?"),
        ] {
            let error = settings(text).unwrap_err();
            assert!(error.contains(told) && error.contains("redress.yaml:1:"), "{text}: {error}");
        }
    }

    #[test]
    fn a_secret_in_the_settings_is_refused_and_not_shown() {
        let text = "policy: p.yaml\nwebhook: { url: \"https://h/\", secret: whsec_bm90IHRvIGJlIHNob3du }\n";
        let error = refuse_secrets(&Source::new("redress.yaml", text)).unwrap_err();
        assert!(error.text().contains("line 2 of `redress.yaml`"), "{}", error.text());
        assert!(!error.text().contains("bm90") && !error.json().to_string().contains("bm90"));
    }

    #[test]
    fn settings_of_another_user_are_refused() {
        for (owner, user) in [(1000, 1000), (0, 1000)] {
            assert!(refuse_strangers("redress.yaml", owner, user).is_ok());
        }
        let error = refuse_strangers("redress.yaml", 1001, 1000).unwrap_err();
        assert_eq!(error.exit(), super::super::Exit::Usage);
        assert!(error.text().contains("another user (1001, not 1000)"));
    }

    #[test]
    fn flags_go_over_variables_and_variables_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), "policy: file.yaml\nprincipal: agent:file\ncomponents: [file]\n")
            .unwrap();
        let below = folder.path().join("a/b");
        std::fs::create_dir_all(&below).unwrap();
        let variables = |name: &str| match name {
            "REDRESS_POLICY" => Some("variable.yaml".into()),
            "REDRESS_AS" => Some("agent:variable".into()),
            "REDRESS_COMPONENTS" => Some("x:y".into()),
            _ => None,
        };
        let plain = Settings::of(&below, &none, &Globals::default()).unwrap();
        assert_eq!(plain.policy, Some(folder.path().join("file.yaml")));
        assert!(!plain.principal_is_explicit);
        let varied = Settings::of(&below, &variables, &Globals::default()).unwrap();
        assert_eq!(varied.policy, Some(below.join("variable.yaml")));
        assert_eq!(varied.principal.as_ref().map(Principal::as_str), Some("agent:variable"));
        assert_eq!(varied.components, [below.join("x"), below.join("y")]);
        let flags = Globals { policy: Some("/flag.yaml".into()), components: vec!["z".into()], ..Globals::default() };
        let flagged = Settings::of(&below, &variables, &flags).unwrap();
        assert_eq!(flagged.policy, Some("/flag.yaml".into()));
        assert_eq!(flagged.components, [below.join("z")]);
    }

    #[test]
    fn what_is_missing_is_named_at_once_with_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let error = Settings::of(folder.path(), &none, &Globals::default()).unwrap().check_complete().unwrap_err();
        let text = error.text();
        for word in ["a policy", "a principal", "a place for the journal", "`redress init`"] {
            assert!(text.contains(word), "{text}");
        }
    }
}
