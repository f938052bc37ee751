//! Streams over files. They read and write at once, on the thread of the guest: nothing of them is left over when the
//! call is interrupted, and every write has passed the gate the moment before.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rustix::io::{Errno, ReadWriteFlags};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::attempt::{Answer, Attempt, Refusal, Stopped};
use super::names::{At, name_of};

/// What one call reads or writes at most.
const CHUNK: usize = 64 << 10;

/// Reads a file.
pub(super) struct GateInput {
    file: Arc<File>,
    position: u64,
    attempt: Arc<Attempt>,
    place: Arc<str>,
}

impl GateInput {
    pub(super) fn new(file: Arc<File>, position: u64, attempt: Arc<Attempt>, place: Arc<str>) -> GateInput {
        GateInput { file, position, attempt, place }
    }
}

#[async_trait]
impl Pollable for GateInput {
    async fn ready(&mut self) {}
}

#[async_trait]
impl InputStream for GateInput {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 {
            return Ok(Bytes::new());
        }
        let mut buffer = BytesMut::zeroed(size.min(CHUNK));
        let n = retried(|| self.file.read_at(&mut buffer, self.position)).map_err(failed)?;
        if n == 0 {
            return Err(StreamError::Closed);
        }
        buffer.truncate(n);
        self.position = self.position.saturating_add(n as u64);
        self.attempt.read(&self.place, n as u64);
        Ok(buffer.freeze())
    }
}

/// Writes a file, from a position on or at its end.
pub(super) struct GateOutput {
    file: Arc<File>,
    position: Option<u64>,
    attempt: Arc<Attempt>,
    at: At,
    closed: bool,
}

impl GateOutput {
    pub(super) fn new(file: Arc<File>, position: Option<u64>, attempt: Arc<Attempt>, at: At) -> GateOutput {
        GateOutput { file, position, attempt, at, closed: false }
    }

    /// Writes all of `bytes`; says how many were written before an error.
    fn write_all(&mut self, mut bytes: &[u8]) -> (u64, io::Result<()>) {
        let mut written = 0;
        while !bytes.is_empty() {
            let result = retried(|| match self.position {
                Some(position) => self.file.write_at(bytes, position.saturating_add(written)),
                None => append(&self.file, bytes),
            });
            match result {
                Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
                Ok(n) => {
                    written += n as u64;
                    bytes = bytes.get(n..).unwrap_or_default();
                }
                Err(error) => return (written, Err(error)),
            }
        }
        (written, Ok(()))
    }

    /// The name that the file has now, if it was renamed since the stream was made.
    fn follow_rename(&mut self) {
        let Some(host) = name_of(&self.file).filter(|host| *host != self.at.host) else { return };
        let Some((parent, name)) = host.rsplit_once('/') else { return };
        let Ok(dir) = super::open::directory(parent) else { return };
        let guest = self.attempt.roots.guest_name(&host).unwrap_or_else(|| host.clone());
        self.at.dir.dir = Arc::new(dir);
        self.at.name = name.to_owned();
        (self.at.host, self.at.guest) = (host, guest);
    }
}

#[async_trait]
impl Pollable for GateOutput {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for GateOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if self.closed {
            return Err(StreamError::Closed);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        self.follow_rename();
        let admitted = self.attempt.admit_through("fs.write", &self.at).map_err(|refusal| match refusal {
            Refusal::Stopped => StreamError::Trap(Stopped.into()),
            Refusal::NotPermitted => failed(Errno::PERM.into()),
        })?;
        let (written, result) = self.write_all(&bytes);
        if let Some(position) = &mut self.position {
            *position = position.saturating_add(written);
        }
        let answer = if result.is_ok() { Answer::Done { bytes: written } } else { Answer::Failed };
        self.attempt.answer(admitted, answer);
        self.closed = result.is_err();
        result.map_err(failed)
    }

    fn flush(&mut self) -> StreamResult<()> {
        if self.closed { Err(StreamError::Closed) } else { Ok(()) }
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        if self.closed { Err(StreamError::Closed) } else { Ok(CHUNK) }
    }
}

fn append(file: &File, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::io::pwritev2(file, &[io::IoSlice::new(bytes)], 0, ReadWriteFlags::APPEND)?)
}

fn retried(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn failed(error: io::Error) -> StreamError {
    StreamError::LastOperationFailed(error.into())
}
