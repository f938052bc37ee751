//! What waits for the writer, in the order in which it was enqueued.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::JournalError;
use super::writer::Request;

/// How much lazy work may gather before it is written without anybody asking for it.
const MOST_EVENTS: usize = 50_000;
const MOST_BYTES: usize = 64 << 20;

#[derive(Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    waiting: Vec<Request>,
    events: usize,
    bytes: usize,
    urgent: bool,
    closing: bool,
    /// Set once nothing is written any more.
    dead: Option<JournalError>,
}

impl Queue {
    /// Enqueues, or refuses at once if nothing is written any more.
    pub fn push(&self, request: Request) {
        let mut inner = self.lock();
        if let Some(error) = inner.dead.clone() {
            drop(inner);
            return request.refuse(error);
        }
        let (events, bytes) = request.weight();
        inner.events += events;
        inner.bytes += bytes;
        inner.urgent |= request.is_urgent() || inner.events > MOST_EVENTS || inner.bytes > MOST_BYTES;
        inner.waiting.push(request);
        if inner.urgent {
            self.changed.notify_one();
        }
    }

    /// Everything that waits, as soon as somebody waits for it or `patience` is over; none when the queue is closed and empty.
    pub fn take(&self, patience: Option<Duration>) -> Option<Vec<Request>> {
        let mut inner = self.lock();
        let until = patience.map(|patience| Instant::now() + patience);
        while !inner.urgent && !inner.closing {
            inner = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => break,
                Some(left) => self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        inner.urgent = false;
        (inner.events, inner.bytes) = (0, 0);
        let waiting = std::mem::take(&mut inner.waiting);
        if waiting.is_empty() && inner.closing { None } else { Some(waiting) }
    }

    /// What waits is still written, and then the writer ends.
    pub fn close(&self) {
        self.lock().closing = true;
        self.changed.notify_one();
    }

    /// Nothing is written any more: whatever waits or comes is refused. The first reason stays.
    pub fn die(&self, error: JournalError) {
        let mut inner = self.lock();
        let error = inner.dead.get_or_insert(error).clone();
        let waiting = std::mem::take(&mut inner.waiting);
        drop(inner);
        for request in waiting {
            request.refuse(error.clone());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
