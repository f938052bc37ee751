use serde::{Deserialize, Serialize};

use super::Duration;

/// How often a step is attempted, and how long it waits in between.
///
/// In files: `retry: {max_attempts: 3, initial_interval: 200ms, multiplier: 2, max_interval: 30s}`, which are the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// All attempts, the first one included; at least 1.
    pub max_attempts: u32,
    /// The longest wait after the first failed attempt.
    pub initial_interval: Duration,
    /// By how much the longest wait grows with each failed attempt, in thousandths: 2 000 doubles it. At least 1 000.
    pub multiplier_milli: u32,
    /// What the longest wait never passes.
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

    /// The longest wait after the failed attempt number `attempt`, counted from 1; jitter chooses between zero and this.
    pub fn delay_cap(&self, attempt: u32) -> Duration {
        let max = u128::from(self.max_interval.0) * 1_000;
        let mut cap = (u128::from(self.initial_interval.0) * 1_000).min(max);
        if cap > 0 && self.multiplier_milli > 1_000 {
            for _ in 1..attempt {
                if cap == max {
                    break;
                }
                cap = (cap * u128::from(self.multiplier_milli) / 1_000).min(max);
            }
        }
        Duration(u64::try_from(cap / 1_000).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_by_the_multiplier_up_to_the_longest() {
        let retry = Retry::default();
        let waits: Vec<u64> = (1..=10).map(|attempt| retry.delay_cap(attempt).0).collect();
        assert_eq!(waits, [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000]);
    }

    #[test]
    fn a_broken_multiplier_keeps_its_fractions() {
        let retry = Retry {
            initial_interval: Duration(1),
            multiplier_milli: 1_500,
            max_interval: Duration(4),
            ..Retry::default()
        };
        let waits: Vec<u64> = (1..=5).map(|attempt| retry.delay_cap(attempt).0).collect();
        assert_eq!(waits, [1, 1, 2, 3, 4]);
    }

    #[test]
    fn the_wait_is_known_at_once_for_any_numbers() {
        for retry in [
            Retry { multiplier_milli: 1_000, ..Retry::default() },
            Retry { multiplier_milli: 0, ..Retry::default() },
            Retry { initial_interval: Duration(0), ..Retry::default() },
            Retry { multiplier_milli: u32::MAX, max_interval: Duration(u64::MAX), ..Retry::default() },
            Retry { initial_interval: Duration(u64::MAX), max_interval: Duration(0), ..Retry::default() },
        ] {
            assert!(retry.delay_cap(u32::MAX) <= retry.max_interval);
            assert!(retry.delay_cap(1) <= retry.initial_interval);
        }
    }

    #[test]
    fn what_is_left_out_is_the_default() {
        let retry: Retry = serde_json::from_str(r#"{"max_attempts":5}"#).unwrap();
        assert_eq!(retry, Retry { max_attempts: 5, ..Retry::default() });
        assert!(serde_json::from_str::<Retry>(r#"{"max_retries":5}"#).is_err());
    }
}
