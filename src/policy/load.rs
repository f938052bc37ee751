//! From the file to the policy. Everything that is wrong is reported at once, so each part is read even if another one
//! is refused.

mod grants;
mod network;
mod provenance;

use std::collections::{BTreeSet, HashMap};

use crate::document::{
    Diagnostic, Diagnostics, MapReader, Node, Source, Span, duration, integer, list, parse, string, strings, suggest,
};
use crate::types::{Action, CapabilityId, Duration, PatternError, Principal, Risk, sha256};

pub use network::read_secret_source;

use super::index::Index;
use super::pattern::at_node;
use super::rule::{ApprovalTerms, RiskFloor, Rule, RuleRef};
use super::sensitive::{FieldPath, SensitiveFields};
use super::{Pattern, Policy, condition, grant, keys, selftest};

/// The most votes that a rule may ask for.
const MAX_QUORUM: u64 = 100;

/// The patterns of each group.
type Groups = HashMap<String, Vec<Pattern>>;

pub(super) fn load(source: Source, base_dir: &str) -> Result<(Policy, Diagnostics), Diagnostics> {
    let node = parse(&source)?;
    let mut all = Diagnostics::new(source.clone());
    let Some(reader) = MapReader::new(&node, "the policy", &keys::FILE, &mut all) else { return Err(all) };

    let default = reader.optional("default").map_or(Action::Deny, |node| read_default(node, &mut all));
    let groups = reader.optional("groups").map(|node| read_groups(node, &mut all)).unwrap_or_default();
    let rules = reader.required("rules", &mut all).and_then(|node| list(node, "`rules`", &mut all)).unwrap_or_default();
    let count = rules.len();
    let rules: Vec<Rule> =
        rules.iter().enumerate().filter_map(|(index, node)| read_rule(node, index + 1, &groups, &mut all)).collect();
    let floors = reader.optional("risk").map(|node| read_floors(node, &mut all)).unwrap_or_default();
    let grants = reader.optional("grants").map(|node| grants::read(node, base_dir, &groups, &mut all));
    let grants = grants.unwrap_or_default();
    grant::check(&grants, &mut all);
    let sensitive = reader.optional("sensitive").map(|node| read_sensitive(node, &mut all)).unwrap_or_default();
    let signers = reader.optional("signers").map(|node| provenance::signers(node, &mut all)).unwrap_or_default();
    let providers = reader.optional("providers").map(|node| provenance::providers(node, &signers, &mut all));
    let providers = providers.unwrap_or_default();
    let tests = reader.optional("tests").map(|node| selftest::read(node, &mut all)).unwrap_or_default();
    for test in &tests {
        if let Some(rule) = test.rule().filter(|rule| *rule > count as u64) {
            let message = format!("the test names rule {rule}, and the policy has {count}");
            all.push(Diagnostic::error("wrong-value", test.span(), message));
        }
    }
    let index = Index::new(&rules).map_err(|error| {
        Diagnostics::of(source.clone(), Diagnostic::error("too-many-patterns", Span::START, error.to_string()))
    })?;
    if all.has_errors() {
        return Err(all);
    }
    let digest = sha256(source.text().as_bytes());
    Ok((Policy { source, digest, default, rules, index, floors, grants, sensitive, signers, providers, tests }, all))
}

fn read_default(node: &Node, all: &mut Diagnostics) -> Action {
    match action(node, "`default`", all) {
        Some(Action::Allow) => {
            let help = "whatever no rule names would run unasked: write `DENY` or `REQUIRE_APPROVAL`";
            all.push(Diagnostic::error("default-allow", node.span, "`default` must not be `ALLOW`").help(help));
            Action::Deny
        }
        Some(action) => action,
        None => Action::Deny,
    }
}

fn read_groups(node: &Node, all: &mut Diagnostics) -> Groups {
    let mut groups = Groups::new();
    let Some(entries) = node.as_mapping() else {
        let message = format!("`groups` must be a mapping, found {}", node.what());
        all.push(Diagnostic::error("wrong-type", node.span, message).help("write `analysts: [\"user:alice\"]`"));
        return groups;
    };
    for (key, members) in entries {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
        if key.name.is_empty() || !key.name.bytes().all(good) {
            let message = format!("`{}` is not a name for a group", key.name);
            let help = "write lower-case letters, digits, `_` and `-`";
            all.push(Diagnostic::error("bad-group", key.span, message).help(help));
        }
        let mut patterns = Vec::new();
        for (text, item) in strings(members, &format!("the group `{}`", key.name), all).unwrap_or_default() {
            if text.starts_with("group:") {
                let help = "write its members out";
                all.push(Diagnostic::error("bad-group", item.span, "a group cannot contain a group").help(help));
            } else {
                patterns.extend(pattern(Pattern::principal(text), item, all));
            }
        }
        groups.insert(key.name.clone(), patterns);
    }
    groups
}

fn read_rule(node: &Node, index: usize, groups: &Groups, all: &mut Diagnostics) -> Option<Rule> {
    let reader = MapReader::new(node, "a rule", &keys::RULE, all)?;
    let name = reader.optional("name").and_then(|node| string(node, "`name`", all)).map(str::to_owned);
    let principals = reader.required("principal", all).map(|node| match node.as_sequence() {
        Some(_) => principals(node, "`principal`", groups, all),
        None => string(node, "`principal`", all).map(|text| expand(text, node, groups, all)).unwrap_or_default(),
    });
    let capabilities = reader.required("capabilities", all).map(|node| capabilities(node, all));
    let when = reader.optional("when").map(|node| condition::read(node, all)).unwrap_or_default();
    let action = reader.required("action", all).and_then(|node| action(node, "`action`", all));
    let accepts_high = reader.optional("accept_risk").is_some_and(|node| accepts_high(node, index, action, all));
    let approval = reader.entry("approval").map(|(key, node)| {
        if action == Some(Action::Deny) {
            let message = "`approval` has no effect on a rule with `action: DENY`";
            all.push(Diagnostic::error("no-effect", key.span, message).help("remove it"));
        }
        read_approval(node, principals.as_deref().unwrap_or_default(), groups, all)
    });
    Some(Rule {
        reference: RuleRef { index, line: reader.span().line, name },
        principals: principals?,
        span: reader.span(),
        capability_spans: spans(reader.optional("capabilities")),
        capabilities: capabilities?,
        when,
        action: action?,
        accepts_high,
        approval: approval.unwrap_or_default(),
    })
}

/// Reads `accept_risk`, which must have an effect.
fn accepts_high(node: &Node, index: usize, action: Option<Action>, all: &mut Diagnostics) -> bool {
    match risk(node, "`accept_risk`", all) {
        Some(Risk::High) => {}
        Some(Risk::Critical) => {
            let message = "`accept_risk: CRITICAL` is not possible";
            all.push(Diagnostic::error("wrong-value", node.span, message).help("CRITICAL always needs a person"));
            return false;
        }
        Some(level @ (Risk::Low | Risk::Medium)) => {
            let message = format!("`accept_risk: {level}` has no effect");
            all.push(Diagnostic::error("no-effect", node.span, message).help("only HIGH needs to be accepted"));
            return false;
        }
        None => return false,
    }
    if matches!(action, Some(Action::Deny | Action::RequireApproval)) {
        let message = "`accept_risk` has no effect on a rule that does not say `action: ALLOW`";
        all.push(Diagnostic::error("no-effect", node.span, message).help("remove it"));
        return false;
    }
    let message = format!("rule {index} lets HIGH risk run without asking a person");
    all.push(Diagnostic::warning("risk-accepted", node.span, message));
    true
}

fn read_approval(node: &Node, requesters: &[Pattern], groups: &Groups, all: &mut Diagnostics) -> ApprovalTerms {
    let mut terms = ApprovalTerms::default();
    let Some(reader) = MapReader::new(node, "`approval`", &keys::APPROVAL, all) else {
        return terms;
    };
    if let Some(node) = reader.optional("approvers") {
        terms.approvers = principals(node, "`approvers`", groups, all);
    }
    if let Some(node) = reader.optional("quorum") {
        match integer(node, "`quorum`", all) {
            Some(quorum @ 1..=MAX_QUORUM) => terms.quorum = u32::try_from(quorum).unwrap_or(u32::MAX),
            Some(_) => {
                let message = format!("`quorum` must be between 1 and {MAX_QUORUM}");
                all.push(Diagnostic::error("wrong-value", node.span, message));
            }
            None => {}
        }
    }
    if let Some(node) = reader.optional("expires") {
        match duration(node, "`expires`", all) {
            Some(Duration(0)) => {
                all.push(Diagnostic::error("wrong-value", node.span, "`expires` must be longer than nothing"));
            }
            Some(expires) => terms.expires = expires,
            None => {}
        }
    }
    if let Some(node) = reader.optional("approvers") {
        warn_of_nobody(node, &terms, requesters, all);
    }
    terms
}

/// Warns of approvers who are all named and are too few to approve: a rule for one principal asks nobody of that name, who may
/// not vote. What patterns with stars match is not known, and where something is wrong, that is to be mended first.
fn warn_of_nobody(node: &Node, terms: &ApprovalTerms, requesters: &[Pattern], all: &mut Diagnostics) {
    if all.has_errors() || !terms.approvers.iter().all(Pattern::is_one) {
        return;
    }
    let requester = match requesters {
        [one] => Some(one),
        _ => None,
    };
    let named: BTreeSet<&Pattern> = terms.approvers.iter().collect();
    let voters = named.iter().filter(|voter| Some(**voter) != requester).count();
    if voters >= usize::try_from(terms.quorum).unwrap_or(usize::MAX) {
        return;
    }
    let cannot = match requester.filter(|requester| named.contains(requester)) {
        Some(requester) => format!(": `{requester}` asks for it and cannot vote on it"),
        None => String::new(),
    };
    let message = match voters {
        0 => format!("nobody among `approvers` can approve{cannot}"),
        _ => format!("`approvers` has {voters} who can approve, and `quorum` needs {}{cannot}", terms.quorum),
    };
    let help = "every request will expire: name others, such as `user:*`";
    all.push(Diagnostic::warning("no-approver", node.span, message).help(help));
}

fn read_floors(node: &Node, all: &mut Diagnostics) -> Vec<RiskFloor> {
    let mut floors = Vec::new();
    for item in list(node, "`risk`", all).unwrap_or_default() {
        let Some(reader) = MapReader::new(item, "a risk floor", &keys::FLOOR, all) else { continue };
        let capabilities = reader.required("capabilities", all).map(|node| capabilities(node, all));
        let level = reader.required("level", all).and_then(|node| risk(node, "`level`", all));
        if let (Some(capabilities), Some(level)) = (capabilities, level) {
            let capability_spans = spans(reader.optional("capabilities"));
            floors.push(RiskFloor { capabilities, capability_spans, level });
        }
    }
    floors
}

fn read_sensitive(node: &Node, all: &mut Diagnostics) -> Vec<SensitiveFields> {
    let mut entries = Vec::new();
    for item in list(node, "`sensitive`", all).unwrap_or_default() {
        let Some(reader) = MapReader::new(item, "an entry of `sensitive`", &keys::SENSITIVE, all) else { continue };
        let capabilities = reader.required("capabilities", all).map(|node| capabilities(node, all));
        let fields = reader.required("fields", all).and_then(|node| strings(node, "`fields`", all));
        let mut paths = Vec::new();
        for (text, node) in fields.unwrap_or_default() {
            match FieldPath::parse(text) {
                Ok(path) => paths.push(path),
                Err(why) => all.push(Diagnostic::error("wrong-value", node.span, why)),
            }
        }
        if let Some(capabilities) = capabilities {
            let capability_spans = spans(reader.optional("capabilities"));
            entries.push(SensitiveFields { capabilities, capability_spans, fields: paths });
        }
    }
    entries
}

/// A list of patterns over principals, groups written out.
fn principals(node: &Node, what: &str, groups: &Groups, all: &mut Diagnostics) -> Vec<Pattern> {
    let texts = strings(node, what, all).unwrap_or_default();
    texts.into_iter().flat_map(|(text, item)| expand(text, item, groups, all)).collect()
}

/// One pattern over principals, or the members of `group:name`.
fn expand(text: &str, node: &Node, groups: &Groups, all: &mut Diagnostics) -> Vec<Pattern> {
    let Some(name) = text.strip_prefix("group:") else {
        return pattern(Pattern::principal(text), node, all).into_iter().collect();
    };
    if let Some(patterns) = groups.get(name) {
        return patterns.clone();
    }
    let unknown = Diagnostic::error("unknown-group", node.span, format!("there is no group `{name}`"));
    all.push(match suggest(name, groups.keys().map(String::as_str)) {
        Some(word) => unknown.did_you_mean(Some(&format!("group:{word}"))),
        None => unknown.help("define it under `groups:`"),
    });
    Vec::new()
}

/// Where each item of a list stands.
fn spans(node: Option<&Node>) -> Vec<Span> {
    node.and_then(Node::as_sequence).unwrap_or_default().iter().map(|item| item.span).collect()
}

/// A list of patterns over capability ids.
fn capabilities(node: &Node, all: &mut Diagnostics) -> Vec<Pattern> {
    let texts = strings(node, "`capabilities`", all).unwrap_or_default();
    texts.into_iter().filter_map(|(text, item)| pattern(Pattern::capability(text), item, all)).collect()
}

fn pattern(read: Result<Pattern, PatternError>, node: &Node, all: &mut Diagnostics) -> Option<Pattern> {
    read.map_err(|error| all.push(at_node(error, "bad-pattern", node))).ok()
}

pub(super) fn action(node: &Node, what: &str, all: &mut Diagnostics) -> Option<Action> {
    word(node, what, "an action", [Action::Allow, Action::RequireApproval, Action::Deny], Action::as_str, all)
}

pub(super) fn risk(node: &Node, what: &str, all: &mut Diagnostics) -> Option<Risk> {
    word(node, what, "a risk", [Risk::Low, Risk::Medium, Risk::High, Risk::Critical], Risk::as_str, all)
}

/// Reads one word of a few, exactly as it is spelled.
fn word<T: Copy, const N: usize>(
    node: &Node,
    what: &str,
    kind: &str,
    words: [T; N],
    spelled: fn(T) -> &'static str,
    all: &mut Diagnostics,
) -> Option<T> {
    let text = string(node, what, all)?;
    let found = words.into_iter().find(|word| spelled(*word) == text);
    if found.is_none() {
        let names = words.map(spelled);
        let help = match suggest(text, names) {
            Some(name) => format!("write `{name}`"),
            None => format!("write {}", names.map(|name| format!("`{name}`")).join(", ")),
        };
        all.push(Diagnostic::error("wrong-value", node.span, format!("`{text}` is not {kind}")).help(help));
    }
    found
}

pub(super) fn principal(node: &Node, all: &mut Diagnostics) -> Option<Principal> {
    let text = string(node, "the principal", all)?;
    Principal::parse(text).map_err(|e| all.push(Diagnostic::error("wrong-value", node.span, e.to_string()))).ok()
}

pub(super) fn capability_id(node: &Node, all: &mut Diagnostics) -> Option<CapabilityId> {
    let text = string(node, "the capability", all)?;
    CapabilityId::parse(text).map_err(|e| all.push(Diagnostic::error("wrong-value", node.span, e.to_string()))).ok()
}
