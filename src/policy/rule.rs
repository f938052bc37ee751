use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::types::{Action, Duration, Principal, Risk};

use super::condition::Condition;
use super::pattern::Pattern;

/// A rule of the file.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub reference: RuleRef,
    /// Groups are written out.
    pub principals: Vec<Pattern>,
    pub capabilities: Vec<Pattern>,
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

/// Who may approve, how many must, and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalTerms {
    /// A voter matches one of these. An agent only matches a pattern that begins with `agent:`.
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

/// Why somebody may not vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum VoteRefusal {
    /// Nobody approves what they asked for, or what was asked for in their name.
    #[error("who requested a step, or has it requested in their name, cannot vote on it")]
    Requester,
    /// The rule names others.
    #[error("the policy does not name them as an approver of this step")]
    NotAnApprover,
}

impl ApprovalTerms {
    /// Whether `voter` may vote on what `requester` asked for, possibly acting for another.
    pub fn may_vote(
        &self,
        voter: &Principal,
        requester: &Principal,
        acting_for: Option<&Principal>,
    ) -> Result<(), VoteRefusal> {
        if voter == requester || Some(voter) == acting_for {
            return Err(VoteRefusal::Requester);
        }
        let admits = |pattern: &Pattern| {
            pattern.matches(voter.as_str()) && (voter.kind() != "agent" || pattern.as_str().starts_with("agent:"))
        };
        let mut lists = std::iter::once(&self.approvers).chain(&self.also);
        if lists.all(|list| list.iter().any(admits)) { Ok(()) } else { Err(VoteRefusal::NotAnApprover) }
    }

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

    fn who(text: &str) -> Principal {
        Principal::parse(text).unwrap()
    }

    fn terms(approvers: &[&str]) -> ApprovalTerms {
        let approvers = approvers.iter().map(|p| Pattern::parse(p).unwrap()).collect();
        ApprovalTerms { approvers, ..ApprovalTerms::default() }
    }

    #[test]
    fn any_user_but_the_requester_may_vote_by_default() {
        let may = |voter| ApprovalTerms::default().may_vote(&who(voter), &who("user:a"), Some(&who("user:b")));
        assert_eq!(may("user:c"), Ok(()));
        assert_eq!(may("user:a"), Err(VoteRefusal::Requester));
        assert_eq!(may("user:b"), Err(VoteRefusal::Requester));
        assert_eq!(may("agent:x"), Err(VoteRefusal::NotAnApprover));
    }

    #[test]
    fn an_agent_may_vote_only_if_a_rule_names_agents() {
        let may = |approvers: &[&str]| terms(approvers).may_vote(&who("agent:x"), &who("agent:y"), None).is_ok();
        assert!(!may(&["*"]) && !may(&["*:x"]) && !may(&["user:*"]));
        assert!(may(&["agent:x"]) && may(&["user:*", "agent:*"]));
    }

    #[test]
    fn terms_of_two_rules_must_both_be_met() {
        let two = ApprovalTerms { quorum: 2, expires: Duration(5), ..terms(&["user:a", "user:b"]) };
        let both = terms(&["user:b", "user:c"]).and(two.clone());
        let may = |voter| both.may_vote(&who(voter), &who("agent:x"), None).is_ok();
        assert!(may("user:b") && !may("user:a") && !may("user:c"));
        assert_eq!((both.quorum, both.expires), (2, Duration(5)));
        assert_eq!(two.clone().and(two.clone()), two);
    }
}
