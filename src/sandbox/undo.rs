//! The two interfaces of ours that a component imports: `undo`, by which it hands over what its undo needs, and `context`,
//! what it may know about the run.

use std::sync::Arc;

use wasmtime::component::{HasData, Linker};

use super::state::{Gate, State};

/// What `bindgen!` makes of `wit/`.
#[allow(missing_docs, clippy::all)]
pub(super) mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "capability",
        imports: { default: async | trappable },
        exports: { default: async },
    });
}

use bindings::redress::capability::{context, undo};

struct HasGate;

impl HasData for HasGate {
    type Data<'a> = &'a mut Gate;
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    undo::add_to_linker::<State, HasGate>(linker, State::gate)?;
    context::add_to_linker::<State, HasGate>(linker, State::gate)
}

impl undo::Host for &mut Gate {
    async fn save(&mut self, state: Vec<u8>) -> wasmtime::Result<Result<Vec<Vec<u8>>, String>> {
        Ok(self.attempt.save(state))
    }

    async fn append(&mut self, state: Vec<u8>) -> wasmtime::Result<Result<(), String>> {
        let attempt = Arc::clone(&self.attempt);
        Ok(attempt.append(state).await)
    }
}

impl context::Host for &mut Gate {
    async fn get(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        Ok(self.context.get(&name).cloned())
    }
}
