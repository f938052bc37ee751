//! One call of a component that does nothing: by itself, on two threads, and with everything around it.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Barrier};
use std::time::Instant;

use redress::sandbox::{Call, CallKind, Cancel, Component, Durable, Provenance, Sandbox, Watcher};
use redress::types::{Failure, Grant, Target as Path, TargetState};
use tokio::runtime::Builder;
use wasmtime::component::{Component as Bare, Linker};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};

use crate::guests;
use crate::report::{Report, Samples, Target};
use crate::world::{World, noop, sandbox, series};

const ROUNDS: usize = 10;
const CALLS: usize = 2_000;

/// What a component without effects asks nobody.
struct Nobody;

impl Watcher for Nobody {
    fn claim(&self, _: &Path, _: &str) -> Result<(), Failure> {
        Ok(())
    }

    fn release(&self, _: &Path) {}

    fn intent(&self, _: Option<&[u8]>, _: &Path, _: &TargetState) -> Durable {
        Box::pin(std::future::pending())
    }

    fn before(&self, _: &Path, _: &TargetState) {}

    fn appended(&self, _: &[u8]) -> Durable {
        Box::pin(std::future::pending())
    }
}

/// A call of one of its capabilities, without input and with nothing granted.
pub fn call(component: &Arc<Component>, id: &str) -> Call {
    let capability = component.capabilities().iter().find(|info| info.id.as_str() == id).unwrap().clone();
    Call {
        component: component.clone(),
        capability,
        kind: CallKind::Execute { undo_in_force: None },
        input: "{}".to_owned(),
        key: "do-0123456789".to_owned(),
        attempt: 1,
        timeout: None,
        grant: Grant::default(),
        context: BTreeMap::new(),
        clock_ahead: std::time::Duration::ZERO,
    }
}

/// For calls that have no effect.
pub fn nobody() -> Arc<dyn Watcher> {
    Arc::new(Nobody)
}

/// Calls in a row, as one worker of the engine makes them.
fn calls(sandbox: &Sandbox, component: &Arc<Component>, n: usize, samples: &mut Samples) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for _ in 0..n {
            let call = call(component, "test.noop");
            let begun = Instant::now();
            let report = sandbox.call(call, nobody(), Cancel::new()).await;
            samples.add(begun.elapsed());
            assert!(report.result.is_ok(), "{report:?}");
        }
    });
}

/// The least that wasmtime can do with the same pool: a fresh store and instance of an empty component, and its function.
struct Floor {
    engine: Engine,
    component: Bare,
    linker: Linker<()>,
}

impl Floor {
    fn new() -> Floor {
        let mut pool = PoolingAllocationConfig::new();
        pool.linear_memory_keep_resident(2 << 20).pagemap_scan(Enabled::Auto);
        let mut config = Config::new();
        config.concurrency_support(false).allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config).unwrap();
        let text = r#"(component
            (core module $m (memory 32) (func (export "run")))
            (core instance $i (instantiate $m))
            (func (export "run") (canon lift (core func $i "run"))))"#;
        let component = Bare::new(&engine, wat::parse_str(text).unwrap()).unwrap();
        let linker = Linker::new(&engine);
        Floor { engine, component, linker }
    }

    fn calls(&self, n: usize, samples: &mut Samples) {
        let ready = self.linker.instantiate_pre(&self.component).unwrap();
        for _ in 0..n {
            let begun = Instant::now();
            let mut store = Store::new(&self.engine, ());
            let instance = ready.instantiate(&mut store).unwrap();
            let run = instance.get_typed_func::<(), ()>(&mut store, "run").unwrap();
            run.call(&mut store, ()).unwrap();
            drop(store);
            samples.add(begun.elapsed());
        }
    }
}

pub fn measure(report: &mut Report) {
    let sandbox = sandbox();
    let bytes = std::fs::read(guests::component("noop")).unwrap();
    let component = sandbox.load(&bytes, Provenance::External).unwrap();
    let floor = Floor::new();
    let (mut bare, mut one, mut both) = (Samples::default(), Samples::default(), Samples::default());
    let mut alone = Samples::default();
    calls(&sandbox, &component, CALLS, &mut Samples::default());
    for _ in 0..ROUNDS {
        floor.calls(CALLS, &mut bare);
        let begun = Instant::now();
        calls(&sandbox, &component, CALLS, &mut one);
        alone.add_shared(begun.elapsed(), CALLS);
        let begun = Instant::now();
        let start = Barrier::new(2);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    start.wait();
                    calls(&sandbox, &component, CALLS, &mut Samples::default());
                });
            }
        });
        both.add_shared(begun.elapsed(), 2 * CALLS);
    }
    report.row("bare wasmtime, an empty component", &bare, None, Target::Beside);
    report.row("a sandboxed call, one thread", &one, Some(("bare", &bare)), Target::Within(15.0));
    report.row("two threads at once, each call's share", &both, Some(("one thread", &alone)), Target::OfBaseline(1.8));
}

/// The name of the process that measures on one core.
const ONE_CORE: &str = "--on-one-core";

pub fn asked_for_one_core() -> bool {
    std::env::args().any(|argument| argument == ONE_CORE)
}

/// Prints the costs of steps and of bare calls, one a line.
pub fn on_one_core() {
    const STEPS: usize = 1_000;
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let sandbox = sandbox();
    let world = World::new();
    let bytes = std::fs::read(guests::component("noop")).unwrap();
    let component = sandbox.load(&bytes, Provenance::External).unwrap();
    let chain = world.workflow(&series(STEPS, noop));
    let wide = world.workflow(&series(STEPS, |i| format!("{}, depends_on: []", noop(i))));
    let (mut alone, mut steps, mut at_once) = (Samples::default(), Samples::default(), Samples::default());
    for round in 0..=ROUNDS {
        if round == 1 {
            (alone, steps, at_once) = (Samples::default(), Samples::default(), Samples::default());
        }
        calls(&sandbox, &component, CALLS, &mut alone);
        steps.add_between(&runtime.block_on(world.complete(&chain)).0);
        let results = runtime.block_on(world.complete(&wide)).0;
        at_once.add_shared(*results.last().unwrap() - results[0], results.len() - 1);
    }
    for (name, samples) in [("alone", alone), ("steps", steps), ("at_once", at_once)] {
        samples.print(name);
    }
}

pub fn measure_gated(report: &mut Report) {
    let me = std::env::current_exe().unwrap();
    let output = Command::new("taskset").args(["-c", "0"]).arg(me).arg(ONE_CORE).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let [alone, steps, at_once] = ["alone", "steps", "at_once"].map(|name| Samples::parse(name, &text));
    report.row("the sandboxed call alone, one core", &alone, None, Target::Beside);
    let baseline = Some(("the call", &alone));
    report.row("validate, decide, call, append, one core, in series", &steps, baseline, Target::PerSecond(25_000.0));
    report.row("the same, 8 steps at once, one core", &at_once, baseline, Target::PerSecond(25_000.0));
}
