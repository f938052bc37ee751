use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use tokio::sync::oneshot;

use super::JournalError;

/// The answer to something that was queued. The queueing is done: dropping this does not take it back.
///
/// It is a future, for async code; [`Pending::wait`] blocks, for everything else.
#[derive(Debug)]
pub struct Pending<T>(oneshot::Receiver<Result<T, JournalError>>);

/// The writer's end of a [`Pending`].
pub(super) type Answer<T> = oneshot::Sender<Result<T, JournalError>>;

impl<T> Pending<T> {
    pub(super) fn new() -> (Answer<T>, Pending<T>) {
        let (answer, receiver) = oneshot::channel();
        (answer, Pending(receiver))
    }

    /// An answer that is known at once.
    pub fn ready(result: Result<T, JournalError>) -> Pending<T> {
        let (answer, pending) = Pending::new();
        drop(answer.send(result));
        pending
    }

    /// The error, if the answer is known already and is one. Called once, right after enqueueing.
    pub fn refused(&mut self) -> Option<JournalError> {
        match self.0.try_recv() {
            Ok(Err(error)) => Some(error),
            Ok(Ok(answer)) => {
                *self = Pending::ready(Ok(answer));
                None
            }
            Err(_) => None,
        }
    }

    /// Blocks this thread until the answer is there.
    pub fn wait(self) -> Result<T, JournalError> {
        let mut pending = pin!(self);
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(result) = pending.as_mut().poll(&mut context) {
                return result;
            }
            std::thread::park();
        }
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, JournalError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(JournalError::Closed)))
    }
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_reaches_a_thread_that_waits_and_one_that_is_lost_says_closed() {
        let (answer, pending) = Pending::new();
        let sender = std::thread::spawn(move || answer.send(Ok(7)));
        assert_eq!(pending.wait(), Ok(7));
        assert!(sender.join().unwrap().is_ok());
        let (answer, pending) = Pending::<u8>::new();
        drop(answer);
        assert_eq!(pending.wait(), Err(JournalError::Closed));
        assert_eq!(Pending::ready(Ok(1)).wait(), Ok(1));
    }
}
