use serde::{Deserialize, Serialize};

use super::Duration;

/// The unit in which a limit is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitUnit {
    /// Bytes; in files also `64MiB`, `256KiB`.
    Bytes,
    /// Milliseconds; in files a length of time such as `30s`.
    Time,
    /// A plain number.
    Count,
}

macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident: $default:expr, $unit:ident;)*) => {
        /// Everything that bounds one call of a component. Defaults stand beside each; a grant can only lower them.
        /// A stored one that lacks a limit is older than that limit, and has its default.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Limits { $($(#[$doc])* pub $name: u64,)* }

        impl Default for Limits {
            fn default() -> Limits {
                Limits { $($name: $default,)* }
            }
        }

        /// The limits that a grant lowers; the others stay as they are.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct LimitOverrides {
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $name: Option<u64>,)*
        }

        impl Limits {
            /// The name and unit of every limit, in the order of declaration.
            pub const NAMES: &'static [(&'static str, LimitUnit)] = &[$((stringify!($name), LimitUnit::$unit),)*];

            /// These limits, lowered where `overrides` are lower.
            pub fn lowered_by(mut self, overrides: &LimitOverrides) -> Limits {
                $(if let Some(value) = overrides.$name { self.$name = self.$name.min(value); })*
                self
            }

            /// Each limit with its name.
            pub fn entries(&self) -> Vec<(&'static str, u64, LimitUnit)> {
                vec![$((stringify!($name), self.$name, LimitUnit::$unit),)*]
            }
        }

        impl LimitOverrides {
            /// Sets the limit of this name; false if there is none.
            pub fn set(&mut self, name: &str, value: u64) -> bool {
                match name {
                    $(stringify!($name) => self.$name = Some(value),)*
                    _ => return false,
                }
                true
            }
        }
    };
}

limits! {
    /// Linear memory, the sum over all memories of a call.
    memory: 64 << 20, Bytes;
    /// Elements in tables, the sum over all tables of a call.
    table_elements: 20_000, Count;
    /// Core instances in a call.
    instances: 32, Count;
    /// Linear memories in a call.
    memories: 4, Count;
    /// Units of work of the guest; about one per instruction.
    fuel: 10_000_000_000, Count;
    /// From the start of the call to its end.
    wall_time: 30_000, Time;
    /// What one call across the boundary may copy.
    hostcall_bytes: 32 << 20, Bytes;
    /// Component-model handles.
    handles: 1_000, Count;
    /// Host resources (open files, streams) at a time.
    resources: 1_000, Count;
    /// What one request for randomness returns at most.
    random_bytes: 1 << 20, Bytes;
    /// What is kept of standard output; the rest is cut off and said so.
    stdout: 256 << 10, Bytes;
    /// What is kept of standard error; the rest is cut off and said so.
    stderr: 256 << 10, Bytes;
    /// The canonical input.
    input: 4 << 20, Bytes;
    /// The output.
    output: 4 << 20, Bytes;
    /// The undo record and all that is appended to it; each appended record counts as 1 KiB at least.
    undo: 16 << 20, Bytes;
    /// The header of a request, and of an answer, in the host's memory.
    header_bytes: 128 << 10, Bytes;
    /// The bodies of all requests of a call.
    request_bytes: 16 << 20, Bytes;
    /// The bodies of all answers of a call, each kept by the host until it is whole.
    response_bytes: 16 << 20, Bytes;
    /// How many requests a call sends.
    requests: 1_000, Count;
    /// How many files, directories and URLs an attempt changes; an effect on a further one is refused.
    targets: 10_000, Count;
    /// How many effects of an attempt are listed one by one; all are counted.
    effects_listed: 1_000, Count;
}

impl Limits {
    /// The wall time as a length of time.
    pub fn wall(&self) -> Duration {
        Duration(self.wall_time)
    }
}
