//! Bytes become a [`Component`], or an error that says why not.
//!
//! In this order: it must be WebAssembly, a component and not a module, and never compiled code; it is compiled, or taken from
//! the host's own cache (`cache`); its exports must be what the contract says, and its imports among what the host has
//! (`world`); `describe` is called twice, in a sandbox that is empty and where time stands still, and must return the same
//! bytes; and what it says is checked (`describe`).

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde_json::Value;
use thiserror::Error;
use wasmtime::Engine;
use wasmtime::component::Component as Code;

use super::engine::{Inner, Sandbox};
use super::schema::Schemas;
use super::state::State;
use super::undo::bindings::CapabilityPre;
use super::{call, describe, world};
use crate::types::{CapabilityId, CapabilityInfo, Digest, Failure, code, sha256};

/// Where a component comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// It is part of this binary.
    Standard,
    /// Somebody else made it.
    External,
}

/// Why bytes are not a component that can be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LoadError {
    /// Not WebAssembly at all.
    #[error("it is not a WebAssembly component")]
    NotWasm,
    /// A WebAssembly module.
    #[error("it is a core WebAssembly module, not a component: build it for `wasm32-wasip2`")]
    CoreModule,
    /// Code that was compiled elsewhere: it would run outside of the sandbox.
    #[error("it is compiled code (`.cwasm`), which is never accepted: give the component itself")]
    Precompiled,
    /// It does not compile.
    #[error("it is not a valid component: {0}")]
    Invalid(String),
    /// It imports what the host does not have.
    #[error("it imports `{0}`, which the host does not have")]
    MissingImport(String),
    /// It was built against another version of an interface.
    #[error("it {does} `{name}`; this host runs {runs}")]
    WrongVersion {
        /// `imports` or `exports`.
        does: &'static str,
        /// The interface with its version.
        name: String,
        /// The versions that would do.
        runs: &'static str,
    },
    /// What it imports or exports has another shape than the contract.
    #[error("it does not fit the contract `redress:capability@0.1.0`: {0}")]
    WrongContract(String),
    /// It exports no capabilities.
    #[error("it does not export `redress:capability/provider@0.1.0`: it is a component, but not one of capabilities")]
    WrongWorld,
    /// `describe` did not return.
    #[error("its `describe` failed: {0}")]
    DescribeFailed(Failure),
    /// `describe` depends on something.
    #[error("its `describe` returned two different texts: it must depend on nothing")]
    DescribeDiffers,
    /// What it says of itself is refused.
    #[error("its description is refused: {0}")]
    Description(String),
}

/// A component that was checked and compiled.
pub struct Component {
    digest: Digest,
    description: String,
    imports: Vec<String>,
    capabilities: Vec<CapabilityInfo>,
    schemas: HashMap<CapabilityId, Schemas>,
    pub(super) pre: CapabilityPre<State>,
}

impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Component").field("digest", &self.digest).finish_non_exhaustive()
    }
}

impl Component {
    /// The SHA-256 of its bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What it provides, sorted by id.
    pub fn capabilities(&self) -> &[CapabilityInfo] {
        &self.capabilities
    }

    /// What it says of itself: the JSON that `describe` returned.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The interfaces that it imports, by name and version.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// Checks an input against the capability's schema; the failure names the place in the input.
    pub fn validate_input(&self, capability: &CapabilityId, input: &Value) -> Result<(), Failure> {
        self.schemas_of(capability)?.check_input(input)
    }

    /// The JSON pointer to the first value in an input that does not fit the capability's schema, to point at it in a document.
    pub fn input_misfit(&self, capability: &CapabilityId, input: &Value) -> Option<String> {
        self.schemas.get(capability)?.input_misfit(input)
    }

    pub(super) fn validate_output(&self, capability: &CapabilityId, output: &Value) -> Result<(), Failure> {
        self.schemas_of(capability)?.check_output(output)
    }

    fn schemas_of(&self, capability: &CapabilityId) -> Result<&Schemas, Failure> {
        self.schemas.get(capability).ok_or_else(|| {
            let message = format!("`{capability}` is not provided by the component {}", self.digest.short());
            Failure::new(code::UNKNOWN_CAPABILITY, message)
        })
    }
}

impl Sandbox {
    /// Makes a component of `bytes`. Takes as long as compiling does, unless the code is in the cache.
    pub fn load(&self, bytes: &[u8], provenance: Provenance) -> Result<Arc<Component>, LoadError> {
        let inner = &*self.0;
        look_at(bytes)?;
        let digest = sha256(bytes);
        let code = inner.compile(bytes, &digest)?;
        let imports = world::check(&inner.engine, &code)?;
        let wrong = |error: wasmtime::Error| LoadError::WrongContract(format!("{error:#}"));
        let pre = inner.linker.instantiate_pre(&code).map_err(wrong)?;
        let pre = CapabilityPre::new(pre).map_err(wrong)?;
        let description = call::describe(inner, &pre, 0).map_err(LoadError::DescribeFailed)?;
        if call::describe(inner, &pre, 0).map_err(LoadError::DescribeFailed)? != description {
            return Err(LoadError::DescribeDiffers);
        }
        let (capabilities, schemas) =
            on_a_deep_stack(|| describe::check(&description, digest, provenance)).map_err(LoadError::Description)?;
        Ok(Arc::new(Component { digest, description, imports, capabilities, schemas, pre }))
    }
}

impl Sandbox {
    /// What a component would say of itself at another time and by another chance than the host lets it see.
    pub fn description_by_chance(&self, component: &Component, chance: u8) -> Result<String, Failure> {
        call::describe(&self.0, &component.pre, chance)
    }
}

/// Schemas are compiled with recursion: bounded (`schema`), and here with room to spare for that bound.
fn on_a_deep_stack<T: Send>(work: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(64 << 20).spawn_scoped(scope, work);
        thread.map_err(|error| error.to_string())?.join().map_err(|_| "the host failed while it read it".to_owned())?
    })
}

impl Inner {
    fn compile(&self, bytes: &[u8], digest: &Digest) -> Result<Code, LoadError> {
        if let Some(code) = self.cache.as_ref().and_then(|cache| cache.load(&self.engine, digest)) {
            return Ok(code);
        }
        // A stranger's bytes must not end the host, also where the compiler takes them for impossible.
        let compiled = catch_unwind(AssertUnwindSafe(|| Code::from_binary(&self.engine, bytes)));
        let code = compiled
            .map_err(|_| LoadError::Invalid("the compiler failed".into()))?
            .map_err(|error| LoadError::Invalid(format!("{error:#}")))?;
        if let Some(cache) = &self.cache {
            cache.store(digest, &code);
        }
        Ok(code)
    }
}

/// What the first bytes say: `\0asm`, a version, and whether it is a module (0) or a component (1).
fn look_at(bytes: &[u8]) -> Result<(), LoadError> {
    if Engine::detect_precompiled(bytes).is_some() {
        return Err(LoadError::Precompiled);
    }
    match bytes.get(..8) {
        Some([0, b'a', b's', b'm', _, _, 0, 0]) => Err(LoadError::CoreModule),
        Some([0, b'a', b's', b'm', ..]) => Ok(()),
        _ => Err(LoadError::NotWasm),
    }
}
