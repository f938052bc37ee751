//! What loads and is not meant: rules that never decide, patterns that match nothing, stars that catch siblings, grants and
//! rules that have nothing to do with each other.

use std::collections::BTreeSet;

use super::classes::{Class, Kind, Named, classes};
use super::{HUMAN_APPROVE, Pattern, Policy};
use crate::document::{Diagnostic, Diagnostics, Span, suggest};
use crate::types::{Action, CapabilityId, CapabilityInfo, Catalog, Permission};

/// How many names one message holds.
const NAMED: usize = 4;

/// Warnings about a policy, each with its place and a way out; `catalog` is what is installed.
pub fn lint(policy: &Policy, catalog: &dyn Catalog) -> Diagnostics {
    let mut all = Diagnostics::new(policy.source.clone());
    let ids = catalog.ids();
    let reach = Reach::of(policy);
    match &reach {
        Some(reach) => reach.never_decides(policy, &mut all),
        None => {
            let message = "the patterns tell too many ids apart to say which rules can never decide";
            all.push(
                Diagnostic::warning("too-many-patterns", Span::START, message).help("write fewer patterns with stars"),
            );
        }
    }
    for (pattern, span) in policy.placed_patterns() {
        matches_nothing(pattern, span, &ids, &mut all);
        catches_siblings(pattern, span, &ids, &mut all);
    }
    let infos: Vec<&CapabilityInfo> = ids.iter().filter_map(|id| catalog.capability(id.as_str())).collect();
    if let Some(reach) = &reach {
        reach.grants_without_rules(policy, &mut all);
    }
    rules_without_grants(policy, &infos, &mut all);
    all
}

/// Which rules decide which classes of ids.
struct Reach {
    principals: Vec<Class>,
    capabilities: Vec<Class>,
    named: Named,
}

impl Reach {
    fn of(policy: &Policy) -> Option<Reach> {
        let principals: Vec<&Pattern> = policy.principal_patterns().collect::<BTreeSet<_>>().into_iter().collect();
        let capabilities: Vec<&Pattern> = policy.capability_patterns().collect::<BTreeSet<_>>().into_iter().collect();
        let principals = classes(Kind::Principal, &principals)?;
        let capabilities = classes(Kind::Capability, &capabilities)?;
        let named = Named::of(policy, &principals, &capabilities);
        Some(Reach { principals, capabilities, named })
    }

    /// For every pair of classes the rules that name it, and of these those that can decide it: up to the first that has no
    /// condition.
    fn pairs<'r>(&'r self, policy: &'r Policy) -> impl Iterator<Item = (&'r Class, &'r Class, Vec<usize>, Vec<usize>)> {
        self.principals.iter().enumerate().flat_map(move |(w, who)| {
            self.capabilities.iter().enumerate().map(move |(c, what)| {
                let named = self.named.rules(w, c);
                let last = named.iter().position(|n| policy.rules.get(*n).is_some_and(|rule| rule.when.is_empty()));
                let decides = named.iter().copied().take(last.map_or(named.len(), |last| last + 1)).collect();
                (who, what, named, decides)
            })
        })
    }

    fn never_decides(&self, policy: &Policy, all: &mut Diagnostics) {
        let mut decides = vec![false; policy.rules.len()];
        let mut covered: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); policy.rules.len()];
        for (_, _, named, deciding) in self.pairs(policy) {
            for rule in &deciding {
                if let Some(decides) = decides.get_mut(*rule) {
                    *decides = true;
                }
            }
            let Some(last) = deciding.last() else { continue };
            for rule in named.iter().skip(deciding.len()) {
                if let Some(covered) = covered.get_mut(*rule) {
                    covered.insert(*last);
                }
            }
        }
        for (index, rule) in policy.rules.iter().enumerate() {
            if decides.get(index).copied().unwrap_or(true) {
                continue;
            }
            let by: Vec<String> = covered
                .get(index)
                .into_iter()
                .flatten()
                .filter_map(|other| policy.rules.get(*other))
                .map(|other| format!("rule {} (line {})", other.reference.index, other.reference.line))
                .collect();
            let number = rule.reference.index;
            let (message, help) = if by.is_empty() {
                (
                    format!("rule {number} can never decide: no id matches its patterns"),
                    "correct them, or remove the rule".to_owned(),
                )
            } else {
                let message = format!("rule {number} can never decide: {} decide all that it matches", listed(&by));
                (message, "put it before them, or remove it".to_owned())
            };
            all.push(Diagnostic::warning("never-decides", rule.span, message).help(help));
        }
    }

    fn grants_without_rules(&self, policy: &Policy, all: &mut Diagnostics) {
        let mut used = vec![false; policy.grants.len()];
        for (who, what, _, deciding) in self.pairs(policy) {
            let rules = deciding.iter().filter_map(|index| policy.rules.get(*index));
            let by_default =
                deciding.last().and_then(|last| policy.rules.get(*last)).is_none_or(|rule| !rule.when.is_empty());
            let callable =
                rules.clone().any(|rule| rule.action != Action::Deny) || (by_default && policy.default != Action::Deny);
            if !callable || what.witness == HUMAN_APPROVE {
                continue;
            }
            for (entry, used) in policy.grants.iter().zip(used.iter_mut()) {
                let to = entry.principals.as_ref().is_none_or(|patterns| Pattern::any(patterns, &who.witness));
                *used |= to && Pattern::any(&entry.capabilities, &what.witness);
            }
        }
        for (entry, _) in policy.grants.iter().zip(used).filter(|(_, used)| !used) {
            let message = "no rule lets anything run that this grant is for";
            let help = "allow one of its capabilities to one of its principals, or remove the grant";
            all.push(Diagnostic::warning("unused-grant", entry.span, message).help(help));
        }
    }
}

fn listed(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMED).map(String::as_str).collect();
    match names.len().saturating_sub(NAMED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn matches_nothing(pattern: &Pattern, span: Span, ids: &[CapabilityId], all: &mut Diagnostics) {
    if pattern.matches(HUMAN_APPROVE) || ids.iter().any(|id| pattern.matches(id.as_str())) {
        return;
    }
    let message = format!("no installed capability matches `{pattern}`");
    let warning = Diagnostic::warning("matches-nothing", span, message);
    let similar = suggest(pattern.as_str(), ids.iter().map(CapabilityId::as_str));
    all.push(match similar {
        Some(id) => warning.did_you_mean(Some(id)),
        None => warning
            .help("install what provides it, or remove the pattern; `redress capability list` shows what there is"),
    });
}

/// A star that ends a segment in its middle catches what only begins alike: `api.payment*` catches `api.payments_admin.delete`.
fn catches_siblings(pattern: &Pattern, span: Span, ids: &[CapabilityId], all: &mut Diagnostics) {
    let text = pattern.as_str();
    let Some(star) = text.find('*').filter(|at| *at > 0) else { return };
    let before = text.get(..star).unwrap_or_default();
    if before.ends_with('.') || text.get(star + 1..).is_some_and(|rest| rest.contains('*')) {
        return;
    }
    let caught: Vec<String> = ids
        .iter()
        .map(CapabilityId::as_str)
        .filter(|id| pattern.matches(id))
        .filter(|id| id.strip_prefix(before).is_some_and(|rest| !rest.is_empty() && !rest.starts_with('.')))
        .map(|id| format!("`{id}`"))
        .collect();
    let catches = if caught.is_empty() { "whatever else begins so".to_owned() } else { listed(&caught) };
    let message = format!("`{pattern}` also catches {catches}");
    let help = format!("write `{before}.*` for what lies below, or the names");
    all.push(Diagnostic::warning("catches-siblings", span, message).help(help));
}

/// A rule that lets something run that asks for what nobody is granted.
fn rules_without_grants(policy: &Policy, infos: &[&CapabilityInfo], all: &mut Diagnostics) {
    for rule in policy.rules.iter().filter(|rule| rule.action != Action::Deny) {
        let asks = |info: &&&CapabilityInfo| {
            let outside = |one: &Permission| !matches!(one, Permission::Config(_) | Permission::Secret(_));
            Pattern::any(&rule.capabilities, info.id.as_str()) && info.permissions.iter().any(outside)
        };
        // A pattern for everything means everything that is granted.
        let named = |info: &&&CapabilityInfo| {
            rule.capabilities.iter().any(|pattern| pattern.as_str() != "*" && pattern.matches(info.id.as_str()))
        };
        let granted = |info: &&&CapabilityInfo| {
            policy.grants.iter().any(|entry| {
                let to = entry
                    .principals
                    .as_ref()
                    .is_none_or(|to| rule.principals.iter().any(|who| to.iter().any(|pattern| who.overlaps(pattern))));
                to && Pattern::any(&entry.capabilities, info.id.as_str())
            })
        };
        let without: Vec<String> = infos
            .iter()
            .filter(asks)
            .filter(named)
            .filter(|info| !granted(info))
            .map(|info| format!("`{}`", info.id))
            .collect();
        if !without.is_empty() {
            let message =
                format!("rule {} lets {} run, which nothing is granted", rule.reference.index, listed(&without));
            let help = "add what it asks for under `grants:`; without it every effect of it is refused";
            all.push(Diagnostic::warning("no-grant", rule.span, message).help(help));
        }
    }
}

impl Policy {
    /// Every pattern over capabilities, with its place.
    fn placed_patterns(&self) -> impl Iterator<Item = (&Pattern, Span)> {
        let rules =
            self.rules.iter().flat_map(|rule| rule.capabilities.iter().zip(rule.capability_spans.iter().copied()));
        let grants =
            self.grants.iter().flat_map(|entry| entry.capabilities.iter().zip(entry.capability_spans.iter().copied()));
        let floors =
            self.floors.iter().flat_map(|floor| floor.capabilities.iter().zip(floor.capability_spans.iter().copied()));
        let sensitive = self.sensitive.iter();
        let sensitive =
            sensitive.flat_map(|entry| entry.capabilities.iter().zip(entry.capability_spans.iter().copied()));
        rules.chain(grants).chain(floors).chain(sensitive)
    }
}
