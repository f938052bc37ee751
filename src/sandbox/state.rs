//! What the store of one call holds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use wasmtime::component::{HasData, ResourceTable};
use wasmtime_wasi::filesystem::WasiFilesystemCtxView;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::attempt::Attempt;
use super::fs::GateFsView;
use super::http::HttpGate;
use super::limits::Limiter;

/// The data of a store.
pub(super) struct State {
    pub(super) wasi: WasiCtx,
    pub(super) table: ResourceTable,
    pub(super) limiter: Limiter,
    pub(super) gate: Gate,
    pub(super) http: WasiHttpCtx,
    pub(super) http_gate: HttpGate,
}

/// What the gate remembers of a call, beside the attempt itself.
pub(super) struct Gate {
    pub(super) attempt: Arc<Attempt>,
    /// Of each open file, by handle: the directory that its reads are counted under, as the guest sees it.
    pub(super) places: HashMap<u32, Arc<str>>,
    pub(super) context: BTreeMap<String, String>,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.http_gate, table: &mut self.table, ctx: &mut self.http }
    }
}

/// The linker's way to the gate of files.
pub(super) struct GateFs;

impl HasData for GateFs {
    type Data<'a> = GateFsView<'a>;
}

impl State {
    pub(super) fn fs(&mut self) -> GateFsView<'_> {
        GateFsView {
            gate: &mut self.gate,
            fs: WasiFilesystemCtxView { ctx: self.wasi.filesystem(), table: &mut self.table },
        }
    }

    pub(super) fn gate(&mut self) -> &mut Gate {
        &mut self.gate
    }
}
