//! What a simulated run is made from, so that a failure is one line that reproduces it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// Draws numbers; the same seed draws the same ones.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly from `0..sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.draw() % sides.max(1)
    }

    pub fn index(&mut self, len: usize) -> usize {
        self.roll(len as u64) as usize
    }

    /// Once in `n` times.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.roll(n) == 0
    }
}

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident $word:literal),* $(,)?) => {
        /// What can go wrong, or be done by others, at any moment.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault { $($(#[$doc])* $name),* }

        impl Fault {
            pub const ALL: &'static [Fault] = &[$(Fault::$name),*];

            pub fn word(self) -> &'static str {
                match self { $(Fault::$name => $word),* }
            }
        }
    };
}

faults! {
    /// The process dies; what was not committed is lost, also a commit that was under way.
    Crash "crash",
    /// The machine goes down: also what was noted and not synced is lost.
    MachineDies "machine-dies",
    /// The machine goes down, and with it what was written to files and not synced.
    LostWrites "lost-writes",
    /// A commit fails, and the process stops.
    CommitError "commit-error",
    /// A process is taken for dead, and goes on.
    LostOwner "lost-owner",
    /// Somebody else changes a file.
    Stranger "stranger",
    /// A component fails, traps or takes too long, between any two effects.
    GuestFails "guest-fails",
    /// An undo fails, or restores something else.
    UndoFails "undo-fails",
    /// A run is cancelled, or rolled back by its client.
    Cancel "cancel",
    /// A run is killed.
    Kill "kill",
    /// A completed run is undone.
    Undo "undo",
    /// Somebody rejects, or a voter votes who must not.
    Rejection "rejection",
    /// The policy changes.
    PolicyChange "policy-change",
    /// The clock jumps, either way.
    ClockJump "clock-jump",
    /// A deadline passes.
    Deadline "deadline",
    /// An operator repairs what is stuck.
    Repair "repair",
}

/// One simulated run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub seed: u64,
    /// How many steps its workflow has.
    pub steps: usize,
    /// After how many moves no more faults happen.
    pub moves: usize,
    /// What does not happen in it.
    pub without: BTreeSet<Fault>,
}

impl Config {
    /// A run that is drawn from a seed, in which everything may happen.
    pub fn of(seed: u64) -> Config {
        let mut dice = Dice::new(seed ^ 0x5eed);
        Config { seed, steps: 1 + dice.index(6), moves: 40 + dice.index(260), without: BTreeSet::new() }
    }

    pub fn has(&self, fault: Fault) -> bool {
        !self.without.contains(&fault)
    }

    /// Smaller runs that may fail in the same way.
    pub fn smaller(&self) -> Vec<Config> {
        let mut all = Vec::new();
        for fault in Fault::ALL.iter().filter(|fault| self.has(**fault)) {
            let mut without = self.without.clone();
            without.insert(*fault);
            all.push(Config { without, ..self.clone() });
        }
        all.extend((1..self.steps).map(|steps| Config { steps, ..self.clone() }));
        all.extend([2, 4, 8].map(|part| Config { moves: self.moves - self.moves / part, ..self.clone() }));
        all.retain(|config| config != self);
        all
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed={} steps={} moves={}", self.seed, self.steps, self.moves)?;
        if !self.without.is_empty() {
            let words: Vec<&str> = self.without.iter().map(|fault| fault.word()).collect();
            write!(f, " without={}", words.join(","))?;
        }
        Ok(())
    }
}

impl FromStr for Config {
    type Err = String;

    fn from_str(text: &str) -> Result<Config, String> {
        let mut config = Config { seed: 0, steps: 0, moves: 0, without: BTreeSet::new() };
        for part in text.split_whitespace() {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("`{part}` is not KEY=VALUE"))?;
            let number = || value.parse::<u64>().map_err(|error| format!("`{part}`: {error}"));
            match key {
                "seed" => config.seed = number()?,
                "steps" => config.steps = number()? as usize,
                "moves" => config.moves = number()? as usize,
                "without" => {
                    for word in value.split(',') {
                        let fault = Fault::ALL.iter().find(|fault| fault.word() == word);
                        config.without.insert(*fault.ok_or_else(|| format!("there is no fault `{word}`"))?);
                    }
                }
                _ => return Err(format!("`{key}` is not a key: seed, steps, moves, without")),
            }
        }
        Ok(config)
    }
}
