//! The limits of a store: what a guest may allocate, and what is remembered when it asked for more.
//!
//! What each stops and where its protection ends stands in docs/SECURITY.md. What is counted elsewhere: output (`stdio`),
//! undo records and targets (`attempt`), requests and their bodies (`http`), input and output (`call`).
//!
//! Growing beyond `memory` is an error inside the guest, as on any machine that is full; most guests then trap. The
//! refusal is remembered, so that such a trap is reported as what it is.

use std::os::fd::{AsFd, AsRawFd};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use wasmtime::{ResourceLimiter, Store};

use super::state::State;
use crate::types::Limits;

/// Which allocation was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Memory,
    Tables,
}

/// Sums over all memories and tables of a store.
#[derive(Debug)]
pub(super) struct Limiter {
    memory: u64,
    memory_limit: u64,
    tables: u64,
    table_limit: u64,
    instances: usize,
    memories: usize,
    pub(super) refused: Option<Refused>,
}

impl Limiter {
    pub(super) fn new(limits: &Limits) -> Limiter {
        Limiter {
            memory: 0,
            memory_limit: limits.memory,
            tables: 0,
            table_limit: limits.table_elements,
            instances: count(limits.instances),
            memories: count(limits.memories),
            refused: None,
        }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory.saturating_add(desired.saturating_sub(current) as u64);
        if total > self.memory_limit {
            self.refused = Some(Refused::Memory);
            return Ok(false);
        }
        self.memory = total;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = Some(Refused::Memory);
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.tables.saturating_add(desired.saturating_sub(current) as u64);
        if total > self.table_limit {
            self.refused = Some(Refused::Tables);
            return Ok(false);
        }
        self.tables = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.instances
    }

    fn tables(&self) -> usize {
        // Their elements are summed; an empty one costs about as much as an instance.
        self.instances.saturating_mul(16)
    }

    fn memories(&self) -> usize {
        self.memories
    }
}

/// Applies what is set on the store itself.
pub(super) fn apply(store: &mut Store<State>, limits: &Limits) -> wasmtime::Result<()> {
    store.limiter(|state| &mut state.limiter);
    store.set_fuel(limits.fuel)?;
    store.set_hostcall_fuel(count(limits.hostcall_bytes));
    store.set_max_component_handles(count(limits.handles));
    store.data_mut().table.set_max_capacity(count(limits.resources));
    Ok(())
}

/// How many descriptors of the process the guests leave to the host, at most a quarter of all.
const KEPT_BACK: u64 = 256;

/// Whether the host has enough descriptors left now that this one is open. The system gives the lowest number that is free,
/// so that a number says how many are in use.
pub(super) fn leaves_room(opened: impl AsFd) -> bool {
    let Some(all) = getrlimit(Resource::Nofile).current else { return true };
    let number = u64::try_from(opened.as_fd().as_raw_fd()).unwrap_or_default();
    number < all - KEPT_BACK.min(all / 4)
}

/// Asks for as many descriptors as the system lets this process have; many systems give few unless asked.
pub(super) fn ask_for_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        tracing::debug!("no more than {:?} descriptors: {error}", limit.current);
    }
}

fn count(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_small_memories_count_as_one_large() {
        let mut limiter = Limiter::new(&Limits { memory: 100, ..Limits::default() });
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(!limiter.memory_growing(0, 60, None).unwrap());
        assert_eq!(limiter.refused, Some(Refused::Memory));
        assert!(limiter.memory_growing(60, 100, None).unwrap());
    }
}
