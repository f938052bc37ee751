//! `--input` and `--inputs`: what a person gives a workflow or a capability.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value};

use super::error::CliError;
use crate::document::{Source, Span, escape, parse_up_to};
use crate::types::parse_strict;
use crate::workflow::{InputArgument, MAX_BYTES, parse_input_argument};

/// The options that give inputs.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct InputOptions {
    /// An input: `name=text`, `name:=JSON` or `name=@FILE`; may be given again
    #[arg(long, value_name = "INPUT")]
    input: Vec<String>,
    /// A file with inputs: one mapping, JSON if it ends with `.json`, else YAML; `--input` goes over it
    #[arg(long, value_name = "FILE")]
    inputs: Option<PathBuf>,
}

impl InputOptions {
    /// The inputs, later ones over earlier ones.
    pub(super) fn read(&self) -> Result<Map<String, Value>, CliError> {
        let mut inputs = match &self.inputs {
            Some(file) => read_mapping(file)?,
            None => Map::new(),
        };
        for argument in &self.input {
            let (name, value) = parse_input_argument(argument)
                .map_err(|error| CliError::usage("bad-input", format!("`--input`: {error}")))?;
            let value = match value {
                InputArgument::Text(text) => Value::String(text),
                InputArgument::Json(value) => value,
                InputArgument::File(file) => Value::String(read_text(Path::new(&file))?.text().to_owned()),
            };
            inputs.insert(name, value);
        }
        Ok(inputs)
    }
}

/// What was typed, as a document: the verb and what it is about, then each option that gives inputs, a line each.
pub(super) struct Typed {
    /// The document.
    pub source: Source,
    /// The verb and what it is about.
    pub verb: Span,
    inputs: HashMap<String, Span>,
    file: Option<Span>,
}

impl Typed {
    /// The option that gave the value to which a JSON pointer leads.
    pub(super) fn place(&self, pointer: &str) -> Span {
        let Some(name) = pointer.split('/').nth(1) else { return self.verb };
        let name = name.replace("~1", "/").replace("~0", "~");
        self.inputs.get(&name).copied().or(self.file).unwrap_or(self.verb)
    }
}

impl InputOptions {
    /// The command line from `verb` on.
    pub(super) fn typed(&self, verb: &str) -> Typed {
        let mut text = String::new();
        let mut add = |before: &str, argument: &str| {
            let argument = escape(argument);
            let _ = writeln!(text, "{before}{argument}");
            let line = text.lines().count();
            Span { line, column: before.chars().count() + 1, len: argument.chars().count() }
        };
        let verb = add("", verb);
        let file = self.inputs.as_ref().map(|file| add("  --inputs ", &file.display().to_string()));
        let mut inputs = HashMap::new();
        for argument in &self.input {
            let place = add("  --input ", argument);
            if let Ok((name, _)) = parse_input_argument(argument) {
                inputs.insert(name, place);
            }
        }
        Typed { source: Source::new("command line", text), verb, inputs, file }
    }
}

/// Reads a file of text.
pub(super) fn read_text(file: &Path) -> Result<Source, CliError> {
    let name = file.display().to_string();
    let bytes = read_document(file).map_err(|error| CliError::unreadable(&name, &error))?;
    Ok(Source::from_bytes(name, &bytes)?)
}

/// The bytes of a document, up to a little more than the largest one may have: some files never end.
pub(super) fn read_document(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_mapping(file: &Path) -> Result<Map<String, Value>, CliError> {
    let source = read_text(file)?;
    let value = if file.extension().is_some_and(|extension| extension == "json") {
        parse_strict(source.text().as_bytes()).map_err(|error| {
            CliError::usage("bad-input", format!("`{}` is {error}", source.name())).in_file(source.name())
        })?
    } else {
        parse_up_to(&source, MAX_BYTES)?.to_json()
    };
    match value {
        Value::Object(inputs) => Ok(inputs),
        _ => Err(CliError::usage("bad-input", format!("`{}` is not a mapping of inputs", source.name()))
            .in_file(source.name())),
    }
}
