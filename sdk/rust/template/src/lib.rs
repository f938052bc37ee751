//! `{{id}}`: adds a line to a file of notes.
//!
//! Its undo makes the file as it was, byte by byte; a file that was not there is removed again.

use redress_capability::files::{self, FileState};
use redress_capability::schemars::JsonSchema;
use redress_capability::serde::{Deserialize, Serialize};
use redress_capability::{Call, Capability, Compensation, Effect, Failure, Risk, export};

// The schema comes from this type, and the descriptions in it, which agents read, from the comments of its fields.
#[derive(Deserialize, JsonSchema)]
#[serde(crate = "redress_capability::serde", deny_unknown_fields)]
#[schemars(crate = "redress_capability::schemars")]
struct Input {
    /// The file of notes, in a directory that is granted.
    path: String,
    /// What is added, without a line break.
    line: String,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(crate = "redress_capability::serde")]
#[schemars(crate = "redress_capability::schemars")]
struct Output {
    /// The file.
    path: String,
    /// How many lines it has now.
    lines: usize,
}

struct AddLine;

impl Capability for AddLine {
    const ID: &'static str = "{{id}}";
    const TITLE: &'static str = "Add a note";
    const SUMMARY: &'static str = "Adds a line to a file of notes, or makes the file. Undo makes it as it was.";
    const RISK: Risk = Risk::Medium;
    const EFFECT: Effect = Effect::Reversible;
    const PERMISSIONS: &'static [&'static str] = &["fs:read", "fs:write"];
    type Input = Input;
    type Output = Output;
    type Undo = FileState;

    fn execute(call: &Call<Self>) -> Result<Output, Failure> {
        let Input { path, line } = &call.input;
        if line.contains('\n') {
            return Err(Failure::invalid_input("`line` must be one line"));
        }
        // Save before the first change. What comes back is the record in force: this one, or that of an earlier attempt,
        // which may have come half-way. Start from the world as it was then.
        let before = call.save(&FileState::of(path)?)?.saved;
        before.restore()?;

        let mut text = before.text()?.unwrap_or_default();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(line);
        text.push('\n');
        files::write(path, text.as_bytes())?;
        Ok(Output { path: path.clone(), lines: text.lines().count() })
    }

    fn compensate(undo: &Compensation<Self>) -> Result<(), Failure> {
        // Nothing saved: nothing changed.
        undo.in_force.as_ref().map_or(Ok(()), |records| records.saved.restore())
    }
}

export!(AddLine);
