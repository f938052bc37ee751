//! What a component says of itself is checked before any of it is believed.
//!
//! The description is JSON with a schema number. Refused, with an error that names the place: unknown fields, ids that are
//! not dotted lower-case segments or stand twice, ids of the reserved namespaces from outside the standard library, schemas
//! that are none, permissions that are none, `irreversible` below HIGH, and `effect: none` beside a permission that can
//! change something. A declared risk that is too low is raised: changing anything is at least MEDIUM, and a component that
//! is not of the standard library and asks for both files and network is HIGH.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use super::component::Provenance;
use super::schema::{Schemas, compile};
use crate::types::{CapabilityId, CapabilityInfo, Digest, EffectKind, Permission, Risk, parse_strict};

/// Namespaces that rules and grants count on; only the standard library is in them.
const RESERVED: [&str; 7] = ["io", "net", "data", "text", "sys", "human", "redress"];

/// Whether a namespace, such as `io`, belongs to the standard library.
pub fn is_reserved(namespace: &str) -> bool {
    RESERVED.contains(&namespace)
}

const MAX_BYTES: usize = 1 << 20;
const MAX_CAPABILITIES: usize = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    schema: u32,
    capabilities: Vec<Declared>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    id: String,
    title: String,
    summary: String,
    risk: Risk,
    effect: EffectKind,
    #[serde(default)]
    idempotent: bool,
    input: Value,
    output: Value,
    #[serde(default)]
    permissions: Vec<String>,
}

/// The capabilities of a component, checked, and their compiled schemas; or what is wrong with the description.
pub(super) fn check(
    text: &str,
    component: Digest,
    provenance: Provenance,
) -> Result<(Vec<CapabilityInfo>, HashMap<CapabilityId, Schemas>), String> {
    if text.len() > MAX_BYTES {
        return Err(format!("it has {} bytes; at most {MAX_BYTES} are read", text.len()));
    }
    let value = parse_strict(text.as_bytes()).map_err(|error| error.to_string())?;
    let description: Description = serde_json::from_value(value).map_err(|error| error.to_string())?;
    if description.schema != 1 {
        return Err(format!("its `schema` is {}; this version reads 1", description.schema));
    }
    let count = description.capabilities.len();
    if count == 0 || count > MAX_CAPABILITIES {
        return Err(format!("it lists {count} capabilities; 1 to {MAX_CAPABILITIES} are expected"));
    }
    let mut infos: Vec<CapabilityInfo> = Vec::with_capacity(count);
    let mut schemas = HashMap::with_capacity(count);
    for declared in description.capabilities {
        let (info, schema) = declared.check(component, provenance)?;
        if schemas.insert(info.id.clone(), schema).is_some() {
            return Err(format!("`{}` stands twice", info.id));
        }
        infos.push(info);
    }
    raise(&mut infos, provenance);
    infos.sort_by(|a, b| a.id.cmp(&b.id));
    Ok((infos, schemas))
}

impl Declared {
    fn check(self, component: Digest, provenance: Provenance) -> Result<(CapabilityInfo, Schemas), String> {
        let id = CapabilityId::parse(&self.id).map_err(|error| error.to_string())?;
        let namespace = id.as_str().split('.').next().unwrap_or_default();
        if provenance == Provenance::External && is_reserved(namespace) {
            return Err(format!(
                "`{id}` is in the namespace `{namespace}.`, which belongs to the standard library: choose another, such as the \
                 name of your organisation"
            ));
        }
        let permissions = self
            .permissions
            .iter()
            .map(|text| Permission::parse(text).map_err(|error| format!("`{id}`: {error}")))
            .collect::<Result<Vec<_>, _>>()?;
        match self.effect {
            EffectKind::None => {
                if let Some(permission) = permissions.iter().find(|permission| permission.can_change()) {
                    return Err(format!(
                        "`{id}` declares `effect: none` and asks for `{permission}`, which can change something"
                    ));
                }
            }
            EffectKind::Irreversible if self.risk < Risk::High => {
                return Err(format!("`{id}` is irreversible and declares the risk {}: HIGH is the least", self.risk));
            }
            EffectKind::Reversible | EffectKind::Irreversible => {}
        }
        for (what, text) in [("title", &self.title), ("summary", &self.summary)] {
            if text.trim().is_empty() {
                return Err(format!("`{id}` has no {what}"));
            }
        }
        let input = compile(&self.input).map_err(|error| format!("the `input` schema of `{id}`: {error}"))?;
        let output = compile(&self.output).map_err(|error| format!("the `output` schema of `{id}`: {error}"))?;
        let info = CapabilityInfo {
            id,
            component,
            title: self.title,
            summary: self.summary,
            risk: self.risk,
            effect: self.effect,
            idempotent: self.idempotent,
            input: self.input,
            output: self.output,
            permissions,
        };
        Ok((info, Schemas::new(input, output)))
    }
}

fn raise(infos: &mut [CapabilityInfo], provenance: Provenance) {
    let asks = |wanted: fn(&Permission) -> bool| infos.iter().any(|info| info.permissions.iter().any(wanted));
    let files = asks(|permission| matches!(permission, Permission::FsRead | Permission::FsWrite));
    let network = asks(|permission| matches!(permission, Permission::Http { .. }));
    let both = provenance == Provenance::External && files && network;
    for info in infos {
        if info.effect != EffectKind::None {
            info.risk = info.risk.max(Risk::Medium);
        }
        if both {
            info.risk = info.risk.max(Risk::High);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::sha256;
    use serde_json::json;

    fn described(change: impl FnOnce(&mut Value)) -> Result<CapabilityInfo, String> {
        let mut capability = json!({
            "id": "acme.notes.add", "title": "Add", "summary": "Adds a note.", "risk": "MEDIUM", "effect": "reversible",
            "idempotent": true, "input": {"type": "object"}, "output": {"type": "object"}, "permissions": ["fs:write"],
        });
        change(&mut capability);
        let text = json!({"schema": 1, "capabilities": [capability]}).to_string();
        check(&text, sha256(b""), Provenance::External).map(|(infos, _)| infos[0].clone())
    }

    #[test]
    fn what_is_declared_is_what_is_known() {
        let info = described(|_| {}).unwrap();
        assert_eq!((info.id.as_str(), info.risk, info.idempotent), ("acme.notes.add", Risk::Medium, true));
    }

    #[test]
    fn a_risk_that_is_too_low_is_raised() {
        assert_eq!(described(|c| c["risk"] = json!("LOW")).unwrap().risk, Risk::Medium);
        let both = described(|c| c["permissions"] = json!(["fs:read", "http:GET https://example.com/*"])).unwrap();
        assert_eq!(both.risk, Risk::High);
    }

    #[test]
    fn each_lie_is_refused_and_named() {
        let cases: [(&str, Value, &str); 9] = [
            ("id", json!("Acme.Notes"), "is not a capability id"),
            ("id", json!("io.fs.write_file"), "belongs to the standard library"),
            ("effect", json!("none"), "asks for `fs:write`, which can change something"),
            ("effect", json!("irreversible"), "HIGH is the least"),
            ("input", json!({"type": "nonsense"}), "the `input` schema"),
            ("permissions", json!(["exec:sh"]), "is not a permission"),
            ("risk", json!("high"), "unknown variant"),
            ("surprise", json!(1), "unknown field"),
            ("title", json!(" "), "has no title"),
        ];
        for (key, value, expected) in cases {
            let error = described(|c| c[key] = value.clone()).unwrap_err();
            assert!(error.contains(expected), "{key}: {error}");
        }
    }

    #[test]
    fn a_capability_that_stands_twice_is_refused() {
        let one = json!({"id": "a.b", "title": "t", "summary": "s", "risk": "LOW", "effect": "none", "input": {}, "output": {}});
        let text = json!({"schema": 1, "capabilities": [one, one]}).to_string();
        let error = check(&text, sha256(b""), Provenance::External).map(|_| ()).unwrap_err();
        assert_eq!(error, "`a.b` stands twice");
    }
}
