//! `redress run` as a person calls it: the whole process, with compiled code in its cache.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::report::{Report, Samples, Target};
use crate::world::{World, binary, peak};

const ROUNDS: usize = 40;

const WORKFLOW: &str = "name: three
steps:
  - name: text
    capability: text.template.render
    inputs: { template: \"hello\", values: {} }
  - name: page
    capability: io.fs.write_file
    inputs: { path: /workspace/page.txt, content: \"hello\" }
  - name: digest
    capability: io.fs.hash_file
    inputs: { path: \"{{ page.path }}\" }
";

pub fn time(mut command: Command, samples: &mut Samples) {
    let begun = Instant::now();
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    samples.add(begun.elapsed());
    assert!(status.success(), "{status}");
}

/// The greatest memory of the process, looked at all the time, which makes it slower.
pub fn peak_of(mut command: Command) -> f64 {
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let mut most: f64 = 0.0;
    while child.try_wait().unwrap().is_none() {
        most = most.max(peak(child.id()).unwrap_or(0.0));
        std::thread::sleep(Duration::from_micros(500));
    }
    assert!(child.wait().unwrap().success());
    most
}

/// Whole processes that run three steps, in each of these folders in turn.
pub fn whole_runs<const N: usize>(folders: [TempDir; N]) -> [Samples; N] {
    let mut samples = std::array::from_fn(|_| Samples::default());
    for folder in &folders {
        std::fs::write(folder.path().join("three.yaml"), WORKFLOW).unwrap();
        time(binary(folder.path(), &["run", "three.yaml"]), &mut Samples::default());
    }
    for _ in 0..ROUNDS / 4 {
        for (folder, samples) in folders.iter().zip(&mut samples) {
            time(binary(folder.path(), &["run", "three.yaml"]), samples);
        }
    }
    samples
}

pub fn measure(report: &mut Report) {
    let world = World::new();
    let dir = world.end();
    std::fs::write(dir.path().join("three.yaml"), WORKFLOW).unwrap();
    let run = || binary(dir.path(), &["run", "three.yaml"]);
    time(run(), &mut Samples::default());
    let (mut version, mut whole) = (Samples::default(), Samples::default());
    for _ in 0..ROUNDS {
        time(binary(dir.path(), &["version"]), &mut version);
        time(run(), &mut whole);
    }
    let most = (0..10).map(|_| peak_of(run())).fold(0.0, f64::max);
    report.row("`redress version`: the process alone", &version, None, Target::Beside);
    report.row("`redress run` of three steps", &whole, Some(("version", &version)), Target::Within(60_000.0));
    report.figure("its greatest resident memory", most, "MB", Some(80.0));
}
