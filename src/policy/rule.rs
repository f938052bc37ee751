use serde::{Deserialize, Serialize};

use crate::document::Span;
use crate::types::{Action, Duration, Risk};

use super::condition::Condition;
use super::pattern::Pattern;

/// A rule of the file.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub reference: RuleRef,
    /// Where it stands.
    pub span: Span,
    /// Groups are written out.
    pub principals: Vec<Pattern>,
    pub capabilities: Vec<Pattern>,
    /// Where each of them stands.
    pub capability_spans: Vec<Span>,
    pub when: Vec<Condition>,
    pub action: Action,
    /// `accept_risk: HIGH`.
    pub accepts_high: bool,
    pub approval: ApprovalTerms,
}

/// The least risk of some capabilities.
#[derive(Clone, Debug)]
pub(super) struct RiskFloor {
    pub capabilities: Vec<Pattern>,
    /// Where each of them stands.
    pub capability_spans: Vec<Span>,
    pub level: Risk,
}

/// Which rule decided.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleRef {
    /// Its place in the list, from 1.
    pub index: usize,
    /// Its line in the file.
    pub line: usize,
    /// Its name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Who may approve, how many must, and until when. Whether somebody may vote under them is said where votes are counted:
/// in the saga, which holds each vote against the request that was journaled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalTerms {
    /// A voter matches one of these.
    pub approvers: Vec<Pattern>,
    /// And one of each of these: where the rules of somebody who acts for another, of that other, or of a declared
    /// compensation name different approvers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Vec<Pattern>>,
    /// How many different voters must approve.
    pub quorum: u32,
    /// How long the request stands.
    pub expires: Duration,
}

impl ApprovalTerms {
    /// Terms that satisfy both.
    pub(super) fn and(mut self, other: ApprovalTerms) -> ApprovalTerms {
        for list in std::iter::once(other.approvers).chain(other.also) {
            if self.approvers != list && !self.also.contains(&list) {
                self.also.push(list);
            }
        }
        self.quorum = self.quorum.max(other.quorum);
        self.expires = self.expires.min(other.expires);
        self
    }
}

impl Default for ApprovalTerms {
    /// Any user, one vote, a day.
    fn default() -> ApprovalTerms {
        ApprovalTerms {
            // INVARIANT: `user:*` is a pattern.
            approvers: Pattern::parse("user:*").into_iter().collect(),
            also: Vec::new(),
            quorum: 1,
            expires: Duration::from_secs(24 * 60 * 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(approvers: &[&str]) -> ApprovalTerms {
        let approvers = approvers.iter().map(|p| Pattern::parse(p).unwrap()).collect();
        ApprovalTerms { approvers, ..ApprovalTerms::default() }
    }

    #[test]
    fn terms_of_two_rules_must_both_be_met() {
        let two = ApprovalTerms { quorum: 2, expires: Duration(5), ..terms(&["user:a", "user:b"]) };
        let both = terms(&["user:b", "user:c"]).and(two.clone());
        assert_eq!(
            (&both.approvers, &both.also),
            (&terms(&["user:b", "user:c"]).approvers, &vec![two.approvers.clone()])
        );
        assert_eq!((both.quorum, both.expires), (2, Duration(5)));
        assert_eq!(two.clone().and(two.clone()), two);
    }
}
