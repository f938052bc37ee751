//! Time as a value, so that tests move it instead of waiting for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use crate::types::Timestamp;

/// Where the engine reads the time and waits for it.
pub trait Clock: Send + Sync {
    /// The time now. Called often.
    fn now(&self) -> Timestamp;

    /// Resolves at `moment` or a little later; may be dropped at any time. `idle` says that nothing is in flight, so that
    /// only time can pass.
    fn until(&self, moment: Timestamp, idle: bool) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn until(&self, moment: Timestamp, _: bool) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let wait = moment.since(self.now()).as_std();
        Box::pin(tokio::time::sleep(wait))
    }
}

/// A clock that stands still until it is moved. A leaping one moves to the moment that is waited for while nothing is in
/// flight, so that a test of a day takes no time.
#[derive(Clone, Debug)]
pub struct SimClock {
    now: Arc<Mutex<Timestamp>>,
    moved: watch::Sender<()>,
    leaps: bool,
}

impl SimClock {
    /// A clock that leaps to whatever moment is waited for.
    pub fn leaping(now: Timestamp) -> SimClock {
        SimClock { now: Arc::new(Mutex::new(now)), moved: watch::Sender::new(()), leaps: true }
    }

    /// A clock that moves only when it is told to.
    pub fn standing(now: Timestamp) -> SimClock {
        SimClock { leaps: false, ..SimClock::leaping(now) }
    }

    /// Moves the clock forward to `moment`.
    pub fn move_to(&self, moment: Timestamp) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        *now = moment.max(*now);
        drop(now);
        self.moved.send_replace(());
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn until(&self, moment: Timestamp, idle: bool) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        if self.leaps && idle {
            self.move_to(moment);
        }
        let clock = self.clone();
        let mut moved = self.moved.subscribe();
        Box::pin(async move {
            while clock.now() < moment {
                if moved.changed().await.is_err() {
                    return;
                }
            }
        })
    }
}
