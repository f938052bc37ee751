//! What a component says of its origin: its custom sections.
//!
//! Nothing of it is checked by anybody, and nothing is decided by it: it is a label for a reviewer. The bytes are a stranger's,
//! so texts are cut, the list is, and what cannot be read is only counted.

use serde::Serialize;
use wasmparser::{ComponentName, CustomSectionReader, KnownCustom, Name, Parser, Payload};

/// How many sections are listed.
const MAX_SECTIONS: usize = 64;
/// How many entries of one section are listed.
const MAX_ENTRIES: usize = 32;
/// The most characters of one text.
const MAX_TEXT: usize = 400;
/// Sections that hold a text for people, or JSON.
const TEXTS: [&str; 8] =
    ["authors", "description", "homepage", "licenses", "registry-metadata", "revision", "source", "version"];

/// The custom sections of a component and of the modules inside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sections {
    /// The first ones.
    pub listed: Vec<Section>,
    /// How many there are.
    pub total: usize,
}

/// One custom section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Section {
    /// How deep it lies: 0 in the component itself, 1 in a module or component inside it, and so on.
    pub depth: usize,
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub bytes: usize,
    /// What it says, as far as its form is known: a name, a text, or `language: Rust`.
    pub says: Vec<String>,
}

/// Reads the custom sections of `bytes`; up to the first error, if they are not sound.
pub fn sections(bytes: &[u8]) -> Sections {
    let mut found = Sections::default();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload {
            Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) => depth += 1,
            Ok(Payload::End(_)) => depth = depth.saturating_sub(1),
            Ok(Payload::CustomSection(section)) => {
                found.total += 1;
                if found.listed.len() < MAX_SECTIONS {
                    let (name, bytes) = (cut(section.name()), section.data().len());
                    found.listed.push(Section { depth, name, bytes, says: says(&section) });
                }
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    found
}

fn says(section: &CustomSectionReader<'_>) -> Vec<String> {
    match section.as_known() {
        KnownCustom::Producers(fields) => fields
            .into_iter()
            .map_while(Result::ok)
            .flat_map(|field| {
                let values = field.values.into_iter().map_while(Result::ok);
                values.map(move |value| cut(format!("{}: {} {}", field.name, value.name, value.version).trim_end()))
            })
            .take(MAX_ENTRIES)
            .collect(),
        KnownCustom::ComponentName(names) => {
            let name = |name| match name {
                ComponentName::Component { name, .. } => Some(cut(name)),
                _ => None,
            };
            names.into_iter().map_while(Result::ok).filter_map(name).take(1).collect()
        }
        KnownCustom::Name(names) => {
            let name = |name| match name {
                Name::Module { name, .. } => Some(cut(name)),
                _ => None,
            };
            names.into_iter().map_while(Result::ok).filter_map(name).take(1).collect()
        }
        _ if TEXTS.contains(&section.name()) => std::str::from_utf8(section.data()).map(cut).into_iter().collect(),
        _ => Vec::new(),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A component with one custom section.
    fn with(name: &str, data: &[u8]) -> Vec<u8> {
        let mut content = vec![u8::try_from(name.len()).unwrap()];
        content.extend(name.as_bytes());
        content.extend(data);
        let mut bytes = b"\0asm\x0d\0\x01\0\0".to_vec();
        let mut len = content.len();
        while len > 0x7f {
            bytes.push((len & 0x7f) as u8 | 0x80);
            len >>= 7;
        }
        bytes.push(len as u8);
        bytes.extend(content);
        bytes
    }

    #[test]
    fn a_text_is_read_and_cut() {
        let found = sections(&with("description", "x".repeat(1000).as_bytes()));
        assert_eq!((found.total, found.listed[0].bytes), (1, 1000));
        assert_eq!(found.listed[0].says, [format!("{}...", "x".repeat(MAX_TEXT))]);
    }

    #[test]
    fn who_made_it_is_read_and_what_is_unknown_or_damaged_is_only_counted() {
        let producers = b"\x01\x08language\x01\x04Rust\x042024";
        assert_eq!(sections(&with("producers", producers)).listed[0].says, ["language: Rust 2024"]);
        assert_eq!(sections(&with("producers", b"\xff\xff")).listed[0].says, Vec::<String>::new());
        assert_eq!(sections(&with("secret", b"anything")).listed[0].says, Vec::<String>::new());
        assert_eq!(sections(&with("description", b"\xff")).listed[0].says, Vec::<String>::new());
        assert_eq!(sections(b"garbage"), Sections::default());
    }

    #[test]
    fn many_sections_are_counted_and_the_first_are_listed() {
        let one = with("a", b"");
        let many: Vec<u8> = one.iter().copied().chain(one[8..].repeat(99)).collect();
        let found = sections(&many);
        assert_eq!((found.listed.len(), found.total), (MAX_SECTIONS, 100));
    }
}
