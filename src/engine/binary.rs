//! Which program this is: the SHA-256 of its own file, which every run records.
//!
//! The file is read once in a process. That takes as long as reading and hashing tens of megabytes, so a verb that will submit
//! a run has it begun on a thread of its own ([`prepare_binary_digest`]) while components and journal are opened.

use std::fs::File;
use std::io::{self, Read as _};
use std::sync::OnceLock;

use sha2::{Digest as _, Sha256};

use crate::types::Digest;

/// This process's own program file, also if another one lies under its name by now.
const SELF: &str = "/proc/self/exe";

/// Begins to read the file, so that [`binary_digest`] need not.
pub fn prepare_binary_digest() {
    // Without a thread it is read when it is asked for.
    drop(std::thread::Builder::new().name("redress-binary".into()).spawn(binary_digest));
}

/// The digest of this program's file; none where the system does not let it be read.
pub fn binary_digest() -> Option<Digest> {
    static DIGEST: OnceLock<Option<Digest>> = OnceLock::new();
    *DIGEST.get_or_init(|| {
        digest_of(SELF).inspect_err(|error| tracing::warn!("this program's own file cannot be read: {error}")).ok()
    })
}

fn digest_of(path: &str) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest(hash.finalize().into())),
            n => hash.update(buffer.get(..n).unwrap_or_default()),
        }
    }
}
