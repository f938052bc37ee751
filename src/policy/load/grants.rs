use crate::document::{Diagnostic, Diagnostics, MapReader, Node, duration, integer, list, string};
use crate::types::{Access, DirGrant, Duration, LimitOverrides, LimitUnit, Limits, Permission};

use super::super::grant::{GrantEntry, GrantedConfig, GrantedDir, normalise};
use super::super::keys;
use super::network::{read_network, read_secrets};
use super::{Groups, capabilities, principals, suggest};

/// Reads the value of `grants`.
pub(super) fn read(node: &Node, base_dir: &str, groups: &Groups, all: &mut Diagnostics) -> Vec<GrantEntry> {
    let items = list(node, "`grants`", all).unwrap_or_default();
    items.iter().filter_map(|item| read_entry(item, base_dir, groups, all)).collect()
}

fn read_entry(node: &Node, base_dir: &str, groups: &Groups, all: &mut Diagnostics) -> Option<GrantEntry> {
    let reader = MapReader::new(node, "a grant", &keys::GRANT, all)?;
    let granted = ["filesystem", "network", "secrets", "config", "limits"].map(|key| reader.optional(key));
    let [filesystem, network, secrets, config, limits] = granted;
    if granted.iter().all(Option::is_none) {
        let message = "the grant opens nothing";
        let help = "add `filesystem`, `network`, `secrets`, `config` or `limits`";
        all.push(Diagnostic::error("no-effect", reader.span(), message).help(help));
    }
    let capabilities = reader.required("capabilities", all).map(|node| capabilities(node, all));
    let principals = reader.optional("principals").map(|node| principals(node, "`principals`", groups, all));
    let filesystem = filesystem.and_then(|node| list(node, "`filesystem`", all)).unwrap_or_default();
    Some(GrantEntry {
        filesystem: filesystem.iter().filter_map(|node| read_dir(node, base_dir, all)).collect(),
        network: network.map(|node| read_network(node, all)).unwrap_or_default(),
        secrets: secrets.map(|node| read_secrets(node, base_dir, all)).unwrap_or_default(),
        config: config.map(|node| read_config(node, all)).unwrap_or_default(),
        limits: limits.map(|node| read_limits(node, all)).unwrap_or_default(),
        span: reader.span(),
        capability_spans: super::spans(reader.optional("capabilities")),
        capabilities: capabilities?,
        principals,
    })
}

fn read_dir(node: &Node, base_dir: &str, all: &mut Diagnostics) -> Option<GrantedDir> {
    let reader = MapReader::new(node, "a directory", &keys::DIRECTORY, all)?;
    let host_node = reader.required("host", all);
    let host = host_node.and_then(|node| read_host(node, base_dir, all));
    let guest_node = reader.required("guest", all);
    let guest = guest_node.and_then(|node| read_guest(node, all));
    let access = reader.required("access", all).and_then(|node| read_access(node, all));
    Some(GrantedDir {
        dir: DirGrant { host: host?, guest: guest?, access: access? },
        host_span: host_node?.span,
        guest_span: guest_node?.span,
    })
}

fn read_host(node: &Node, base_dir: &str, all: &mut Diagnostics) -> Option<String> {
    let text = string(node, "`host`", all)?;
    let mut refuse = |message: String, help: &str| {
        all.push(Diagnostic::error("bad-host", node.span, message).help(help));
        None
    };
    if text.is_empty() || text.chars().any(char::is_control) {
        return refuse("`host` is not a path".into(), "write `./workspace` or an absolute path");
    }
    if text.starts_with('~') || text.contains('$') {
        return refuse(format!("`{text}` is not expanded"), "write the path out");
    }
    let host = normalise(base_dir, text);
    if host == "/" {
        return refuse(format!("`{text}` is the root of the file system"), "grant the directory that is needed");
    }
    Some(host)
}

fn read_guest(node: &Node, all: &mut Diagnostics) -> Option<String> {
    let text = string(node, "`guest`", all)?;
    let normal = text.starts_with('/') && !text.chars().any(char::is_control) && normalise("", text) == text;
    if !normal {
        let message = format!("`{text}` is not an absolute path in normal form");
        let help = "write a path such as `/workspace`, without `.`, `..`, double slashes and a slash at the end";
        all.push(Diagnostic::error("bad-guest", node.span, message).help(help));
        return None;
    }
    Some(text.to_owned())
}

fn read_access(node: &Node, all: &mut Diagnostics) -> Option<Access> {
    let all_words = [Access::ReadOnly, Access::ReadWrite];
    super::word(node, "`access`", "an access", all_words, Access::as_str, all)
}

fn read_config(node: &Node, all: &mut Diagnostics) -> Vec<GrantedConfig> {
    let Some(entries) = node.as_mapping() else {
        let message = format!("`config` must be a mapping, found {}", node.what());
        all.push(Diagnostic::error("wrong-type", node.span, message).help("write `config: { region: \"eu\" }`"));
        return Vec::new();
    };
    let mut values = Vec::new();
    for (key, value) in entries {
        if Permission::parse(&format!("config:{}", key.name)).is_err() {
            let message = format!("`{}` is not a name for a configuration value", key.name);
            let help = "write letters, digits, `_` and `-`, at most 64";
            all.push(Diagnostic::error("bad-config", key.span, message).help(help));
        }
        if let Some(text) = string(value, &format!("the configuration value `{}`", key.name), all) {
            values.push(GrantedConfig { name: key.name.clone(), value: text.to_owned(), span: key.span });
        }
    }
    values
}

fn read_limits(node: &Node, all: &mut Diagnostics) -> LimitOverrides {
    let mut limits = LimitOverrides::default();
    let names = Limits::NAMES.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    let Some(reader) = MapReader::new(node, "`limits`", &names, all) else { return limits };
    for (name, default, unit) in Limits::default().entries() {
        let Some(node) = reader.optional(name) else { continue };
        let what = format!("`{name}`");
        let value = match unit {
            LimitUnit::Count => integer(node, &what, all),
            LimitUnit::Bytes => read_bytes(node, &what, all),
            LimitUnit::Time => duration(node, &what, all).map(|length| length.0),
        };
        let Some(value) = value else { continue };
        let refused = if value == 0 {
            Some((format!("`{name}` must be more than nothing"), "write at least 1 of its unit, or remove it"))
        } else if value > default {
            let message = format!("`{name}` is above its default of {}", written(default, unit));
            Some((message, "a grant can only lower a limit: remove it"))
        } else {
            limits.set(name, value);
            None
        };
        if let Some((message, help)) = refused {
            all.push(Diagnostic::error("bad-limit", node.span, message).help(help));
        }
    }
    limits
}

const BYTE_UNITS: [(&str, u64); 3] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// A whole number of bytes, or one with a unit.
fn read_bytes(node: &Node, what: &str, all: &mut Diagnostics) -> Option<u64> {
    if node.as_number().is_some() {
        return integer(node, what, all);
    }
    let text = string(node, what, all)?;
    let units = BYTE_UNITS.iter().map(|(unit, _)| *unit);
    let parsed = BYTE_UNITS.iter().find_map(|(unit, factor)| {
        let digits = text.strip_suffix(unit)?;
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse::<u64>().ok().filter(|_| plain)?.checked_mul(*factor)
    });
    if parsed.is_none() {
        let message = format!("`{text}` is not a number of bytes");
        let unit_after_digits = text.trim_start_matches(|c: char| c.is_ascii_digit());
        let help = match suggest(unit_after_digits, units) {
            Some(unit) => format!("write a whole number and `{unit}`, such as `64{unit}`"),
            None => "write a whole number and `KiB`, `MiB` or `GiB`, such as `64MiB`".to_owned(),
        };
        all.push(Diagnostic::error("wrong-value", node.span, message).help(help));
    }
    parsed
}

fn written(value: u64, unit: LimitUnit) -> String {
    match unit {
        LimitUnit::Count => value.to_string(),
        LimitUnit::Time => Duration(value).to_string(),
        LimitUnit::Bytes => {
            let fitting = BYTE_UNITS.iter().rev().find(|(_, factor)| value.is_multiple_of(*factor));
            fitting.map_or(value.to_string(), |(unit, factor)| format!("{}{unit}", value / factor))
        }
    }
}
