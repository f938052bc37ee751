//! Standard output and standard error of a guest: kept up to a limit, then cut off, which the log says.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// What the guest may hand over in one call.
const CHUNK: usize = 64 << 10;

/// What a call printed, both streams in the order in which they came.
#[derive(Clone, Debug)]
pub(super) struct Log(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    bytes: Vec<u8>,
    streams: [Stream; 2],
}

#[derive(Debug)]
struct Stream {
    name: &'static str,
    left: u64,
    dropped: u64,
}

/// One of the two streams of a log.
#[derive(Clone, Debug)]
pub(super) struct Captured {
    log: Log,
    index: usize,
}

impl Log {
    pub(super) fn new(stdout: u64, stderr: u64) -> Log {
        let stream = |name, left| Stream { name, left, dropped: 0 };
        let streams = [stream("standard output", stdout), stream("standard error", stderr)];
        Log(Arc::new(Mutex::new(Inner { bytes: Vec::new(), streams })))
    }

    pub(super) fn stdout(&self) -> Captured {
        Captured { log: self.clone(), index: 0 }
    }

    pub(super) fn stderr(&self) -> Captured {
        Captured { log: self.clone(), index: 1 }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was printed, with a line for each stream that was cut off; none if nothing was.
    pub(super) fn take(&self) -> Option<Vec<u8>> {
        let mut inner = self.inner();
        let mut bytes = std::mem::take(&mut inner.bytes);
        for stream in inner.streams.iter().filter(|stream| stream.dropped > 0) {
            if bytes.last().is_some_and(|last| *last != b'\n') {
                bytes.push(b'\n');
            }
            let note = format!("[redress: {} was cut off here, {} bytes are missing]\n", stream.name, stream.dropped);
            bytes.extend_from_slice(note.as_bytes());
        }
        (!bytes.is_empty()).then_some(bytes)
    }
}

impl Captured {
    fn print(&self, bytes: &[u8]) {
        let mut inner = self.log.inner();
        let Some(stream) = inner.streams.get_mut(self.index) else { return };
        let kept = usize::try_from(stream.left).unwrap_or(usize::MAX).min(bytes.len());
        stream.left -= kept as u64;
        stream.dropped += (bytes.len() - kept) as u64;
        inner.bytes.extend_from_slice(bytes.get(..kept).unwrap_or_default());
    }
}

impl IsTerminal for Captured {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Captured {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for Captured {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.print(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[async_trait]
impl Pollable for Captured {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for Captured {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.print(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(CHUNK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_limit_is_dropped_and_said_so() {
        let log = Log::new(4, 10);
        log.stdout().print(b"abcdef");
        log.stderr().print(b"oops");
        let text = String::from_utf8(log.take().unwrap()).unwrap();
        assert_eq!(text, "abcdoops\n[redress: standard output was cut off here, 2 bytes are missing]\n");
        assert_eq!(Log::new(1, 1).take(), None);
    }
}
