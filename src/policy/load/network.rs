//! `network:` and `secrets:` of a grant.

use crate::document::{Diagnostic, Diagnostics, MapReader, Node, boolean, list, string};
use crate::types::{HttpMethod, Permission, ResourceGlob, SecretGrant, SecretSource, UrlGrant, UrlParts};

use super::super::grant::{GrantedSecret, normalise};
use super::super::pattern::at_node;
use super::word;

/// Reads the value of `network`.
pub(super) fn read_network(node: &Node, all: &mut Diagnostics) -> Vec<UrlGrant> {
    let items = list(node, "`network`", all).unwrap_or_default();
    items.iter().filter_map(|item| read_url(item, all)).collect()
}

fn read_url(node: &Node, all: &mut Diagnostics) -> Option<UrlGrant> {
    let keys = ["url", "methods", "query", "local", "reads_are_effects"];
    let reader = MapReader::new(node, "a granted URL", &keys, all)?;
    let url_node = reader.required("url", all);
    let url = url_node.and_then(|node| read_pattern(node, all));
    let methods = reader.required("methods", all).and_then(|node| read_methods(node, all));
    let mut flag = |key: &str| {
        let node = reader.optional(key)?;
        boolean(node, &format!("`{key}`"), all).map(|value| (node.span, value))
    };
    let (query, local, reads) = (flag("query"), flag("local"), flag("reads_are_effects"));
    let is_set = |flag: Option<(_, bool)>| flag.is_some_and(|(_, value)| value);
    let any_host = url.as_ref().and_then(|url| url.split_once("://")).is_some_and(|(_, rest)| rest.starts_with('*'));
    if let Some((span, true)) = local.filter(|_| any_host) {
        let message = "`local: true` needs the host by its name, not `*`";
        let help = "write one entry for each local host";
        all.push(Diagnostic::error("bad-url", span, message).help(help));
    }
    Some(UrlGrant {
        url: url?,
        methods: methods?,
        query: is_set(query),
        local: is_set(local),
        reads_are_effects: is_set(reads),
    })
}

fn read_pattern(node: &Node, all: &mut Diagnostics) -> Option<String> {
    let text = string(node, "`url`", all)?;
    let mut refuse = |message: String, help: &str| {
        all.push(Diagnostic::error("bad-url", node.span, message).help(help));
        None
    };
    if !text.contains("://") {
        return refuse(format!("`{text}` is not a URL"), "write `https://api.example.com/v1/**`");
    }
    if text.contains('?') {
        return refuse(format!("`{text}` has a query"), "end it before the `?`, and write `query: true` to allow one");
    }
    if text.splitn(4, '/').count() < 4 {
        let help = format!("write `{text}/**` for all of it, or `{text}/` for its root alone");
        return refuse(format!("`{text}` has no path"), &help);
    }
    match ResourceGlob::parse(text) {
        Ok(_) => Some(text.to_owned()),
        Err(error) => {
            all.push(at_node(error, "bad-url", node));
            None
        }
    }
}

fn read_methods(node: &Node, all: &mut Diagnostics) -> Option<Vec<HttpMethod>> {
    let items = list(node, "`methods`", all)?;
    if items.is_empty() {
        let message = "`methods` is empty: the entry opens nothing";
        all.push(Diagnostic::error("no-effect", node.span, message).help("write `methods: [GET]`"));
        return None;
    }
    let read = |item| word(item, "a method", "a method that can be granted", HttpMethod::ALL, HttpMethod::as_str, all);
    let mut methods = all_of(items.iter().map(read))?;
    methods.sort_unstable();
    methods.dedup();
    Some(methods)
}

/// Reads the value of `secrets`.
pub(super) fn read_secrets(node: &Node, base_dir: &str, all: &mut Diagnostics) -> Vec<GrantedSecret> {
    let items = list(node, "`secrets`", all).unwrap_or_default();
    items.iter().filter_map(|item| read_secret(item, base_dir, all)).collect()
}

fn read_secret(node: &Node, base_dir: &str, all: &mut Diagnostics) -> Option<GrantedSecret> {
    let reader = MapReader::new(node, "a secret", &["name", "env", "file", "hosts"], all)?;
    let name_node = reader.required("name", all);
    let name = name_node.and_then(|node| {
        let name = string(node, "`name`", all)?;
        if name == "*" || Permission::parse(&format!("secret:{name}")).is_err() {
            let message = format!("`{name}` is not a name for a secret");
            let help = "write letters, digits, `_` and `-`, at most 64";
            all.push(Diagnostic::error("bad-secret", node.span, message).help(help));
            return None;
        }
        Some(name.to_owned())
    });
    let source = read_secret_source(&reader, base_dir, all);
    let hosts = reader.required("hosts", all).and_then(|node| read_hosts(node, all));
    Some(GrantedSecret {
        secret: SecretGrant { name: name?, source: source?, hosts: hosts? },
        span: name_node.map_or(node.span, |node| node.span),
    })
}

/// Reads where the value of a secret is: the key `env` or `file` of its mapping. A file is relative to `base_dir`. What is wrong
/// is told in `all`.
pub fn read_secret_source(reader: &MapReader<'_>, base_dir: &str, all: &mut Diagnostics) -> Option<SecretSource> {
    let (env, file) = (reader.optional("env"), reader.optional("file"));
    match (env, file) {
        (Some(node), None) => string(node, "`env`", all).and_then(|text| {
            let good = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !good {
                let message = format!("`{text}` is not the name of an environment variable");
                all.push(
                    Diagnostic::error("bad-secret", node.span, message).help("write its name, such as `API_TOKEN`"),
                );
            }
            good.then(|| SecretSource::Env(text.to_owned()))
        }),
        (None, Some(node)) => string(node, "`file`", all).and_then(|text| {
            if text.is_empty() || text.starts_with('~') || text.contains('$') || text.chars().any(char::is_control) {
                let message = format!("`{text}` is not a path");
                all.push(Diagnostic::error("bad-secret", node.span, message).help("write the path out"));
                return None;
            }
            Some(SecretSource::File(normalise(base_dir, text)))
        }),
        _ => {
            let message = "a secret has either `env` or `file`";
            let help = "write `env: API_TOKEN`, or `file: ./secrets/api-token`";
            all.push(Diagnostic::error("bad-secret", reader.span(), message).help(help));
            None
        }
    }
}

fn read_hosts(node: &Node, all: &mut Diagnostics) -> Option<Vec<String>> {
    let items = list(node, "`hosts`", all)?;
    if items.is_empty() {
        let message = "`hosts` is empty: the secret could be sent to nobody";
        all.push(Diagnostic::error("no-effect", node.span, message).help("write `hosts: [api.example.com]`"));
        return None;
    }
    let mut read = |item: &Node| {
        let text = string(item, "a host", all)?;
        let url = format!("https://{text}/");
        if text.contains('/') || UrlParts::parse(&url).is_err() {
            let message = format!("`{text}` is not a host in lower case");
            let help = "write `api.example.com`, with a port if it is not 443; a secret goes by https only";
            all.push(Diagnostic::error("bad-secret", item.span, message).help(help));
            return None;
        }
        Some(text.to_owned())
    };
    all_of(items.iter().map(&mut read))
}

/// All values, if all are there; goes through to the end, so that each bad one is reported.
fn all_of<T>(read: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    let read: Vec<Option<T>> = read.collect();
    read.into_iter().collect()
}
