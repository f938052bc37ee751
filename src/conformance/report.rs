//! The promises of the contract, and which of them were broken.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::types::{CapabilityId, Digest};

/// What a component promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Promise {
    /// The host can load it.
    Loads,
    /// What it says of itself is sound.
    DescriptionIsSound,
    /// It says the same of itself each time.
    DescriptionIsFixed,
    /// It asks for what it uses, and can use what it asks for.
    AsksForWhatItUses,
    /// Each capability has a case that shows it at work.
    HasCases,
    /// It does what its author's cases say.
    DoesWhatItsCasesSay,
    /// Its output fits the schema that it declares.
    OutputFitsSchema,
    /// It changes nothing if it declares no effect.
    EffectIsAsDeclared,
    /// It saves an undo record before its first effect.
    SavesBeforeEffects,
    /// It returns, or fails with a reason: no trap, no exit, no endless loop.
    EndsWithAnAnswer,
    /// What went wrong is told, and not passed off as success.
    TellsErrors,
    /// Output and effects depend on the input and the world, and on nothing else.
    DependsOnInputAlone,
    /// Executed twice with one key it changes the world once.
    OnceForOneKey,
    /// Its undo makes the world as it was.
    UndoRestores,
    /// Undone twice is undone once.
    UndoIsRepeatable,
    /// Its undo of what never happened changes nothing.
    UndoOfNothing,
    /// Its undo makes the world as it was, wherever the execution ended.
    UndoAfterDeath,
    /// Its undo makes the world as it was after an execution that failed half-way.
    UndoAfterFailure,
    /// Its undo, ended anywhere and asked for again, makes the world as it was.
    UndoAfterItsOwnDeath,
    /// Ended anywhere and executed again, it does what it would have done at once.
    RetryAfterDeath,
    /// After a retry, its undo makes the world as it was before the first attempt.
    UndoRestoresTheFirstState,
    /// Its undo reckons with a request that arrives late.
    UndoReckonsWithLateRequests,
    /// It fails without a change if something that it asks for is not granted.
    FailsCleanlyWithoutPermission,
}

impl Promise {
    /// The promise in words.
    pub fn says(self) -> &'static str {
        match self {
            Promise::Loads => "the host can load it",
            Promise::DescriptionIsSound => "what it says of itself is sound",
            Promise::DescriptionIsFixed => "it says the same of itself each time",
            Promise::AsksForWhatItUses => "it asks for what it uses, and can use what it asks for",
            Promise::HasCases => "each capability has a case that shows it at work",
            Promise::DoesWhatItsCasesSay => "it does what its cases say",
            Promise::OutputFitsSchema => "its output fits the schema that it declares",
            Promise::EffectIsAsDeclared => "it changes nothing if it declares no effect",
            Promise::SavesBeforeEffects => "it saves an undo record before its first effect",
            Promise::EndsWithAnAnswer => "it returns, or fails with a reason",
            Promise::TellsErrors => "what went wrong is told, and not passed off as success",
            Promise::DependsOnInputAlone => {
                "output and effects depend on the input and the world, and not on time or chance"
            }
            Promise::OnceForOneKey => "executed twice with one key it changes the world once",
            Promise::UndoRestores => "its undo makes the world as it was",
            Promise::UndoIsRepeatable => "undone twice is undone once",
            Promise::UndoOfNothing => "its undo of what never happened changes nothing",
            Promise::UndoAfterDeath => "its undo makes the world as it was, wherever the execution ended",
            Promise::UndoAfterFailure => "its undo makes the world as it was after an execution that failed half-way",
            Promise::UndoAfterItsOwnDeath => "its undo, ended anywhere and asked for again, makes the world as it was",
            Promise::RetryAfterDeath => "ended anywhere and executed again, it does what it would have done at once",
            Promise::UndoRestoresTheFirstState => {
                "after a retry, its undo makes the world as it was before the first attempt"
            }
            Promise::UndoReckonsWithLateRequests => "its undo reckons with a request that arrives late",
            Promise::FailsCleanlyWithoutPermission => "it fails without a change if something it asks for is withheld",
        }
    }
}

/// A promise that was broken, by the smallest case that shows it.
#[derive(Clone, Debug, Serialize)]
pub struct Broken {
    /// Which.
    pub promise: Promise,
    /// The same in words.
    pub says: &'static str,
    /// The capability; none if it is the component's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capability: Option<CapabilityId>,
    /// The author's case; none if the input was made up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub case: Option<String>,
    /// The input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// What was done, one step a line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub did: Vec<String>,
    /// What was seen.
    pub found: Vec<String>,
    /// How many more cases show the same.
    #[serde(skip_serializing_if = "is_zero")]
    pub more: u32,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl Broken {
    pub(super) fn of(promise: Promise, found: impl Into<String>) -> Broken {
        Broken {
            promise,
            says: promise.says(),
            capability: None,
            case: None,
            input: None,
            did: Vec::new(),
            found: vec![found.into()],
            more: 0,
        }
    }

    pub(super) fn capability(self, id: &CapabilityId) -> Broken {
        Broken { capability: Some(id.clone()), ..self }
    }

    pub(super) fn found(self, found: Vec<String>) -> Broken {
        Broken { found, ..self }
    }

    pub(super) fn did(self, did: &[String]) -> Broken {
        Broken { did: did.to_vec(), ..self }
    }

    /// How much there is to read in it: the smallest of several is shown.
    fn size(&self) -> usize {
        self.input.as_ref().map_or(0, |input| input.to_string().len()) + 40 * self.did.len()
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The component, if it was loaded.
    pub component: Option<Digest>,
    /// Its capabilities.
    pub capabilities: Vec<CapabilityId>,
    /// How many of the author's cases were tried.
    pub cases: u32,
    /// How many things were checked.
    pub checks: u32,
    /// Each promise of each capability that was broken, in the order of the promises.
    pub broken: Vec<Broken>,
    /// What is no promise and still worth knowing.
    pub notes: Vec<String>,
    /// By capability and permission, whether anything differed without it.
    needed: BTreeMap<(CapabilityId, String), bool>,
}

impl Report {
    pub(super) fn count(&mut self) {
        self.checks += 1;
    }

    pub(super) fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Something was tried without a permission, and it mattered or not.
    pub(super) fn tried_without(&mut self, id: &CapabilityId, permission: String, mattered: bool) {
        *self.needed.entry((id.clone(), permission)).or_default() |= mattered;
    }

    /// Says which permissions no case needs.
    pub(super) fn finish(&mut self) {
        let unneeded = self.needed.iter().filter(|(_, mattered)| !**mattered);
        let notes =
            unneeded.map(|((id, permission), _)| format!("{id}: no case needs `{permission}`, which it asks for"));
        self.notes.extend(notes);
    }

    /// Adds what was found; of several for one promise of one capability the smallest stays.
    pub(super) fn add(&mut self, broken: Broken) {
        let same = |known: &&mut Broken| known.promise == broken.promise && known.capability == broken.capability;
        match self.broken.iter_mut().find(same) {
            Some(known) => {
                let more = known.more + 1;
                if broken.size() < known.size() {
                    *known = broken;
                }
                known.more = more;
            }
            None => {
                self.broken.push(broken);
                self.broken.sort_by(|a, b| (&a.capability, a.promise).cmp(&(&b.capability, b.promise)));
            }
        }
    }

    /// Whether every promise was kept.
    pub fn is_clean(&self) -> bool {
        self.broken.is_empty()
    }
}
