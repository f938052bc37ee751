use std::collections::HashMap;

use super::JournalError;
use crate::saga::event::Entry;
use crate::types::RunId;

/// What the writer remembers of the runs that this process owns: what their owners were told, and what went wrong behind
/// their backs. It is memory only; a run that is not in it is treated as fully told.
#[derive(Debug, Default)]
pub(super) struct Book(HashMap<RunId, Page>);

#[derive(Debug)]
struct Page {
    epoch: u64,
    /// The last event that the owner was told, or that was there when it came.
    told: u64,
    /// Lazy events that were stored since.
    lazy: Vec<Entry>,
    /// Why a lazy append was refused.
    failed: Option<JournalError>,
}

impl Book {
    /// A process became the owner of a run, or was told everything up to `told`.
    pub fn tell(&mut self, run: &RunId, epoch: u64, told: u64) {
        self.0.insert(run.clone(), Page { epoch, told, lazy: Vec::new(), failed: None });
    }

    /// A run needs no owner any more.
    pub fn forget(&mut self, run: &RunId) {
        self.0.remove(run);
    }

    /// The owner of this epoch appends nothing more. False if another one came after it.
    pub fn leave(&mut self, run: &RunId, epoch: u64) -> bool {
        if self.0.get(run).is_some_and(|page| page.epoch > epoch) {
            return false;
        }
        self.forget(run);
        true
    }

    /// Why this owner's appends are refused.
    pub fn failure(&self, run: &RunId, epoch: u64) -> Option<JournalError> {
        self.page(run, epoch).and_then(|page| page.failed.clone())
    }

    /// A lazy append was refused.
    pub fn fail(&mut self, run: &RunId, epoch: u64, error: JournalError) {
        self.open(run, epoch, 0).failed = Some(error);
    }

    /// Lazy events were stored; the run was at `before` before them.
    pub fn stored_lazily(&mut self, run: &RunId, epoch: u64, before: u64, entries: &[Entry]) {
        self.open(run, epoch, before).lazy.extend_from_slice(entries);
    }

    /// The last event that the owner was told, if that is known.
    pub fn told(&self, run: &RunId, epoch: u64) -> Option<u64> {
        self.page(run, epoch).map(|page| page.told)
    }

    /// The lazy events that the owner was not told yet.
    pub fn lazy(&self, run: &RunId, epoch: u64) -> &[Entry] {
        self.page(run, epoch).map_or(&[], |page| &page.lazy)
    }

    fn page(&self, run: &RunId, epoch: u64) -> Option<&Page> {
        self.0.get(run).filter(|page| page.epoch == epoch)
    }

    fn open(&mut self, run: &RunId, epoch: u64, told: u64) -> &mut Page {
        let fresh = || Page { epoch, told, lazy: Vec::new(), failed: None };
        let page = self.0.entry(run.clone()).or_insert_with(fresh);
        if page.epoch < epoch {
            *page = fresh();
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_remembered_for_an_owner_that_has_left_and_all_for_the_one_after_it() {
        let run = RunId::parse("01920000-0000-7000-8000-00000000000a").unwrap();
        let mut book = Book::default();
        book.tell(&run, 1, 2);
        book.fail(&run, 1, JournalError::Closed);
        assert!(book.leave(&run, 1));
        assert_eq!((book.failure(&run, 1), book.0.len()), (None, 0));
        book.tell(&run, 2, 7);
        assert!(!book.leave(&run, 1));
        assert_eq!((book.told(&run, 2), book.0.len()), (Some(7), 1));
        assert!(book.leave(&run, 2));
        assert_eq!(book.0.len(), 0);
    }
}
