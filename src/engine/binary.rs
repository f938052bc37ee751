//! Which program this is: the SHA-256 of its own file, which every run records.
//!
//! Reading and hashing it takes longer than the rest of a small run. So a verb that will submit a run has it begun on a thread
//! of its own ([`prepare_binary_digest`]), and the answer is kept in the private folder of compiled code, beside everything by
//! which the system tells one state of a file from another: device, inode, length, and both times of change, of which the
//! second cannot be set. Whoever can write in that folder can run code as this user, and so could record any digest anyway.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::OnceLock;

use sha2::{Digest as _, Sha256};

use crate::sandbox::PrivateFolder;
use crate::types::Digest;

/// This process's own program file, also if another one lies under its name by now.
const SELF: &str = "/proc/self/exe";
/// The file in which the digest is kept.
const KEPT: &str = "program";

/// Where the digest is kept.
static FOLDER: OnceLock<PrivateFolder> = OnceLock::new();

/// Begins to read the file, so that [`binary_digest`] need not. The digest is kept in `folder`, if one is given.
pub fn prepare_binary_digest(folder: Option<PathBuf>) {
    if let Some(folder) = folder {
        // A second folder in one process has no effect.
        drop(FOLDER.set(PrivateFolder::new(folder)));
    }
    // Without a thread it is read when it is asked for.
    drop(std::thread::Builder::new().name("redress-binary".into()).spawn(binary_digest));
}

/// The digest of this program's file; none where the system does not let it be read.
pub fn binary_digest() -> Option<Digest> {
    static DIGEST: OnceLock<Option<Digest>> = OnceLock::new();
    *DIGEST.get_or_init(|| {
        let digest = File::open(SELF).and_then(|file| kept_or_read(file, FOLDER.get()));
        digest.inspect_err(|error| tracing::warn!("this program's own file cannot be read: {error}")).ok()
    })
}

fn kept_or_read(mut file: File, folder: Option<&PrivateFolder>) -> io::Result<Digest> {
    let state = state_of(&file)?;
    let found = folder.map(|folder| folder.read(KEPT));
    let kept = found.as_ref().and_then(|found| std::str::from_utf8(found.as_ref().ok()?).ok());
    if let Some(digest) = kept.and_then(|kept| Digest::parse(kept.strip_prefix(&state)?)) {
        return Ok(digest);
    }
    // What was not made here is not replaced. Empty is what is left of it if the machine went down.
    let may_keep = match &found {
        Some(Err(error)) => error.kind() == io::ErrorKind::NotFound,
        _ => kept.is_some_and(|kept| kept.is_empty() || kept.rsplit(' ').next().and_then(Digest::parse).is_some()),
    };
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => hash.update(buffer.get(..n).unwrap_or_default()),
        }
    }
    let digest = Digest(hash.finalize().into());
    if let Some(folder) = folder.filter(|_| may_keep && state_of(&file).is_ok_and(|after| after == state)) {
        // What is not kept is read again.
        drop(folder.write(KEPT, &[state.as_bytes(), digest.to_string().as_bytes()]));
    }
    Ok(digest)
}

fn state_of(file: &File) -> io::Result<String> {
    let meta = file.metadata()?;
    let changed = [(meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec())];
    let [(m, m_ns), (c, c_ns)] = changed;
    Ok(format!("{} {} {} {m}.{m_ns:09} {c}.{c_ns:09} ", meta.dev(), meta.ino(), meta.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::sha256;

    #[test]
    fn a_kept_digest_is_believed_for_the_same_file_in_the_same_state_only() {
        let place = tempfile::tempdir().unwrap();
        let folder = PrivateFolder::new(place.path().join("cache"));
        let program = place.path().join("program");
        let digest = || kept_or_read(File::open(&program).unwrap(), Some(&folder)).unwrap();
        std::fs::write(&program, "one").unwrap();
        assert_eq!(digest(), sha256(b"one"));
        // What stands there is what is answered, so the file was not read again.
        let state = state_of(&File::open(&program).unwrap()).unwrap();
        folder.write(KEPT, &[state.as_bytes(), sha256(b"kept").to_string().as_bytes()]).unwrap();
        assert_eq!(digest(), sha256(b"kept"));
        std::fs::write(place.path().join("other"), "two").unwrap();
        std::fs::rename(place.path().join("other"), &program).unwrap();
        assert_eq!(digest(), sha256(b"two"));
        assert!(folder.read(KEPT).unwrap().ends_with(sha256(b"two").to_string().as_bytes()));
        // What was not made here is neither believed nor replaced.
        folder.write(KEPT, &[b"nonsense"]).unwrap();
        assert_eq!(digest(), sha256(b"two"));
        assert_eq!(folder.read(KEPT).unwrap(), b"nonsense");
        assert_eq!(kept_or_read(File::open(&program).unwrap(), None).unwrap(), sha256(b"two"));
    }
}
