//! What a call that waits for a person would change in a file, line by line, as far as the host can tell without making it.
//!
//! Only the standard library's own calls are foretold: `io.` is a name that no other component may use, so what these do is known. The
//! file is read as the call itself could reach it, under the grant that was decided, and not if the policy calls what is read from files
//! sensitive. A vote can name what was seen, and is refused if something else stands there by then. Between the vote and the call somebody
//! else may still change the file; the input can say `if_sha256` against that.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::EngineError;
use super::mask::{Called, Mask};
use crate::journal::Journal;
use crate::policy::{MASKED, Side};
use crate::saga::{State, Step};
use crate::sandbox::{FollowSymlinks, Looked, look};
use crate::types::{CapabilityId, Digest, Principal, sha256};

/// How many bytes of a file are looked at, and how many it may have afterwards.
const MOST: u64 = 256 << 10;
/// How many lines are shown, those around changes included, and how many around each.
const LINES: usize = 2_000;
const AROUND: usize = 3;
/// What is said of a last line without an end.
const NO_END: &str = " (no end of line)";
/// How long it is looked for the shortest way to say it.
const SHORTEST: std::time::Duration = std::time::Duration::from_millis(300);

/// What would be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Change {
    /// The number of this schema.
    pub schema: u32,
    /// The file, as the component sees it.
    pub target: String,
    /// What stands there now.
    pub now: Present,
    /// What would be otherwise, and some lines around it; empty if `why` says why it is not shown.
    pub lines: Vec<Line>,
    /// Why there are no lines, or not all of them.
    pub why: Option<&'static str>,
    /// What a vote can name, so that it counts only if the same stands there; none if that was not looked at whole.
    pub seen: Option<Digest>,
}

/// What stands at a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Present {
    /// Nothing.
    Absent,
    /// A file.
    File,
    /// Something else, or something that the call could not reach.
    Other,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Line {
    /// Whether it stays.
    pub kind: LineKind,
    /// Its number now, from 1, if it is there.
    pub now: Option<usize>,
    /// Its number afterwards.
    pub then: Option<usize>,
    /// Its text, without its end.
    pub text: String,
}

/// Whether a line stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LineKind {
    /// It is there before and after.
    Stays,
    /// It would be new.
    Added,
    /// It would be gone.
    Removed,
    /// Lines that stay are left out here.
    LeftOut,
}

/// What would become of a file.
enum Then {
    Written(Vec<u8>),
    Appended(Vec<u8>),
    Deleted,
}

/// The same as [`change_of`], for one who may answer the request; refused for all others.
pub fn change_for(
    by: &Principal,
    journal: &dyn Journal,
    state: &State,
    step: &Step,
    mask: Option<&mut Mask<'_>>,
) -> Result<Option<Change>, EngineError> {
    let Some(request) = step.request() else { return Ok(None) };
    state.may_answer(step, request, by).map_err(|why| EngineError::Refused { why })?;
    change_of(journal, step, mask)
}

/// What the call of a step that waits would change, if the host can tell: for who sees all that the host sees.
pub fn change_of(
    journal: &dyn Journal,
    step: &Step,
    mask: Option<&mut Mask<'_>>,
) -> Result<Option<Change>, EngineError> {
    let Some((capability, decision)) = step.spec.capability.as_ref().zip(step.decision.as_ref()) else {
        return Ok(None);
    };
    let bytes = match &decision.input {
        Some(input) => journal.payload(&input.digest)?,
        None => None,
    };
    let Some(mut input) = bytes.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok()) else { return Ok(None) };
    let Some(then) = then(capability.as_str(), &input) else { return Ok(None) };
    let hidden = mask.and_then(|mask| {
        if mask.value(&Called::by(step), Side::Inputs, &mut input) {
            return Some("values of the input are masked");
        }
        reading_is_sensitive(step, mask).then_some("the policy calls what is read from files sensitive")
    });
    let target = input.get("path").and_then(Value::as_str).unwrap_or(MASKED).to_owned();
    let change = Change { schema: 1, target, now: Present::Other, lines: Vec::new(), why: None, seen: None };
    let untold = |now, why| Ok(Some(Change { now, why: Some(why), ..change.clone() }));
    if let Some(why) = hidden {
        return untold(Present::Other, why);
    }
    // To delete a link is to delete that alone; to write is to write where it leads.
    let follow = if matches!(then, Then::Deleted) { FollowSymlinks::No } else { FollowSymlinks::Yes };
    let before = match look(&decision.grant, &change.target, follow, MOST) {
        Ok(Looked::File(bytes)) => Some(bytes),
        Ok(Looked::Absent) => None,
        Ok(Looked::Longer) => return untold(Present::File, "the file has more than 256 KiB"),
        Ok(Looked::NoFile) => return untold(Present::Other, "what stands there is no file"),
        Ok(Looked::Link) => return untold(Present::Other, "what stands there is a link, and only that would be gone"),
        Ok(Looked::NotGranted) => return untold(Present::Other, "no directory of the grant holds it"),
        Err(_) => return untold(Present::Other, "it cannot be read under the grant"),
    };
    let now = if before.is_some() { Present::File } else { Present::Absent };
    let before = before.unwrap_or_default();
    let shown = Change { now, seen: Some(seen(now, &before)), ..change };
    let after = match then {
        Then::Written(bytes) => bytes,
        Then::Appended(bytes) => [before.clone(), bytes].concat(),
        Then::Deleted => Vec::new(),
    };
    if after.len() as u64 > MOST {
        return Ok(Some(Change { why: Some("it would have more than 256 KiB"), ..shown }));
    }
    Ok(Some(match (std::str::from_utf8(&before), std::str::from_utf8(&after)) {
        (Ok(before), Ok(after)) => {
            let (lines, all) = lines(before, after);
            Change { lines, why: (!all).then_some("more than 2000 lines would be shown"), ..shown }
        }
        _ => Change { why: Some("it is not text"), ..shown },
    }))
}

/// What names what stands at a target: nothing is not the same as a file that is empty.
fn seen(now: Present, bytes: &[u8]) -> Digest {
    let kind: &[u8] = if now == Present::File { b"file:" } else { b"absent:" };
    sha256(&[kind, bytes].concat())
}

/// Whether a call that reads files would show what it reads only masked.
fn reading_is_sensitive(step: &Step, mask: &mut Mask<'_>) -> bool {
    let Ok(capability) = CapabilityId::parse("io.fs.read_file") else { return true };
    let mut read = serde_json::json!({ "content": "", "content_base64": "" });
    mask.value(&Called { capability, component: None, ..Called::by(step) }, Side::Outputs, &mut read)
}

fn then(capability: &str, input: &Value) -> Option<Then> {
    let text = |name: &str| input.get(name).and_then(Value::as_str);
    let content = || match (text("content"), text("content_base64")) {
        (Some(text), _) => Some(text.as_bytes().to_vec()),
        (None, Some(text)) => STANDARD.decode(text).ok(),
        (None, None) => None,
    };
    match capability {
        "io.fs.write_file" => content().map(Then::Written),
        "io.fs.append_file" => content().map(Then::Appended),
        "io.fs.delete" => Some(Then::Deleted),
        _ => None,
    }
}

/// The lines that change, each with some around it, and whether these are all.
fn lines(before: &str, after: &str) -> (Vec<Line>, bool) {
    let diff = TextDiff::configure().timeout(SHORTEST).diff_lines(before, after);
    let mut lines = Vec::new();
    let mut next = 0;
    for group in diff.grouped_ops(AROUND) {
        for op in group {
            for change in diff.iter_changes(&op) {
                if lines.len() >= LINES {
                    return (lines, false);
                }
                let (now, then) = (change.old_index(), change.new_index());
                let kind = match change.tag() {
                    ChangeTag::Equal => LineKind::Stays,
                    ChangeTag::Insert => LineKind::Added,
                    ChangeTag::Delete => LineKind::Removed,
                };
                if now.is_some_and(|now| now > next) {
                    lines.push(Line { kind: LineKind::LeftOut, now: None, then: None, text: String::new() });
                }
                next = now.map_or(next, |now| now + 1);
                // The end of a line is not shown, but for a carriage return, and for that there is none at the end of the file.
                let value = change.value();
                let text = value.strip_suffix('\n').map_or_else(|| format!("{value}{NO_END}"), str::to_owned);
                lines.push(Line { kind, now: now.map(|at| at + 1), then: then.map(|at| at + 1), text });
            }
        }
    }
    (lines, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(before: &str, after: &str) -> String {
        let sign = |line: &Line| match line.kind {
            LineKind::Stays => ' ',
            LineKind::Added => '+',
            LineKind::Removed => '-',
            LineKind::LeftOut => '~',
        };
        lines(before, after).0.iter().map(|line| format!("{}{}\n", sign(line), line.text)).collect()
    }

    #[test]
    fn what_changes_is_shown_with_some_lines_around_it() {
        assert_eq!(shown("a\nb\n", "a\nc\n"), " a\n-b\n+c\n");
        assert_eq!(shown("", "new\n"), "+new\n");
        assert_eq!(shown("old\n", ""), "-old\n");
        assert_eq!(shown("same\n", "same\n"), "");
        assert_eq!(shown("a\r\n", "a\n"), "-a\r\n+a\n");
        assert_eq!(shown("a\n", "a"), "-a\n+a (no end of line)\n");
        let many = |at: usize, with: &str| {
            let line = |n: usize| if n == at { format!("{with}\n") } else { format!("{n}\n") };
            (0..30).map(line).collect::<String>()
        };
        assert_eq!(shown(&many(20, "x"), &many(20, "y")), "~\n 17\n 18\n 19\n-x\n+y\n 21\n 22\n 23\n");
        let (lines, all) = lines("", &"x\n".repeat(5_000));
        assert_eq!((lines.len(), all), (LINES, false));
    }

    #[test]
    fn only_what_the_standard_library_does_is_foretold() {
        let input = serde_json::json!({ "path": "/a", "content_base64": "aGk=" });
        assert!(matches!(then("io.fs.write_file", &input), Some(Then::Written(bytes)) if bytes == b"hi"));
        assert!(matches!(then("io.fs.delete", &input), Some(Then::Deleted)));
        assert!(then("acme.fs.write_file", &input).is_none());
        assert!(then("io.fs.write_file", &serde_json::json!({ "path": "/a" })).is_none());
    }
}
