use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// What a capability asks for. The operator's grants may open less, never more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// `fs:read`: reading in granted directories.
    FsRead,
    /// `fs:write`: changing in directories granted read-write.
    FsWrite,
    /// `http:GET,POST https://api.example.com/*`: requests to URLs; `*` for any method.
    Http {
        /// Upper-case methods, or a single `*`.
        methods: Vec<String>,
        /// A glob over URLs; without a path it is for every path.
        url: String,
    },
    /// `secret:NAME`: a secret in a header, put there by the host; `secret:*` for whichever is granted.
    Secret(String),
    /// `config:NAME`: a configuration value.
    Config(String),
}

/// A permission that is not of a known form.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "`{0}` is not a permission: write `fs:read`, `fs:write`, `http:GET,POST https://host/path*`, `secret:NAME` or `config:NAME`"
)]
pub struct PermissionError(pub String);

impl Permission {
    /// Reads a permission as it stands in a description.
    pub fn parse(text: &str) -> Result<Permission, PermissionError> {
        let error = || PermissionError(text.to_owned());
        let named = |name: &str| {
            let good = !name.is_empty()
                && name.len() <= 64
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
            if good { Ok(name.to_owned()) } else { Err(error()) }
        };
        match text.split_once(':').ok_or_else(error)? {
            ("fs", "read") => Ok(Permission::FsRead),
            ("fs", "write") => Ok(Permission::FsWrite),
            ("secret", "*") => Ok(Permission::Secret("*".to_owned())),
            ("secret", name) => Ok(Permission::Secret(named(name)?)),
            ("config", name) => Ok(Permission::Config(named(name)?)),
            ("http", rest) => {
                let (methods, url) = rest.split_once(' ').ok_or_else(error)?;
                let methods: Vec<String> = methods.split(',').map(str::to_owned).collect();
                let good =
                    methods.iter().all(|m| m == "*" || (!m.is_empty() && m.bytes().all(|b| b.is_ascii_uppercase())));
                let permission = Permission::Http { methods, url: url.to_owned() };
                if good && permission.has_sound_url() { Ok(permission) } else { Err(error()) }
            }
            _ => Err(error()),
        }
    }

    /// Whether it can change the world outside.
    pub fn can_change(&self) -> bool {
        match self {
            Permission::FsWrite => true,
            Permission::Http { methods, .. } => {
                methods.iter().any(|m| !matches!(m.as_str(), "GET" | "HEAD" | "OPTIONS"))
            }
            Permission::FsRead | Permission::Secret(_) | Permission::Config(_) => false,
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Permission::FsRead => f.write_str("fs:read"),
            Permission::FsWrite => f.write_str("fs:write"),
            Permission::Http { methods, url } => write!(f, "http:{} {url}", methods.join(",")),
            Permission::Secret(name) => write!(f, "secret:{name}"),
            Permission::Config(name) => write!(f, "config:{name}"),
        }
    }
}

impl Serialize for Permission {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Permission {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Permission, D::Error> {
        Permission::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_is_read_back_as_it_was_written() {
        for text in [
            "fs:read",
            "fs:write",
            "http:GET,POST https://api.example.com/*",
            "http:* https://*",
            "secret:TOKEN",
            "secret:*",
            "config:region",
        ] {
            assert_eq!(Permission::parse(text).map(|p| p.to_string()), Ok(text.to_owned()));
        }
        let bad = [
            "",
            "fs",
            "fs:delete",
            "http:get https://x",
            "http:GET ftp://x",
            "http:GET https://192.168.1.*",
            "http:GET https://x/?q=*",
            "secret:",
            "secret:a b",
            "exec:sh",
        ];
        for bad in bad {
            assert!(Permission::parse(bad).is_err(), "{bad}");
        }
    }
}
