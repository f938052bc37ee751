use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A moment: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The moment `duration` later; the last moment that can be written if that is further away.
    pub fn plus(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(duration.0))
    }

    /// How long it is from `earlier` to here; zero if it is not earlier.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }
}

/// A length of time in milliseconds. Written in files as a number and a unit: `250ms`, `30s`, `10m`, `4h`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Duration(pub u64);

/// A text that is not a length of time.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is not a length of time: write a whole number and a unit, such as `250ms`, `30s`, `10m`, `4h` or `7d`")]
pub struct DurationError(pub String);

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl Duration {
    /// The longest that can be written: a hundred years, so that moments reckoned with it stay exact in JSON.
    pub const LONGEST: Duration = Duration(100 * 365 * 86_400_000);

    /// A length of `seconds`.
    pub const fn from_secs(seconds: u64) -> Duration {
        Duration(seconds.saturating_mul(1_000))
    }

    /// Reads a whole number and a unit.
    pub fn parse(text: &str) -> Result<Duration, DurationError> {
        let error = || DurationError(text.to_owned());
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits).ok_or_else(error)?;
        let factor = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(error)?.1;
        let number: u64 = number.parse().map_err(|_| error())?;
        let length = number.checked_mul(factor).map(Duration).ok_or_else(error)?;
        if length <= Duration::LONGEST { Ok(length) } else { Err(error()) }
    }

    /// For the clock functions of the standard library.
    pub fn as_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }
}

impl fmt::Display for Duration {
    /// The largest unit that says it exactly.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) =
            UNITS.iter().rev().find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor)).unwrap_or(&("ms", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_read_back_as_it_was_written() {
        for text in ["0ms", "250ms", "30s", "10m", "4h", "7d", "90s"] {
            assert_eq!(Duration::parse(text).map(|d| d.to_string()), Ok(text.to_owned()));
        }
        for bad in [
            "",
            "10",
            "s",
            "1.5s",
            "-1s",
            "1w",
            "10 s",
            "99999999999999999999s",
            "18446744073709551615d",
            "18446744073709551615ms",
            "36501d",
        ] {
            assert!(Duration::parse(bad).is_err(), "{bad}");
        }
    }
}
