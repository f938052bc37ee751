//! `redress capability new`: a project that builds at once, with one operation, its undo and its cases.
//!
//! Nothing is fetched for it but what its language's registry has: what it is written with and the contract that it is
//! built against stand in it.

use std::path::Path;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::{Context, Exit};
use crate::cli::error::CliError;
use crate::cli::init::write_new;
use crate::sandbox::is_reserved;
use crate::types::CapabilityId;

/// A file of a project, and what is in it.
type File = (&'static str, &'static str);

macro_rules! files {
    ($folder:literal: $($to:literal = $from:literal),+ $(,)?) => {
        &[$(($to, include_str!(concat!("../../../", $folder, "/", $from)))),+]
    };
}

const RUST: &[File] = files!["sdk/rust":
    ".gitignore" = "template/gitignore",
    ".cargo/config.toml" = "template/cargo-config.toml",
    "Cargo.toml" = "template/Cargo.toml",
    "Cargo.lock" = "template/Cargo.lock",
    "README.md" = "template/README.md",
    "src/lib.rs" = "template/src/lib.rs",
    "tests/adds_a_line.yaml" = "template/tests/adds_a_line.yaml",
    "tests/makes_the_file.yaml" = "template/tests/makes_the_file.yaml",
    "tests/refuses_two_lines.yaml" = "template/tests/refuses_two_lines.yaml",
    "redress-capability/Cargo.toml" = "Cargo.toml",
    "redress-capability/src/lib.rs" = "src/lib.rs",
    "redress-capability/src/call.rs" = "src/call.rs",
    "redress-capability/src/capability.rs" = "src/capability.rs",
    "redress-capability/src/failure.rs" = "src/failure.rs",
    "redress-capability/src/files.rs" = "src/files.rs",
    "redress-capability/src/http.rs" = "src/http.rs",
    "redress-capability/src/remote.rs" = "src/remote.rs",
    "redress-capability/wit/capability.wit" = "wit/capability.wit",
];

const JS: &[File] = files!["sdk/js":
    ".gitignore" = "template/.gitignore",
    "package.json" = "template/package.json",
    "build.mjs" = "template/build.mjs",
    "README.md" = "template/README.md",
    "src/capability.js" = "template/src/capability.js",
    "tests/adds-a-line.yaml" = "template/tests/adds-a-line.yaml",
    "tests/makes-the-file.yaml" = "template/tests/makes-the-file.yaml",
    "tests/refuses-two-lines.yaml" = "template/tests/refuses-two-lines.yaml",
    "redress/redress-capability.js" = "redress-capability.js",
    "wit/world.wit" = "template/wit/world.wit",
    "wit/deps/filesystem.wit" = "template/wit/deps/filesystem.wit",
    "wit/capability.wit" = "../../wit/capability.wit",
];

const PYTHON: &[File] = files!["sdk/python":
    ".gitignore" = "template/.gitignore",
    "requirements.txt" = "template/requirements.txt",
    "build.py" = "template/build.py",
    "README.md" = "template/README.md",
    "capability.py" = "template/capability.py",
    "tests/adds-a-line.yaml" = "template/tests/adds-a-line.yaml",
    "tests/makes-the-file.yaml" = "template/tests/makes-the-file.yaml",
    "tests/refuses-two-lines.yaml" = "template/tests/refuses-two-lines.yaml",
    "redress_capability.py" = "redress_capability.py",
    "wit/capability.wit" = "../../wit/capability.wit",
];

/// A language that a project can be written in.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Language {
    /// With cargo: small and fast components.
    Rust,
    /// JavaScript, with Node.js and npm: components of 12 MB.
    Js,
    /// With Python 3.10 or later: components of 19 MB.
    Python,
}

impl Language {
    fn files(self) -> &'static [File] {
        match self {
            Language::Rust => RUST,
            Language::Js => JS,
            Language::Python => PYTHON,
        }
    }

    /// What sets its tools up, in the folder of the project.
    fn set_up(self) -> &'static str {
        match self {
            Language::Rust => "rustup target add wasm32-wasip2",
            Language::Js => "npm install",
            Language::Python => "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt",
        }
    }
}

/// See [`Verb`](super::Verb).
#[derive(Args, Debug)]
#[command(after_help = "Example: redress capability new acme-notes && redress capability test acme-notes")]
pub(in crate::cli) struct Arguments {
    /// The name of the project and of its folder: lower-case letters, digits and `-`
    name: String,
    /// The language that it is written in
    #[arg(long, value_enum, default_value = "rust")]
    lang: Language,
    /// The id of the capability; the name and `.add`, unless this says otherwise
    #[arg(long)]
    id: Option<String>,
}

pub(super) fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let name = check_name(&arguments.name)?;
    let id = arguments.id.clone().unwrap_or_else(|| format!("{}.add", name.replace('-', "_")));
    let id = check_id(&id)?;
    let folder = Path::new(name);
    if folder.symlink_metadata().is_ok() {
        let error = CliError::usage("exists", format!("`{name}` is there already: nothing was written"));
        return Err(error.in_file(name).help("take another name, or move it away"));
    }
    let mut written = Vec::new();
    for (file, text) in arguments.lang.files() {
        let path = folder.join(file);
        let text = text.replace("{{name}}", name).replace("{{crate}}", &name.replace('-', "_"));
        write_new(&path, &text.replace("{{id}}", id.as_str())).map_err(|error| {
            let shown = path.display().to_string();
            CliError::engine("io", format!("`{shown}` cannot be written: {error}")).in_file(shown)
        })?;
        written.push(path.display().to_string());
    }
    let result = json!({ "schema": 1, "folder": name, "capability": id, "written": written });
    context.output.result(&result, || {
        let set_up = arguments.lang.set_up();
        format!(
            "wrote {name}/ with the capability {id}\nnext: cd {name} && {set_up}, once; then redress capability test ."
        )
    })?;
    Ok(Exit::Done)
}

fn check_name(name: &str) -> Result<&str, CliError> {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    if begins && !name.ends_with('-') && name.len() <= 40 && name.bytes().all(good) {
        return Ok(name);
    }
    let message = format!("`{}` is not a name for a project", crate::document::escape(name));
    Err(CliError::usage("bad-name", message)
        .help("write lower-case letters, digits and `-`, beginning with a letter, such as `acme-notes`"))
}

fn check_id(id: &str) -> Result<CapabilityId, CliError> {
    let parsed = CapabilityId::parse(id).map_err(|error| CliError::usage("bad-id", error.to_string()))?;
    let namespace = parsed.as_str().split('.').next().unwrap_or_default();
    if is_reserved(namespace) {
        let message = format!("the namespace `{namespace}.` belongs to the standard library");
        return Err(CliError::usage("reserved-id", message)
            .help("begin with the name of your organisation, as in `--id acme.notes.add`"));
    }
    Ok(parsed)
}
