//! Globs over paths and URLs, for conditions and network grants.
//!
//! A pattern with `://` is for URLs, one that begins with `/` for absolute paths, any other for relative paths. `*` stays
//! inside a segment; `**`, a segment of its own, crosses segments: at the end it stands for one or more, elsewhere for
//! none or more. A value is compared only if it is in normal form, because a rule must never be passed by spelling a
//! path in another way: anything else is an error, and an error is DENY.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::glob::{PatternError, check_characters, wild};

/// A glob over paths or URLs.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceGlob {
    text: String,
    kind: Kind,
    segments: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Absolute,
    Relative,
    Url {
        scheme: String,
        /// Literal, or `*` or `*.` followed by a suffix.
        authority: String,
        query: Option<String>,
    },
}

impl ResourceGlob {
    /// Reads a glob; an error points at the character.
    pub fn parse(text: &str) -> Result<ResourceGlob, PatternError> {
        if text.is_empty() {
            return Err(PatternError::new(0, 1, "the glob is empty", "write a path such as `/workspace/**`"));
        }
        let (rest, kind, offset) = match text.split_once("://") {
            Some((scheme, rest)) => {
                let (url, query) = match rest.split_once('?') {
                    Some((url, query)) => (url, Some(query.to_owned())),
                    None => (rest, None),
                };
                let (authority, path) = url.split_once('/').unwrap_or((url, ""));
                let offset = scheme.len() + 3;
                check_authority(scheme, authority, offset)?;
                let kind = Kind::Url { scheme: scheme.to_owned(), authority: authority.to_owned(), query };
                (path, kind, offset + authority.len() + 1)
            }
            None => match text.strip_prefix('/') {
                Some(rest) => (rest, Kind::Absolute, 1),
                None => (text, Kind::Relative, 0),
            },
        };
        let url = matches!(kind, Kind::Url { .. });
        let checked = match &kind {
            // The brackets of an address and one `?` have their meaning in a URL; the host was looked at already.
            Kind::Url { authority, .. } => {
                text.replacen(authority.as_str(), &"-".repeat(authority.len()), 1).replacen('?', "/", 1)
            }
            Kind::Absolute | Kind::Relative => text.to_owned(),
        };
        check_characters(&checked, "write `*` for a part that is not ASCII")?;
        let mut segments = Vec::new();
        let mut at = offset;
        let count = rest.split('/').count();
        for (index, segment) in rest.split('/').enumerate() {
            check_segment(segment, at, url && index + 1 == count || rest.is_empty())?;
            at += segment.len() + 1;
            segments.push(segment.to_owned());
        }
        if segments.last().is_some_and(|last| last == "**") {
            segments.push("*".to_owned());
        }
        Ok(ResourceGlob { text: text.to_owned(), kind, segments })
    }

    /// The text of the glob.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether `value` matches; an error says why it cannot be compared, without showing it.
    pub fn matches(&self, value: &str) -> Result<bool, &'static str> {
        match &self.kind {
            Kind::Absolute => {
                let rest = value.strip_prefix('/').ok_or("is not an absolute path")?;
                Ok(self.fits(&normal_segments(rest, false)?))
            }
            Kind::Relative if value.is_empty() || value.starts_with('/') => Err("is not a relative path"),
            Kind::Relative => Ok(self.fits(&normal_segments(value, false)?)),
            Kind::Url { scheme, authority, query } => {
                let url = UrlParts::parse(value)?;
                if *scheme != url.scheme || !authority_fits(authority, url.authority) || !self.fits(&url.segments) {
                    return Ok(false);
                }
                match (query, url.query) {
                    (None, None) => Ok(true),
                    (Some(_), None) => Ok(false),
                    (None, Some(_)) => Err("has a query, which the glob does not name"),
                    (Some(glob), Some(query)) => Ok(text_fits(glob, query)),
                }
            }
        }
    }

    /// Whether the path of a URL matches, whatever follows its `?`, and scheme and authority do.
    pub(super) fn matches_url(&self, url: &UrlParts<'_>) -> bool {
        match &self.kind {
            Kind::Url { scheme, authority, .. } => {
                scheme == url.scheme && authority_fits(authority, url.authority) && self.fits(&url.segments)
            }
            Kind::Absolute | Kind::Relative => false,
        }
    }

    /// Scheme and authority of a glob over URLs.
    pub(super) fn place(&self) -> Option<(&str, &str)> {
        match &self.kind {
            Kind::Url { scheme, authority, .. } => Some((scheme, authority)),
            Kind::Absolute | Kind::Relative => None,
        }
    }

    /// Whether the glob says something of the query of a URL.
    pub(super) fn has_query(&self) -> bool {
        matches!(&self.kind, Kind::Url { query: Some(_), .. })
    }

    fn fits(&self, segments: &[&str]) -> bool {
        wild(&self.segments, segments, |glob| glob == "**", |glob, segment| text_fits(glob, segment))
    }
}

/// `*` stands for any run of characters.
fn text_fits(glob: &str, text: &str) -> bool {
    wild(glob.as_bytes(), text.as_bytes(), |p| *p == b'*', |p, t| p == t)
}

/// The host of an authority in normal form, without brackets, and its port.
fn host_and_port<'a>(scheme: &str, authority: &'a str) -> (&'a str, u16) {
    let usual = if scheme == "http" { 80 } else { 443 };
    if let Some((host, rest)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (host, rest.strip_prefix(':').and_then(|port| port.parse().ok()).unwrap_or(usual));
    }
    match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().unwrap_or(usual)),
        None => (authority, usual),
    }
}

/// `*` for every host at the usual port, `*.suffix` for names below one, anything else for itself.
pub(super) fn authority_fits(glob: &str, authority: &str) -> bool {
    match glob.strip_prefix('*') {
        Some("") => !has_port(authority),
        // `*.example.com` is for names below it, not for the name itself.
        Some(suffix) => authority.len() > suffix.len() && authority.ends_with(suffix),
        None => glob == authority,
    }
}

/// Whether an authority in normal form names a port, which is then not the usual one.
fn has_port(authority: &str) -> bool {
    let after_host = authority.rsplit_once(']').map_or(authority, |(_, rest)| rest);
    after_host.contains(':')
}

fn check_authority(scheme: &str, authority: &str, at: usize) -> Result<(), PatternError> {
    if !matches!(scheme, "http" | "https") {
        let help = "write `https://...` or `http://...`";
        return Err(PatternError::new(0, scheme.len().max(1), format!("the scheme `{scheme}` is not known"), help));
    }
    let literal = match authority.strip_prefix('*') {
        Some("") => return Ok(()),
        Some(suffix) => suffix.strip_prefix('.').unwrap_or(authority),
        None => authority,
    };
    normal_authority(scheme, literal).map_err(|problem| {
        let help = "write a lower-case host, `*.` and a host, or `*`; a port if it is not the usual one";
        PatternError::new(at, authority.chars().count().max(1), format!("the host `{authority}` {problem}"), help)
    })
}

fn check_segment(segment: &str, at: usize, may_be_empty: bool) -> Result<(), PatternError> {
    let len = segment.len().max(1);
    match segment {
        "" if may_be_empty => Ok(()),
        "" => Err(PatternError::new(
            at,
            len,
            "the glob has an empty segment",
            "write single slashes, and none at the end",
        )),
        "." | ".." => {
            let message = format!("the segment `{segment}` is not allowed in a glob");
            Err(PatternError::new(at, len, message, "write the path without it"))
        }
        "**" => Ok(()),
        _ => match segment.find("**") {
            Some(inside) => {
                let help = "write `*` inside a segment, or `**` as a segment of its own";
                Err(PatternError::new(at + inside, 2, "`**` is not a whole segment", help))
            }
            None => Ok(()),
        },
    }
}

/// The segments of a path in normal form. The path of a URL may end in a slash.
fn normal_segments(path: &str, url: bool) -> Result<Vec<&str>, &'static str> {
    if path.chars().any(char::is_control) {
        return Err("contains a control character");
    }
    let segments: Vec<&str> = path.split('/').collect();
    let last = segments.len().saturating_sub(1);
    for (index, segment) in segments.iter().enumerate() {
        if matches!(*segment, "." | "..") {
            return Err("is not in normal form: it has a segment `.` or `..`");
        }
        // Some servers leave out what follows a `;`: `..;a` is `..` to them, and `admin;a` is `admin`.
        if url && segment.contains(';') {
            return Err("is not in normal form: it has a `;`");
        }
        if segment.is_empty() && !(url && index == last || path.is_empty()) {
            return Err("is not in normal form: it has an empty segment");
        }
    }
    Ok(segments)
}

/// A URL in normal form, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlParts<'v> {
    /// `http` or `https`.
    pub scheme: &'v str,
    /// Host and port, the port only where it is not the usual one.
    pub authority: &'v str,
    /// The path between its slashes.
    pub segments: Vec<&'v str>,
    /// What stands after the first `?`.
    pub query: Option<&'v str>,
}

impl UrlParts<'_> {
    /// Takes `value` apart; an error says why it is not in normal form, without showing it.
    pub fn parse(value: &str) -> Result<UrlParts<'_>, &'static str> {
        if !value.bytes().all(|b| b.is_ascii_graphic()) || value.contains(['\\', '#']) {
            return Err("is not a URL in normal form: it has a character that does not belong there");
        }
        let (scheme, rest) = value.split_once("://").ok_or("is not a URL")?;
        if !matches!(scheme, "http" | "https") {
            return Err("is not an `http` or `https` URL in normal form");
        }
        let (url, query) = match rest.split_once('?') {
            Some((url, query)) => (url, Some(query)),
            None => (rest, None),
        };
        let (authority, path) = url.split_once('/').unwrap_or((url, ""));
        normal_authority(scheme, authority)?;
        normal_escapes(path)?;
        Ok(UrlParts { scheme, authority, segments: normal_segments(path, true)?, query })
    }

    /// The host without brackets, and the port.
    pub fn host_and_port(&self) -> (&str, u16) {
        host_and_port(self.scheme, self.authority)
    }

    /// Scheme and authority: what may be told apart as one place to send to.
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme, self.authority)
    }
}

/// Host and port as a URL in normal form has them: no user, lower case, no trailing dot, no port that goes without saying.
fn normal_authority(scheme: &str, authority: &str) -> Result<(), &'static str> {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) if rest.is_empty() || rest.starts_with(':') => (host, rest.strip_prefix(':')),
        Some(_) => return Err("is not in normal form: its host is not a name"),
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    if authority.starts_with('[') {
        if host.parse::<Ipv6Addr>().ok().is_none_or(|address| address.to_string() != host) {
            return Err("is not in normal form: its host is not an IPv6 address as it is usually written");
        }
    } else if host.is_empty()
        || !host.bytes().all(name)
        || host.starts_with('.')
        || host.ends_with('.')
        || host.contains("..")
    {
        return Err("is not in normal form: its host is not a lower-case name");
    } else if is_number(host.rsplit('.').next().unwrap_or(host)) && host.parse::<Ipv4Addr>().is_err() {
        return Err("is not in normal form: its host is a number, but not an address of four decimals");
    }
    match port {
        None => Ok(()),
        Some("443") if scheme == "https" => Err("is not in normal form: it names the usual port"),
        Some("80") if scheme == "http" => Err("is not in normal form: it names the usual port"),
        Some(port) if port.starts_with('0') || !port.bytes().all(|b| b.is_ascii_digit()) => {
            Err("is not in normal form: its port is not a number")
        }
        Some(port) => port.parse::<u16>().map(|_| ()).map_err(|_| "is not in normal form: its port is not a number"),
    }
}

/// Whether some resolvers read a name that ends in this label as an address: `1`, `0x7f`.
fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    hex || (!label.is_empty() && label.bytes().all(|b| b.is_ascii_digit()))
}

/// Refuses escapes by which one path has several spellings: of characters that need none, of those that a server may read as the
/// end of a segment, a name or a text, in lower case, or of no character at all.
fn normal_escapes(path: &str) -> Result<(), &'static str> {
    for (at, _) in path.match_indices('%') {
        let byte = path.get(at + 1..at + 3).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let byte = byte.filter(|digits| !digits.bytes().any(|b| b.is_ascii_lowercase()));
        match byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            None => return Err("is not a URL in normal form: it has an escape that is broken, or in lower case"),
            Some(b'.' | b'/' | b'\\' | b'%' | b';' | 0) => {
                return Err(
                    "is not a URL in normal form: it has an escaped dot, slash, backslash, percent, semicolon or NUL",
                );
            }
            Some(byte) if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~') => {
                return Err("is not a URL in normal form: it escapes a character that needs none");
            }
            Some(0xc0 | 0xc1 | 0xf5..) => return Err("is not a URL in normal form: it has an escape of no character"),
            Some(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(glob: &str, value: &str) -> Result<bool, &'static str> {
        ResourceGlob::parse(glob).unwrap().matches(value)
    }

    #[test]
    fn one_star_stays_inside_a_segment_and_two_cross() {
        assert_eq!(matches("/w/*", "/w/a"), Ok(true));
        assert_eq!(matches("/w/*", "/w/a/b"), Ok(false));
        assert_eq!(matches("/w/**", "/w/a/b"), Ok(true));
        assert_eq!(matches("/w/**", "/w"), Ok(false));
        assert_eq!(matches("/w/**", "/ws/a"), Ok(false));
        assert_eq!(matches("/w/**/b", "/w/b"), Ok(true));
        assert_eq!(matches("/w/**/b", "/w/x/y/b"), Ok(true));
        assert_eq!(matches("/w/*.txt", "/w/a.txt"), Ok(true));
        assert_eq!(matches("a/*", "a/b"), Ok(true));
        assert_eq!(matches("/", "/"), Ok(true));
        assert_eq!(matches("/**", "/a"), Ok(true));
    }

    #[test]
    fn a_path_that_is_not_in_normal_form_is_an_error_and_not_a_mismatch() {
        for value in ["/w/../etc", "/w/./a", "/w//a", "/w/a/", "w/a", "", "/w/..", "/w/\u{0}"] {
            assert!(matches("/w/**", value).is_err(), "{value}");
        }
        assert!(matches("w/**", "/w/a").is_err());
    }

    #[test]
    fn a_url_is_compared_part_by_part() {
        let shop = "https://shop.example.com/**";
        assert_eq!(matches(shop, "https://shop.example.com/a/b"), Ok(true));
        assert_eq!(matches(shop, "https://shop.example.com/"), Ok(true));
        assert_eq!(matches(shop, "https://shop.example.com"), Ok(true));
        assert_eq!(matches(shop, "http://shop.example.com/a"), Ok(false));
        assert_eq!(matches(shop, "https://shop.example.com.evil.org/a"), Ok(false));
        assert_eq!(matches(shop, "https://shop.example.com:8443/a"), Ok(false));
        assert_eq!(matches("https://h:8443/*", "https://h:8443/a"), Ok(true));
        assert_eq!(matches("https://*.example.com/**", "https://a.b.example.com/x"), Ok(true));
        assert_eq!(matches("https://*.example.com/**", "https://example.com/x"), Ok(false));
        assert_eq!(matches("https://*.example.com/**", "https://evilexample.com/x"), Ok(false));
        assert_eq!(matches("https://*/**", "https://[::1]/x"), Ok(true));
        assert_eq!(matches("https://*/**", "https://[::1]:22/x"), Ok(false));
        assert_eq!(matches("https://*/**", "https://h:22/x"), Ok(false));
        assert_eq!(matches("https://h/**", "https://h/%C3%A9%20b"), Ok(true));
        assert_eq!(matches("https://h/a?q=*", "https://h/a?q=1&r=2"), Ok(true));
        assert_eq!(matches("https://h/a?q=*", "https://h/a"), Ok(false));
        assert_eq!(matches("https://h/**", "https://other/a?q"), Ok(false));
    }

    #[test]
    fn a_url_that_is_not_in_normal_form_is_an_error_and_not_a_mismatch() {
        for value in [
            "https://user@shop/a",
            "https://SHOP/a",
            "HTTPS://shop/a",
            "https://shop./a",
            "https://shop:443/a",
            "http://shop:80/",
            "https://shop:x/",
            "https://shop:0443/",
            "https://shop:99999/",
            "https://shop/a/../b",
            "https://shop/a/..;x=1/b",
            "https://shop/a/.;/b",
            "https://shop/%2e%2E/b",
            "https://shop/a%2fb",
            "https://shop/a%252fb",
            "https://shop/%zz",
            "https://shop/%2",
            "https://shop/a#b",
            "https://shop/a b",
            "https://shop/\u{e9}",
            "https://shop\\a",
            "https://",
            "shop/a",
            "ftp://shop/a",
            "https://[::1]x/",
            "https://[zz]/",
            "https://a..b/",
            "https://shop//a",
            "https://shop/%61dmin",
            "https://shop/a%3bb",
            "https://shop/a%3Bb",
            "https://shop/%c3%a9",
            "https://shop/%C0%AE%C0%AE/a",
            "https://shop/a;x/b",
            "https://shop/..;x/b",
            "https://127.1/a",
            "https://2130706433/",
            "https://0x7f.0.0.1/",
            "https://shop.0x1/",
            "https://010.0.0.1/",
            "https://[0:0:0:0:0:0:0:1]/",
            "https://[::FFFF:1.2.3.4]/",
            "https://shop/a?q=1",
        ] {
            assert!(matches("https://shop/**", value).is_err(), "{value}");
        }
    }

    #[test]
    fn a_glob_that_cannot_mean_anything_is_refused_where_it_stands() {
        for (glob, at) in [
            ("", 0),
            ("/a/../b", 3),
            ("/a/./b", 3),
            ("/a//b", 3),
            ("/a/", 3),
            ("/a/b**", 4),
            ("/a/?", 3),
            ("/[a]", 1),
            ("/a b", 2),
            ("/\u{e9}", 1),
            ("ftp://a/b", 0),
            ("https://A/b", 8),
            ("https://a*/b", 8),
            ("https://*a/b", 8),
            ("https://*..a/b", 8),
            ("https://192.168.1.*/b", 8),
            ("https://a:443/", 8),
            ("https:///b", 8),
            ("https://a/b/../c", 12),
            ("https://a//b", 10),
            ("/***", 1),
            ("https://a/?a?b", 12),
        ] {
            assert_eq!(ResourceGlob::parse(glob).map_err(|e| e.at), Err(at), "{glob}");
        }
        assert_eq!(ResourceGlob::parse("/a/**").unwrap().as_str(), "/a/**");
    }
}
