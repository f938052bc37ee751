//! The gatekeeper, not the commander: a policy file and a request become a decision.
//!
//! A policy is a pure function of the file and the request. It has no clock, no counters, no I/O; it never touches an
//! input and never adds a step. The same file and request give the same answer for ever, so that every decision can be
//! decided again from the journal.
//!
//! # Order of evaluation
//!
//! ```text
//! rule  = first rule, in file order, whose principal, capability and `when` all match
//! base  = rule.action, or the file's `default` if none matches
//! risk  = max(declared risk, the file's floors for the capability, the step's risk)
//! floor = REQUIRE_APPROVAL if risk >= HIGH, unless the rule says `accept_risk: HIGH` (never for CRITICAL); else ALLOW
//! final = strictest(base, floor)                                   ALLOW < REQUIRE_APPROVAL < DENY
//! ```
//!
//! 1. A principal that acts for another is decided together with it: the stricter answer holds. So a step cannot gain
//!    by naming an agent, and an agent cannot gain by the run's principal.
//! 2. A condition that cannot be evaluated (a missing field, a wrong type, a path or URL that is not in normal form) is
//!    DENY and never *skip the rule*: skipping a DENY rule would loosen the answer. All conditions of a rule are looked
//!    at, so the order in which they stand does not matter.
//! 3. `human.approve`, the step that only waits, has no capability behind it: a rule may deny it or name its approvers;
//!    otherwise it asks, also where the default is DENY, and it never runs through unasked.
//!
//! ```
//! use redress::document::Source;
//! use redress::policy::{Policy, Request, decide};
//! use redress::types::{Action, CapabilityId, Principal, Risk};
//!
//! let file = r#"
//! rules:
//!   - principal: "agent:clerk"
//!     capabilities: ["io.fs.*"]
//!     when: { inputs.path: { glob: "/workspace/**" } }
//!     action: ALLOW
//! "#;
//! let (policy, _warnings) = Policy::load(Source::new("policy.yaml", file), "/srv/project")?;
//! let answer = |path: &str, risk| {
//!     let inputs = serde_json::json!({ "path": path });
//!     let request = Request {
//!         principal: Principal::parse("agent:clerk")?,
//!         acting_for: None,
//!         capability: CapabilityId::parse("io.fs.write_file")?,
//!         declared_risk: risk,
//!         step_risk: None,
//!         inputs: Some(&inputs),
//!         unknown: &[],
//!     };
//!     Ok::<_, redress::types::IdError>(decide(&policy, &request).action)
//! };
//! assert_eq!(answer("/workspace/a.txt", Risk::Medium)?, Action::Allow);
//! assert_eq!(answer("/workspace/a.txt", Risk::High)?, Action::RequireApproval);
//! assert_eq!(answer("/etc/passwd", Risk::Medium)?, Action::Deny);
//! assert_eq!(answer("/workspace/../etc/passwd", Risk::Medium)?, Action::Deny);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What loads
//!
//! [`Policy::load`] reports everything that is wrong with a file at once. A key that nothing enforces is an error, so a
//! file means what it says. The file's own `tests:` are part of it: if one fails, the policy does not load.
//!
//! # Two evaluators
//!
//! [`reference::decide`] is the specification: a plain loop with the formula above. [`decide`] finds the rules by an
//! index over the patterns. Property tests hold that both agree.
//!
//! # What is not shown
//!
//! `sensitive:` names fields of inputs and outputs that are masked wherever they are shown ([`Policy::mask`]). It decides nothing.
//!
//! # Components
//!
//! `signers:` and `providers:` say whose components are let in, and which ids they may provide ([`Policy::admit`]).
//!
//! # Grants
//!
//! What the sandbox opens is the intersection of what the capability asks and what the file grants, to its capability
//! and to *every* principal ([`effective_grant`]). Whether a path on the host is a symbolic link, or contains the
//! journal, is for the host to check: [`Policy::granted_hosts`] lists what to look at.

mod classes;
mod condition;
mod decide;
mod diff;
mod explain;
mod foresee;
mod grant;
mod index;
mod keys;
mod lint;
mod load;
mod pattern;
mod provenance;
pub mod reference;
mod rule;
mod schema;
mod selftest;
mod sensitive;

pub use decide::{Decision, Request, decide, decide_by_rule_only};
pub use diff::{Answer, Change, Direction, GrantChange, TooMany, diff};
pub use explain::{Explanation, NearMiss, PrincipalExplanation, RuleOutcome, RuleTrace, explain};
pub use foresee::{Foresight, foresee};
pub use grant::{GrantedHost, Opening, effective_grant, openings};
pub use keys::keys;
pub use lint::lint;
pub use load::read_secret_source;
pub use pattern::Pattern;
pub use provenance::{Offer, Signer};
pub use rule::{ApprovalTerms, RuleRef};
pub use schema::schema;
pub use selftest::{PolicyTest, TestResult, load_tests, run_tests};
pub use sensitive::{FieldPath, MARK, MASKED, Side, marks_any, mask_marked};

use crate::document::{Diagnostic, Diagnostics, Source};
use crate::types::{Action, CapabilityId, Digest, Risk};

use grant::GrantEntry;
use index::Index;
use rule::{RiskFloor, Rule};

/// The id as which a step that only waits for a person is decided.
pub const HUMAN_APPROVE: &str = "human.approve";

/// A policy file that was understood completely.
#[derive(Debug)]
pub struct Policy {
    source: Source,
    digest: Digest,
    default: Action,
    rules: Vec<Rule>,
    index: Index,
    floors: Vec<RiskFloor>,
    grants: Vec<GrantEntry>,
    sensitive: Vec<sensitive::SensitiveFields>,
    signers: Vec<Signer>,
    providers: Vec<provenance::Provider>,
    tests: Vec<PolicyTest>,
}

impl Policy {
    /// Reads a policy and runs its tests. `base_dir` is the absolute folder of the file: relative `host:` paths are
    /// resolved against it, by their text alone. Besides the policy come warnings that refuse nothing.
    pub fn load(source: Source, base_dir: &str) -> Result<(Policy, Diagnostics), Diagnostics> {
        let (policy, warnings) = Policy::load_untested(source, base_dir)?;
        let mut failed = Diagnostics::new(policy.source.clone());
        for (test, result) in policy.tests.iter().zip(run_tests(&policy, &policy.tests)) {
            if let Some(problem) = result.problem {
                failed.push(Diagnostic::error("test-failed", test.span(), problem));
            }
        }
        if failed.has_errors() { Err(failed) } else { Ok((policy, warnings)) }
    }

    /// Reads a policy without running its tests, for a verb that shows their results. Nothing is decided by it.
    pub fn load_untested(source: Source, base_dir: &str) -> Result<(Policy, Diagnostics), Diagnostics> {
        load::load(source, base_dir)
    }

    /// The SHA-256 of the file's bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The file's text.
    pub fn text(&self) -> &str {
        self.source.text()
    }

    /// The file's name, as it was given.
    pub fn name(&self) -> &str {
        self.source.name()
    }

    /// The file, to point at places in it.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The file's own tests.
    pub fn tests(&self) -> &[PolicyTest] {
        &self.tests
    }

    /// The risk of a call: never lower than any of the three.
    fn risk(&self, capability: &CapabilityId, declared: Risk, step: Option<Risk>) -> Risk {
        let floors = self.floors.iter().filter(|floor| Pattern::any(&floor.capabilities, capability.as_str()));
        floors.map(|floor| floor.level).chain(step).fold(declared, Risk::max)
    }

    /// What holds where no rule matches.
    fn default_for(&self, capability: &CapabilityId) -> Action {
        if capability.as_str() == HUMAN_APPROVE { Action::RequireApproval } else { self.default }
    }
}
