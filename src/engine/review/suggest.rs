//! The smallest grant that would have sufficed, as far as the policy's language can say it.
//!
//! - A directory that a run made or removed cannot be granted by itself: it may not be there when the next run begins. Its
//!   nearest ancestor that no run made stands for it, at most the directory that was granted. The same holds for a name that
//!   cannot stand in a policy.
//! - Grants that lie in one another and differ in access do not load, so the outer one gets the wider access.
//! - Requests become URLs, each at most one that the policy in force opens and for a query only where it opens that. What it
//!   opens no more is not suggested.
//! - Nothing is opened unless it is known for whom: an entry without principals would be for everybody.
//! - Many directories become those that were granted: a list that nobody reads protects nobody.
//! - Limits, `local`, `reads_are_effects` and configuration values are kept: without them the grant would be looser, or would
//!   not do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;

use super::{Place, Usage, any_request, joined};
use crate::policy::Opening;
use crate::types::{
    Access, CapabilityId, DirGrant, Duration, HttpMethod, LimitUnit, Limits, Principal, ResourceGlob, SecretGrant,
    SecretSource, UrlGrant, UrlParts, below, opened,
};

/// The most directories of one entry.
const MAX_DIRS: usize = 16;

/// An entry of `grants:`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Suggested {
    /// For these.
    pub capabilities: Vec<CapabilityId>,
    /// For those that used them; nobody in particular if the entry opens nothing.
    pub principals: Vec<Principal>,
    /// Directories.
    pub filesystem: Vec<DirGrant>,
    /// URLs.
    pub network: Vec<UrlGrant>,
    /// Secrets.
    pub secrets: Vec<SecretGrant>,
    /// Configuration values.
    pub config: BTreeMap<String, String>,
    /// Limits below their default.
    pub limits: BTreeMap<String, u64>,
}

/// What is suggested for one capability; none if it needs nothing and nothing limits it.
pub(super) fn of(
    id: &CapabilityId,
    usage: &Usage,
    openings: &[Opening],
    moving: &BTreeSet<String>,
) -> Option<Suggested> {
    let limited = Suggested { capabilities: vec![id.clone()], limits: limits(openings), ..Suggested::default() };
    let opening = Suggested {
        principals: usage.principals.iter().cloned().collect(),
        filesystem: directories(usage, openings, moving),
        network: urls(usage, openings),
        secrets: usage.secrets.values().cloned().collect(),
        config: usage.config.clone(),
        ..limited.clone()
    };
    let Suggested { principals, filesystem, network, secrets, config, .. } = &opening;
    let opens = !(filesystem.is_empty() && network.is_empty() && secrets.is_empty() && config.is_empty());
    if opens && !principals.is_empty() {
        return Some(opening);
    }
    // Limits alone are for everybody, as they were.
    (!limited.limits.is_empty()).then_some(limited)
}

/// Entries that differ only in their capabilities become one.
pub(super) fn merged(entries: Vec<Suggested>) -> Vec<Suggested> {
    let mut merged: Vec<Suggested> = Vec::new();
    for entry in entries {
        let same = |known: &&mut Suggested| {
            let capabilities = known.capabilities.clone();
            **known == Suggested { capabilities, ..entry.clone() }
        };
        match merged.iter_mut().find(same) {
            Some(known) => known.capabilities.extend(entry.capabilities),
            None => merged.push(entry),
        }
    }
    merged
}

/// The outermost of these directories.
pub(super) fn smallest<'p>(places: impl Iterator<Item = &'p Place> + Clone) -> Vec<Place> {
    let inside =
        |inner: &Place, outer: &Place| inner.guest != outer.guest && below(&inner.guest, &outer.guest).is_some();
    let all = places.clone();
    places.filter(|place| !all.clone().any(|other| inside(place, other))).cloned().collect()
}

fn directories(usage: &Usage, openings: &[Opening], moving: &BTreeSet<String>) -> Vec<DirGrant> {
    let all: Vec<Place> =
        usage.read.keys().chain(usage.changed.keys()).map(|place| standing(place, openings, moving)).collect();
    let roots = |places: &[Place]| -> Vec<Place> {
        let root = |place: &Place| {
            let depth = below(&place.guest, &place.root).map_or(0, segments);
            above(place, depth)
        };
        places.iter().map(root).collect()
    };
    let mut outermost: BTreeSet<Place> = smallest(all.iter()).into_iter().collect();
    if outermost.len() > MAX_DIRS {
        let roots = roots(&all);
        outermost = smallest(roots.iter()).into_iter().collect();
    }
    let mut dirs: BTreeMap<String, DirGrant> = BTreeMap::new();
    for place in outermost {
        let mut changed = usage.changed.keys().map(|place| standing(place, openings, moving));
        let writes = changed.any(|changed| below(&changed.guest, &place.guest).is_some());
        let access = if writes { Access::ReadWrite } else { Access::ReadOnly };
        dirs.insert(place.guest.clone(), DirGrant { host: place.host, guest: place.guest, access });
    }
    dirs.into_values().collect()
}

fn segments(path: &str) -> usize {
    path.split('/').filter(|segment| !segment.is_empty()).count()
}

/// The directory `levels` above a place, which is at most its root.
fn above(place: &Place, levels: usize) -> Place {
    let up = |path: &str| {
        let mut path = path;
        for _ in 0..levels {
            path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        }
        joined(path, "")
    };
    Place { guest: up(&place.guest), host: up(&place.host), root: place.root.clone() }
}

/// The nearest directory that no run made or removed, under the name that the policy in force gives it.
fn standing(place: &Place, openings: &[Opening], moving: &BTreeSet<String>) -> Place {
    let depth = below(&place.guest, &place.root).map_or(0, segments);
    let unfit = |levels: &usize| {
        let at = above(place, *levels);
        let cannot_be_written = |c: char| c == '$' || c.is_control();
        moving.contains(&at.guest) || moving.contains(&at.host) || at.host.contains(cannot_be_written)
    };
    let highest = (0..depth).rev().find(unfit);
    let mut place = above(place, highest.map_or(0, |levels| levels + 1));
    let dirs = openings.iter().flat_map(|opening| &opening.grant.filesystem);
    let now =
        dirs.filter_map(|dir| Some((dir, below(&place.guest, &dir.guest)?))).max_by_key(|(dir, _)| dir.guest.len());
    if let Some((dir, rest)) = now {
        place.host = joined(&dir.host, rest);
    }
    place
}

/// What of a request decides which entry it falls under, besides its path and method.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    origin: String,
    query: bool,
    local: bool,
    reads_are_effects: bool,
}

/// For each granted URL, origin and method the URLs that enclose the requests; methods with the same URLs stand together.
fn urls(usage: &Usage, openings: &[Opening]) -> Vec<UrlGrant> {
    let granted: Vec<UrlGrant> = openings.iter().flat_map(|opening| opening.grant.network.clone()).collect();
    // The segments of each path.
    let mut enclosed: BTreeMap<(Kind, HttpMethod, &str), Vec<Vec<String>>> = BTreeMap::new();
    for ((method, url), request) in &usage.requests {
        let Ok(parts) = UrlParts::parse(url) else { continue };
        let Some(opener) = in_force(&granted, *method, url, request.query) else { continue };
        let kind = Kind {
            origin: parts.origin(),
            query: opener.query,
            local: request.local && opener.local,
            reads_are_effects: request.reads_are_effects || (opener.effect && method.is_read()),
        };
        let path = parts.segments.iter().map(|segment| (*segment).to_owned()).collect();
        enclosed.entry((kind, *method, opener.url)).or_default().push(path);
    }
    let mut found: BTreeMap<(Kind, String), Vec<HttpMethod>> = BTreeMap::new();
    for ((kind, method, granted), paths) in enclosed {
        let url = enclosing(&kind.origin, &paths, granted);
        let methods = found.entry((kind, url)).or_default();
        if !methods.contains(&method) {
            methods.push(method);
        }
    }
    found
        .into_iter()
        .map(|((kind, url), methods)| UrlGrant {
            url,
            methods,
            query: kind.query,
            local: kind.local,
            reads_are_effects: kind.reads_are_effects,
        })
        .collect()
}

/// How the policy in force opens a request.
struct Opener<'g> {
    /// The longest URL that does.
    url: &'g str,
    query: bool,
    local: bool,
    effect: bool,
}

/// What opens a request now, with a query if it had one and may have one; none if nothing does.
fn in_force<'g>(granted: &'g [UrlGrant], method: HttpMethod, url: &str, query: bool) -> Option<Opener<'g>> {
    let (asked, with_query) = (any_request(), format!("{url}?q"));
    let urls = query.then_some(with_query.as_str()).into_iter().chain([url]);
    urls.filter_map(|url| UrlParts::parse(url).ok()).find_map(|parts| {
        let how = opened(granted, &asked, method, &parts).ok()?;
        let opens = |grant: &&UrlGrant| opened(std::slice::from_ref(*grant), &asked, method, &parts).is_ok();
        let longest = granted.iter().filter(opens).max_by_key(|grant| grant.url.len())?;
        Some(Opener { url: &longest.url, query: parts.query.is_some(), local: how.local, effect: how.effect })
    })
}

/// The glob for these paths, which `granted` opens: the one path, or everything below the last directory that they share; at
/// most what was granted.
fn enclosing(origin: &str, paths: &[Vec<String>], granted: &str) -> String {
    let mut shared: &[String] = paths.first().map_or(&[], Vec::as_slice);
    for path in paths {
        let same = shared.iter().zip(path).take_while(|(a, b)| a == b).count();
        shared = shared.get(..same).unwrap_or_default();
    }
    let one = paths.iter().all(|path| path.as_slice() == shared);
    // `/a/**` is not for `/a` itself.
    let longest = paths.iter().map(|path| path.len().saturating_sub(1)).min().unwrap_or(0);
    let below = shared.get(..shared.len().min(longest)).unwrap_or_default();
    let exact = one.then(|| format!("{origin}/{}", shared.join("/")));
    let prefixes = (0..=below.len()).rev().filter_map(|len| below.get(..len));
    let wider = prefixes.map(|prefix| {
        let inside: String = prefix.iter().map(|segment| format!("/{segment}")).collect();
        format!("{origin}{inside}")
    });
    let wider = wider.filter(|above| opens_all_below(granted, above)).map(|above| format!("{above}/**"));
    let fits = |url: &String| covers(url, origin, paths);
    exact.into_iter().chain(wider).find(fits).unwrap_or_else(|| granted.to_owned())
}

/// Whether a glob is for everything below a URL. What is for names of one and of three segments that have no character in
/// common asks nothing of them.
fn opens_all_below(granted: &str, above: &str) -> bool {
    let Ok(glob) = ResourceGlob::parse(granted) else { return false };
    ["0", "~", "0/0/0", "~/~/~"].iter().all(|rest| glob.matches(&format!("{above}/{rest}")) == Ok(true))
}

/// Whether a glob is one, means no more than it says, and is for all of these paths.
fn covers(url: &str, origin: &str, paths: &[Vec<String>]) -> bool {
    let plain = !url.trim_end_matches("**").contains('*') && ResourceGlob::parse(url).is_ok();
    let grant = UrlGrant {
        url: url.to_owned(),
        methods: vec![HttpMethod::Get],
        query: false,
        local: false,
        reads_are_effects: false,
    };
    plain
        && paths.iter().all(|path| {
            let url = format!("{origin}/{}", path.join("/"));
            UrlParts::parse(&url).is_ok_and(|parts| {
                opened(std::slice::from_ref(&grant), &any_request(), HttpMethod::Get, &parts).is_ok()
            })
        })
}

/// The lowest of each limit that is below its default.
fn limits(openings: &[Opening]) -> BTreeMap<String, u64> {
    let usual = Limits::default().entries();
    let mut lowest: BTreeMap<String, u64> = BTreeMap::new();
    for opening in openings {
        for ((name, value, _), (_, default, _)) in opening.grant.limits.entries().into_iter().zip(&usual) {
            if value < *default {
                let lowered = lowest.entry(name.to_owned()).or_insert(value);
                *lowered = value.min(*lowered);
            }
        }
    }
    lowest
}

/// The entries as they stand in a policy file.
pub fn yaml(entries: &[Suggested]) -> String {
    let mut text = "grants:\n".to_owned();
    if entries.is_empty() {
        return "grants: []\n".to_owned();
    }
    for entry in entries {
        let ids: Vec<&str> = entry.capabilities.iter().map(CapabilityId::as_str).collect();
        let _ = writeln!(text, "  - capabilities: {}", flow(ids.into_iter()));
        if !entry.principals.is_empty() {
            let _ = writeln!(text, "    principals: {}", flow(entry.principals.iter().map(Principal::as_str)));
        }
        section(
            &mut text,
            "filesystem",
            entry.filesystem.iter().map(|dir| {
                format!("host: {}, guest: {}, access: {}", scalar(&dir.host), scalar(&dir.guest), dir.access.as_str())
            }),
        );
        section(
            &mut text,
            "network",
            entry.network.iter().map(|url| {
                let methods: Vec<&str> = url.methods.iter().map(|method| method.as_str()).collect();
                let flags = [("query", url.query), ("local", url.local), ("reads_are_effects", url.reads_are_effects)];
                let flags = flags.iter().filter(|(_, set)| *set).map(|(name, _)| format!(", {name}: true"));
                format!("url: {}, methods: [{}]{}", scalar(&url.url), methods.join(", "), flags.collect::<String>())
            }),
        );
        section(
            &mut text,
            "secrets",
            entry.secrets.iter().map(|secret| {
                let source = match &secret.source {
                    SecretSource::Env(name) => format!("env: {}", scalar(name)),
                    SecretSource::File(path) => format!("file: {}", scalar(path)),
                };
                let hosts = flow(secret.hosts.iter().map(String::as_str));
                format!("name: {}, {source}, hosts: {hosts}", scalar(&secret.name))
            }),
        );
        if !entry.config.is_empty() {
            let values: Vec<String> =
                entry.config.iter().map(|(name, value)| format!("{}: {}", scalar(name), scalar(value))).collect();
            let _ = writeln!(text, "    config: {{ {} }}", values.join(", "));
        }
        if !entry.limits.is_empty() {
            let unit = |name: &str| Limits::NAMES.iter().find(|(known, _)| *known == name).map(|(_, unit)| *unit);
            let values: Vec<String> =
                entry.limits.iter().map(|(name, value)| format!("{name}: {}", limit(*value, unit(name)))).collect();
            let _ = writeln!(text, "    limits: {{ {} }}", values.join(", "));
        }
    }
    text
}

fn section(text: &mut String, name: &str, lines: impl ExactSizeIterator<Item = String>) {
    if lines.len() > 0 {
        let _ = writeln!(text, "    {name}:");
    }
    for line in lines {
        let _ = writeln!(text, "      - {{ {line} }}");
    }
}

fn limit(value: u64, unit: Option<LimitUnit>) -> String {
    match unit {
        Some(LimitUnit::Time) => Duration(value).to_string(),
        Some(LimitUnit::Bytes) if value.is_multiple_of(1 << 20) => format!("{}MiB", value >> 20),
        Some(LimitUnit::Bytes) if value.is_multiple_of(1 << 10) => format!("{}KiB", value >> 10),
        _ => value.to_string(),
    }
}

fn flow<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    let texts: Vec<String> = texts.map(scalar).collect();
    format!("[{}]", texts.join(", "))
}

/// A text in double quotes, of printable ASCII only: whatever stands in it ends no quotes and steers no terminal.
fn scalar(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for c in text.chars() {
        let number = u32::from(c);
        let _ = match c {
            '"' | '\\' => write!(quoted, "\\{c}"),
            ' '..='~' => write!(quoted, "{c}"),
            _ if number > 0xffff => write!(quoted, "\\U{number:08X}"),
            _ => write!(quoted, "\\u{number:04X}"),
        };
    }
    quoted.push('"');
    quoted
}
