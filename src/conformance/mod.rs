//! The conformance kit: does a component keep the promises of the contract?
//!
//! The author writes cases: an input, the world before, what is expected. The kit runs each of them in the real sandbox, on
//! a temporary directory and a server on loopback, and then does what the author did not write down: undoes, undoes twice,
//! repeats with the same key, ends the component at each of its effects and undoes or repeats, lets a request arrive late,
//! withholds each permission, lets each request fail, moves the clock, and makes inputs up from the schema. After each of
//! these it compares the world byte by byte with what it must be.
//!
//! | module | what is inside |
//! |---|---|
//! | `case`, `expected` | the files in which authors write cases, and whether what happened is what they say |
//! | `world`, `fake` | the world of a case: a directory, and a server that keeps collections; compared byte by byte |
//! | `trial` | one component in one world: the host's part of saving, dying and undoing |
//! | `checks`, `faults` | what is tried with every case |
//! | `made_up` | inputs from a schema |
//! | `report` | the promises, and which of them were broken |

mod case;
mod checks;
mod expected;
mod fake;
mod faults;
mod made_up;
mod report;
mod trial;
mod world;

use std::path::Path;
use std::sync::Arc;

use thiserror::Error;

pub use case::{Case, read_cases};
pub use report::{Broken, Promise, Report};

use crate::document::{Diagnostics, Source};
use crate::sandbox::{Component, ImportKind, LoadError, NetError, Provenance, Sandbox, SandboxConfig, SandboxError};
use crate::types::{CapabilityId, EffectKind, Permission};

/// Why the kit itself cannot work.
#[derive(Debug, Error)]
pub enum KitError {
    /// The sandbox cannot be set up.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The network of the sandbox cannot be set up.
    #[error(transparent)]
    Net(#[from] NetError),
    /// A case does not load; nothing was tried.
    #[error(transparent)]
    Case(#[from] Diagnostics),
    /// A folder or file of the host.
    #[error("`{path}`: {error}")]
    Io {
        /// Where.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// No certificates can be made for the server on loopback.
    #[error("the server for the cases cannot be set up: {0}")]
    Server(String),
}

impl KitError {
    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> KitError {
        let path = path.display().to_string();
        move |error| KitError::Io { path, error }
    }
}

/// What is tried.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only the cases of these names; all if there are none.
    pub only: Vec<String>,
    /// How many inputs are made up for each capability.
    pub made_up: u32,
    /// What they are made from: the same number makes the same inputs.
    pub seed: u64,
    /// Whose component it is: those of the standard library may provide the reserved ids.
    pub provenance: Provenance,
}

impl Default for Options {
    fn default() -> Options {
        Options { only: Vec::new(), made_up: 64, seed: 1, provenance: Provenance::External }
    }
}

/// A component under trial, and what it is tried on.
pub(crate) struct Kit {
    sandbox: Sandbox,
    component: Arc<Component>,
    fake: Arc<fake::Fake>,
}

/// Tries a component on its author's cases. `progress` is told what is tried next. Must be awaited within a tokio runtime.
pub async fn test(
    bytes: &[u8],
    cases: &[Source],
    options: &Options,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<Report, KitError> {
    let fake = fake::Fake::start().await?;
    let sandbox = Sandbox::new(SandboxConfig {
        resolver: Some(fake.resolver()),
        extra_ca: Some(fake.authority().to_vec()),
        ..SandboxConfig::default()
    })?;
    let mut report = Report::default();
    progress("loading the component");
    let component = match sandbox.load(bytes, options.provenance) {
        Ok(component) => component,
        Err(error) => {
            report.add(not_loaded(&error));
            return Ok(report);
        }
    };
    let cases = read_cases(cases, component.capabilities())?;
    let kit = Kit { sandbox, component, fake };
    kit.look_at_description(&mut report);
    kit.describe_by_chance(&mut report);
    kit.look_for_cases(&cases, options, &mut report);
    for case in cases.iter().filter(|case| options.only.is_empty() || options.only.contains(&case.name)) {
        progress(&format!("{}: {}", case.capability, case.name));
        checks::check(&kit, case, &mut report).await?;
    }
    for info in kit.component.capabilities() {
        let own: Vec<&Case> = cases.iter().filter(|case| case.capability == info.id).collect();
        if options.made_up > 0 && options.only.is_empty() {
            progress(&format!("{}: inputs from its schema", info.id));
            made_up::check(&kit, info, &own, options, &mut report).await?;
        }
    }
    report.finish();
    report.capabilities = kit.component.capabilities().iter().map(|info| info.id.clone()).collect();
    report.component = Some(kit.component.digest());
    Ok(report)
}

fn not_loaded(error: &LoadError) -> Broken {
    let promise = match error {
        LoadError::DescribeDiffers => Promise::DescriptionIsFixed,
        LoadError::DescribeFailed(_) | LoadError::Description(_) => Promise::DescriptionIsSound,
        _ => Promise::Loads,
    };
    Broken::of(promise, error.to_string())
}

impl Kit {
    /// What is asked for and what is imported must go together.
    fn look_at_description(&self, report: &mut Report) {
        let imports = |kind: ImportKind| self.component.imports().iter().any(|name| ImportKind::of(name) == kind);
        let all = self.component.capabilities();
        let asks_http = |permission: &Permission| matches!(permission, Permission::Http { .. });
        report.count();
        for info in all {
            if info.permissions.iter().any(asks_http) && !imports(ImportKind::Http) {
                let text = "it asks for requests and does not import `wasi:http`, so that it cannot send any";
                report.add(Broken::of(Promise::AsksForWhatItUses, text).capability(&info.id));
            }
        }
        let anybody_asks = all.iter().flat_map(|info| &info.permissions).any(asks_http);
        if imports(ImportKind::Http) && !anybody_asks {
            let text = "it imports `wasi:http`, and no capability asks for a request: every one would be refused";
            report.add(Broken::of(Promise::AsksForWhatItUses, text));
        }
    }

    /// The host fixes time and chance; what depends on them would still be another description on another host.
    fn describe_by_chance(&self, report: &mut Report) {
        report.count();
        let text = match self.sandbox.description_by_chance(&self.component, 77) {
            Ok(text) if text == self.component.description() => return,
            Ok(_) => "at another time, or by another chance, it describes itself differently".to_owned(),
            Err(failure) => format!("at another time, or by another chance, its `describe` failed: {failure}"),
        };
        report.add(Broken::of(Promise::DescriptionIsFixed, text));
    }

    /// Without a case nothing is known of a capability.
    fn look_for_cases(&self, cases: &[Case], options: &Options, report: &mut Report) {
        if !options.only.is_empty() {
            return;
        }
        for info in self.component.capabilities() {
            report.count();
            let own = |case: &&Case| case.capability == info.id;
            let shows = |case: &&Case| own(case) && case.expects_success();
            let text = match (cases.iter().find(own), cases.iter().find(shows)) {
                (_, Some(_)) => continue,
                (None, _) => "there is no case for it",
                (Some(_), None) if info.effect == EffectKind::Reversible => {
                    "no case of it expects success, so that its undo is never tried"
                }
                (Some(_), None) => "no case of it expects success",
            };
            report.add(Broken::of(Promise::HasCases, text).capability(&info.id));
        }
    }

    fn info(&self, id: &CapabilityId) -> Option<&crate::types::CapabilityInfo> {
        self.component.capabilities().iter().find(|info| info.id == *id)
    }
}
