//! A policy file that changes while runs are driven is in force for the steps that are decided from then on.
//!
//! A changed file is read, tested and checked exactly as when the process started. If anything is wrong with it the old policy
//! stays, which is said on stderr and recorded in the system chain, with both digests. So it is with the shadow policy.
//!
//! A file is looked at when whoever wrote it has closed it, or when it, or a link on the way to it, was put in its place by
//! renaming: half of a file is never read. What is watched are the folders in which those names lie.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

use super::context::{check_components, policy_source, shown_path};
use super::error::CliError;
use super::output::Output;
use super::settings::InstallPlace;
use crate::engine::{Clock as _, Engine, Protected, SystemClock, names_of};
use crate::journal::SystemEvent;
use crate::policy::Policy;
use crate::types::{Digest, sha256};

/// What a changed policy is checked against, as the first one was.
pub(super) struct Checks {
    /// What no grant may open.
    pub protected: Protected,
    /// Where components are installed, if a component that the policy does not let in refuses the policy.
    pub components: Option<Option<InstallPlace>>,
}

/// What a policy file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    InForce,
    Shadow,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::InForce => "policy",
            Role::Shadow => "shadow policy",
        }
    }
}

/// A file that is watched.
struct File {
    role: Role,
    path: PathBuf,
    /// What was told of it last, so that nothing is told twice: the digest of what was refused, none if it could not be read.
    told: Option<Option<Digest>>,
}

/// Puts what has changed in force.
pub(super) struct Reload {
    engine: Engine,
    output: Output,
    files: Vec<File>,
    checks: Checks,
}

/// Watches until it is dropped.
pub(super) struct Watching(JoinHandle<()>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Reload {
    /// For the files from which the policy and the shadow policy of `engine` were read.
    pub(super) fn new(
        engine: Engine,
        output: Output,
        policy: Option<&Path>,
        shadow: Option<&Path>,
        checks: Checks,
    ) -> Reload {
        let named = [(Role::InForce, policy), (Role::Shadow, shadow)].into_iter();
        let file = |(role, path): (Role, Option<&Path>)| Some(File { role, path: path?.to_owned(), told: None });
        Reload { engine, output, files: named.filter_map(file).collect(), checks }
    }

    /// Follows the files from now on. That they cannot be watched is said, and keeps nothing from being done.
    pub(super) fn watch(self) -> Option<Watching> {
        let (tell, events) = unbounded_channel();
        let watcher = notify::recommended_watcher(move |event| drop(tell.send(event)));
        match watcher {
            Ok(watcher) => Some(Watching(tokio::spawn(self.follow(watcher, events)))),
            Err(error) => {
                self.output.note(&format!("warning: a change of the policy will not be seen: {error}"));
                None
            }
        }
    }

    async fn follow(mut self, mut watcher: RecommendedWatcher, mut events: UnboundedReceiver<Seen>) {
        let (mut watched, mut names) = (BTreeSet::new(), BTreeSet::new());
        loop {
            // What changed before it was watched is seen by the look that follows.
            let now: BTreeSet<PathBuf> = self.files.iter().flat_map(|file| names_of(&file.path)).collect();
            if now != names {
                names = now;
                self.watch_folders(&mut watcher, &names, &mut watched);
            }
            self.look().await;
            loop {
                match events.recv().await {
                    Some(event) if counts(&event, &names) => break,
                    Some(_) => {}
                    None => return,
                }
            }
        }
    }

    fn watch_folders(
        &self,
        watcher: &mut RecommendedWatcher,
        names: &BTreeSet<PathBuf>,
        watched: &mut BTreeSet<PathBuf>,
    ) {
        let folders: BTreeSet<PathBuf> = names.iter().filter_map(|name| name.parent().map(Path::to_owned)).collect();
        for gone in watched.difference(&folders) {
            // It may be gone from the disk, too.
            drop(watcher.unwatch(gone));
        }
        for folder in folders.difference(watched) {
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                let folder = shown_path(folder);
                self.output.note(&format!("warning: a change of the policy in `{folder}` will not be seen: {error}"));
            }
        }
        *watched = folders;
    }

    /// Reads every file, and puts in force what has changed.
    pub(super) async fn look(&mut self) {
        for place in 0..self.files.len() {
            let Some(file) = self.files.get(place) else { continue };
            let (role, path, told) = (file.role, file.path.clone(), file.told);
            let told = self.look_at(role, &path, told).await;
            if let Some(file) = self.files.get_mut(place) {
                file.told = told;
            }
        }
    }

    /// What was told of the file, if its policy is not the one that decides.
    async fn look_at(&self, role: Role, path: &Path, told: Option<Option<Digest>>) -> Option<Option<Digest>> {
        let old = match role {
            Role::InForce => self.engine.policy().digest(),
            Role::Shadow => self.engine.shadow()?.digest(),
        };
        let (what, name) = (role.name(), shown_path(path));
        let read = policy_source(path);
        let new = read.as_ref().ok().map(|(source, _)| sha256(source.text().as_bytes()));
        if new == Some(old) {
            return None;
        }
        if told == Some(new) {
            return told;
        }
        let taken = match read {
            Ok((source, folder)) => match Policy::load(source, &folder) {
                Ok((policy, _)) => self.take(role, policy).await,
                Err(errors) => Err(errors.into()),
            },
            Err(error) => Err(error),
        };
        let Err(error) = taken else {
            let new = new.map_or_else(String::new, |new| new.short());
            self.output.note(&format!(
                "the {what} `{name}` has changed: {new} decides from now on, and no more {old}",
                old = old.short()
            ));
            return None;
        };
        let digest = new.map_or_else(|| "unreadable".to_owned(), |new| new.to_string());
        self.output.note(&format!(
            "the {what} `{name}` has changed and is not taken ({digest}): {old} stays in force\n{}",
            error.text().trim_end()
        ));
        let (code, message) = error.without_input();
        let event = SystemEvent::refused(
            None,
            &format!("reload of the {what} {name}"),
            code,
            &format!("{message}; {digest} is not taken, and {old} stays in force"),
        );
        if let Err(error) = self.engine.journal().record(event, SystemClock.now()).await {
            self.output.note(CliError::from(error).text().trim_end());
        }
        Some(new)
    }

    async fn take(&self, role: Role, policy: Policy) -> Result<(), CliError> {
        if let (Role::InForce, Some(place)) = (role, &self.checks.components) {
            check_components(self.engine.registry(), &policy, place.as_ref())?;
        }
        let (policy, protected) = (Arc::new(policy), &self.checks.protected);
        match role {
            Role::InForce => self.engine.set_policy(policy, protected).await?,
            Role::Shadow => self.engine.set_shadow(policy, protected).await?,
        }
        Ok(())
    }
}

/// What the system tells.
type Seen = notify::Result<notify::Event>;

/// Whether something may have become of one of `names`. An error may stand for what was not told.
fn counts(seen: &Seen, names: &BTreeSet<PathBuf>) -> bool {
    let Ok(event) = seen else { return true };
    let kind = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Name(_))
        | EventKind::Remove(_) => true,
        // A file that was just made is being written; a link is whole.
        EventKind::Create(kind) => kind != CreateKind::Folder && event.paths.iter().any(|path| path.is_symlink()),
        _ => false,
    };
    event.need_rescan() || (kind && event.paths.iter().any(|path| names.contains(path)))
}
