//! What the test components share: a short way to declare a capability, and a simple undo.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};

pub use redress_guest;
use redress_guest::serde_json::{self, Value, json};
use redress_guest::{Call, Capability, Compensation, Effect, Failure, Risk, undo};

/// A capability that takes and returns any object. Its permissions and risk are those that its effect needs.
pub fn capability(
    id: &'static str,
    effect: Effect,
    execute: fn(&Call) -> Result<Value, Failure>,
    compensate: fn(&Compensation) -> Result<(), Failure>,
) -> Capability {
    Capability {
        id,
        title: id,
        summary: "For the tests.",
        risk: match effect {
            Effect::None => Risk::Low,
            Effect::Reversible => Risk::Medium,
            Effect::Irreversible => Risk::High,
        },
        effect,
        idempotent: true,
        permissions: match effect {
            Effect::None => &["fs:read"],
            Effect::Reversible | Effect::Irreversible => &["fs:read", "fs:write"],
        },
        input: json!({ "type": "object" }),
        output: json!({ "type": "object" }),
        execute,
        compensate,
    }
}

/// A capability without effect.
pub fn pure(id: &'static str, execute: fn(&Call) -> Result<Value, Failure>) -> Capability {
    capability(id, Effect::None, execute, nothing)
}

/// A capability whose undo is [`restore`].
pub fn reversible(id: &'static str, execute: fn(&Call) -> Result<Value, Failure>) -> Capability {
    capability(id, Effect::Reversible, execute, restore)
}

/// An undo that does nothing.
pub fn nothing(_: &Compensation) -> Result<(), Failure> {
    Ok(())
}

/// The input of a call, with short ways to its fields.
pub struct Input(pub Value);

impl Input {
    /// Reads the input; the host has checked that it is JSON.
    pub fn of(text: &str) -> Input {
        Input(serde_json::from_str(text).unwrap_or_default())
    }

    /// A text; empty if it is not there.
    pub fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    /// A number; 0 if it is not there.
    pub fn number(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap_or_default()
    }

    /// A truth; false if it is not there.
    pub fn flag(&self, name: &str) -> bool {
        self.0[name].as_bool().unwrap_or_default()
    }
}

/// Saves how the files are, and starts from an earlier attempt's record, if that is the one in force.
pub fn prepare(paths: &[&str]) -> Result<(), Failure> {
    restore_from(&save(paths)?)
}

/// Saves how the files are and returns the records in force.
pub fn save(paths: &[&str]) -> Result<Vec<Vec<u8>>, Failure> {
    let files: Vec<Value> = paths.iter().map(|path| json!([path, fs::read(path).ok()])).collect();
    undo::save(json!(files).to_string().as_bytes()).map_err(|reason| Failure::new("undo-refused", reason))
}

/// Restores the files of the record.
pub fn restore(call: &Compensation) -> Result<(), Failure> {
    restore_from(&call.undo)
}

fn restore_from(records: &[Vec<u8>]) -> Result<(), Failure> {
    let files: Vec<(String, Option<Vec<u8>>)> = match records.first() {
        Some(record) => {
            serde_json::from_slice(record).map_err(|error| Failure::new("unknown-undo", error.to_string()))?
        }
        None => Vec::new(),
    };
    for (path, content) in files.iter().rev() {
        let now = fs::read(path).ok();
        match content {
            _ if now == *content => {}
            Some(content) => write(path, content)?,
            None => fs::remove_file(path).map_err(|error| Failure::io("remove", path, &error))?,
        }
    }
    Ok(())
}

/// Writes a file.
pub fn write(path: &str, content: impl AsRef<[u8]>) -> Result<(), Failure> {
    fs::write(path, content).map_err(|error| Failure::io("write", path, &error))
}

/// Adds a line to a file.
pub fn append_line(path: &str, line: &str) -> Result<(), Failure> {
    let append = || -> io::Result<()> {
        OpenOptions::new().append(true).create(true).open(path)?.write_all(format!("{line}\n").as_bytes())
    };
    append().map_err(|error| Failure::io("append to", path, &error))
}

/// A failure that may pass.
pub fn retryable(code: &str, message: impl Into<String>) -> Failure {
    Failure { retryable: true, ..Failure::new(code, message) }
}

/// Makes a component of which only the description matters; what it executes returns no JSON.
#[macro_export]
macro_rules! liar {
    ($describe:path) => {
        use $crate::redress_guest;

        struct Component;

        impl redress_guest::bindings::exports::redress::capability::provider::Guest for Component {
            fn describe() -> String {
                $describe()
            }

            fn execute(_: redress_guest::Call) -> Result<String, redress_guest::Failure> {
                Ok("this is not JSON".to_owned())
            }

            fn compensate(_: redress_guest::Compensation) -> Result<(), redress_guest::Failure> {
                Ok(())
            }
        }

        redress_guest::bindings::export!(Component with_types_in redress_guest::bindings);
    };
}
