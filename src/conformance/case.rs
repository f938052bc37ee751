//! The files in which an author writes cases.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::Value;

use super::expected::Expected;
use super::fake::{Collection, Script, Scripted, origin};
use super::world::{Entry, Files, GUEST};
use crate::document::{Diagnostic, Diagnostics, MapReader, Node, Source, boolean, list, parse, string, suggest};
use crate::types::{CapabilityId, CapabilityInfo, HttpMethod};

/// One case of an author.
#[derive(Clone, Debug)]
pub struct Case {
    /// The name of its file, without the ending.
    pub name: String,
    /// Which capability.
    pub capability: CapabilityId,
    /// The input.
    pub input: Value,
    /// What is in the directory before.
    pub(super) files: Files,
    /// What the hosts are that it may send to.
    pub(super) script: Script,
    pub(super) config: BTreeMap<String, String>,
    pub(super) secrets: BTreeMap<String, String>,
    /// Its output or its effects depend on time or chance, and that is meant.
    pub(super) varies: bool,
    pub(super) expected: Expected,
}

const CASE: [&str; 9] =
    ["capability", "about", "input", "files", "http", "config", "secrets", "depends_on_time", "expect"];

/// A shorter secret is no secret, and the host does not use it.
const LEAST_SECRET: usize = 8;

impl Case {
    /// Whether the author expects an output.
    pub(super) fn expects_success(&self) -> bool {
        self.expected.failure.is_none()
    }
}

/// Reads every case; an error has everything that is wrong with the first file that is.
pub fn read_cases(sources: &[Source], capabilities: &[CapabilityInfo]) -> Result<Vec<Case>, Diagnostics> {
    sources.iter().map(|source| read(source, capabilities)).collect()
}

fn read(source: &Source, capabilities: &[CapabilityInfo]) -> Result<Case, Diagnostics> {
    let root = parse(source)?;
    let mut all = Diagnostics::new(source.clone());
    let case = read_map(&root, source, capabilities, &mut all);
    match case {
        Some(case) if !all.has_errors() => Ok(case),
        _ => Err(all),
    }
}

fn read_map(root: &Node, source: &Source, capabilities: &[CapabilityInfo], all: &mut Diagnostics) -> Option<Case> {
    let map = MapReader::new(root, "a case", &CASE, all)?;
    if let Some(node) = map.optional("about") {
        string(node, "`about`", all);
    }
    let capability = map.required("capability", all).and_then(|node| {
        let text = string(node, "`capability`", all)?;
        let known = capabilities.iter().find(|info| info.id.as_str() == text);
        if known.is_none() {
            let message = format!("the component has no capability `{text}`");
            let ids = capabilities.iter().map(|info| info.id.as_str());
            let error = Diagnostic::error("unknown-capability", node.span, message);
            all.push(match suggest(text, ids.clone()) {
                Some(word) => error.did_you_mean(Some(word)),
                None => error.help(format!("it has {}", ids.collect::<Vec<_>>().join(", "))),
            });
        }
        known.map(|info| info.id.clone())
    });
    let input = map.required("input", all).map(Node::to_json);
    let files = map.optional("files").map(|node| read_files(node, all)).unwrap_or_default();
    let script = map.optional("http").map(|node| read_http(node, all)).unwrap_or_default();
    let mut words = |key: &'static str| {
        let entries = map.optional(key).map(|node| entries(node, key, all)).unwrap_or_default();
        let read = entries.iter().filter_map(|(name, value)| {
            string(value, &format!("`{key}.{name}`"), all).map(|text| (name.clone(), text.to_owned()))
        });
        read.collect::<BTreeMap<_, _>>()
    };
    let (config, secrets) = (words("config"), words("secrets"));
    let plain = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if let Some(name) = secrets.keys().find(|name| !plain(name)) {
        let span = map.optional("secrets").map_or(root.span, |node| node.span);
        all.push(Diagnostic::error("wrong-value", span, format!("`{name}` is not the name of a secret")));
    }
    if let Some((name, _)) = secrets.iter().find(|(_, value)| value.len() < LEAST_SECRET) {
        let span = map.optional("secrets").map_or(root.span, |node| node.span);
        let message = format!("the secret `{name}` has fewer than {LEAST_SECRET} characters");
        all.push(Diagnostic::error("wrong-value", span, message).help("the host would refuse to use it: make one up"));
    }
    let varies = map.optional("depends_on_time").and_then(|node| boolean(node, "`depends_on_time`", all));
    let expected = map.required("expect", all).and_then(|node| read_expected(node, all));
    let name = Path::new(source.name()).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    Some(Case {
        name: name.unwrap_or_default(),
        capability: capability?,
        input: input?,
        files,
        script,
        config,
        secrets,
        varies: varies.unwrap_or(false),
        expected: expected?,
    })
}

/// The entries of a mapping whose keys are the author's.
fn entries<'n>(node: &'n Node, what: &str, all: &mut Diagnostics) -> Vec<(String, &'n Node)> {
    match node.as_mapping() {
        Some(entries) => entries.iter().map(|(key, value)| (key.name.clone(), value)).collect(),
        None => {
            let message = format!("`{what}` must be a mapping, found {}", node.what());
            all.push(Diagnostic::error("wrong-type", node.span, message));
            Vec::new()
        }
    }
}

fn read_files(node: &Node, all: &mut Diagnostics) -> Files {
    let mut files = Files::new();
    for (path, value) in entries(node, "files", all) {
        let below = path.strip_prefix(GUEST).and_then(|rest| rest.strip_prefix('/'));
        let plain = |rest: &str| {
            let parts = rest.strip_suffix('/').unwrap_or(rest).split('/');
            parts.into_iter().all(|part| !matches!(part, "" | "." | ".."))
        };
        if !below.is_some_and(plain) {
            let message = format!("`{path}` is not a path below `{GUEST}`");
            let error = Diagnostic::error("wrong-value", value.span, message);
            all.push(error.help(format!("write `{GUEST}/notes.txt`, or `{GUEST}/folder/` for a directory")));
            continue;
        }
        if path.contains('\0') || path.split('/').any(|part| part.len() > 255) {
            let message = format!("`{}` is not a name that a file can have", path.escape_debug());
            all.push(Diagnostic::error("wrong-value", value.span, message));
            continue;
        }
        match path.strip_suffix('/') {
            Some(folder) if value.is_null() => {
                files.insert(folder.to_owned(), Entry::Directory);
            }
            Some(_) => {
                let error =
                    Diagnostic::error("wrong-type", value.span, format!("`{path}` is a directory, with no content"));
                all.push(error.help(format!("write `{path}:` and nothing after it")));
            }
            None => {
                if let Some(bytes) = read_bytes(value, &path, all) {
                    files.insert(path, Entry::File(bytes));
                }
            }
        }
    }
    // The directories on the way are there, too.
    let above: Vec<String> = files.keys().flat_map(|path| ancestors(path)).collect();
    for folder in above {
        if *files.entry(folder.clone()).or_insert(Entry::Directory) != Entry::Directory {
            let message = format!("`{folder}` is a file, and something lies below it");
            all.push(Diagnostic::error("wrong-value", node.span, message));
        }
    }
    files
}

fn ancestors(path: &str) -> Vec<String> {
    let above = Path::new(path).ancestors().skip(1).map(|path| path.to_string_lossy().into_owned());
    above.filter(|path| path.len() > GUEST.len()).collect()
}

fn read_bytes(node: &Node, path: &str, all: &mut Diagnostics) -> Option<Vec<u8>> {
    if node.as_mapping().is_none() {
        return string(node, &format!("the content of `{path}`"), all).map(|text| text.as_bytes().to_vec());
    }
    let map = MapReader::new(node, "the content of a file", &["base64"], all)?;
    let node = map.required("base64", all)?;
    let text = string(node, "`base64`", all)?;
    let decoded = STANDARD.decode(text);
    decoded.map_err(|error| all.push(Diagnostic::error("wrong-value", node.span, format!("`base64`: {error}")))).ok()
}

fn read_http(node: &Node, all: &mut Diagnostics) -> Script {
    let mut script = Script::default();
    let Some(map) = MapReader::new(node, "`http`", &["collections", "answers"], all) else { return script };
    let collections = map.optional("collections").map(|node| entries(node, "collections", all)).unwrap_or_default();
    for (url, value) in collections {
        check_url(&url, value, all);
        if let Some(collection) = read_collection(value, all) {
            script.collections.insert(url, collection);
        }
    }
    let answers = map.optional("answers").and_then(|node| list(node, "`answers`", all)).unwrap_or_default();
    script.answers.extend(answers.iter().filter_map(|node| read_answer(node, all)));
    script
}

fn check_url(url: &str, node: &Node, all: &mut Diagnostics) {
    let origin = origin(url).unwrap_or_default();
    let (scheme, authority) = origin.split_once("://").unwrap_or_default();
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    if host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok() {
        // An address would be dialled as it stands: whatever listens there would be asked, and not the server of the kit.
        let error = Diagnostic::error("wrong-value", node.span, format!("`{url}` names an address"));
        all.push(error.help("write a name, such as `https://api.example.com/things`: the kit answers for every name"));
    } else if !matches!(scheme, "http" | "https") || host.is_empty() {
        let error = Diagnostic::error("wrong-value", node.span, format!("`{url}` is not a URL"));
        all.push(error.help("write `https://api.example.com/things`"));
    }
}

fn read_collection(node: &Node, all: &mut Diagnostics) -> Option<Collection> {
    let map = MapReader::new(node, "a collection", &["id", "items"], all)?;
    let id = map.optional("id").and_then(|node| string(node, "`id`", all)).unwrap_or("id").to_owned();
    let mut items = BTreeMap::new();
    for item in map.optional("items").and_then(|node| list(node, "`items`", all)).unwrap_or_default() {
        let value = item.to_json();
        match value.get(&id) {
            Some(Value::String(known)) => drop(items.insert(known.clone(), value)),
            _ => {
                let message = format!("an item of a collection needs the field `{id}`, a string");
                all.push(Diagnostic::error("wrong-value", item.span, message));
            }
        }
    }
    Some(Collection { id, items })
}

fn read_answer(node: &Node, all: &mut Diagnostics) -> Option<Scripted> {
    let map = MapReader::new(node, "an answer", &["request", "status", "headers", "json", "body"], all)?;
    let request = map.required("request", all).and_then(|node| {
        let text = string(node, "`request`", all)?;
        let parts = text.split_once(' ').and_then(|(method, url)| Some((HttpMethod::parse(method)?, url)));
        if parts.is_none() {
            let error = Diagnostic::error("wrong-value", node.span, format!("`{text}` is not a request"));
            all.push(error.help("write `GET https://api.example.com/things`"));
        }
        let (method, url) = parts?;
        check_url(url, node, all);
        Some((Method::from_bytes(method.as_str().as_bytes()).ok()?, url.to_owned()))
    });
    let status = map.optional("status").map_or(Some(StatusCode::OK), |node| {
        let number = node.as_integer().and_then(|number| u16::try_from(number).ok());
        let status = number.and_then(|number| StatusCode::from_u16(number).ok());
        if status.is_none() {
            all.push(Diagnostic::error("wrong-value", node.span, "`status` must be a number from 100 to 599"));
        }
        status
    });
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in map.optional("headers").map(|node| entries(node, "headers", all)).unwrap_or_default() {
        if let Some(text) = string(value, "a header", all) {
            headers.insert(name.to_ascii_lowercase(), text.to_owned());
        }
    }
    let body = match (map.optional("json"), map.entry("body")) {
        (Some(_), Some((key, _))) => {
            all.push(Diagnostic::error("no-effect", key.span, "give either `json` or `body`"));
            None
        }
        (Some(json), None) => {
            headers.entry("content-type".to_owned()).or_insert_with(|| "application/json".to_owned());
            Some(Bytes::from(json.to_json().to_string()))
        }
        (None, Some((_, body))) => string(body, "`body`", all).map(|text| Bytes::from(text.to_owned())),
        (None, None) => Some(Bytes::new()),
    };
    let (method, url) = request?;
    Some(Scripted { method, url, status: status?, headers, body: body? })
}

fn read_expected(node: &Node, all: &mut Diagnostics) -> Option<Expected> {
    let map = MapReader::new(node, "`expect`", &["output", "failure", "files", "effects", "collections"], all)?;
    let output = map.optional("output").map(Node::to_json);
    let failure = map.optional("failure").and_then(|node| {
        let map = MapReader::new(node, "`failure`", &["code"], all)?;
        map.required("code", all).and_then(|node| string(node, "`code`", all)).map(str::to_owned)
    });
    if let (Some(_), Some((key, _))) = (&output, map.entry("failure")) {
        all.push(Diagnostic::error("no-effect", key.span, "a call has either an output or a failure"));
    }
    let files = map.optional("files").map(|node| read_files(node, all));
    let effects = map.optional("effects").map(|node| {
        let items = list(node, "`effects`", all).unwrap_or_default();
        items.iter().filter_map(|item| string(item, "an effect", all)).map(str::to_owned).collect()
    });
    let mut collections = BTreeMap::new();
    for (url, value) in map.optional("collections").map(|node| entries(node, "collections", all)).unwrap_or_default() {
        let items = list(value, "a collection", all).unwrap_or_default();
        collections.insert(url, items.iter().map(Node::to_json).collect());
    }
    Some(Expected { output, failure, files, effects, collections })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{EffectKind, Risk, sha256};
    use serde_json::json;

    fn known() -> Vec<CapabilityInfo> {
        vec![CapabilityInfo {
            id: CapabilityId::parse("acme.notes.add").unwrap(),
            component: sha256(b""),
            title: String::new(),
            summary: String::new(),
            risk: Risk::Medium,
            effect: EffectKind::Reversible,
            idempotent: true,
            input: json!({}),
            output: json!({}),
            permissions: Vec::new(),
        }]
    }

    fn read_text(text: &str) -> Result<Case, String> {
        read(&Source::new("tests/adds.yaml", text), &known()).map_err(|errors| errors.to_string())
    }

    #[test]
    fn a_case_is_read_with_its_world() {
        let case = read_text(
            "capability: acme.notes.add\ninput: { path: /workspace/a/b }\nfiles:\n  /workspace/a/b: \"x\"\n  /workspace/c/:\n  \
             /workspace/d: { base64: AP8= }\nhttp:\n  collections:\n    https://h.example/things: { items: [{ id: \"7\" }] }\n  \
             answers: [{ request: GET https://r.example/x, json: { a: 1 } }]\nexpect: { output: {}, effects: [\"fs.write /workspace/a/b\"] }\n",
        )
        .unwrap();
        assert_eq!((case.name.as_str(), case.files.len()), ("adds", 4));
        assert_eq!(case.files.get("/workspace/a"), Some(&Entry::Directory));
        assert_eq!(case.files.get("/workspace/d"), Some(&Entry::File(vec![0, 255])));
        assert_eq!(case.script.origins(), ["https://h.example", "https://r.example"]);
        assert!(case.expects_success());
    }

    #[test]
    fn each_mistake_is_named_with_its_place() {
        for (text, expected) in [
            ("capability: acme.notes.ad\ninput: {}\nexpect: {}\n", "acme.notes.add"),
            ("capability: acme.notes.add\ninput: {}\nexpect: {}\nfile: {}\n", "files"),
            ("capability: acme.notes.add\ninput: {}\nexpect: {}\nfiles: { /etc/x: a }\n", "is not a path below"),
            (
                "capability: acme.notes.add\ninput: {}\nexpect: {}\nfiles: { /workspace/../x: a }\n",
                "is not a path below",
            ),
            (
                "capability: acme.notes.add\ninput: {}\nexpect: { output: 1, failure: { code: x } }\n",
                "either an output",
            ),
            (
                "capability: acme.notes.add\ninput: {}\nexpect: {}\nhttp: { answers: [{ request: x }] }\n",
                "not a request",
            ),
            (
                "capability: acme.notes.add\ninput: {}\nexpect: {}\nhttp: { collections: { \"http://127.0.0.1:80/x\": {} } }\n",
                "names an address",
            ),
            (
                "capability: acme.notes.add\ninput: {}\nexpect: {}\nhttp: { collections: { \"http://[::1]/x\": {} } }\n",
                "names an address",
            ),
            (
                "capability: acme.notes.add\ninput: {}\nexpect: {}\nfiles: { /workspace/a: x, /workspace/a/b: y }\n",
                "is a file, and something",
            ),
            (
                "capability: acme.notes.add\ninput: {}\nexpect: {}\nsecrets: { a/b: long-enough }\n",
                "not the name of a secret",
            ),
            ("capability: acme.notes.add\ninput: {}\nexpect: {}\nsecrets: { A: short }\n", "fewer than 8 characters"),
            ("input: {}\nexpect: {}\n", "needs the key `capability`"),
        ] {
            let error = read_text(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
