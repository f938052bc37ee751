//! What a call that waits for a person would change in a file, line by line, as far as the host can tell without making it.
//!
//! Only the standard library's own calls are foretold: `io.` is a name that no other component may use, so what these do is known. The
//! file is read as the call itself could reach it, under the grant that was decided, and not if the policy calls what is read from files
//! sensitive. Over the service it is shown to those alone who may answer the request. A vote can name what was seen, and is refused if
//! something else stands there by then. Between the vote and the call somebody else may still change the file; the input can say
//! `if_sha256` against that.

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
use crate::sandbox::{Looked, Stands, look};
use crate::types::{CapabilityId, Digest, PayloadRef, Principal, Salt, salted_digest, sha256};

/// How many bytes of a file are looked at, and how many it may have afterwards.
const MOST: u64 = 256 << 10;
/// How many lines are shown, those around changes included, and how many around each.
const LINES: usize = 2_000;
const AROUND: usize = 3;
/// How long it is looked for the shortest way to say it.
const SHORTEST: std::time::Duration = std::time::Duration::from_millis(300);

/// What would be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Change {
    /// The number of this schema.
    pub schema: u32,
    /// The file, as the component sees it.
    pub target: String,
    /// Where the last name of that leads, if it is a link.
    pub link: Option<String>,
    /// What stands there now.
    pub now: Present,
    /// What would stand there afterwards.
    pub then: Present,
    /// What would be otherwise, and some lines around it; empty if `why` says why it is not shown.
    pub lines: Vec<Line>,
    /// Why there are no lines, or not all of them.
    pub why: Option<&'static str>,
    /// What a vote for this request can name, so that it counts only if the same stands there; none if that is hidden.
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
    /// Whether it has no end: the last line of a file may have none.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_end: bool,
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

/// What the call of a step that waits would change, if the host can tell: for `by`, who may answer the request; refused for all
/// others.
pub fn change_for(
    by: &Principal,
    journal: &dyn Journal,
    state: &State,
    step: &Step,
    mask: Option<&mut Mask<'_>>,
) -> Result<Option<Change>, EngineError> {
    may_answer(by, state, step)?;
    change_of(journal, step, mask)
}

/// The same, for who sees all that the host sees: whoever asks is not looked at.
pub fn change_of(
    journal: &dyn Journal,
    step: &Step,
    mask: Option<&mut Mask<'_>>,
) -> Result<Option<Change>, EngineError> {
    Ok(planned(journal, step, mask)?.map(Planned::shown))
}

/// Refuses a vote for what was `seen`, if something else stands there now.
pub(super) fn must_stand(
    by: &Principal,
    journal: &dyn Journal,
    state: &State,
    step: &Step,
    seen: Digest,
    mask: Option<&mut Mask<'_>>,
) -> Result<(), EngineError> {
    may_answer(by, state, step)?;
    let why = match planned(journal, step, mask)? {
        Some(Planned { seen: Ok(now), .. }) if now == seen => return Ok(()),
        Some(Planned { seen: Ok(_), .. }) => {
            "what the call would change is not as it was seen: look at it again".to_owned()
        }
        Some(Planned { seen: Err(hidden), .. }) => {
            format!("what was seen cannot be compared with what stands there: {hidden}")
        }
        None => "what the call would change is not known, so that nothing of it was seen".to_owned(),
    };
    Err(EngineError::Refused { why })
}

fn may_answer(by: &Principal, state: &State, step: &Step) -> Result<(), EngineError> {
    let why = match step.request() {
        Some(request) => state.may_answer(step, request, by),
        None => Err("nobody is asked about this step".to_owned()),
    };
    why.map_err(|why| EngineError::Refused { why })
}

/// What a call would make of a file, and what stands there.
struct Planned {
    target: String,
    then: Then,
    found: Looked,
    /// What names that, or why nothing of it is shown.
    seen: Result<Digest, &'static str>,
}

fn planned(journal: &dyn Journal, step: &Step, mask: Option<&mut Mask<'_>>) -> Result<Option<Planned>, EngineError> {
    let (Some(capability), Some(decision), Some(request)) = (&step.spec.capability, &step.decision, step.request())
    else {
        return Ok(None);
    };
    let Some(PayloadRef { digest, .. }) = decision.input else { return Ok(None) };
    let Some((bytes, salt)) = journal.payload(&digest)?.zip(journal.salt(&digest)?) else { return Ok(None) };
    let Ok(mut input) = serde_json::from_slice::<Value>(&bytes) else { return Ok(None) };
    let Some(then) = then(capability.as_str(), &input) else { return Ok(None) };
    let hidden = mask.and_then(|mask| {
        if mask.value(&Called::by(step), Side::Inputs, &mut input) {
            return Some("values of the input are masked");
        }
        reading_is_sensitive(step, mask).then_some("the policy calls what is read from files sensitive")
    });
    let target = input.get("path").and_then(Value::as_str).unwrap_or(MASKED).to_owned();
    let found = match hidden {
        Some(_) => Looked { link: None, stands: Stands::Unreachable, place: Vec::new() },
        None => look(&decision.grant, &target, MOST),
    };
    let seen = hidden.map_or_else(|| Ok(named(&salt, &request.id, &found)), Err);
    Ok(Some(Planned { target, then, found, seen }))
}

/// Names what stands at a target, whatever that is. Whoever does not know the salt, which is that of the input, learns nothing of a file
/// by its name, and the name is of use for this request alone.
fn named(salt: &Salt, request: &str, found: &Looked) -> Digest {
    let (kind, content): (&str, &[u8]) = match &found.stands {
        Stands::NotGranted => ("not granted", &[]),
        Stands::Unreachable => ("unreachable", &[]),
        Stands::Absent => ("absent", &[]),
        Stands::NoFile => ("no file", &[]),
        Stands::Longer(stat) => ("longer", stat.as_bytes()),
        Stands::File(bytes) => ("file", bytes),
    };
    let link = found.link.as_ref().map_or_else(String::new, |link| sha256(link).hex());
    salted_digest(salt, &[format!("{request}\n{link}\n{:?}\n{kind}\n", found.place).as_bytes(), content].concat())
}

impl Planned {
    fn shown(self) -> Change {
        let Planned { target, then, found, seen } = self;
        let after = if matches!(then, Then::Deleted) { Present::Absent } else { Present::File };
        let change = Change {
            schema: 1,
            target,
            link: found.link.as_ref().map(|link| String::from_utf8_lossy(link).into_owned()),
            now: Present::Other,
            then: after,
            lines: Vec::new(),
            why: None,
            seen: seen.ok(),
        };
        let untold = |now, why| Change { now, why: Some(why), ..change.clone() };
        if let Err(why) = seen {
            return untold(Present::Other, why);
        }
        let before = match (found.stands, found.link.is_some()) {
            (_, true) if after == Present::Absent => {
                return untold(Present::Other, "what stands there is a link, which the call refuses to delete");
            }
            (Stands::Absent, true) => {
                return untold(Present::Other, "what stands there is a link to nothing, which the call refuses");
            }
            (Stands::File(bytes), _) => Some(bytes),
            (Stands::Absent, _) => None,
            (Stands::Longer(_), _) => return untold(Present::File, "the file has more than 256 KiB"),
            (Stands::NoFile, _) => return untold(Present::Other, "what stands there is no file"),
            (Stands::NotGranted, _) => return untold(Present::Other, "no directory of the grant holds it"),
            (Stands::Unreachable, _) => return untold(Present::Other, "it cannot be read under the grant"),
        };
        let now = if before.is_some() { Present::File } else { Present::Absent };
        let before = before.unwrap_or_default();
        let after = match then {
            Then::Written(bytes) => bytes,
            Then::Appended(bytes) => [before.clone(), bytes].concat(),
            Then::Deleted => Vec::new(),
        };
        if after.len() as u64 > MOST {
            return untold(now, "it would have more than 256 KiB");
        }
        match (std::str::from_utf8(&before), std::str::from_utf8(&after)) {
            (Ok(before), Ok(after)) => {
                let (lines, all) = lines(before, after);
                Change { now, lines, why: (!all).then_some("more than 2000 lines would be shown"), ..change }
            }
            _ => untold(now, "it is not text"),
        }
    }
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
    // A carriage return alone ends no line here.
    let (before, after): (Vec<&str>, Vec<&str>) =
        (before.split_inclusive('\n').collect(), after.split_inclusive('\n').collect());
    let diff = TextDiff::configure().timeout(SHORTEST).diff_slices(&before, &after);
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
                    let (text, no_end) = (String::new(), false);
                    lines.push(Line { kind: LineKind::LeftOut, now: None, then: None, text, no_end });
                }
                next = now.map_or(next, |now| now + 1);
                let (value, end) = (change.value(), change.value().strip_suffix('\n'));
                let (text, no_end) = (end.unwrap_or(value).to_owned(), end.is_none());
                lines.push(Line { kind, now: now.map(|at| at + 1), then: then.map(|at| at + 1), text, no_end });
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
        let end = |line: &Line| if line.no_end { "<no end>" } else { "" };
        lines(before, after).0.iter().map(|line| format!("{}{}{}\n", sign(line), line.text, end(line))).collect()
    }

    #[test]
    fn what_changes_is_shown_with_some_lines_around_it() {
        assert_eq!(shown("a\nb\n", "a\nc\n"), " a\n-b\n+c\n");
        assert_eq!(shown("", "new\n"), "+new\n");
        assert_eq!(shown("old\n", ""), "-old\n");
        assert_eq!(shown("same\n", "same\n"), "");
        assert_eq!(shown("a\r\n", "a\n"), "-a\r\n+a\n");
        assert_eq!(shown("a\n", "a"), "-a\n+a<no end>\n");
        assert_eq!(shown("a\rb\n", "a\rc\n"), "-a\rb\n+a\rc\n");
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
