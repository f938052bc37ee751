//! What a verb works with: each part is opened when it is asked for, and an error says how to get it.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use docker_credential::DockerCredential;

use super::Globals;
use super::capability::{read_signature, signature_beside};
use super::error::CliError;
use super::output::Output;
use super::progress::Progress;
use super::reload::{Checks, Reload, Watching};
use super::settings::{InstallPlace, Settings};
use crate::document::Source;
use crate::engine::{
    Engine, EngineError, InForce, Installed, Mask, Outbox, Parts, Protected, Registry, RunView, SystemClock,
    check_grants, prepare_binary_digest,
};
use crate::install::{self, Lock, Locked, admit};
use crate::journal::{HandOver, Journal, Options, SqliteJournal, SystemEvent};
use crate::policy::Policy;
use crate::sandbox::{Component, Net, Provenance, Sandbox, SandboxConfig, SystemResolver};
use crate::types::{Principal, Timestamp};

/// What a verb works with.
pub(super) struct Context {
    /// The options of every verb.
    pub globals: Globals,
    /// Where results go.
    pub output: Output,
    settings: OnceLock<Settings>,
}

/// What is known of the policy in force where nothing is decided.
pub(super) enum MaskBy {
    /// None is set.
    Nothing,
    /// This one.
    Policy(Box<Policy>),
    /// It does not load.
    Unreadable,
}

impl MaskBy {
    /// For whoever masks.
    pub(super) fn in_force(&self) -> InForce<'_> {
        match self {
            MaskBy::Nothing => InForce::None,
            MaskBy::Policy(policy) => InForce::Policy(policy),
            MaskBy::Unreadable => InForce::Unreadable,
        }
    }
}

/// Whether a verb makes a journal where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// It does: there will be runs.
    Create,
    /// It does not: an empty journal would look like "all clear".
    Existing,
}

/// An engine, and what it was made of.
pub(super) struct Host {
    /// Drives runs.
    pub engine: Engine,
    /// Shows what goes on.
    pub progress: Progress,
    /// The folder of the owner files.
    pub owners: PathBuf,
    /// Puts a changed policy in force.
    _reload: Option<Watching>,
}

/// What a workflow is checked against, and an engine made of.
pub(super) struct Tools {
    /// The policy in force.
    pub policy: Policy,
    /// The policy that decides beside it.
    shadow: Option<Policy>,
    /// The components.
    pub registry: Registry,
    sandbox: Sandbox,
    opening: Opening,
}

impl Context {
    /// Nothing is opened yet.
    pub(super) fn new(globals: Globals) -> Context {
        Context { output: Output::new(globals.json), globals, settings: OnceLock::new() }
    }

    /// What is in force.
    pub(super) fn settings(&self) -> Result<&Settings, CliError> {
        if let Some(settings) = self.settings.get() {
            return Ok(settings);
        }
        let found = Settings::find(&self.globals)?;
        Ok(self.settings.get_or_init(|| found))
    }

    /// Who acts.
    pub(super) fn principal(&self) -> Result<&Principal, CliError> {
        self.settings()?.principal()
    }

    /// The time now.
    pub(super) fn now(&self) -> Timestamp {
        crate::engine::Clock::now(&SystemClock)
    }

    /// The policy in force. What it warns of is `policy check`'s to tell, and the log's.
    pub(super) fn policy(&self) -> Result<Policy, CliError> {
        let (policy, warnings) = load_policy(self.settings()?.policy()?)?;
        for warning in warnings.iter() {
            tracing::info!("{}:{}: {}", policy.name(), warning.span.line, warning.message);
        }
        Ok(policy)
    }

    /// The policy that decides beside it, if the settings name one.
    fn shadow(&self) -> Result<Option<Policy>, CliError> {
        let Some(path) = &self.settings()?.policy_shadow else { return Ok(None) };
        let (source, folder) = policy_source(path).map_err(|error| {
            error.help("put it back, or remove `policy_shadow` from the settings: nothing depends on what it answers")
        })?;
        let (policy, _) = Policy::load(source, &folder)?;
        self.check_grants(&policy, None)?;
        Ok(Some(policy))
    }

    /// The standard library and the components of the folders that are set. Compiled code is kept beside the journal, if
    /// there is one or will be.
    pub(super) fn registry(&self, opening: Opening) -> Result<(Sandbox, Registry), CliError> {
        let policy = self.settings()?.policy.is_some().then(|| self.policy()).transpose()?;
        self.registry_by(opening, policy.as_ref())
    }

    /// The same where the policy is known already, which says whose components are let in.
    pub(super) fn registry_by(
        &self,
        opening: Opening,
        policy: Option<&Policy>,
    ) -> Result<(Sandbox, Registry), CliError> {
        self.registry_without(opening, policy, "")
    }

    /// The same without what was installed from `origin`, which is about to be replaced.
    pub(super) fn registry_without(
        &self,
        opening: Opening,
        policy: Option<&Policy>,
        origin: &str,
    ) -> Result<(Sandbox, Registry), CliError> {
        let (sandbox, mut registry) = self.standard(opening)?;
        for folder in &self.settings()?.components {
            if !folder.is_dir() {
                let message = format!("the folder of components `{}` is not there", shown_path(folder));
                return Err(CliError::usage("no-components", message));
            }
            registry.add_folder(folder)?;
        }
        if let Some(policy) = policy.filter(|policy| policy.has_provenance()) {
            check_folders(&registry, policy)?;
        }
        for added in self.add_installed(&sandbox, &mut registry, policy, origin)? {
            // Whoever installs one thing may do so to mend another: what is locked says which ids are taken.
            if origin.is_empty() {
                added?;
            }
        }
        Ok((sandbox, registry))
    }

    /// What verbs about runs that exist have: whatever they refer to is in the journal, so that a component which cannot be
    /// loaded, or is not let in any more, is told of and does not stand in the way of an undo.
    pub(super) fn registry_as_far_as_it_goes(&self, policy: &Policy) -> Result<(Sandbox, Registry), CliError> {
        let told = |error: &CliError| self.output.note(&format!("warning: not used: {}", error.message()));
        if let Ok(complete) = self.registry_by(Opening::Existing, Some(policy)) {
            return Ok(complete);
        }
        let (sandbox, mut registry) = self.standard(Opening::Existing)?;
        for folder in &self.settings()?.components {
            let mut more = Registry::standard(sandbox.clone())?;
            let added = more.add_folder(folder).map_err(CliError::from);
            let added =
                added.and_then(|()| if policy.has_provenance() { check_folders(&more, policy) } else { Ok(()) });
            match added.and_then(|()| Ok(registry.add_folder(folder)?)) {
                Ok(()) => {}
                Err(error) => told(&error),
            }
        }
        match self.add_installed(&sandbox, &mut registry, Some(policy), "") {
            Ok(all) => all.iter().filter_map(|one| one.as_ref().err()).for_each(told),
            Err(error) => told(&error),
        }
        Ok((sandbox, registry))
    }

    /// Adds what `redress.lock` names; says of each whether it could be added.
    fn add_installed(
        &self,
        sandbox: &Sandbox,
        registry: &mut Registry,
        policy: Option<&Policy>,
        but: &str,
    ) -> Result<Vec<Result<(), CliError>>, CliError> {
        let Some(place) = self.settings()?.install_place() else { return Ok(Vec::new()) };
        let mut add = |locked: &Locked| -> Result<(), CliError> {
            let bytes = place.store.get(locked)?;
            let file = locked.source.clone();
            let component = sandbox
                .load(&bytes, Provenance::External)
                .map_err(|error| CliError::from(EngineError::Component { file, error }))?;
            if let Some(policy) = policy {
                admit_locked(policy, locked, &component, &bytes)?;
            }
            Ok(registry.install_loaded(component, bytes, locked.source.clone(), Provenance::External)?)
        };
        let lock = Lock::read(&place.lock)?;
        Ok(lock.components.iter().filter(|locked| locked.origin != but).map(&mut add).collect())
    }

    /// Masks the values of a run that are sensitive, unless the command line asks for them.
    pub(super) fn mask_run(&self, journal: &dyn Journal, in_force: InForce<'_>, view: &mut RunView) {
        if self.mask(journal, in_force).is_some_and(|mut mask| mask.run(view)) {
            self.output.note("values that are sensitive are masked: `--show-sensitive` shows them");
        }
    }

    /// Whether the command line asks for values that are sensitive.
    pub(super) fn shows_sensitive(&self) -> bool {
        self.globals.show_sensitive
    }

    /// What masks values that are sensitive; none if the command line asks for them.
    pub(super) fn mask<'a>(&self, journal: &'a dyn Journal, in_force: InForce<'a>) -> Option<Mask<'a>> {
        (!self.shows_sensitive()).then(|| Mask::new(journal, in_force))
    }

    /// The policy in force, for verbs that only show and go without one. What it says is sensitive cannot be told if it does not load.
    pub(super) fn policy_to_mask_by(&self) -> MaskBy {
        let Ok(Some(path)) = self.settings().map(|settings| settings.policy.as_deref()) else { return MaskBy::Nothing };
        let loaded = policy_source(path).and_then(|(source, folder)| Ok(Policy::load_untested(source, &folder)?.0));
        loaded.map_or(MaskBy::Unreadable, |policy| MaskBy::Policy(Box::new(policy)))
    }

    /// Where components are installed.
    pub(super) fn install_place(&self) -> Result<InstallPlace, CliError> {
        let settings = self.settings()?;
        settings.install_place().ok_or_else(|| settings.missing(&["a place to install into"]))
    }

    /// How to speak to a registry of components.
    pub(super) fn component_registry(&self, name: &str) -> Result<install::Registry, CliError> {
        let extra_ca = self.settings()?.extra_ca()?;
        Ok(install::Registry::new(name, extra_ca.as_deref(), credentials)?)
    }

    /// The sandbox, and the standard library alone.
    pub(super) fn standard(&self, opening: Opening) -> Result<(Sandbox, Registry), CliError> {
        let settings = self.settings()?;
        let folder = self.journal_folder()?;
        let kept = folder.filter(|folder| opening == Opening::Create || folder.is_dir());
        let sandbox = Sandbox::new(SandboxConfig {
            cache_dir: kept.map(cache),
            extra_ca: settings.extra_ca()?,
            ..SandboxConfig::default()
        })?;
        let registry = Registry::standard(sandbox.clone())?;
        Ok((sandbox, registry))
    }

    /// Everything that a workflow is checked against. No journal is opened or made yet.
    pub(super) fn tools(&self, opening: Opening) -> Result<Tools, CliError> {
        let policy = self.policy()?;
        let folder = self.journal_folder()?;
        // The engine asks again once the journal is there; here, nothing is made yet beside what would be refused.
        self.check_grants(&policy, None)?;
        let shadow = self.shadow()?;
        if opening == Opening::Create {
            prepare_binary_digest(folder.map(cache));
        }
        let (sandbox, registry) = match opening {
            Opening::Create => self.registry_by(opening, Some(&policy))?,
            Opening::Existing => self.registry_as_far_as_it_goes(&policy)?,
        };
        self.announce(Some(&policy));
        if let Some(shadow) = &shadow {
            tracing::info!("{} {} decides beside it", shadow.name(), shadow.digest().short());
        }
        Ok(Tools { policy, shadow, sandbox, registry, opening })
    }

    /// Refuses a policy with a grant that contains what guards it: what is in force, and the file of the policy if it is another one.
    pub(super) fn check_grants(&self, policy: &Policy, file: Option<&Path>) -> Result<(), CliError> {
        let settings = self.settings()?;
        let mut protected = protected(settings);
        protected.guards.extend(file.and_then(|file| std::path::absolute(file).ok()));
        Ok(check_grants(policy, &protected, settings.webhook.as_ref())?)
    }

    /// The folder of the journal, if one is set; refused if what is there can be no journal, since nothing is made beside that.
    fn journal_folder(&self) -> Result<Option<&Path>, CliError> {
        let Some(path) = self.settings()?.journal.as_deref() else { return Ok(None) };
        SqliteJournal::check_path(path)?;
        Ok(path.parent())
    }

    /// The journal, for reading. It is never made.
    pub(super) fn journal_to_read(&self) -> Result<SqliteJournal, CliError> {
        let path = self.existing_journal()?;
        let journal = SqliteJournal::open_read_only(path, Options::default())?;
        if let Some(error) = journal.lost_end() {
            self.output.note(CliError::from(error.clone()).text().trim_end());
        }
        Ok(journal)
    }

    /// The journal, for writing.
    pub(super) fn journal(&self, opening: Opening) -> Result<SqliteJournal, CliError> {
        match opening {
            Opening::Create => Ok(SqliteJournal::create_or_open(self.settings()?.journal()?, self.journal_options()?)?),
            Opening::Existing => Ok(SqliteJournal::open_existing(self.existing_journal()?, self.journal_options()?)?),
        }
    }

    /// How a journal is opened for writing.
    pub(super) fn journal_options(&self) -> Result<Options, CliError> {
        Ok(Options { checkpoints: self.settings()?.checkpoints.clone(), ..Options::default() })
    }

    /// Where the journal is, which is there.
    pub(super) fn existing_journal(&self) -> Result<&Path, CliError> {
        let settings = self.settings()?;
        let path = settings.journal()?;
        // An empty file is what a process leaves that died while it made the journal; of one that was emptied the journal tells.
        let made = path.metadata().is_ok_and(|file| !file.is_file() || file.len() > 0);
        if made || SqliteJournal::check_path(path).is_err() {
            return Ok(path);
        }
        let from = match &settings.file {
            Some(file) if settings.journal_is_default() => format!(", beside `{}`", file.display()),
            _ => String::new(),
        };
        let message = format!("there is no journal: tried `{}`{from}", path.display());
        Err(CliError::usage("no-journal", message)
            .help("`redress run` and `redress call` make one; `--journal FILE` or another folder may lead to it"))
    }

    /// Records in the system chain that what somebody submitted does not load, if there is a journal. Of what was written
    /// there the record says nothing.
    pub(super) async fn record_refusal(&self, request: &str, error: &CliError) -> Result<(), CliError> {
        if self.existing_journal().is_err() {
            return Ok(());
        }
        let (code, message) = error.without_input();
        let event = SystemEvent::refused(self.settings()?.principal.clone(), request, code, &message);
        Ok(self.journal(Opening::Existing)?.record(event, self.now()).await?)
    }

    /// An engine with everything that is in force.
    pub(super) fn host(&self, tools: Tools) -> Result<Host, CliError> {
        let settings = self.settings()?;
        let journal = self.journal(tools.opening)?;
        let owners = journal.owners_dir();
        let progress = Progress::start(&self.globals);
        let engine = Engine::new(Parts {
            journal: Arc::new(journal),
            owners: owners.clone(),
            sandbox: tools.sandbox,
            registry: tools.registry,
            policy: Arc::new(tools.policy),
            shadow: tools.shadow.map(Arc::new),
            clock: Arc::new(SystemClock),
            observer: progress.observer(),
            protected: protected(settings),
            webhook: settings.webhook.clone(),
        })?;
        let checks = Checks {
            protected: protected(settings),
            components: (tools.opening == Opening::Create).then(|| settings.install_place()),
        };
        let (policy, shadow) = (settings.policy.as_deref(), settings.policy_shadow.as_deref());
        let reload = Reload::new(engine.clone(), self.output, policy, shadow, checks).watch();
        Ok(Host { engine, progress, owners, _reload: reload })
    }

    /// An engine on the journal that is there, for verbs about runs that exist.
    pub(super) fn existing_host(&self) -> Result<Host, CliError> {
        self.existing_journal()?;
        self.host(self.tools(Opening::Existing)?)
    }

    /// How this process reaches others.
    pub(super) fn net(&self) -> Result<Net, CliError> {
        let extra_ca = self.settings()?.extra_ca()?;
        Net::new(Arc::new(SystemResolver), extra_ca.as_deref())
            .map_err(|error| CliError::engine("network", error.to_string()))
    }

    /// What sends messages for people, if a webhook is set.
    pub(super) fn outbox(&self, journal: Arc<dyn Journal>, owners: &Path) -> Result<Option<Outbox>, CliError> {
        let Some(webhook) = self.settings()?.webhook.clone() else { return Ok(None) };
        Ok(Some(Outbox::new(journal, owners, Arc::new(SystemClock), self.net()?, webhook)?))
    }

    /// On a terminal, says what is in force.
    pub(super) fn announce(&self, policy: Option<&Policy>) {
        let Some(settings) = self.settings.get() else { return };
        if self.output.is_json() || !std::io::stderr().is_terminal() {
            return;
        }
        let shown = |path: &Option<PathBuf>| path.as_deref().map_or_else(|| "none".to_owned(), shown_path);
        let policy = match policy {
            Some(policy) => format!("{} {}", shown(&settings.policy), policy.digest().short()),
            None => shown(&settings.policy),
        };
        let principal = settings.principal.as_ref().map_or("nobody", Principal::as_str);
        self.output.note(&format!(
            "settings {} · policy {policy} · journal {} · as {principal}",
            shown(&settings.file),
            shown(&settings.journal)
        ));
    }
}

/// Whether the policy lets an installed component in: by what it provides and who signed its bytes, whatever the lock says of
/// that. Where it came from is known from the lock alone.
pub(super) fn admit_locked(
    policy: &Policy,
    locked: &Locked,
    component: &Component,
    bytes: &[u8],
) -> Result<(), CliError> {
    let signed = (bytes, locked.signature.as_deref());
    admit(policy, &locked.name, &locked.origin, component, signed)?;
    Ok(())
}

/// Whether the policy lets in every component that is loaded, of folders and installed ones.
pub(super) fn check_components(
    registry: &Registry,
    policy: &Policy,
    place: Option<&InstallPlace>,
) -> Result<(), CliError> {
    if !policy.has_provenance() {
        return Ok(());
    }
    let lock = place.map(|place| Lock::read(&place.lock)).transpose()?;
    for installed in registry.installed().iter().filter(|one| one.provenance == Provenance::External) {
        let is_it =
            |locked: &&Locked| (&locked.source, locked.digest) == (&installed.source, installed.component.digest());
        match lock.as_ref().and_then(|lock| lock.components.iter().find(is_it)) {
            Some(locked) => admit_locked(policy, locked, &installed.component, &installed.bytes)?,
            None => check_file(installed, policy)?,
        }
    }
    Ok(())
}

/// Components of folders come from their files; a signature lies beside each.
fn check_folders(registry: &Registry, policy: &Policy) -> Result<(), CliError> {
    let mut external = registry.installed().iter().filter(|one| one.provenance == Provenance::External);
    external.try_for_each(|installed| check_file(installed, policy))
}

fn check_file(installed: &Installed, policy: &Policy) -> Result<(), CliError> {
    let origin = install::Source::parse(&installed.source)?.origin();
    let beside = signature_beside(Path::new(&installed.source));
    let signature = beside.exists().then(|| read_signature(&beside)).transpose()?;
    let signed = (&*installed.bytes, signature.as_deref());
    admit(policy, &installed.source, &origin, &installed.component, signed)?;
    Ok(())
}

/// User and password for a registry, from the configuration of Docker and the helpers that it names.
fn credentials(registry: &str) -> Option<(String, String)> {
    match docker_credential::get_credential(registry) {
        Ok(DockerCredential::UsernamePassword(user, password)) => Some((user, password)),
        Ok(DockerCredential::IdentityToken(_)) | Err(_) => None,
    }
}

/// Reads the policy file that is to be in force, with its warnings.
pub(super) fn load_policy(path: &Path) -> Result<(Policy, crate::document::Diagnostics), CliError> {
    let help = "put it back, or name another one with `--policy FILE` or in the settings; what a run was granted so far is on \
        record, and its undo goes by that";
    let (source, folder) = policy_source(path).map_err(|error| error.help(help))?;
    Ok(Policy::load(source, &folder)?)
}

/// The text of a policy file, and the folder that its paths are relative to.
pub(super) fn policy_source(path: &Path) -> Result<(Source, String), CliError> {
    let name = shown_path(path);
    let unreadable = |error| CliError::unreadable(&name, &error);
    let bytes = super::inputs::read_document(path).map_err(unreadable)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize().map_err(unreadable)?;
    let folder = folder.into_os_string().into_string().map_err(|_| {
        CliError::usage("not-utf8", format!("the folder of the policy `{name}` has a name that is not UTF-8"))
    })?;
    Ok((Source::from_bytes(name.clone(), &bytes)?, folder))
}

/// A path as it is shown: relative to the working directory if it is below it.
pub(super) fn shown_path(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let below = path.strip_prefix(&here).ok().filter(|rest| !rest.as_os_str().is_empty());
    below.unwrap_or(path).display().to_string()
}

/// Where compiled code is kept beside a journal.
fn cache(folder: &Path) -> PathBuf {
    folder.join("cache")
}

/// What is not for components: what guards what they may do, and the key that signs checkpoints.
fn protected(settings: &Settings) -> Protected {
    let mut paths: Vec<PathBuf> = settings.extra_ca.iter().cloned().collect();
    if let Some(journal) = &settings.journal {
        paths.push(journal.clone());
        if let Some(folder) = journal.parent() {
            paths.extend([folder.join("owners"), folder.to_owned(), cache(folder), folder.join("targets")]);
        }
    }
    match &settings.checkpoints.hand_over {
        Some(HandOver::File(file)) => paths.push(file.clone()),
        // The program, and the files that it is given, such as its script.
        Some(HandOver::Command(words)) => {
            paths.extend(words.iter().map(PathBuf::from).filter(|word| word.is_absolute()));
        }
        None => {}
    }
    if let Some(place) = settings.install_place() {
        paths.extend([place.store.folder().to_owned(), place.lock]);
    }
    let files = [&settings.policy, &settings.policy_shadow, &settings.file];
    paths.extend(files.into_iter().flatten().chain(&settings.components).cloned());
    let secrets = settings.journal.iter().map(|journal| SqliteJournal::key_file(journal)).collect();
    Protected { guards: paths, secrets }
}
