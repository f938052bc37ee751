//! The world: a few files, and a ledger of who changed what when. Components, as far as they matter: what they do to files.

use redress::types::{EffectKind, Target, TargetState, sha256};

use crate::config::Dice;

/// A file's content as a number; none if there is no file.
pub type Content = Option<u64>;

/// How many files there are.
pub const FILES: usize = 5;

/// Who changes a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    Execute { step: usize, attempt: u32, key: String, input: String },
    Undo { step: usize, attempt: u32 },
    Stranger,
}

/// One change.
#[derive(Clone, Debug)]
pub struct Change {
    pub by: By,
    pub file: usize,
    /// How many events were durable then.
    pub durable: usize,
}

/// Files and their history.
#[derive(Clone, Debug)]
pub struct World {
    pub files: [Content; FILES],
    pub initial: [Content; FILES],
    pub ledger: Vec<Change>,
    /// What the run left in a file.
    pub ours: [Content; FILES],
    /// What somebody else left in a file, if it is another thing than the run left: no undo may replace it.
    pub theirs: [Option<Content>; FILES],
    /// Whether a file is not as the run left it last, because the machine went down before that was on disk.
    pub lost: [bool; FILES],
    /// What a file was since it was synced last, oldest first: after the machine went down it may be any of them.
    unsynced: [Vec<Content>; FILES],
}

impl World {
    pub fn new(dice: &mut Dice) -> World {
        let files = std::array::from_fn(|file| dice.once_in(2).then_some(1_000 + file as u64));
        World {
            files,
            initial: files,
            ledger: Vec::new(),
            ours: files,
            theirs: [None; FILES],
            lost: [false; FILES],
            unsynced: files.map(|content| vec![content]),
        }
    }

    pub fn change(&mut self, by: By, file: usize, to: Content, durable: usize) {
        self.files[file] = to;
        self.unsynced[file].push(to);
        self.lost[file] = false;
        match by {
            By::Stranger => {
                self.theirs[file] = (to != self.ours[file]).then_some(to);
                self.sync(file);
            }
            By::Execute { .. } => (self.ours[file], self.theirs[file]) = (to, None),
            By::Undo { .. } => self.ours[file] = to,
        }
        self.ledger.push(Change { by, file, durable });
    }

    /// A file is on disk as it is.
    pub fn sync(&mut self, file: usize) {
        self.unsynced[file] = vec![self.files[file]];
    }

    /// The machine goes down: of each file the writes from some point on are lost. The files that are not as they were.
    pub fn lose(&mut self, dice: &mut Dice) -> Vec<usize> {
        let mut lost = Vec::new();
        for file in 0..FILES {
            let kept = self.unsynced[file][dice.index(self.unsynced[file].len())];
            if kept != self.files[file] {
                lost.push(file);
                self.lost[file] = true;
                (self.files[file], self.ours[file]) = (kept, kept);
            }
            self.sync(file);
        }
        lost
    }
}

pub fn target(file: usize) -> Target {
    Target::File { host: format!("/world/f{file}"), guest: format!("/f{file}") }
}

/// Which file a target is.
pub fn file_of(target: &Target) -> usize {
    let host = target.host_path().unwrap_or_default();
    (0..FILES).find(|file| host == format!("/world/f{file}")).unwrap_or_default()
}

pub fn state(content: Content) -> TargetState {
    match content {
        None => TargetState::Absent,
        Some(number) => {
            TargetState::File { len: 8, sha256: Some(sha256(&number.to_le_bytes())), mtime_ns: None, inode: None }
        }
    }
}

/// What a capability does to one file.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// Writes this.
    Put(u64),
    /// Adds this: twice is not once.
    Add(u64),
    Remove,
}

impl Act {
    pub fn on(self, content: Content) -> Content {
        match self {
            Act::Put(number) => Some(number),
            Act::Add(number) => Some(content.unwrap_or(7).wrapping_mul(31).wrapping_add(number)),
            Act::Remove => None,
        }
    }
}

/// What the component behind a step does.
#[derive(Clone, Debug)]
pub struct Script {
    pub effect: EffectKind,
    pub idempotent: bool,
    pub acts: Vec<(usize, Act)>,
    /// How many records it appends after its first effect.
    pub appends: usize,
    /// How many attempts fail at their end, whatever the dice say.
    pub fails: u32,
    /// A step that only waits for a person.
    pub human: bool,
}

impl Script {
    pub fn draw(dice: &mut Dice, number: usize) -> Script {
        let effect = match dice.roll(10) {
            0 => EffectKind::None,
            1 => EffectKind::Irreversible,
            _ => EffectKind::Reversible,
        };
        let count = 1 + dice.index(3);
        let draw = |at: usize| {
            let value = (number * 10 + at + 1) as u64;
            let act = match dice.roll(5) {
                0 => Act::Remove,
                1 | 2 => Act::Add(value),
                _ => Act::Put(value),
            };
            (dice.index(FILES), act)
        };
        let acts: Vec<(usize, Act)> = (0..count).map(draw).collect();
        Script {
            effect,
            idempotent: dice.roll(3) > 0,
            acts,
            appends: dice.index(3),
            fails: match dice.roll(12) {
                0 => 99,
                1 => 1 + dice.roll(2) as u32,
                _ => 0,
            },
            human: dice.once_in(12),
        }
    }
}

/// What a component saves: how its files are.
pub fn snapshot(script: &Script, world: &World) -> Vec<u8> {
    let mut files: Vec<usize> = script.acts.iter().map(|(file, _)| *file).collect();
    files.sort_unstable();
    files.dedup();
    let text = |file: &usize| match world.files[*file] {
        Some(number) => format!("{file}:{number}"),
        None => format!("{file}:"),
    };
    files.iter().map(text).collect::<Vec<_>>().join(" ").into_bytes()
}

/// Reads what a component saved.
pub fn restored(record: &[u8]) -> Vec<(usize, Content)> {
    let text = String::from_utf8_lossy(record);
    let pair = |pair: &str| {
        let (file, number) = pair.split_once(':')?;
        Some((file.parse().ok()?, number.parse().ok()))
    };
    text.split(' ').filter_map(pair).collect()
}
