use serde::{Deserialize, Serialize};

use super::Duration;

/// How often and when a step is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// All attempts together, at least 1.
    pub max_attempts: u32,
    /// The longest wait before the second attempt.
    pub initial_interval: Duration,
    /// By how much the wait grows from one attempt to the next, in thousandths: 2000 doubles it.
    pub multiplier_milli: u32,
    /// The wait never grows beyond this.
    pub max_interval: Duration,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry {
            max_attempts: 3,
            initial_interval: Duration(200),
            multiplier_milli: 2_000,
            max_interval: Duration::from_secs(30),
        }
    }
}

impl Retry {
    /// How an undo is tried again: five attempts, from half a second up to half a minute.
    pub const UNDO: Retry = Retry {
        max_attempts: 5,
        initial_interval: Duration(500),
        multiplier_milli: 2_000,
        max_interval: Duration::from_secs(30),
    };

    /// The longest wait after `failed` attempts have failed; the wait itself is drawn below it (full jitter).
    pub fn delay_cap(&self, failed: u32) -> Duration {
        let mut cap = self.initial_interval.0.min(self.max_interval.0);
        for _ in 1..failed {
            if cap == self.max_interval.0 {
                break;
            }
            cap = (cap.saturating_mul(u64::from(self.multiplier_milli)) / 1_000).min(self.max_interval.0);
            if self.multiplier_milli <= 1_000 {
                break;
            }
        }
        Duration(cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_bound() {
        let retry = Retry { max_attempts: 9, max_interval: Duration(1_000), ..Retry::default() };
        let caps: Vec<u64> = (1..=5).map(|failed| retry.delay_cap(failed).0).collect();
        assert_eq!(caps, [200, 400, 800, 1_000, 1_000]);
        assert_eq!(retry.delay_cap(u32::MAX), Duration(1_000));
    }
}
