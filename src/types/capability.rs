use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CapabilityId, Digest, Permission};

/// How much harm an operation can do, ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Risk {
    /// Reads or computes.
    Low,
    /// Changes something that can be undone.
    Medium,
    /// Needs a person, unless a rule waives it.
    High,
    /// Always needs a person.
    Critical,
}

impl Risk {
    /// The word in files and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Risk::Low => "LOW",
            Risk::Medium => "MEDIUM",
            Risk::High => "HIGH",
            Risk::Critical => "CRITICAL",
        }
    }

    /// Reads the word, exactly as written in [`Risk::as_str`].
    pub fn parse(word: &str) -> Option<Risk> {
        [Risk::Low, Risk::Medium, Risk::High, Risk::Critical].into_iter().find(|r| r.as_str() == word)
    }
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a capability may change in the world outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EffectKind {
    /// Nothing: it reads or computes.
    None,
    /// Something that `compensate` undoes.
    Reversible,
    /// Something that nothing undoes.
    Irreversible,
}

impl EffectKind {
    /// The word in descriptions and output.
    pub fn as_str(self) -> &'static str {
        match self {
            EffectKind::None => "none",
            EffectKind::Reversible => "reversible",
            EffectKind::Irreversible => "irreversible",
        }
    }
}

/// What the host knows of one installed capability, after it has checked the component's description.
#[derive(Clone, Debug)]
pub struct CapabilityInfo {
    /// Its id.
    pub id: CapabilityId,
    /// The digest of the component that provides it.
    pub component: Digest,
    /// A few words.
    pub title: String,
    /// A sentence.
    pub summary: String,
    /// The declared risk, raised by the host where it is too low.
    pub risk: Risk,
    /// What it may change.
    pub effect: EffectKind,
    /// Whether a second execution with the same key has no further effect.
    pub idempotent: bool,
    /// JSON Schema of the input.
    pub input: Value,
    /// JSON Schema of the output.
    pub output: Value,
    /// What it asks for.
    pub permissions: Vec<Permission>,
}

impl CapabilityInfo {
    /// The names of the top-level fields that the output schema declares.
    pub fn output_fields(&self) -> Vec<&str> {
        match self.output.get("properties") {
            Some(Value::Object(fields)) => fields.keys().map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }
}

/// The capabilities that a host has; what the pure rooms may ask about them.
pub trait Catalog {
    /// The capability of this id, if a component provides it.
    fn capability(&self, id: &str) -> Option<&CapabilityInfo>;

    /// All ids, sorted.
    fn ids(&self) -> Vec<CapabilityId>;
}

/// A catalog in memory.
#[derive(Clone, Debug, Default)]
pub struct MapCatalog(pub BTreeMap<CapabilityId, CapabilityInfo>);

impl Catalog for MapCatalog {
    fn capability(&self, id: &str) -> Option<&CapabilityInfo> {
        self.0.get(id)
    }

    fn ids(&self) -> Vec<CapabilityId> {
        self.0.keys().cloned().collect()
    }
}
