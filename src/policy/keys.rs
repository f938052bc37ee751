//! Every key of a policy file, once. The loader reads by these lists, and a test walks [`keys`] for the test that shows what
//! each does.

use crate::types::Limits;

pub(super) const FILE: [&str; 9] =
    ["default", "groups", "rules", "risk", "grants", "sensitive", "signers", "providers", "tests"];
pub(super) const RULE: [&str; 7] = ["name", "principal", "capabilities", "when", "action", "accept_risk", "approval"];
pub(super) const OPERATORS: [&str; 7] = ["equals", "in", "glob", "min", "max", "min_length", "max_length"];
pub(super) const APPROVAL: [&str; 3] = ["approvers", "quorum", "expires"];
pub(super) const FLOOR: [&str; 2] = ["capabilities", "level"];
pub(super) const GRANT: [&str; 7] =
    ["capabilities", "principals", "filesystem", "network", "secrets", "config", "limits"];
pub(super) const DIRECTORY: [&str; 3] = ["host", "guest", "access"];
pub(super) const URL: [&str; 5] = ["url", "methods", "query", "local", "reads_are_effects"];
pub(super) const SECRET: [&str; 4] = ["name", "env", "file", "hosts"];
pub(super) const SENSITIVE: [&str; 2] = ["capabilities", "fields"];
pub(super) const SIGNER: [&str; 5] = ["name", "key", "from", "capabilities", "require"];
pub(super) const PROVIDER: [&str; 3] = ["capabilities", "from", "signer"];
pub(super) const TEST: [&str; 6] = ["as", "do", "inputs", "risk", "expect", "rule"];

/// The keys that a policy file can have, each with the keys that it stands in: `rules.approval.quorum`. Names that the author
/// chooses, of groups, fields and configuration values, are left out.
pub fn keys() -> Vec<String> {
    let limits: Vec<&str> = Limits::NAMES.iter().map(|(name, _)| *name).collect();
    let places: [(&str, &[&str]); 14] = [
        ("", &FILE),
        ("rules.", &RULE),
        ("rules.when.", &OPERATORS),
        ("rules.approval.", &APPROVAL),
        ("risk.", &FLOOR),
        ("grants.", &GRANT),
        ("grants.filesystem.", &DIRECTORY),
        ("grants.network.", &URL),
        ("grants.secrets.", &SECRET),
        ("grants.limits.", &limits),
        ("sensitive.", &SENSITIVE),
        ("signers.", &SIGNER),
        ("providers.", &PROVIDER),
        ("tests.", &TEST),
    ];
    places.iter().flat_map(|(place, keys)| keys.iter().map(move |key| format!("{place}{key}"))).collect()
}
