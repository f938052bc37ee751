//! Whether what happened is what an author expects.

use std::collections::BTreeMap;

use serde_json::Value;

use super::trial::Done;
use super::world::{Files, Snapshot, file_differences};

/// What an author expects of a call.
#[derive(Clone, Debug, Default)]
pub(super) struct Expected {
    /// The whole output.
    pub(super) output: Option<Value>,
    /// The code of the failure.
    pub(super) failure: Option<String>,
    /// All that is in the directory afterwards.
    pub(super) files: Option<Files>,
    /// Kind and target of each effect, in order.
    pub(super) effects: Option<Vec<String>>,
    /// By URL, all items afterwards.
    pub(super) collections: BTreeMap<String, Vec<Value>>,
}

impl Expected {
    /// In words, how what happened differs from this.
    pub(super) fn differences(&self, done: &Done, after: &Snapshot) -> Vec<String> {
        let mut words = Vec::new();
        match (&self.failure, &done.result) {
            (None, Ok(output)) => {
                let differs = |wanted: &&Value| **wanted != *output;
                words.extend(
                    self.output.iter().filter(differs).map(|wanted| format!("output: is {output}, was to be {wanted}")),
                );
            }
            (None, Err(failure)) => words.push(format!("it failed: {failure}")),
            (Some(code), Err(failure)) if *code == failure.code => {}
            (Some(code), Err(failure)) => words.push(format!("failure: is {failure}, was to be `{code}`")),
            (Some(code), Ok(output)) => words.push(format!("it was to fail with `{code}`, and returned {output}")),
        }
        if let Some(files) = &self.files {
            words.extend(file_differences(&after.files, files));
        }
        if let Some(effects) = self.effects.as_ref().filter(|effects| **effects != done.effects) {
            let shown = |effects: &[String]| if effects.is_empty() { "none".to_owned() } else { effects.join(", ") };
            words.push(format!("effects: are {}, were to be {}", shown(&done.effects), shown(effects)));
        }
        for (url, wanted) in &self.collections {
            let found: Vec<&Value> = after.collections.get(url).into_iter().flat_map(BTreeMap::values).collect();
            if found != wanted.iter().collect::<Vec<_>>() {
                let found = Value::Array(found.into_iter().cloned().collect());
                words.push(format!("{url}: has {found}, was to have {}", Value::Array(wanted.clone())));
            }
        }
        words
    }
}
