//! The directories of a grant are opened here, once per call; everything a component sees of the disk is below them.
//!
//! Where grants lie inside each other, the innermost one says what may be done: a directory granted read-only stays so
//! inside a wider one that is read-write, whichever handle the component uses.

use std::path::Path;

use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

use crate::types::{Access, DirGrant, Failure, Grant, below, code};

/// One granted directory.
#[derive(Clone, Debug)]
pub(super) struct Root {
    /// The resolved path on the host.
    host: String,
    pub(super) guest: String,
    pub(super) access: Access,
}

/// All granted directories of a call.
#[derive(Clone, Debug, Default)]
pub(super) struct Roots(Vec<Root>);

/// Opens every directory of `grant`; an error names the one that cannot be had, and where it was granted.
pub(super) fn open(grant: &Grant, builder: &mut WasiCtxBuilder) -> Result<Roots, Failure> {
    let mut roots = Vec::with_capacity(grant.filesystem.len());
    for dir in &grant.filesystem {
        let unusable = |why: String| {
            let message = format!(
                "the directory `{}`, which the policy grants as `{}` ({}), {why}",
                dir.host,
                dir.guest,
                dir.access.as_str()
            );
            let help = "create it, or change `host` under `grants:` in the policy";
            Failure { details: Some(help.into()), ..Failure::new(code::NOT_GRANTED, message) }
        };
        let host = resolved(dir).map_err(unusable)?;
        let perms = match dir.access {
            Access::ReadOnly => FsPerms::ReadOnly,
            Access::ReadWrite => FsPerms::ReadWrite,
        };
        builder
            .preopened_dir(&host, &dir.guest, perms)
            .map_err(|error| unusable(format!("cannot be opened: {error}")))?;
        roots.push(Root { host, guest: dir.guest.trim_end_matches('/').to_owned(), access: dir.access });
    }
    Ok(Roots(roots))
}

fn resolved(dir: &DirGrant) -> Result<String, String> {
    let path = Path::new(&dir.host);
    if !path.is_absolute() {
        return Err("is not an absolute path".into());
    }
    let real = path.canonicalize().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "does not exist".to_owned(),
        _ => format!("cannot be opened: {error}"),
    })?;
    if !real.is_dir() {
        return Err("is not a directory".into());
    }
    real.into_os_string().into_string().map_err(|_| "has a name that is not UTF-8".into())
}

impl Roots {
    /// The innermost granted directory that holds the resolved path `host`.
    pub(super) fn of(&self, host: &str) -> Option<&Root> {
        self.0.iter().filter(|root| below(host, &root.host).is_some()).max_by_key(|root| root.host.len())
    }

    /// How a component calls the resolved path `host`.
    pub(super) fn guest_name(&self, host: &str) -> Option<String> {
        let root = self.of(host)?;
        let rest = below(host, &root.host)?;
        Some(match rest {
            "" if root.guest.is_empty() => "/".to_owned(),
            "" => root.guest.clone(),
            _ => format!("{}/{rest}", root.guest),
        })
    }

    /// Whether `host` is a granted directory, or holds one: such a path can neither be moved nor removed.
    pub(super) fn holds_a_grant(&self, host: &str) -> bool {
        self.0.iter().any(|root| below(&root.host, host).is_some())
    }

    /// How many directories lie between the innermost granted directory and the directory `host`.
    pub(super) fn depth(&self, host: &str) -> Option<usize> {
        let rest = below(host, &self.of(host)?.host)?;
        Some(rest.split('/').filter(|segment| !segment.is_empty()).count())
    }
}

impl Root {
    /// Whether `host` is a name that belongs to the host's own settings and state.
    pub(super) fn is_reserved(&self, host: &str) -> bool {
        let rest = below(host, &self.host).unwrap_or(host);
        let last = rest.rsplit('/').next();
        last == Some(SETTINGS) || rest.split('/').any(|segment| segment == STATE)
    }
}

const SETTINGS: &str = "redress.yaml";
const STATE: &str = ".redress";

/// Whether the host calls its settings or its state so.
pub(super) fn is_own_name(name: &std::ffi::OsStr) -> bool {
    name == SETTINGS || name == STATE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots() -> Roots {
        let root = |host: &str, guest: &str, access| Root { host: host.into(), guest: guest.into(), access };
        Roots(vec![root("/h/ws", "/workspace", Access::ReadWrite), root("/h/ws/ro", "/ro", Access::ReadOnly)])
    }

    #[test]
    fn a_sibling_with_the_same_prefix_is_not_inside() {
        assert!(roots().of("/h/ws-evil/x").is_none());
        assert_eq!(roots().guest_name("/h/ws/a/b").as_deref(), Some("/workspace/a/b"));
        assert_eq!(roots().guest_name("/h/ws").as_deref(), Some("/workspace"));
    }

    #[test]
    fn the_innermost_grant_says_what_may_be_done() {
        assert_eq!(roots().of("/h/ws/ro/x").map(|r| r.access), Some(Access::ReadOnly));
        assert_eq!(roots().of("/h/ws/rot/x").map(|r| r.access), Some(Access::ReadWrite));
        assert!(roots().holds_a_grant("/h/ws/ro") && roots().holds_a_grant("/h"));
        assert!(!roots().holds_a_grant("/h/ws/ro/x"));
    }

    #[test]
    fn the_names_of_the_host_are_reserved_at_any_depth() {
        let roots = roots();
        let root = roots.of("/h/ws/a").unwrap();
        for name in ["/h/ws/redress.yaml", "/h/ws/a/redress.yaml", "/h/ws/.redress", "/h/ws/.redress/journal.db"] {
            assert!(root.is_reserved(name), "{name}");
        }
        assert!(!root.is_reserved("/h/ws/redress.yaml.txt"));
    }

    #[test]
    fn a_granted_directory_that_does_not_exist_is_named_with_its_grant() {
        let grant = Grant {
            filesystem: vec![DirGrant {
                host: "/does/not/exist".into(),
                guest: "/workspace".into(),
                access: Access::ReadWrite,
            }],
            ..Grant::default()
        };
        let failure = open(&grant, &mut WasiCtxBuilder::new()).unwrap_err();
        assert_eq!(
            failure.message,
            "the directory `/does/not/exist`, which the policy grants as `/workspace` (read-write), does not exist"
        );
    }
}
