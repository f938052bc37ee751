//! The components that this host has: the standard library, and those of the operator's folders.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::EngineError;
use crate::journal::{self, Journal};
use crate::sandbox::{Component, Provenance, Sandbox};
use crate::types::{CapabilityId, CapabilityInfo, Catalog, Digest, sha256};

/// The standard library, built with the host.
const STANDARD: [(&str, &[u8]); 3] = [
    ("fs", include_bytes!(concat!(env!("OUT_DIR"), "/fs.wasm"))),
    ("data", include_bytes!(concat!(env!("OUT_DIR"), "/data.wasm"))),
    ("http", include_bytes!(concat!(env!("OUT_DIR"), "/http.wasm"))),
];

/// The names and digests of the components of the standard library.
pub fn embedded() -> impl Iterator<Item = (&'static str, Digest)> {
    STANDARD.into_iter().map(|(name, bytes)| (name, sha256(bytes)))
}

/// A component and where it came from.
#[derive(Clone)]
pub struct Installed {
    /// The component.
    pub component: Arc<Component>,
    /// Its bytes.
    pub bytes: Bytes,
    /// `standard library: fs`, or the file.
    pub source: String,
    /// Whether it belongs to the standard library.
    pub provenance: Provenance,
}

impl Installed {
    fn kept(&self) -> journal::Component {
        journal::Component {
            digest: self.component.digest(),
            ids: self.component.capabilities().iter().map(|info| info.id.clone()).collect(),
            bytes: self.bytes.clone(),
            describe: self.component.description().to_owned(),
        }
    }
}

/// All components, by what they provide.
pub struct Registry {
    sandbox: Sandbox,
    installed: Vec<Installed>,
    by_id: BTreeMap<CapabilityId, (usize, CapabilityInfo)>,
    pinned: Mutex<HashMap<Digest, Arc<Component>>>,
}

impl Registry {
    /// The standard library alone.
    pub fn standard(sandbox: Sandbox) -> Result<Registry, EngineError> {
        let mut registry =
            Registry { sandbox, installed: Vec::new(), by_id: BTreeMap::new(), pinned: Mutex::new(HashMap::new()) };
        for (name, bytes) in STANDARD {
            registry.install(Bytes::from_static(bytes), format!("standard library: {name}"), Provenance::Standard)?;
        }
        Ok(registry)
    }

    /// Adds every `*.wasm` of a folder, in the order of their names.
    pub fn add_folder(&mut self, folder: &Path) -> Result<(), EngineError> {
        let io = |error| EngineError::Io { path: folder.display().to_string(), error };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path.extension().is_some_and(|extension| extension == "wasm") {
                files.push(path);
            }
        }
        files.sort();
        for file in files {
            let bytes =
                std::fs::read(&file).map_err(|error| EngineError::Io { path: file.display().to_string(), error })?;
            self.install(Bytes::from(bytes), file.display().to_string(), Provenance::External)?;
        }
        Ok(())
    }

    /// Adds a component; `source` says where it comes from.
    pub fn install(&mut self, bytes: Bytes, source: String, provenance: Provenance) -> Result<(), EngineError> {
        let component = self
            .sandbox
            .load(&bytes, provenance)
            .map_err(|error| EngineError::Component { file: source.clone(), error })?;
        self.install_loaded(component, bytes, source, provenance)
    }

    /// Adds a component that is loaded already.
    pub fn install_loaded(
        &mut self,
        component: Arc<Component>,
        bytes: Bytes,
        source: String,
        provenance: Provenance,
    ) -> Result<(), EngineError> {
        let index = self.installed.len();
        for info in component.capabilities() {
            if let Some((other, _)) = self.by_id.get(&info.id) {
                let other = self.installed.get(*other).map_or_else(String::new, |o| o.source.clone());
                return Err(EngineError::Duplicate { file: source, capability: info.id.clone(), other });
            }
        }
        for info in component.capabilities() {
            self.by_id.insert(info.id.clone(), (index, info.clone()));
        }
        self.installed.push(Installed { component, bytes, source, provenance });
        Ok(())
    }

    /// Every component, the standard library first.
    pub fn installed(&self) -> &[Installed] {
        &self.installed
    }

    /// The component that provides a capability.
    pub fn provider(&self, capability: &str) -> Option<&Installed> {
        self.by_id.get(capability).and_then(|(index, _)| self.installed.get(*index))
    }

    /// The component of this digest: an installed one, or the one that the journal keeps because a run refers to it.
    pub fn pinned(&self, digest: &Digest, journal: &dyn Journal) -> Result<Arc<Component>, EngineError> {
        if let Some(installed) = self.by_digest(digest) {
            return Ok(installed.component.clone());
        }
        let mut pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(component) = pinned.get(digest) {
            return Ok(component.clone());
        }
        let kept = journal.component(digest)?.ok_or(EngineError::MissingComponent { digest: *digest })?;
        // What a run was pinned to was checked when it was installed; that it provides reserved ids now as then is no news.
        let component = self
            .sandbox
            .load(&kept.bytes, Provenance::Standard)
            .map_err(|error| EngineError::Component { file: digest.to_string(), error })?;
        pinned.insert(*digest, component.clone());
        Ok(component)
    }

    /// What the journal keeps of the components that provide these capabilities.
    pub fn kept<'a>(&self, capabilities: impl Iterator<Item = &'a CapabilityId>) -> Vec<journal::Component> {
        let mut kept: BTreeMap<Digest, journal::Component> = BTreeMap::new();
        for installed in capabilities.filter_map(|capability| self.provider(capability.as_str())) {
            kept.entry(installed.component.digest()).or_insert_with(|| installed.kept());
        }
        kept.into_values().collect()
    }

    /// What the journal keeps of the installed component of this digest.
    pub fn kept_as(&self, digest: &Digest) -> Option<journal::Component> {
        self.by_digest(digest).map(Installed::kept)
    }

    fn by_digest(&self, digest: &Digest) -> Option<&Installed> {
        self.installed.iter().find(|installed| installed.component.digest() == *digest)
    }
}

impl Catalog for Registry {
    fn capability(&self, id: &str) -> Option<&CapabilityInfo> {
        self.by_id.get(id).map(|(_, info)| info)
    }

    fn ids(&self) -> Vec<CapabilityId> {
        self.by_id.keys().cloned().collect()
    }
}
