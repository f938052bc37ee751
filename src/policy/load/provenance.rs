//! `signers:` and `providers:`.

use super::{capabilities, keys, pattern};
use crate::document::{Diagnostic, Diagnostics, MapReader, Node, boolean, list, string, strings, suggest};
use crate::policy::Pattern;
use crate::policy::provenance::{Provider, Signer};

/// A public key of minisign in base64: 42 bytes, which begin with the name of the algorithm.
const KEY: (usize, &str) = (56, "RW");

pub(super) fn signers(node: &Node, all: &mut Diagnostics) -> Vec<Signer> {
    let mut signers: Vec<Signer> = Vec::new();
    for item in list(node, "`signers`", all).unwrap_or_default() {
        let Some(reader) = MapReader::new(item, "a signer", &keys::SIGNER, all) else { continue };
        let name = reader.required("name", all).and_then(|node| {
            let text = string(node, "`name`", all)?;
            if signers.iter().any(|known| known.name == text) {
                let message = format!("there are two signers `{text}`");
                all.push(Diagnostic::error("duplicate-name", node.span, message).help("give each a name of its own"));
            }
            Some(text.to_owned())
        });
        let key = reader.required("key", all).and_then(|node| key(node, all));
        let from = reader.optional("from").map_or_else(anywhere, |node| places(node, all));
        let ids = reader.optional("capabilities").map_or_else(anywhere, |node| capabilities(node, all));
        let require = reader.optional("require").and_then(|node| boolean(node, "`require`", all));
        if let (Some(name), Some(key)) = (name, key) {
            signers.push(Signer { name, key, from, capabilities: ids, require: require.unwrap_or(false) });
        }
    }
    signers
}

pub(super) fn providers(node: &Node, signers: &[Signer], all: &mut Diagnostics) -> Vec<Provider> {
    let mut providers = Vec::new();
    for item in list(node, "`providers`", all).unwrap_or_default() {
        let Some(reader) = MapReader::new(item, "a provider", &keys::PROVIDER, all) else { continue };
        let ids = reader.required("capabilities", all).map(|node| capabilities(node, all));
        let from = reader.optional("from").map(|node| places(node, all));
        let signer = reader.optional("signer").and_then(|node| {
            let text = string(node, "`signer`", all)?;
            if !signers.iter().any(|known| known.name == text) {
                let unknown = Diagnostic::error("unknown-signer", node.span, format!("there is no signer `{text}`"));
                all.push(match suggest(text, signers.iter().map(|known| known.name.as_str())) {
                    Some(word) => unknown.did_you_mean(Some(word)),
                    None => unknown.help("name their key under `signers:`"),
                });
            }
            Some(text.to_owned())
        });
        if from.is_none() && signer.is_none() {
            let error =
                Diagnostic::error("no-effect", reader.span(), "a provider without `from` and `signer` says nothing");
            all.push(error.help("write `from: \"oci://registry.example.com/acme/*\"`, or `signer: NAME`"));
        }
        if let Some(ids) = ids {
            providers.push(Provider { capabilities: ids, from: from.unwrap_or_else(anywhere), signer });
        }
    }
    providers
}

fn anywhere() -> Vec<Pattern> {
    Pattern::parse("*").into_iter().collect()
}

/// A pattern over places, or a list of them.
fn places(node: &Node, all: &mut Diagnostics) -> Vec<Pattern> {
    let texts = match node.as_sequence() {
        Some(_) => strings(node, "`from`", all).unwrap_or_default(),
        None => string(node, "`from`", all).map(|text| (text, node)).into_iter().collect(),
    };
    let mut patterns = Vec::new();
    for (text, item) in texts {
        if !(text.starts_with("oci://") || text.starts_with("file://") || text == "*") {
            let error = Diagnostic::error("bad-pattern", item.span, format!("`{text}` is not a pattern over places"));
            all.push(error.help("write `oci://registry.example.com/acme/*` or `file:///srv/components/*`"));
            continue;
        }
        patterns.extend(pattern(Pattern::parse(text), item, all));
    }
    patterns
}

fn key(node: &Node, all: &mut Diagnostics) -> Option<String> {
    let text = string(node, "`key`", all)?;
    let base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    let (length, begins) = KEY;
    if text.len() == length && text.starts_with(begins) && text.bytes().all(base64) {
        return Some(text.to_owned());
    }
    let error = Diagnostic::error("bad-key", node.span, "`key` is not a public key of minisign");
    all.push(error.help("write the second line of its `.pub` file, 56 characters that begin with `RW`"));
    None
}
