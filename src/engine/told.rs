//! Which events of a run its owner knows.

use std::collections::BTreeMap;

/// All events up to one, and stretches beyond it. Answers of the journal come in any order, and one is lost if the call that waited
/// for it is given up: then a gap stays, until the journal is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    up_to: u64,
    /// By the number before each stretch, its last number.
    beyond: BTreeMap<u64, u64>,
}

impl Told {
    /// All up to `seq` are known.
    pub fn up_to(seq: u64) -> Told {
        Told { up_to: seq, beyond: BTreeMap::new() }
    }

    /// The last event of those that are known without a gap.
    pub fn without_gap(&self) -> u64 {
        self.up_to
    }

    /// Whether the event with this number is known.
    pub fn knows(&self, seq: u64) -> bool {
        seq <= self.up_to || self.beyond.range(..seq).next_back().is_some_and(|(_, last)| *last >= seq)
    }

    /// All events after the first number, up to the second, are known now.
    pub fn tell(&mut self, after: u64, last: u64) {
        let known = self.beyond.entry(after).or_default();
        *known = last.max(*known);
        while let Some(first) = self.beyond.first_entry().filter(|first| *first.key() <= self.up_to) {
            self.up_to = self.up_to.max(first.remove());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_in_any_order_close_every_gap_and_a_lost_one_leaves_its_gap() {
        let mut told = Told::up_to(2);
        told.tell(4, 6);
        told.tell(6, 7);
        let known = |told: &Told| (1..10).filter(|seq| told.knows(*seq)).collect::<Vec<_>>();
        assert_eq!((known(&told), told.without_gap()), (vec![1, 2, 5, 6, 7], 2));
        told.tell(2, 4);
        assert_eq!(told, Told::up_to(7));
        told.tell(8, 9);
        assert_eq!((known(&told), told.without_gap()), ((1..8).chain([9]).collect(), 7));
        // A look at the journal reads all of it.
        told.tell(7, 12);
        assert_eq!(told, Told::up_to(12));
    }
}
