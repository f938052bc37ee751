//! What came of verifying a whole journal, in the one form in which it is told.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::Auditor;
use crate::journal::{
    Checkpoint, Finding, Flaw, Head, Held, JournalError, Options, PublicKey, SYSTEM, SqliteJournal, Verified,
};

/// What was verified, and what was found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Report {
    /// The number of this schema.
    pub schema: u32,
    /// The journal, as whoever asked calls it.
    pub journal: String,
    /// Whether everything is as it was written.
    pub whole: bool,
    /// Chains that were walked, the system's included.
    pub chains: u64,
    /// Events that follow from those before them.
    pub events: u64,
    /// Payloads that are whole.
    pub payloads: u64,
    /// Payloads that were redacted or have expired.
    pub erased: u64,
    /// Runs that were pruned.
    pub pruned: u64,
    /// Decisions that come out the same.
    pub decisions: u64,
    /// Decisions whose input was erased.
    pub not_redecidable: u64,
    /// Decisions whose policy this version cannot load.
    pub policy_unknown: u64,
    /// Checkpoints in the journal.
    pub checkpoints: u64,
    /// Events that no checkpoint speaks of yet.
    pub since_checkpoint: u64,
    /// Checkpoints that are kept elsewhere and that the journal extends.
    pub extends: u64,
    /// Whether a key was given that signed here.
    pub key_given: bool,
    /// The keys that signed, oldest first.
    pub keys: Vec<Signer>,
    /// The last event of the system chain.
    pub head: Option<Head>,
    /// The first bad place of each chain.
    pub findings: Vec<Found>,
}

/// A key that signed checkpoints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Signer {
    /// The key.
    pub key: PublicKey,
    /// Whether the key before vouches for it; false for the first.
    pub vouched: bool,
}

/// The first bad place of a chain.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Found {
    /// The chain.
    pub chain: String,
    /// None for the chain as a whole.
    pub seq: Option<u64>,
    /// What is wrong.
    pub message: String,
}

impl From<&Finding> for Found {
    fn from(finding: &Finding) -> Found {
        let seq = (finding.seq > 0).then_some(finding.seq);
        Found { chain: finding.chain.clone(), seq, message: finding.what.to_string() }
    }
}

/// Verifies the journal at `path`, called `name`, against checkpoints that are kept elsewhere, and a key that signs here. Takes as
/// long as reading all of it; others go on writing meanwhile.
pub fn audit(path: &Path, name: String, held: &[Checkpoint], key: Option<PublicKey>) -> Result<Report, JournalError> {
    let (mut decisions, mut not_redecidable, mut policy_unknown) = (0, 0, 0);
    let opened = SqliteJournal::open_read_only(path, Options::default());
    let verified = opened.and_then(|journal| {
        let mut auditor = Auditor::new(&journal);
        let verified = journal.verify_with(Held { checkpoints: held, key }, &mut auditor)?;
        Auditor { decisions, not_redecidable, policy_unknown, .. } = auditor;
        Ok(verified)
    });
    let verified = match verified {
        // A database that does not pass its own check is a finding, too.
        Err(JournalError::Damaged { what, .. }) => {
            let finding = Finding { chain: "database".to_owned(), seq: 0, what: Flaw::Database(what) };
            Verified { findings: vec![finding], ..Verified::default() }
        }
        verified => verified?,
    };
    Ok(Report {
        schema: 1,
        journal: name,
        whole: verified.findings.is_empty(),
        chains: verified.chains,
        events: verified.events,
        payloads: verified.payloads,
        erased: verified.erased,
        pruned: verified.pruned,
        decisions,
        not_redecidable,
        policy_unknown,
        checkpoints: verified.checkpoints,
        since_checkpoint: verified.since_checkpoint,
        extends: verified.extends,
        key_given: key.is_some() && !verified.findings.iter().any(|finding| finding.chain == SYSTEM),
        keys: verified.keys.into_iter().map(|(key, vouched)| Signer { key, vouched }).collect(),
        head: verified.head.map(|(seq, hash)| Head { seq, hash }),
        findings: verified.findings.iter().map(Found::from).collect(),
    })
}
