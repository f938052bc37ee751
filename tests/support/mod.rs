//! What several tests need.

use std::collections::BTreeMap;

use redress::types::{CapabilityId, CapabilityInfo, EffectKind, MapCatalog, Risk, sha256};
use serde_json::{Map, Value, json};

/// A catalog of a few capabilities that no component stands behind.
pub fn catalog() -> MapCatalog {
    let object = |fields: &[&str]| {
        let properties: Map<_, _> = fields.iter().map(|f| ((*f).to_owned(), json!({"type": "string"}))).collect();
        json!({"type": "object", "properties": properties})
    };
    let all = [
        ("io.fs.make_dir", json!({"properties": {"path": {"type": "string"}, "created": {"type": "array"}}})),
        ("io.fs.write_file", object(&["path", "sha256"])),
        ("io.fs.delete", object(&["path"])),
        ("crm.create_account", object(&["account_id", "status"])),
        ("data.json.query", json!({})),
        ("net.http.request", json!({"properties": {"status": {}, "headers": {}, "json": {}, "body": {}}})),
        ("acme_notes.add", object(&["path"])),
        ("crm.customer.create", object(&["id"])),
        ("docs.markdown.to_html", json!({})),
        ("docs.csv.to_json", json!({})),
        ("sheets.csv.rows", json!({})),
        ("sheets.csv.edit", json!({})),
        ("io.fs.read_file", object(&["path", "content"])),
        ("data.list", json!({"properties": {"items": {"items": {"properties": {"id": {}}}}}})),
    ];
    let info = |(id, output): (&str, Value)| {
        let id = CapabilityId::parse(id).unwrap();
        let info = CapabilityInfo {
            id: id.clone(),
            component: sha256(b"component"),
            title: String::new(),
            summary: String::new(),
            risk: Risk::Medium,
            effect: EffectKind::Reversible,
            idempotent: true,
            input: json!({}),
            output,
            permissions: Vec::new(),
        };
        (id, info)
    };
    MapCatalog(all.into_iter().map(info).collect::<BTreeMap<_, _>>())
}
