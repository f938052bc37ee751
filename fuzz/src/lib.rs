//! What each fuzz target does with its bytes, as plain functions: `fuzz_targets/` gives them what a fuzzer thinks of,
//! `tests/fuzz_corpus.rs` of the project what is kept in `corpus/`.
//!
//! | target | bytes are | holds |
//! |---|---|---|
//! | `policy` | a request and a policy file | both evaluators agree; a DENY rule in front never allows more |
//! | `workflow` | a workflow file | it loads or says why not; a plan has no cycle and refers only to what has finished |
//! | `urls` | grants, globs and requests | what is opened and matched is what slow and plain readers say |
//! | `addresses` | an address, or the host of a URL | no spelling hides where a request goes |
//! | `journal` | events of a run | they are read or refused; a fold refuses or accepts, and an error changes nothing |
//! | `components` | a component | it loads or is refused, in bounded time |
//!
//! A promise that does not hold is a panic.

pub mod addresses;
#[cfg(feature = "host")]
pub mod components;
pub mod journal;
pub mod policy;
pub mod urls;
pub mod workflow;

/// A target's name and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All targets that this build has.
pub const TARGETS: &[Target] = &[
    ("addresses", addresses::run),
    #[cfg(feature = "host")]
    ("components", components::run),
    ("journal", journal::run),
    ("policy", policy::run),
    ("urls", urls::run),
    ("workflow", workflow::run),
];

/// Takes numbers and choices from the bytes of a fuzzer, from the front; zeros when they are used up.
pub struct Bytes<'d>(pub &'d [u8]);

impl Bytes<'_> {
    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    /// A number below `end`, at most 256.
    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end.max(1)
    }

    /// One of `choices`, which must not be empty.
    pub fn pick<'c, T: ?Sized>(&mut self, choices: &[&'c T]) -> &'c T {
        choices[self.below(choices.len())]
    }

    /// Yes in one of `n` cases.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    /// Whether everything is used up.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Bytes that a test draws, the same ones for the same seed.
#[cfg(test)]
pub fn drawn(seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    let mut draw = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..600).map(|_| draw()).collect()
}
