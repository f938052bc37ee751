//! A component from anywhere is loaded or refused: it never brings the host down and never keeps it busy.
//!
//! The bytes are a component as it is; or, if they begin with `~`, changes to one of those in [`WHOLE`]: bytes of its
//! sections are written over, cut out or put in, sections doubled, dropped and swapped, and all sizes are made to fit
//! again, so that most of what is changed is looked at instead of being cut off at the first section.

use std::sync::OnceLock;

use redress::sandbox::{Provenance, Sandbox, SandboxConfig};
use redress::types::sha256;

use super::Bytes;

/// What is changed: one that does nothing, one with many memories, one as a compiler makes them, which describes itself
/// badly.
const WHOLE: [&[u8]; 3] = [
    include_bytes!("../corpus/components/harmless.wasm"),
    include_bytes!("../corpus/components/many_memories.wasm"),
    include_bytes!("../corpus/components/liar_bad_id.wasm"),
];

fn sandbox() -> &'static Sandbox {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    SANDBOX.get_or_init(|| Sandbox::new(SandboxConfig::default()).expect("a machine that can run components"))
}

/// See the module.
pub fn run(data: &[u8]) {
    match data.split_first() {
        Some((b'~', rest)) => load(&changed(&mut Bytes(rest))),
        _ => load(data),
    }
}

fn load(bytes: &[u8]) {
    let (first, second) = (sandbox().load(bytes, Provenance::External), sandbox().load(bytes, Provenance::External));
    match (first, second) {
        (Ok(component), Ok(again)) => {
            assert_eq!(component.digest(), sha256(bytes));
            assert_eq!(component.description(), again.description());
            assert!(!component.capabilities().is_empty());
            for info in component.capabilities() {
                let reserved = ["io", "net", "data", "text", "sys", "human", "redress"];
                let name = info.id.as_str().split('.').next().unwrap_or_default();
                assert!(!reserved.contains(&name), "`{}` is of the standard library", info.id);
                let _ = component.validate_input(&info.id, &serde_json::json!({"path": [1, null]}));
                let _ = component.input_misfit(&info.id, &serde_json::json!("x"));
            }
        }
        (Err(first), Err(second)) => {
            assert!(!first.to_string().is_empty());
            assert_eq!(std::mem::discriminant(&first), std::mem::discriminant(&second), "{first} / {second}");
        }
        (first, second) => panic!("loaded once only: {:?} {:?}", first.err(), second.err()),
    }
}

/// A section of a component or module.
#[derive(Clone)]
struct Section {
    id: u8,
    body: Body,
}

#[derive(Clone)]
enum Body {
    Plain(Vec<u8>),
    /// A module or component inside a component.
    Inner(Box<Binary>),
}

#[derive(Clone)]
struct Binary {
    /// Magic number, version, and what it is.
    head: Vec<u8>,
    sections: Vec<Section>,
}

fn number(bytes: &mut &[u8]) -> Option<usize> {
    let mut value = 0;
    for shift in (0..35).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn put_number(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

impl Binary {
    fn read(bytes: &[u8]) -> Option<Binary> {
        let (head, mut rest) = bytes.split_at_checked(8)?;
        let component = head[6] == 1;
        let mut sections = Vec::new();
        while let Some((id, after)) = rest.split_first() {
            rest = after;
            let size = number(&mut rest)?;
            let (body, after) = rest.split_at_checked(size)?;
            rest = after;
            let inner = (component && matches!(*id, 1 | 4)).then(|| Binary::read(body)).flatten();
            let body = inner.map_or_else(|| Body::Plain(body.to_vec()), |inner| Body::Inner(Box::new(inner)));
            sections.push(Section { id: *id, body });
        }
        Some(Binary { head: head.to_vec(), sections })
    }

    fn write(&self) -> Vec<u8> {
        let mut out = self.head.clone();
        for section in &self.sections {
            let body = match &section.body {
                Body::Plain(bytes) => bytes.clone(),
                Body::Inner(inner) => inner.write(),
            };
            out.push(section.id);
            put_number(body.len(), &mut out);
            out.extend(body);
        }
        out
    }

    fn change(&mut self, bytes: &mut Bytes<'_>) {
        if self.sections.is_empty() {
            return;
        }
        let at = bytes.below(self.sections.len());
        match bytes.below(12) {
            0 => drop(self.sections.remove(at)),
            1 => self.sections.insert(at, self.sections[at].clone()),
            2 => {
                let other = bytes.below(self.sections.len());
                self.sections.swap(at, other);
            }
            3 if bytes.one_in(4) => self.sections[at].id = bytes.byte() % 14,
            how => match &mut self.sections[at].body {
                Body::Inner(inner) => inner.change(bytes),
                Body::Plain(body) => change_bytes(how, body, bytes),
            },
        }
    }
}

fn change_bytes(how: usize, body: &mut Vec<u8>, bytes: &mut Bytes<'_>) {
    if body.is_empty() {
        return body.push(bytes.byte());
    }
    let at = (usize::from(bytes.byte()) << 8 | usize::from(bytes.byte())) % body.len();
    match how {
        4 => {
            let end = (at + 1 + bytes.below(16)).min(body.len());
            body.drain(at..end);
        }
        5 => {
            let byte = bytes.byte();
            body.splice(at..at, std::iter::repeat_n(byte, 1 + bytes.below(8)));
        }
        6 => {
            let end = (at + 1 + bytes.below(32)).min(body.len());
            let part = body[at..end].to_vec();
            body.splice(at..at, part);
        }
        7 => body[at] ^= 1 << bytes.below(8),
        8 => body[at] = body[at].wrapping_add(bytes.byte()),
        _ => body[at] = bytes.byte(),
    }
}

fn changed(bytes: &mut Bytes<'_>) -> Vec<u8> {
    // The one that a compiler made takes its time: it is seldom chosen.
    let base = WHOLE[[0, 0, 0, 0, 1, 1, 1, 2][bytes.below(8)]];
    let mut binary = Binary::read(base).expect("a whole component");
    assert_eq!(binary.write().len(), base.len(), "a component is not written as it was read");
    for _ in 0..1 + bytes.below(4) {
        binary.change(bytes);
    }
    binary.write()
}
