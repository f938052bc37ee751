//! What the sandbox opens of the network, and whether a request is inside it. Pure: names are resolved elsewhere.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::resource::authority_fits;
use super::{Permission, ResourceGlob, UrlParts};

/// The methods that can be granted. CONNECT, TRACE and methods of one's own are granted to nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    /// Reads.
    Get,
    /// Reads the header only.
    Head,
    /// Asks what can be done.
    Options,
    /// Makes or does something.
    Post,
    /// Puts something in place.
    Put,
    /// Changes something.
    Patch,
    /// Removes something.
    Delete,
}

impl HttpMethod {
    /// All of them.
    pub const ALL: [HttpMethod; 7] = [
        HttpMethod::Get,
        HttpMethod::Head,
        HttpMethod::Options,
        HttpMethod::Post,
        HttpMethod::Put,
        HttpMethod::Patch,
        HttpMethod::Delete,
    ];

    /// The word in files, journals and requests.
    pub fn as_str(self) -> &'static str {
        match self {
            HttpMethod::Get => "GET",
            HttpMethod::Head => "HEAD",
            HttpMethod::Options => "OPTIONS",
            HttpMethod::Post => "POST",
            HttpMethod::Put => "PUT",
            HttpMethod::Patch => "PATCH",
            HttpMethod::Delete => "DELETE",
        }
    }

    /// Reads the word, exactly as written in [`HttpMethod::as_str`].
    pub fn parse(word: &str) -> Option<HttpMethod> {
        HttpMethod::ALL.into_iter().find(|method| method.as_str() == word)
    }

    /// Whether it is no effect by convention.
    pub fn is_read(self) -> bool {
        matches!(self, HttpMethod::Get | HttpMethod::Head | HttpMethod::Options)
    }

    /// What a request of this method is called as an effect or as egress.
    pub fn effect_kind(self) -> &'static str {
        match self {
            HttpMethod::Get => "http.get",
            HttpMethod::Head => "http.head",
            HttpMethod::Options => "http.options",
            HttpMethod::Post => "http.post",
            HttpMethod::Put => "http.put",
            HttpMethod::Patch => "http.patch",
            HttpMethod::Delete => "http.delete",
        }
    }
}

impl fmt::Display for HttpMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// URLs that the sandbox opens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UrlGrant {
    /// A glob over URLs without a query.
    pub url: String,
    /// With which methods.
    pub methods: Vec<HttpMethod>,
    /// Whether requests may have a query.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub query: bool,
    /// Whether the host may be a loopback or private address.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub local: bool,
    /// Whether GET, HEAD and OPTIONS count as effects, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reads_are_effects: bool,
}

/// Where a secret's value is, on the operator's side.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretSource {
    /// An environment variable of the host process.
    Env(String),
    /// The absolute path of a file; its last line break does not count.
    File(String),
}

/// A secret that the host puts into headers for a component, which never sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretGrant {
    /// Its name; a header says `${secret:NAME}` where the value goes.
    pub name: String,
    /// Where its value is.
    pub source: SecretSource,
    /// The hosts that it may be sent to, by https; with a port if it is not 443.
    pub hosts: Vec<String>,
}

/// How a request is let through by a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The grant names the address itself.
    pub named: bool,
    /// The grant says that the host is local.
    pub local: bool,
    /// The request is an effect, whatever its method.
    pub effect: bool,
}

/// Whether a request is asked for by one of `asked` and opened by one of `grants`, and how; or why not, as a sentence that
/// goes on after the URL. A URL that is not in normal form is opened by nothing.
pub fn opened(
    grants: &[UrlGrant],
    asked: &[Permission],
    method: HttpMethod,
    url: &UrlParts<'_>,
) -> Result<Opened, &'static str> {
    if !asked.iter().any(|permission| permission.covers_request(method, url)) {
        return Err("is not among what the capability asks for");
    }
    let mut of_method = false;
    let mut without_query = false;
    let mut opened: Option<Opened> = None;
    for grant in grants {
        let Ok(glob) = ResourceGlob::parse(&grant.url) else { continue };
        if !glob.matches_url(url) {
            continue;
        }
        if !grant.methods.contains(&method) {
            of_method = true;
            continue;
        }
        if url.query.is_some() && !grant.query {
            without_query = true;
            continue;
        }
        let (host, _) = url.host_and_port();
        let literal = glob.place().is_some_and(|(_, authority)| !authority.starts_with('*'));
        let named = literal && host.parse::<IpAddr>().is_ok();
        let before = opened.unwrap_or(Opened { named: false, local: false, effect: !method.is_read() });
        opened = Some(Opened {
            named: before.named || named,
            local: before.local || (grant.local && literal),
            effect: before.effect || grant.reads_are_effects,
        });
    }
    opened.ok_or(if without_query {
        "has a query, and no grant says `query: true`"
    } else if of_method {
        "is granted, but not with this method"
    } else {
        "is not in a granted URL"
    })
}

impl UrlGrant {
    /// What is left of the grant for a capability that asks for `asked`; none if no request could match both.
    pub fn asked_for(&self, asked: &[Permission]) -> Option<UrlGrant> {
        let glob = ResourceGlob::parse(&self.url).ok()?;
        let (scheme, authority) = glob.place()?;
        let methods: Vec<HttpMethod> = self
            .methods
            .iter()
            .copied()
            .filter(|method| {
                asked.iter().any(|permission| match permission {
                    Permission::Http { methods, .. } => {
                        permits(methods, *method)
                            && permission.http_glob().is_some_and(|ask| {
                                ask.place().is_some_and(|(s, a)| {
                                    s == scheme
                                        && (a == "*" || authority_fits(a, authority) || authority_fits(authority, a))
                                })
                            })
                    }
                    _ => false,
                })
            })
            .collect();
        (!methods.is_empty()).then(|| UrlGrant { methods, ..self.clone() })
    }
}

fn permits(methods: &[String], method: HttpMethod) -> bool {
    methods.iter().any(|word| word == "*" || word == method.as_str())
}

impl Permission {
    /// The glob of an `http:` permission; one without a path is for every path.
    fn http_glob(&self) -> Option<ResourceGlob> {
        let Permission::Http { url, .. } = self else { return None };
        let rest = url.split_once("://").map_or("", |(_, rest)| rest);
        let glob =
            if rest.contains('/') { ResourceGlob::parse(url) } else { ResourceGlob::parse(&format!("{url}/**")) };
        glob.ok().filter(|glob| !glob.has_query())
    }

    /// Whether it is an `http:` permission with a URL that means something.
    pub(super) fn has_sound_url(&self) -> bool {
        self.http_glob().is_some()
    }

    /// Whether it asks for requests such as this one, whatever their query.
    pub fn covers_request(&self, method: HttpMethod, url: &UrlParts<'_>) -> bool {
        match self {
            Permission::Http { methods, url: asked } => {
                // `https://*` is for whichever host and port are granted.
                let any = asked.strip_suffix("://*").is_some_and(|scheme| scheme == url.scheme);
                permits(methods, method) && (any || self.http_glob().is_some_and(|glob| glob.matches_url(url)))
            }
            _ => false,
        }
    }

    /// Whether it asks for the secret of this name.
    pub fn covers_secret(&self, name: &str) -> bool {
        matches!(self, Permission::Secret(asked) if asked == "*" || asked == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(url: &str, methods: &[HttpMethod]) -> UrlGrant {
        UrlGrant { url: url.into(), methods: methods.to_vec(), query: false, local: false, reads_are_effects: false }
    }

    fn any() -> Vec<Permission> {
        vec![Permission::parse("http:* https://*").unwrap(), Permission::parse("http:* http://*").unwrap()]
    }

    fn ask(grants: &[UrlGrant], method: HttpMethod, url: &str) -> Result<Opened, &'static str> {
        opened(grants, &any(), method, &UrlParts::parse(url)?)
    }

    #[test]
    fn scheme_host_port_path_method_and_query_each_count() {
        let grants = [grant("https://api.example.com/v1/**", &[HttpMethod::Get])];
        assert!(ask(&grants, HttpMethod::Get, "https://api.example.com/v1/a").is_ok());
        for (method, url) in [
            (HttpMethod::Get, "http://api.example.com/v1/a"),
            (HttpMethod::Get, "https://api.example.com:8443/v1/a"),
            (HttpMethod::Get, "https://api.example.com.evil.org/v1/a"),
            (HttpMethod::Get, "https://api.example.com/v2/a"),
            (HttpMethod::Get, "https://api.example.com/v1"),
            (HttpMethod::Get, "https://api.example.com/v1/../v2"),
            (HttpMethod::Get, "https://api.example.com/v1/%2e%2e/v2"),
            (HttpMethod::Get, "https://api.example.com/v1/a?q=1"),
            (HttpMethod::Get, "https://user@api.example.com/v1/a"),
            (HttpMethod::Post, "https://api.example.com/v1/a"),
        ] {
            assert!(ask(&grants, method, url).is_err(), "{method} {url}");
        }
        let with_query = [UrlGrant { query: true, ..grants[0].clone() }];
        assert!(ask(&with_query, HttpMethod::Get, "https://api.example.com/v1/a?q=1").is_ok());
    }

    #[test]
    fn only_a_grant_that_names_the_address_or_a_local_host_opens_it() {
        let named =
            ask(&[grant("http://127.0.0.1:8080/**", &[HttpMethod::Get])], HttpMethod::Get, "http://127.0.0.1:8080/");
        assert_eq!(named, Ok(Opened { named: true, local: false, effect: false }));
        let any_host = ask(&[grant("http://*/**", &[HttpMethod::Get])], HttpMethod::Get, "http://127.0.0.1/");
        assert_eq!(any_host, Ok(Opened { named: false, local: false, effect: false }));
        let local = [UrlGrant { local: true, ..grant("http://db.test/**", &[HttpMethod::Get]) }];
        assert_eq!(ask(&local, HttpMethod::Get, "http://db.test/").map(|o| o.local), Ok(true));
    }

    #[test]
    fn entries_add_up_and_reads_become_effects_where_one_says_so() {
        let grants = [
            grant("https://h/**", &[HttpMethod::Get]),
            UrlGrant { reads_are_effects: true, ..grant("https://h/x", &[HttpMethod::Get]) },
        ];
        assert_eq!(ask(&grants, HttpMethod::Get, "https://h/x").map(|o| o.effect), Ok(true));
        assert_eq!(ask(&grants, HttpMethod::Get, "https://h/y").map(|o| o.effect), Ok(false));
    }

    #[test]
    fn what_the_capability_does_not_ask_for_is_not_opened() {
        let asked = [Permission::parse("http:GET https://h/a/**").unwrap()];
        let grants = [grant("https://h/**", &[HttpMethod::Get, HttpMethod::Post])];
        let ask = |method, url| opened(&grants, &asked, method, &UrlParts::parse(url).unwrap());
        assert!(ask(HttpMethod::Get, "https://h/a/b").is_ok());
        assert!(ask(HttpMethod::Get, "https://h/b").is_err());
        assert!(ask(HttpMethod::Post, "https://h/a/b").is_err());
        assert_eq!(grants[0].asked_for(&asked).map(|grant| grant.methods), Some(vec![HttpMethod::Get]));
        assert_eq!(grant("https://other/**", &[HttpMethod::Get]).asked_for(&asked), None);
        assert_eq!(grant("http://h/**", &[HttpMethod::Get]).asked_for(&asked), None);
        assert!(grant("https://*.h/**", &[HttpMethod::Get]).asked_for(&any()).is_some());
    }
}
