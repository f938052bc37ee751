//! The components of `tests/components`, built once in a process.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

#[path = "../../build/guest_build.rs"]
mod guest_build;

/// The file of a test component; `tests/components/README.md` lists them.
pub fn component(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(build);
    let file = folder.join(format!("{name}.wasm"));
    assert!(file.is_file(), "there is no test component `{name}`");
    file
}

fn build() -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/components");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("guests-test");
    let built = guest_build::build(&sources, &target, &["--examples"]);
    let folder = built.unwrap_or_else(|reason| panic!("{reason}")).join("examples");
    for entry in fs::read_dir(&sources).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "wat") {
            write_whole(&folder, &path.with_extension("wasm"), &wat::parse_file(&path).unwrap());
        }
    }
    folder
}

/// Other test processes may read the file at this moment: it appears at once or stays as it is.
fn write_whole(folder: &Path, name: &Path, bytes: &[u8]) {
    let file = folder.join(name.file_name().unwrap());
    if fs::read(&file).is_ok_and(|found| found == bytes) {
        return;
    }
    let draft = file.with_extension(std::process::id().to_string());
    fs::write(&draft, bytes).unwrap();
    fs::rename(&draft, &file).unwrap();
}
