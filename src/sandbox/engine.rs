//! One engine for the whole host: its configuration, its clock, its linker.
//!
//! Everything that wasmtime can be told about safety is told here, in [`config`], and nowhere else.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::Semaphore;
use wasmtime::component::Linker;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};
use wasmtime_wasi::p2::bindings::filesystem;

use super::cache::Cache;
use super::net::{Net, Resolver, SystemResolver};
use super::state::{GateFs, State};

/// How often running guests are interrupted to look at the clock and at [`Cancel`](super::Cancel).
const TICK: Duration = Duration::from_millis(10);

/// How many calls run at the same time; more of them wait their turn. The pool below has room for exactly these, whatever
/// each of them takes.
const CALLS: u32 = 64;

/// How many components are asked for their description at the same time.
const DESCRIPTIONS: u32 = 4;

/// What one component has at most, whatever its limits are.
const INSTANCES: u32 = 32;
const MEMORIES: u32 = 4;
const TABLES: u32 = 20;

/// How the sandbox is set up.
#[derive(Clone, Default)]
pub struct SandboxConfig {
    /// Where compiled code is kept; none to compile at every start. Private to the user, safe to delete.
    pub cache_dir: Option<PathBuf>,
    /// Who looks names up for requests; the system if none.
    pub resolver: Option<Arc<dyn Resolver>>,
    /// Certificates in PEM of authorities that TLS trusts besides Mozilla's list.
    pub extra_ca: Option<Vec<u8>>,
}

/// The sandbox cannot be set up on this machine.
#[derive(Debug, Error)]
#[error("the sandbox cannot be set up: {0}")]
pub struct SandboxError(String);

/// Runs components. Cheap to clone; all clones are the same sandbox.
#[derive(Clone)]
pub struct Sandbox(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) engine: Engine,
    pub(super) linker: Linker<State>,
    pub(super) cache: Option<Cache>,
    pub(super) calls: Arc<Semaphore>,
    pub(super) descriptions: Semaphore,
    pub(super) net: Net,
}

impl Sandbox {
    /// Sets up the engine and starts its clock.
    pub fn new(config: SandboxConfig) -> Result<Sandbox, SandboxError> {
        super::limits::ask_for_descriptors();
        let engine = engine().map_err(|error| SandboxError(format!("{error:#}")))?;
        let linker = linker(&engine).map_err(|error| SandboxError(format!("{error:#}")))?;
        start_clock(&engine).map_err(|error| SandboxError(error.to_string()))?;
        let cache = config.cache_dir.map(|dir| Cache::new(dir, &engine));
        let calls = Arc::new(Semaphore::new(CALLS as usize));
        let descriptions = Semaphore::new(DESCRIPTIONS as usize);
        let resolver = config.resolver.unwrap_or_else(|| Arc::new(SystemResolver));
        let net = Net::new(resolver, config.extra_ca.as_deref()).map_err(|error| SandboxError(error.to_string()))?;
        Ok(Sandbox(Arc::new(Inner { engine, linker, cache, calls, descriptions, net })))
    }
}

/// An engine with the pooling allocator, or without where the address space for it cannot be had.
fn engine() -> wasmtime::Result<Engine> {
    let mut pooled = config();
    pooled.allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
    Engine::new(&pooled).or_else(|error| {
        tracing::warn!("calls will be slower: no pool of memory could be reserved: {error:#}");
        Engine::new(&config())
    })
}

/// The configuration. Each knob says which threat it meets and where its protection ends.
fn config() -> Config {
    let mut config = Config::new();
    config
        // A loop that never returns: at each tick the guest looks whether it must stop. Off by default. Does not fire
        // inside host calls, therefore every call has a timer as well.
        .epoch_interruption(true)
        // A loop that computes: bounded whatever the machine's speed, and the measure in the evidence. Off by default.
        .consume_fuel(true)
        // Deep recursion: 512 KiB (the default) of guest stack, on a stack of its own of 1 MiB, so that host calls from
        // a nearly full one still have room.
        .max_wasm_stack(512 << 10)
        .async_stack_size(1 << 20)
        // Floating point results that differ between machines: `describe` must return the same bytes. Off by default.
        .cranelift_nan_canonicalization(true)
        // A fresh copy of initial memory for each call costs nothing until it is written. On by default.
        .memory_init_cow(true)
        // 4 GiB of address space for each memory by default; 256 MiB is what `memory` could be raised to.
        .memory_reservation(256 << 20)
        // Every proposal that components do not need is more surface of the compiler. On by default: the component
        // model's own concurrency (switched off, calls are also 2 to 4 times faster), exceptions and others depending on the
        // version, so each is named. Several memories stay: what passes text between the parts of a composed component
        // reaches two of them, and the compiler takes them for granted there. All together are bounded as one is.
        .concurrency_support(false)
        .wasm_threads(false)
        .shared_memory(false)
        .wasm_memory64(false)
        .wasm_multi_memory(true)
        .wasm_custom_page_sizes(false)
        .wasm_function_references(false)
        .wasm_gc(false)
        .wasm_exceptions(false)
        .wasm_stack_switching(false)
        .wasm_shared_everything_threads(false)
        .wasm_wide_arithmetic(false)
        .wasm_relaxed_simd(false);
    config
}

/// Reserved once, so that a call takes and returns its memory without asking the system: without it two threads are slower
/// than one. The counts are for [`CALLS`] calls at a time, each with as much as one can have, so that none of them takes
/// another's place; the sizes are upper bounds, a call's own limits are lower.
fn pool() -> PoolingAllocationConfig {
    const ALL: u32 = CALLS + DESCRIPTIONS;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(ALL)
        .total_core_instances(ALL * INSTANCES)
        .total_memories(ALL * MEMORIES)
        .total_tables(ALL * TABLES)
        .total_stacks(ALL)
        .max_core_instances_per_component(INSTANCES)
        .max_memories_per_component(MEMORIES)
        .max_tables_per_component(TABLES)
        .max_memory_size(256 << 20)
        .table_elements(20_000)
        .linear_memory_keep_resident(2 << 20)
        .table_keep_resident(64 << 10)
        .async_stack_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// What a component can import. Everything of WASI is there, and of its HTTP what sends requests, since every toolchain imports
/// some of it; what is not granted is an empty room: no directories, no network, no environment, no arguments, no standard
/// input.
fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    linker.allow_shadowing(true);
    filesystem::preopens::add_to_linker::<State, GateFs>(&mut linker, State::fs)?;
    filesystem::types::add_to_linker::<State, GateFs>(&mut linker, State::fs)?;
    linker.allow_shadowing(false);
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    super::undo::add_to_linker(&mut linker)?;
    Ok(linker)
}

/// Ticks for as long as the engine exists.
fn start_clock(engine: &Engine) -> std::io::Result<()> {
    let engine = engine.weak();
    let tick = move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
        }
    };
    std::thread::Builder::new().name("redress-epochs".into()).spawn(tick).map(|_| ())
}
