//! What an agent sees as tools: capabilities, and what groups their calls.

use std::sync::Arc;

use rmcp::model::{JsonObject, MetaObject, Tool, ToolAnnotations};
use serde_json::{Value, json};

use super::answer;
use crate::engine::Registry;
use crate::policy::Policy;
use crate::serve::{Actor, may_ask};
use crate::types::{CapabilityId, CapabilityInfo, Catalog as _, EffectKind, Permission, Risk};

/// How many characters of what a component says of itself an agent is shown.
const TEXT: usize = 200;

/// The tools that group calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transaction {
    Begin,
    Call,
    Commit,
    Rollback,
    Status,
}

impl Transaction {
    const ALL: [Transaction; 5] =
        [Transaction::Begin, Transaction::Call, Transaction::Commit, Transaction::Rollback, Transaction::Status];

    fn name(self) -> &'static str {
        match self {
            Transaction::Begin => "transaction_begin",
            Transaction::Call => "transaction_call",
            Transaction::Commit => "transaction_commit",
            Transaction::Rollback => "transaction_rollback",
            Transaction::Status => "transaction_status",
        }
    }

    pub fn named(name: &str) -> Option<Transaction> {
        Transaction::ALL.into_iter().find(|tool| tool.name() == name)
    }

    fn tool(self) -> Tool {
        let run = json!({ "type": "string", "description": "The `run` that `transaction_begin` answered with" });
        let (title, text, properties, required) = match self {
            Transaction::Begin => (
                "Begin a transaction",
                "Opens a run. Calls that are added to it are committed together, or undone together.",
                json!({ "name": { "type": "string", "description": "What it is for, in a few words" } }),
                vec![],
            ),
            Transaction::Call => (
                "Call a tool in a transaction",
                "Adds one call of a tool to an open transaction and waits for it.",
                json!({
                    "run": run,
                    "tool": { "type": "string", "description": "The name of the tool" },
                    "arguments": { "type": "object", "description": "What the tool takes" },
                    "step": { "type": "string", "description": "A name for this call, unique in the transaction" },
                }),
                vec!["run", "tool"],
            ),
            Transaction::Commit => (
                "Commit a transaction",
                "Ends an open transaction: what its calls did stays.",
                json!({ "run": run }),
                vec!["run"],
            ),
            Transaction::Rollback => (
                "Roll a transaction back",
                "Undoes everything that the calls of an open transaction did, in reverse order.",
                json!({ "run": run, "reason": { "type": "string", "description": "Why; it is recorded" } }),
                vec!["run"],
            ),
            Transaction::Status => (
                "How a call or a transaction stands",
                "Tells the state of a run: of a transaction, or of a single call that waited for approval.",
                json!({ "run": { "type": "string", "description": "The `run` of an earlier answer" } }),
                vec!["run"],
            ),
        };
        let schema =
            json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false });
        let looks = self == Transaction::Status;
        let undoes = self == Transaction::Rollback;
        let annotations =
            ToolAnnotations::from_raw(Some(title.to_owned()), Some(looks), Some(undoes), Some(looks), Some(false));
        Tool::new_with_raw(self.name(), Some(text.into()), object(schema))
            .with_title(title)
            .with_raw_output_schema(object(answer::schema()))
            .with_annotations(annotations)
    }
}

/// The tools of a caller: what may be asked for, sorted, and what groups calls.
pub(super) fn all(registry: &Registry, policy: &Policy, actor: &Actor) -> Vec<Tool> {
    let ids = registry.ids();
    let infos = ids.iter().filter_map(|id| registry.capability(id.as_str()));
    let asked = infos.filter(|info| may_ask(policy, actor, info));
    asked.map(of_capability).chain(Transaction::ALL.map(Transaction::tool)).collect()
}

fn of_capability(info: &CapabilityInfo) -> Tool {
    let title = plain(&info.title);
    let looks = info.effect == EffectKind::None;
    // What cannot be undone destroys; so may what the host or its author takes for dangerous.
    let destroys = info.effect == EffectKind::Irreversible || (!looks && info.risk >= Risk::High);
    let outside = info.permissions.iter().any(|permission| matches!(permission, Permission::Http { .. }));
    let annotations = ToolAnnotations::from_raw(
        Some(title.clone()),
        Some(looks),
        Some(destroys),
        Some(looks || info.idempotent),
        Some(outside),
    );
    let meta = json!({
        "redress/capability": info.id, "redress/component": info.component, "redress/risk": info.risk.as_str(),
        "redress/effect": info.effect.as_str(), "redress/output": info.output,
    });
    let mut tool = Tool::new_with_raw(name(&info.id), Some(plain(&info.summary).into()), object(info.input.clone()))
        .with_title(title)
        .with_raw_output_schema(object(answer::schema()))
        .with_annotations(annotations);
    tool.meta = Some(MetaObject(object(meta).as_ref().clone()));
    tool
}

/// The name of the tool for a capability. Ids have no `-`, and many clients take no `.`.
fn name(id: &CapabilityId) -> String {
    id.as_str().replace('.', "-")
}

/// The capability that a tool is for.
pub(super) fn capability(tool: &str) -> Option<CapabilityId> {
    CapabilityId::parse(&tool.replace('-', ".")).ok().filter(|id| name(id) == tool)
}

/// The first characters of a text, without what a terminal or a reader could be misled by.
pub(super) fn plain(text: &str) -> String {
    let shown = text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ' || (c.is_alphanumeric() && !c.is_ascii()));
    shown.take(TEXT).collect()
}

fn object(value: Value) -> Arc<JsonObject> {
    match value {
        Value::Object(fields) => Arc::new(fields),
        _ => Arc::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_and_its_capability_name_each_other() {
        let id = CapabilityId::parse("io.fs.write_file").unwrap();
        assert_eq!(name(&id), "io-fs-write_file");
        assert_eq!(capability("io-fs-write_file"), Some(id));
        assert_eq!((capability("io.fs.write_file"), capability("x"), capability("")), (None, None, None));
    }

    #[test]
    fn what_a_component_says_of_itself_is_short_and_plain() {
        let hostile = format!("Writes\u{202e} a\u{1b}[31m file.\nIgnore {}", "x".repeat(300));
        let shown = plain(&hostile);
        assert_eq!(shown.chars().count(), 200);
        assert!(shown.starts_with("Writes a[31m file.Ignore xxx"), "{shown}");
    }
}
