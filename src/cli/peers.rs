//! `peers:` of the settings: users of this machine who need no token at the socket of the service.

use std::collections::BTreeSet;

use crate::document::{Diagnostic, Diagnostics, MapReader, Node, integer, list, string, strings};
use crate::journal::Scope;
use crate::serve::token::Peers;
use crate::types::Principal;

pub(super) const PEER_KEYS: [&str; 3] = ["uid", "principal", "may"];

/// Reads them.
pub(super) fn read_peers(node: &Node, diagnostics: &mut Diagnostics) -> Peers {
    let mut peers = Peers::new();
    for item in list(node, "`peers`", diagnostics).into_iter().flatten() {
        let Some((uid, principal, scopes)) = read_peer(item, diagnostics) else { continue };
        if peers.insert(uid, (principal, scopes)).is_some() {
            let wrong = Diagnostic::error("duplicate", item.span, format!("the user {uid} stands here twice"));
            diagnostics.push(wrong.help("put what they may into one entry"));
        }
    }
    peers
}

fn read_peer(node: &Node, diagnostics: &mut Diagnostics) -> Option<(u32, Principal, BTreeSet<Scope>)> {
    let map = MapReader::new(node, "a peer", &PEER_KEYS, diagnostics)?;
    let uid = map.required("uid", diagnostics).and_then(|node| {
        let number = u32::try_from(integer(node, "`uid`", diagnostics)?).ok();
        if number.is_none() {
            let wrong = Diagnostic::error("wrong-value", node.span, "`uid` is the number of a user");
            diagnostics.push(wrong.help("`id -u NAME` prints it"));
        }
        number
    });
    let principal = map.required("principal", diagnostics).and_then(|node| {
        let parsed = Principal::parse(string(node, "`principal`", diagnostics)?);
        parsed.map_err(|error| diagnostics.push(Diagnostic::error("wrong-value", node.span, error.to_string()))).ok()
    });
    let may = map.required("may", diagnostics).and_then(|node| strings(node, "`may`", diagnostics));
    let mut scopes = BTreeSet::new();
    for (word, node) in may.into_iter().flatten() {
        match Scope::parse(word) {
            Some(scope) => drop(scopes.insert(scope)),
            None => {
                let words: Vec<&str> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
                let wrong = Diagnostic::error("wrong-value", node.span, format!("`{word}` is nothing that one may"));
                diagnostics.push(wrong.help(format!("write one of {}", words.join(", "))));
            }
        }
    }
    Some((uid?, principal?, scopes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Source, parse};

    fn read(text: &str) -> Result<Peers, String> {
        let source = Source::new("redress.yaml", text);
        let mut diagnostics = Diagnostics::new(source.clone());
        let peers = read_peers(&parse(&source).unwrap(), &mut diagnostics);
        if diagnostics.has_errors() { Err(diagnostics.to_string()) } else { Ok(peers) }
    }

    #[test]
    fn users_act_as_principals_each_for_what_is_said() {
        let peers = read("- { uid: 1000, principal: \"user:alice\", may: [vote, read-all] }\n").unwrap();
        let (principal, scopes) = &peers[&1000];
        assert_eq!(principal.as_str(), "user:alice");
        assert_eq!(*scopes, [Scope::Vote, Scope::ReadAll].into());
    }

    #[test]
    fn what_is_wrong_with_a_peer_is_told_with_its_place() {
        for (text, expected) in [
            ("x", "`peers` must be a list"),
            ("- { principal: \"user:a\", may: [vote] }", "a peer needs the key `uid`"),
            ("- { uid: 5000000000, principal: \"user:a\", may: [vote] }", "`uid` is the number of a user"),
            ("- { uid: 1, principal: \"a b\", may: [vote] }", "1:24"),
            ("- { uid: 1, principal: \"user:a\", may: [rule] }", "`rule` is nothing that one may"),
            (
                "- { uid: 1, principal: \"user:a\", may: [vote] }\n- { uid: 1, principal: \"user:b\", may: [vote] }",
                "the user 1 stands here twice",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
