//! What a grant opens and a glob matches, against readers that are slow and plain.
//!
//! Each line is one of these; a request is looked at with all grants and asks above it:
//!
//! ```text
//! ask http:GET,POST https://api.example.com/**
//! grant https://api.example.com/v1/** GET,POST query local effects
//! GET https://api.example.com/v1/a
//! glob /w/**/*.txt /w/a/b.txt
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use redress::types::{HttpMethod, Opened, Permission, ResourceGlob, UrlGrant, UrlParts, opened};

/// See the module.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut grants: Vec<UrlGrant> = Vec::new();
    let mut asked: Vec<Permission> = Vec::new();
    for line in text.lines().take(32) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "ask" => {
                if let Ok(permission) = Permission::parse(rest) {
                    assert_eq!(permission.to_string(), rest, "a permission is not written as it was read");
                    asked.push(permission);
                }
            }
            "grant" => grants.extend(read_grant(rest)),
            "glob" => {
                let (glob, value) = rest.split_once(' ').unwrap_or((rest, ""));
                compare_glob(glob, value);
            }
            _ => match HttpMethod::parse(word) {
                Some(method) => compare_request(&grants, &asked, method, rest),
                None => {
                    compare_url(line);
                }
            },
        }
    }
}

fn read_grant(text: &str) -> Option<UrlGrant> {
    let mut words = text.split(' ');
    let url = words.next()?.to_owned();
    let methods = words.next()?.split(',').filter_map(HttpMethod::parse).collect();
    let flags: Vec<&str> = words.collect();
    let has = |flag: &str| flags.contains(&flag);
    // The loader refuses a query, a URL without a path, and one that is no glob.
    let good = !url.contains('?') && url.splitn(4, '/').count() == 4 && ResourceGlob::parse(&url).is_ok();
    good.then(|| UrlGrant { url, methods, query: has("query"), local: has("local"), reads_are_effects: has("effects") })
}

/// A URL as the plain reader sees it.
#[derive(Debug, PartialEq)]
struct Plain {
    scheme: String,
    authority: String,
    host: String,
    port: u16,
    segments: Vec<String>,
    query: Option<String>,
}

/// Reads a URL in normal form, one rule after the other; none if one is broken.
fn plain(text: &str) -> Option<Plain> {
    let allowed = |c: char| ('!'..='~').contains(&c) && c != '\\' && c != '#';
    if !text.chars().all(allowed) {
        return None;
    }
    let scheme = ["http", "https"].into_iter().find(|scheme| text.starts_with(&format!("{scheme}://")))?;
    let rest = &text[scheme.len() + 3..];
    let authority: String = rest.chars().take_while(|c| !matches!(c, '/' | '?')).collect();
    let after = &rest[authority.len()..];
    let path: String = after.chars().take_while(|c| *c != '?').collect();
    let query = (path.len() < after.len()).then(|| after[path.len() + 1..].to_owned());
    let path = path.strip_prefix('/').unwrap_or(&path);

    let usual = if scheme == "https" { 443 } else { 80 };
    let (host, port) = plain_host_and_port(&authority, usual)?;
    let mut escapes = path.split('%');
    escapes.next();
    for escape in escapes {
        let digits: String = escape.chars().take(2).collect();
        let hex = digits.len() == 2 && digits.chars().all(|c| c.is_ascii_hexdigit());
        let byte = hex.then(|| u8::from_str_radix(&digits, 16).ok())??;
        let own_spelling = byte.is_ascii_alphanumeric() || b"-_~".contains(&byte);
        let never_in_utf8 = matches!(byte, 0xc0 | 0xc1) || byte >= 0xf5;
        if b"./\\%;\0".contains(&byte) || own_spelling || never_in_utf8 || format!("{byte:02X}") != digits {
            return None;
        }
    }
    let segments: Vec<String> = path.split('/').map(str::to_owned).collect();
    for (place, segment) in segments.iter().enumerate() {
        let last = place + 1 == segments.len();
        if segment == "." || segment == ".." || segment.contains(';') || segment.is_empty() && !last {
            return None;
        }
    }
    Some(Plain { scheme: scheme.to_owned(), authority, host, port, segments, query })
}

fn plain_host_and_port(authority: &str, usual: u16) -> Option<(String, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let end = rest.find(']')?;
            let host = &rest[..end];
            if host.parse::<Ipv6Addr>().ok()?.to_string() != host {
                return None;
            }
            (host, &rest[end + 1..])
        }
        None => {
            let end = authority.find(':').unwrap_or(authority.len());
            let host = &authority[..end];
            let known = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_');
            if host.split('.').any(|label| label.is_empty() || !label.chars().all(known)) {
                return None;
            }
            let last = host.split('.').next_back().unwrap_or_default();
            let number = last.chars().all(|c| c.is_ascii_digit())
                || last.starts_with("0x") && last[2..].chars().all(|c| c.is_ascii_hexdigit());
            if number && host.parse::<Ipv4Addr>().ok()?.to_string() != host {
                return None;
            }
            (host, &authority[end..])
        }
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => usual,
        None => return None,
        Some(digits) => {
            let number: u16 = digits.parse().ok()?;
            if number.to_string() != digits || number == 0 || number == usual {
                return None;
            }
            number
        }
    };
    Some((host.to_owned(), port))
}

/// Whether text is made by a glob without segments: every way to cut it is tried, each once.
fn run_fits(glob: &str, text: &str) -> bool {
    let (glob, text) = (glob.as_bytes(), text.as_bytes());
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for symbol in glob {
        let mut next = vec![false; text.len() + 1];
        for at in (0..=text.len()).filter(|at| reached[*at]) {
            if *symbol == b'*' {
                next[at..].fill(true);
            } else if text.get(at) == Some(symbol) {
                next[at + 1] = true;
            }
        }
        reached = next;
    }
    reached[text.len()]
}

/// Whether segments are made by a glob's: `**` at the end is one or more, elsewhere none or more.
fn segments_fit(glob: &[&str], segments: &[&str]) -> bool {
    let mut reached = vec![false; segments.len() + 1];
    reached[0] = true;
    for (place, part) in glob.iter().enumerate() {
        let mut next = vec![false; segments.len() + 1];
        for at in (0..=segments.len()).filter(|at| reached[*at]) {
            match *part {
                "**" if place + 1 == glob.len() => next.iter_mut().skip(at + 1).for_each(|here| *here = true),
                "**" => next[at..].fill(true),
                _ if segments.get(at).is_some_and(|segment| run_fits(part, segment)) => next[at + 1] = true,
                _ => {}
            }
        }
        reached = next;
    }
    reached[segments.len()]
}

/// Scheme, authority, segments and query of a glob over URLs.
fn cut_glob(glob: &str) -> Option<(&str, &str, Vec<&str>, Option<&str>)> {
    let (scheme, rest) = glob.split_once("://")?;
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, Some(query)),
        None => (rest, None),
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    Some((scheme, authority, path.split('/').collect(), query))
}

/// Whether a glob is for a URL, its query aside.
fn url_fits(glob: &str, url: &Plain) -> bool {
    let Some((scheme, authority, segments, _)) = cut_glob(glob) else { return false };
    let usual = if url.scheme == "https" { 443 } else { 80 };
    let host_fits = match authority.strip_prefix('*') {
        Some("") => url.port == usual,
        // `*.example.com`: what stands before it is a name, and the port is the glob's.
        Some(suffix) => url.authority.strip_suffix(suffix).is_some_and(|name| !name.is_empty()),
        None => url.authority == authority,
    };
    let own: Vec<&str> = url.segments.iter().map(String::as_str).collect();
    scheme == url.scheme && host_fits && segments_fit(&segments, &own)
}

fn compare_url(text: &str) -> Option<Plain> {
    let plain = plain(text);
    match (UrlParts::parse(text), &plain) {
        (Err(_), None) => {}
        (Ok(parts), Some(plain)) => {
            let (host, port) = parts.host_and_port();
            let read = Plain {
                scheme: parts.scheme.to_owned(),
                authority: parts.authority.to_owned(),
                host: host.to_owned(),
                port,
                segments: parts.segments.iter().map(|segment| (*segment).to_owned()).collect(),
                query: parts.query.map(str::to_owned),
            };
            assert_eq!(&read, plain);
            assert!(text.starts_with(&parts.origin()));
        }
        (read, plain) => panic!("`{text}` is read as {read:?}, and should be {plain:?}"),
    }
    plain
}

fn compare_glob(glob: &str, value: &str) {
    let Ok(read) = ResourceGlob::parse(glob) else { return };
    assert_eq!(read.as_str(), glob);
    let matched = read.matches(value);
    if let Some((_, _, _, glob_query)) = cut_glob(glob) {
        let Some(url) = compare_url(value) else { return assert!(matched.is_err(), "{glob} {value}") };
        let expected = match (url_fits(glob, &url), glob_query, &url.query) {
            (false, ..) => Ok(false),
            (true, None, None) => Ok(true),
            (true, Some(_), None) => Ok(false),
            (true, None, Some(_)) => Err(()),
            (true, Some(glob), Some(query)) => Ok(run_fits(glob, query)),
        };
        assert_eq!(matched.map_err(|_| ()), expected, "{glob} {value}");
        return;
    }
    let absolute = glob.starts_with('/');
    let (glob_path, path) = match absolute {
        true => (&glob[1..], value.strip_prefix('/')),
        false => (glob, Some(value).filter(|value| !value.is_empty() && !value.starts_with('/'))),
    };
    let normal = |path: &&str| {
        let segments: Vec<&str> = path.split('/').collect();
        let root = absolute && path.is_empty();
        let plain = segments.iter().all(|segment| !matches!(*segment, "" | "." | ".."));
        (root || plain) && !path.chars().any(char::is_control)
    };
    let expected = path.filter(normal).map(|path| {
        let segments: Vec<&str> = path.split('/').collect();
        segments_fit(&glob_path.split('/').collect::<Vec<_>>(), &segments)
    });
    assert_eq!(matched.ok(), expected, "{glob} {value}");
}

fn compare_request(grants: &[UrlGrant], asked: &[Permission], method: HttpMethod, text: &str) {
    let Some(url) = compare_url(text) else { return };
    let parts = UrlParts::parse(text).expect("it was just read");
    let answer = opened(grants, asked, method, &parts);
    assert_eq!(answer.ok(), expected(grants, asked, method, &url), "{method} {text}");

    // What is left of the grants for a capability that asks opens the same requests, and without grants nothing is open.
    let left: Vec<UrlGrant> = grants.iter().filter_map(|grant| grant.asked_for(asked)).collect();
    assert_eq!(opened(&left, asked, method, &parts).is_ok(), answer.is_ok(), "{method} {text}");
    assert!(opened(&[], asked, method, &parts).is_err() && opened(grants, &[], method, &parts).is_err());
    if let Some((_, fewer)) = grants.split_first() {
        assert!(answer.is_ok() || opened(fewer, asked, method, &parts).is_err(), "fewer grants open more");
    }
}

fn expected(grants: &[UrlGrant], asked: &[Permission], method: HttpMethod, url: &Plain) -> Option<Opened> {
    let asks = |permission: &Permission| {
        let Permission::Http { methods, url: glob } = permission else { return false };
        let whole_host = glob.splitn(4, '/').count() < 4;
        let glob = if whole_host { format!("{glob}/**") } else { glob.clone() };
        // What asks for every host asks for it at every port; a grant opens one.
        let every_host = whole_host && glob == format!("{}://*/**", url.scheme);
        methods.iter().any(|word| word == "*" || word == method.as_str()) && (every_host || url_fits(&glob, url))
    };
    asked.iter().any(asks).then_some(())?;
    let opens = |grant: &&UrlGrant| {
        grant.methods.contains(&method) && (grant.query || url.query.is_none()) && url_fits(&grant.url, url)
    };
    let opening: Vec<&UrlGrant> = grants.iter().filter(opens).collect();
    opening.first()?;
    let names_the_host = |grant: &&&UrlGrant| !grant.url.contains("://*");
    Some(Opened {
        named: url.host.parse::<IpAddr>().is_ok() && opening.iter().filter(names_the_host).count() > 0,
        local: opening.iter().filter(names_the_host).any(|grant| grant.local),
        effect: !matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS")
            || opening.iter().any(|grant| grant.reads_are_effects),
    })
}
