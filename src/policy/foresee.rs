use crate::types::Principal;

use super::condition::{self, Truth};
use super::decide::{Decision, Request, Verdict, conclude};
use super::rule::Rule;
use super::{Pattern, Policy};

/// What can be said of a decision before all values are known.
#[derive(Clone, Debug, PartialEq)]
pub enum Foresight {
    /// The missing values do not matter.
    Decided(Decision),
    /// They do.
    Depends {
        /// The fields that matter and are not known, such as `inputs.url`.
        on: Vec<String>,
        /// The answers that can come out, in the order in which their rules stand; besides these DENY, if a value turns
        /// out to be one that a condition cannot be evaluated with.
        possible: Vec<Decision>,
    },
}

/// Decides as far as it can be: for a plan, where outputs of earlier steps are not known.
pub fn foresee(policy: &Policy, request: &Request<'_>) -> Foresight {
    let (mut on, mut possible) = foresee_one(policy, request, &request.principal);
    if let Some(other) = &request.acting_for {
        let (on_other, possible_other) = foresee_one(policy, request, other);
        on.extend(on_other);
        let pairs =
            possible.iter().flat_map(|own| possible_other.iter().map(|other| own.clone().stricter(other.clone())));
        possible = distinct(pairs);
    }
    on.sort();
    on.dedup();
    match <[Decision; 1]>::try_from(possible) {
        Ok([decision]) if on.is_empty() || decision.action == crate::types::Action::Deny => {
            Foresight::Decided(decision)
        }
        Ok([decision]) => Foresight::Depends { on, possible: vec![decision] },
        Err(possible) => Foresight::Depends { on, possible },
    }
}

/// The unknown fields on the way, and the answers that can come out for one principal.
fn foresee_one(policy: &Policy, request: &Request<'_>, principal: &Principal) -> (Vec<String>, Vec<Decision>) {
    let (mut on, mut verdicts) = (Vec::new(), Vec::new());
    let named = |rule: &&Rule| {
        Pattern::any(&rule.principals, principal.as_str())
            && Pattern::any(&rule.capabilities, request.capability.as_str())
    };
    let mut certain = None;
    for rule in policy.rules.iter().filter(named) {
        match condition::all(&rule.when, request.input()) {
            Truth::Fails(_) => {}
            Truth::Unknown(field) => {
                on.push(field);
                verdicts.push(Verdict::of_rule(rule));
            }
            Truth::Holds => {
                certain = Some(Verdict::of_rule(rule));
                break;
            }
            Truth::Error(reason) => {
                certain = Some(Verdict::of_error(rule, reason));
                break;
            }
        }
    }
    verdicts.push(certain.unwrap_or_else(|| Verdict::of_default(policy, &request.capability)));
    (on, distinct(verdicts.into_iter().map(|verdict| conclude(policy, request, verdict))))
}

fn distinct(decisions: impl Iterator<Item = Decision>) -> Vec<Decision> {
    let mut kept: Vec<Decision> = Vec::new();
    for decision in decisions {
        if !kept.contains(&decision) {
            kept.push(decision);
        }
    }
    kept
}
