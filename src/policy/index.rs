//! Finds the rules of a request without trying each.
//!
//! Two sets of distinct patterns, one for principals and one for capabilities, are matched at once; each pattern knows
//! its rules; the rules that both sides have in common are the candidates, in file order.

use std::borrow::Cow;
use std::collections::HashMap;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::pattern::Pattern;
use super::rule::Rule;

#[derive(Debug)]
pub(super) struct Index {
    rules: usize,
    principals: Side,
    capabilities: Side,
}

#[derive(Debug)]
struct Side {
    set: GlobSet,
    /// The rules of each pattern of the set.
    rules: Vec<Vec<usize>>,
}

impl Index {
    /// An error if the patterns together are more than the matcher takes.
    pub fn new(rules: &[Rule]) -> Result<Index, globset::Error> {
        Ok(Index {
            rules: rules.len(),
            principals: Side::new(rules.iter().map(|rule| rule.principals.as_slice()))?,
            capabilities: Side::new(rules.iter().map(|rule| rule.capabilities.as_slice()))?,
        })
    }

    /// The rules whose principal and capability match, in file order.
    pub fn candidates(&self, principal: &str, capability: &str) -> impl Iterator<Item = usize> + use<> {
        let mut common = self.principals.matching(principal, self.rules);
        for (word, other) in common.iter_mut().zip(self.capabilities.matching(capability, self.rules)) {
            *word &= other;
        }
        common.into_iter().enumerate().flat_map(|(index, word)| Bits(word).map(move |bit| index * 64 + bit))
    }
}

impl Side {
    fn new<'r>(patterns_of_rules: impl Iterator<Item = &'r [Pattern]>) -> Result<Side, globset::Error> {
        let mut builder = GlobSetBuilder::new();
        let mut distinct: HashMap<&Pattern, usize> = HashMap::new();
        let mut rules: Vec<Vec<usize>> = Vec::new();
        for (rule, patterns) in patterns_of_rules.enumerate() {
            for pattern in patterns {
                let next = rules.len();
                let at = *distinct.entry(pattern).or_insert(next);
                if at == next {
                    builder.add(GlobBuilder::new(&not_a_path(pattern.as_str())).literal_separator(false).build()?);
                    rules.push(Vec::new());
                }
                if let Some(list) = rules.get_mut(at) {
                    list.push(rule);
                }
            }
        }
        Ok(Side { set: builder.build()?, rules })
    }

    /// A bit for each rule.
    fn matching(&self, text: &str, rules: usize) -> Vec<u64> {
        let mut bits = vec![0; rules.div_ceil(64)];
        for pattern in self.set.matches(not_a_path(text).as_ref()) {
            for rule in self.rules.get(pattern).into_iter().flatten() {
                if let Some(word) = bits.get_mut(rule / 64) {
                    *word |= 1 << (rule % 64);
                }
            }
        }
        bits
    }
}

/// The matcher is made for paths and treats a file named `..` apart, so `*.` would not match `agent:a/..`. Ids and patterns
/// are printable ASCII: with another character in place of the slash they are no paths and match as before.
fn not_a_path(text: &str) -> Cow<'_, str> {
    if text.contains('/') { Cow::Owned(text.replace('/', "\u{1}")) } else { Cow::Borrowed(text) }
}

/// The set bits of a word, from the lowest.
struct Bits(u64);

impl Iterator for Bits {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let lowest = self.0.trailing_zeros();
        self.0 &= self.0.checked_sub(1)?;
        Some(lowest as usize)
    }
}
