//! All ids, in classes that no pattern of a file tells apart.
//!
//! A pattern is a small automaton, and so is the form of an id. Walked together, character by character, they come to
//! finitely many states; two ids that end in the same set of matching patterns are answered alike by every rule. So what holds
//! for one id of each class holds for all ids: nothing is sampled. Each class comes with one of its shortest ids.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use super::{Pattern, Policy};

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

/// How much is walked at most: positions in patterns, over all states.
const MOST_POSITIONS: usize = 8 << 20;
/// What a state costs besides its positions.
const STATE: usize = 4;

/// The classes that `patterns` tell apart, in the order of their witnesses' lengths; none if there are too many to walk.
pub(super) fn classes(kind: Kind, patterns: &[&Pattern]) -> Option<Vec<Class>> {
    classes_within(MOST_POSITIONS, kind, patterns)
}

fn classes_within(most: usize, kind: Kind, patterns: &[&Pattern]) -> Option<Vec<Class>> {
    let walk = Walk::new(kind, patterns);
    let first = walk.start();
    let mut seen: HashSet<State> = HashSet::from([first.clone()]);
    let mut found: HashMap<Vec<usize>, String> = HashMap::new();
    let mut order = Vec::new();
    let mut layer = vec![(first, String::new())];
    let mut left = most;
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
                    left = left.checked_sub(after.positions.len() + STATE)?;
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

/// Which rules of a policy name the ids of each class.
pub(super) struct Named {
    principals: Vec<Vec<bool>>,
    capabilities: Vec<Vec<usize>>,
}

impl Named {
    pub(super) fn of(policy: &Policy, who: &[Class], what: &[Class]) -> Named {
        let by_principal =
            |class: &Class| policy.rules.iter().map(|rule| Pattern::any(&rule.principals, &class.witness)).collect();
        let by_capability = |class: &Class| {
            let rules = policy.rules.iter().enumerate();
            rules.filter(|(_, rule)| Pattern::any(&rule.capabilities, &class.witness)).map(|(index, _)| index).collect()
        };
        Named {
            principals: who.iter().map(by_principal).collect(),
            capabilities: what.iter().map(by_capability).collect(),
        }
    }

    /// The numbers of the rules that name the principals of class `who` and the capabilities of class `what`, in order.
    pub(super) fn rules(&self, who: usize, what: usize) -> Vec<usize> {
        let principal = |index: &usize| self.principals.get(who).and_then(|rules| rules.get(*index)) == Some(&true);
        self.capabilities.get(what).into_iter().flatten().copied().filter(principal).collect()
    }
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
    /// Patterns with positions in them, in order: `i` is there if the text is made by the first `i` characters. A pattern that
    /// nothing which goes on so can match is in none.
    positions: Vec<(u32, u16)>,
}

struct Walk<'p> {
    kind: Kind,
    patterns: Vec<&'p [u8]>,
    alphabet: Vec<u8>,
}

impl<'p> Walk<'p> {
    fn new(kind: Kind, patterns: &[&'p Pattern]) -> Walk<'p> {
        let patterns: Vec<&[u8]> = patterns.iter().map(|pattern| pattern.as_str().as_bytes()).collect();
        Walk { kind, alphabet: alphabet(kind, &patterns), patterns }
    }

    fn start(&self) -> State {
        let mut positions = Vec::new();
        for (number, pattern) in (0..).zip(&self.patterns) {
            add(pattern, number, 0, &mut positions);
        }
        State { form: self.kind.begin(), positions }
    }

    fn step(&self, state: &State, c: u8) -> Option<State> {
        let form = state.form.step(self.kind, c)?;
        let mut positions = Vec::new();
        for (number, at) in &state.positions {
            let Some(pattern) = self.pattern(*number) else { continue };
            match pattern.get(usize::from(*at)) {
                Some(b'*') => add(pattern, *number, *at, &mut positions),
                Some(wanted) if *wanted == c => add(pattern, *number, *at + 1, &mut positions),
                Some(_) | None => {}
            }
        }
        positions.sort_unstable();
        positions.dedup();
        Some(State { form, positions })
    }

    fn pattern(&self, number: u32) -> Option<&'p [u8]> {
        self.patterns.get(usize::try_from(number).ok()?).copied()
    }

    fn matched(&self, state: &State) -> Vec<usize> {
        let ended =
            |(number, at): &&(u32, u16)| self.pattern(*number).is_some_and(|pattern| pattern.len() == usize::from(*at));
        state.positions.iter().filter(ended).filter_map(|(number, _)| usize::try_from(*number).ok()).collect()
    }
}

/// A position, and those behind stars that stand for nothing. Patterns have at most 256 characters.
fn add(pattern: &[u8], number: u32, at: u16, positions: &mut Vec<(u32, u16)>) {
    let mut at = at;
    loop {
        positions.push((number, at));
        if pattern.get(usize::from(at)) != Some(&b'*') {
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

    #[test]
    fn a_text_is_an_id_exactly_where_its_form_says_so() {
        let is_whole = |kind: Kind, text: &str| {
            let form = text.bytes().try_fold(kind.begin(), |form, c| form.step(kind, c));
            form.is_some_and(|form| form.is_whole(kind))
        };
        let agrees = |text: &str| {
            assert_eq!(is_whole(Kind::Capability, text), CapabilityId::parse(text).is_ok(), "{text:?}");
            assert_eq!(is_whole(Kind::Principal, text), Principal::parse(text).is_ok(), "{text:?}");
        };
        let mut texts = vec![String::new()];
        for _ in 0..4 {
            texts = texts.iter().flat_map(|text| "aA0_-.:*".chars().map(move |c| format!("{text}{c}"))).collect();
            texts.iter().for_each(|text| agrees(text));
        }
        for c in (0..=127).map(char::from) {
            for place in ["?", "?a.b", "a?.b", "a.?", "a.b?", "?a:b", "a?:b", "a:?", "a:b?"] {
                agrees(&place.replace('?', &c.to_string()));
            }
        }
    }

    #[test]
    fn each_character_that_an_id_can_have_tells_classes_apart_where_it_stands() {
        for c in (b'!'..=b'~').map(char::from) {
            for place in ["?.a", "a?.b", "a.?", "a.b?", "?:a", "a?:b", "a:?", "a:b?"] {
                let text = place.replace('?', &c.to_string());
                let Ok(pattern) = Pattern::parse(&text) else { continue };
                if pattern.is_one() {
                    let (capability, principal) = (CapabilityId::parse(&text).is_ok(), Principal::parse(&text).is_ok());
                    assert_eq!(of(Kind::Capability, &[&text]).len(), 1 + usize::from(capability), "{text}");
                    assert_eq!(of(Kind::Principal, &[&text]).len(), 1 + usize::from(principal), "{text}");
                }
            }
        }
    }

    #[test]
    fn a_name_that_begins_with_none_of_the_letters_is_in_a_class() {
        let begins = "abcdefghijklmnopqrstuvwxyz_:".chars().map(|c| format!("a:{c}*"));
        let texts: Vec<String> = std::iter::once("a:*".to_owned()).chain(begins).collect();
        let classes = of(Kind::Principal, &texts.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(classes.iter().any(|(matched, _)| matched == &[0]));
    }

    #[test]
    fn a_walk_that_costs_more_than_it_may_is_given_up() {
        let walks = |most: usize, texts: &[&str]| {
            let patterns: Vec<Pattern> = texts.iter().map(|text| Pattern::parse(text).unwrap()).collect();
            classes_within(most, Kind::Principal, &patterns.iter().collect::<Vec<_>>()).is_some()
        };
        // A kind, its colon and a name: three states.
        assert!(walks(3 * STATE, &[]) && !walks(3 * STATE - 1, &[]));
        // A star stands before and behind itself in each of them.
        assert!(walks(3 * STATE + 6, &["*"]) && !walks(3 * STATE + 5, &["*"]));
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
