//! All ids, in classes that no pattern of a file tells apart.
//!
//! A pattern is a small automaton, and so is the form of an id. Walked together, character by character, they come to
//! finitely many states; two ids that end in the same set of matching patterns are answered alike by every rule. So what holds
//! for one id of each class holds for all ids: nothing is sampled. Each class comes with one of its shortest ids.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use super::Pattern;

/// The ids that patterns are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `user:alice`
    Principal,
    /// `io.fs.read_file`
    Capability,
}

/// Ids that the same patterns match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Class {
    /// The numbers of the patterns that match, in order.
    pub(super) matched: Vec<usize>,
    /// One of its shortest ids.
    pub(super) witness: String,
}

/// How much is walked at most: words of 64 positions, over all states.
const MOST_WORDS: usize = 4 << 20;

/// The classes that `patterns` tell apart, in the order of their witnesses' lengths; none if there are too many to walk.
pub(super) fn classes(kind: Kind, patterns: &[&Pattern]) -> Option<Vec<Class>> {
    let walk = Walk::new(kind, patterns);
    let first = walk.start();
    let mut seen: HashSet<State> = HashSet::from([first.clone()]);
    let mut found: HashMap<Vec<usize>, String> = HashMap::new();
    let mut order = Vec::new();
    let mut layer = vec![(first, String::new())];
    let mut words = 0;
    for length in 0..=kind.longest() {
        let mut next = Vec::new();
        for (state, text) in layer {
            if state.form.is_whole(kind) {
                let matched = walk.matched(&state);
                if let Entry::Vacant(place) = found.entry(matched) {
                    order.push(place.key().clone());
                    place.insert(text.clone());
                }
            }
            if length == kind.longest() {
                continue;
            }
            for c in &walk.alphabet {
                let Some(after) = walk.step(&state, *c) else { continue };
                if seen.insert(after.clone()) {
                    words += after.positions.len() + 4;
                    if words > MOST_WORDS {
                        return None;
                    }
                    next.push((after, format!("{text}{}", char::from(*c))));
                }
            }
        }
        if next.is_empty() {
            break;
        }
        layer = next;
    }
    let class = |matched: Vec<usize>| {
        let witness = found.remove(&matched).unwrap_or_default();
        Class { matched, witness }
    };
    Some(order.into_iter().map(class).collect())
}

/// How far an id has come in its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Form {
    /// Nothing yet, or after a dot: a segment of a capability begins here.
    Begin { segments: bool },
    /// In a segment; whether there was one before it.
    Segment { second: bool },
    /// In the kind of a principal.
    KindOf,
    /// After the colon.
    Colon,
    /// In the name.
    Name,
}

impl Kind {
    fn longest(self) -> usize {
        match self {
            Kind::Principal => 256,
            Kind::Capability => 128,
        }
    }

    fn begin(self) -> Form {
        Form::Begin { segments: false }
    }
}

impl Form {
    fn is_whole(self, kind: Kind) -> bool {
        match kind {
            Kind::Principal => self == Form::Name,
            Kind::Capability => self == Form::Segment { second: true },
        }
    }

    /// The form after one more character; none if no id goes on so.
    fn step(self, kind: Kind, c: u8) -> Option<Form> {
        let letter = c.is_ascii_lowercase();
        match (kind, self) {
            (Kind::Capability, Form::Begin { segments }) => letter.then_some(Form::Segment { second: segments }),
            (Kind::Capability, Form::Segment { second }) => match c {
                b'.' => Some(Form::Begin { segments: true }),
                _ if letter || c.is_ascii_digit() || matches!(c, b'_' | b'-') => Some(Form::Segment { second }),
                _ => None,
            },
            (Kind::Principal, Form::Begin { .. }) => (letter || c == b'_').then_some(Form::KindOf),
            (Kind::Principal, Form::KindOf) => match c {
                b':' => Some(Form::Colon),
                _ => (letter || c == b'_').then_some(Form::KindOf),
            },
            (Kind::Principal, Form::Colon | Form::Name) => is_of_a_name(c).then_some(Form::Name),
            _ => None,
        }
    }
}

/// Whether a name of a principal can have it.
fn is_of_a_name(c: u8) -> bool {
    c.is_ascii_graphic() && !matches!(c, b'*' | b'?' | b'[' | b']' | b'{' | b'}' | b'!' | b'\\')
}

/// Where all patterns stand after the same text.
#[derive(Clone, PartialEq, Eq, Hash)]
struct State {
    form: Form,
    /// For each pattern a set of positions, as bits: `i` is there if the text is made by the first `i` characters.
    positions: Vec<u64>,
}

struct Walk<'p> {
    kind: Kind,
    patterns: Vec<&'p [u8]>,
    /// Where the words of each pattern begin.
    offsets: Vec<usize>,
    words: usize,
    alphabet: Vec<u8>,
}

impl<'p> Walk<'p> {
    fn new(kind: Kind, patterns: &[&'p Pattern]) -> Walk<'p> {
        let patterns: Vec<&[u8]> = patterns.iter().map(|pattern| pattern.as_str().as_bytes()).collect();
        let mut offsets = Vec::with_capacity(patterns.len());
        let mut words = 0;
        for pattern in &patterns {
            offsets.push(words);
            words += pattern.len() / 64 + 1;
        }
        Walk { kind, alphabet: alphabet(kind, &patterns), patterns, offsets, words }
    }

    fn start(&self) -> State {
        let mut state = State { form: self.kind.begin(), positions: vec![0; self.words] };
        for (pattern, offset) in self.patterns.iter().zip(&self.offsets) {
            add(pattern, &mut state.positions, *offset, 0);
        }
        state
    }

    fn step(&self, state: &State, c: u8) -> Option<State> {
        let form = state.form.step(self.kind, c)?;
        let mut positions = vec![0; self.words];
        for (pattern, offset) in self.patterns.iter().zip(&self.offsets) {
            for (at, wanted) in pattern.iter().enumerate() {
                if !has(&state.positions, *offset, at) {
                    continue;
                }
                match wanted {
                    b'*' => add(pattern, &mut positions, *offset, at),
                    wanted if *wanted == c => add(pattern, &mut positions, *offset, at + 1),
                    _ => {}
                }
            }
        }
        Some(State { form, positions })
    }

    fn matched(&self, state: &State) -> Vec<usize> {
        let whole = self.patterns.iter().zip(&self.offsets).enumerate();
        whole.filter(|(_, (pattern, offset))| has(&state.positions, **offset, pattern.len())).map(|(n, _)| n).collect()
    }
}

fn has(positions: &[u64], offset: usize, at: usize) -> bool {
    positions.get(offset + at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
}

/// A position, and those behind stars that stand for nothing.
fn add(pattern: &[u8], positions: &mut [u64], offset: usize, at: usize) {
    let mut at = at;
    loop {
        if let Some(word) = positions.get_mut(offset + at / 64) {
            *word |= 1 << (at % 64);
        }
        if pattern.get(at) != Some(&b'*') {
            return;
        }
        at += 1;
    }
}

/// The characters that stand in patterns, and of each sort that the form tells apart one that stands in none: all others of the
/// sort behave as it does.
fn alphabet(kind: Kind, patterns: &[&[u8]]) -> Vec<u8> {
    let sorts: &[fn(u8) -> bool] = match kind {
        Kind::Capability => {
            &[|c| c.is_ascii_lowercase(), |c| c.is_ascii_digit() || matches!(c, b'_' | b'-'), |c| c == b'.']
        }
        Kind::Principal => &[
            |c| c.is_ascii_lowercase() || c == b'_',
            |c| c == b':',
            |c| is_of_a_name(c) && !c.is_ascii_lowercase() && !matches!(c, b'_' | b':'),
        ],
    };
    let used: HashSet<u8> = patterns.iter().flat_map(|pattern| pattern.iter().copied()).collect();
    let mut alphabet = Vec::new();
    for sort in sorts {
        // Letters before signs: an id that is shown should look like one.
        let all: Vec<u8> = (b'a'..=b'z').chain(0..=b'~').filter(|c| sort(*c)).collect();
        let mut own: Vec<u8> = all.iter().copied().filter(|c| used.contains(c)).collect();
        own.extend(all.iter().copied().find(|c| !used.contains(c)));
        own.sort_unstable();
        own.dedup();
        alphabet.extend(own);
    }
    alphabet
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::{CapabilityId, Principal};

    fn of(kind: Kind, texts: &[&str]) -> Vec<(Vec<usize>, String)> {
        let patterns: Vec<Pattern> = texts.iter().map(|text| Pattern::parse(text).unwrap()).collect();
        let patterns: Vec<&Pattern> = patterns.iter().collect();
        classes(kind, &patterns).unwrap().into_iter().map(|class| (class.matched, class.witness)).collect()
    }

    #[test]
    fn each_class_has_a_shortest_id_that_exactly_its_patterns_match() {
        let classes = of(Kind::Capability, &["io.*", "io.fs.*", "*.read"]);
        let mut matched: Vec<_> = classes.iter().map(|(matched, _)| matched.clone()).collect();
        matched.sort();
        assert_eq!(matched, [vec![], vec![0], vec![0, 1], vec![0, 1, 2], vec![0, 2], vec![2]]);
        let witness = |wanted: &[usize]| classes.iter().find(|(matched, _)| matched == wanted).unwrap().1.clone();
        assert_eq!((witness(&[0, 2]).as_str(), witness(&[0, 1, 2]).as_str()), ("io.read", "io.fs.read"));
        // No id is `io.`, and none has an empty segment.
        assert_eq!(of(Kind::Capability, &["io."]).len(), 1);
        assert_eq!(of(Kind::Principal, &["user"]).len(), 1);
    }

    #[test]
    fn an_id_that_only_a_longer_one_than_there_is_could_be_is_in_no_class() {
        let long = format!("io.{}*", "a".repeat(126));
        assert_eq!(of(Kind::Capability, &[&long]).len(), 1);
        let fits = format!("io.{}*", "a".repeat(125));
        assert_eq!(of(Kind::Capability, &[&fits]).len(), 2);
    }

    const PATTERN: &str = "[ab*]{1,2}[.*]{0,1}[ab*]{0,3}";
    const ID: &str = "[ab]{1,3}\\.[ab]{1,3}";

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn every_id_is_in_exactly_one_class_and_every_witness_in_its_own(
            texts in prop::collection::vec(PATTERN, 1..5), ids in prop::collection::vec(ID, 1..20)
        ) {
            let patterns: Vec<Pattern> = texts.iter().filter_map(|text| Pattern::parse(text).ok()).collect();
            let all: Vec<&Pattern> = patterns.iter().collect();
            let matched = |id: &str| -> Vec<usize> {
                all.iter().enumerate().filter(|(_, pattern)| pattern.matches(id)).map(|(n, _)| n).collect()
            };
            for kind in [Kind::Capability, Kind::Principal] {
                let found = classes(kind, &all).unwrap();
                for class in &found {
                    prop_assert_eq!(&class.matched, &matched(&class.witness));
                    let is_id = match kind {
                        Kind::Capability => CapabilityId::parse(&class.witness).is_ok(),
                        Kind::Principal => Principal::parse(&class.witness).is_ok(),
                    };
                    prop_assert!(is_id, "{}", class.witness);
                }
                for id in &ids {
                    let id = if kind == Kind::Capability { id.clone() } else { id.replacen('.', ":", 1) };
                    let own = matched(&id);
                    prop_assert_eq!(found.iter().filter(|class| class.matched == own).count(), 1, "{}", id);
                }
            }
        }
    }
}
