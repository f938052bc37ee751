//! Whether a component fits the contract, and if not, which item does not.
//!
//! In this order: it exports `provider` in a version that this host runs; each import is one that the host has, in a version
//! that it runs; and the functions that it exports and imports of our own interfaces have the types of the contract.
//! Component-model types are exact: one more field of a record breaks a component, so the first difference is named, with what
//! was expected in its place. What was found is the component's own text, so no more is told of it than a person reads. What is
//! different in WASI is said by the linker, which compares all of it anyway.

use std::fmt::{self, Write as _};

use serde::Serialize;
use wasmtime::Engine;
use wasmtime::component::types::{ComponentFunc, ComponentInstance, ComponentItem};
use wasmtime::component::{Component as Code, Type};

use super::component::LoadError;

const PROVIDER: &str = "redress:capability/provider";
const UNDO: &str = "redress:capability/undo";
const CONTEXT: &str = "redress:capability/context";

/// The versions of our own package that this host runs.
const OURS: Versions = Versions { prefix: "0.1.", shown: "0.1.x" };
/// The versions of WASI that this host runs.
const WASI: Versions = Versions { prefix: "0.2.", shown: "0.2.x" };

/// What a component may import; whatever of it is not granted is empty.
const IMPORTS: [&str; 10] = [
    UNDO,
    CONTEXT,
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:http/outgoing-handler",
    "wasi:http/types",
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];

struct Versions {
    prefix: &'static str,
    shown: &'static str,
}

/// What an import can lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ImportKind {
    /// What every toolchain brings along: clocks, randomness, an empty environment, streams.
    Floor,
    /// The interfaces between a capability and this host.
    Contract,
    /// Directories, if they are granted.
    Filesystem,
    /// Requests, if they are granted.
    Http,
    /// Raw sockets and look-ups of names, which are granted to nobody.
    Sockets,
}

impl ImportKind {
    /// What an import of this name can lead to.
    pub fn of(name: &str) -> ImportKind {
        match name.split(['/', '@']).next() {
            Some("redress:capability") => ImportKind::Contract,
            Some("wasi:filesystem") => ImportKind::Filesystem,
            Some("wasi:http") => ImportKind::Http,
            Some("wasi:sockets") => ImportKind::Sockets,
            _ => ImportKind::Floor,
        }
    }
}

/// A type of the contract.
#[derive(Clone, Copy)]
enum Shape {
    Bool,
    U8,
    U32,
    U64,
    Text,
    List(&'static Shape),
    Option(&'static Shape),
    Result(Option<&'static Shape>, Option<&'static Shape>),
    Record(&'static [(&'static str, Shape)]),
}

/// A function of the contract.
struct Function {
    name: &'static str,
    takes: &'static [(&'static str, Shape)],
    returns: Shape,
}

const BYTES: Shape = Shape::List(&Shape::U8);
const RECORDS: Shape = Shape::List(&BYTES);
const CALL: Shape = Shape::Record(&[
    ("capability", Shape::Text),
    ("input", Shape::Text),
    ("key", Shape::Text),
    ("attempt", Shape::U32),
    ("timeout-ms", Shape::U64),
]);
const COMPENSATION: Shape = Shape::Record(&[
    ("capability", Shape::Text),
    ("input", Shape::Text),
    ("execute-key", Shape::Text),
    ("key", Shape::Text),
    ("attempt", Shape::U32),
    ("timeout-ms", Shape::U64),
    ("output", Shape::Option(&Shape::Text)),
    ("undo", RECORDS),
]);
const FAILURE: Shape = Shape::Record(&[
    ("code", Shape::Text),
    ("message", Shape::Text),
    ("retryable", Shape::Bool),
    ("retry-after-ms", Shape::Option(&Shape::U64)),
    ("details", Shape::Option(&Shape::Text)),
]);

const PROVIDED: [Function; 3] = [
    Function { name: "describe", takes: &[], returns: Shape::Text },
    Function { name: "execute", takes: &[("call", CALL)], returns: Shape::Result(Some(&Shape::Text), Some(&FAILURE)) },
    Function { name: "compensate", takes: &[("call", COMPENSATION)], returns: Shape::Result(None, Some(&FAILURE)) },
];
const UNDO_OFFERED: [Function; 2] = [
    Function { name: "save", takes: &[("state", BYTES)], returns: Shape::Result(Some(&RECORDS), Some(&Shape::Text)) },
    Function { name: "append", takes: &[("state", BYTES)], returns: Shape::Result(None, Some(&Shape::Text)) },
];
const CONTEXT_OFFERED: [Function; 1] =
    [Function { name: "get", takes: &[("name", Shape::Text)], returns: Shape::Option(&Shape::Text) }];

/// Checks the world of a component; its imports by name, in the order of the component.
pub(super) fn check(engine: &Engine, code: &Code) -> Result<Vec<String>, LoadError> {
    let world = code.component_type();
    let mut other = None;
    let mut provider = None;
    for (name, item) in world.exports(engine) {
        match name.split_once('@') {
            Some((PROVIDER, version)) if version.starts_with(OURS.prefix) => {
                provider = Some((name.to_owned(), item.ty))
            }
            Some((PROVIDER, _)) => other = Some(name.to_owned()),
            _ => {}
        }
    }
    let (name, provider) = match (provider, other) {
        (Some(provider), _) => provider,
        (None, Some(name)) => return Err(LoadError::WrongVersion { does: "exports", name, runs: OURS.shown }),
        (None, None) => return Err(LoadError::WrongWorld),
    };
    let mut imports = Vec::new();
    for (name, _) in world.imports(engine) {
        check_offered(name)?;
        imports.push(name.to_owned());
    }
    check_provider(engine, &name, &provider)?;
    for (name, item) in world.imports(engine) {
        check_import(engine, name, &item.ty)?;
    }
    Ok(imports)
}

fn check_provider(engine: &Engine, name: &str, item: &ComponentItem) -> Result<(), LoadError> {
    let interface = interface(name, item)?;
    for function in &PROVIDED {
        let found = interface.get_export(engine, function.name).map(|found| found.ty);
        match found {
            Some(ComponentItem::ComponentFunc(found)) => function.check(&found)?,
            Some(_) => return Err(wrong(format!("`{}` of `{name}` is not a function", function.name))),
            None => return Err(wrong(format!("`{name}` has no function `{}`", function.name))),
        }
    }
    Ok(())
}

/// Whether the host has an interface of this name in this version.
fn check_offered(name: &str) -> Result<(), LoadError> {
    let missing = || LoadError::MissingImport(name.to_owned());
    let (path, version) = name.split_once('@').ok_or_else(missing)?;
    let known = |import: &&str| if import.ends_with("/") { path.starts_with(*import) } else { path == *import };
    if !IMPORTS.iter().any(known) {
        return Err(missing());
    }
    let versions = if path.starts_with("wasi:") { WASI } else { OURS };
    if !version.starts_with(versions.prefix) {
        return Err(LoadError::WrongVersion { does: "imports", name: name.to_owned(), runs: versions.shown });
    }
    Ok(())
}

/// Whether what is imported of our own interfaces has the types of the contract.
fn check_import(engine: &Engine, name: &str, item: &ComponentItem) -> Result<(), LoadError> {
    let offered: &[Function] = match name.split('@').next().unwrap_or(name) {
        UNDO => &UNDO_OFFERED,
        CONTEXT => &CONTEXT_OFFERED,
        _ => return Ok(()),
    };
    for (function, found) in interface(name, item)?.exports(engine) {
        let ComponentItem::ComponentFunc(found) = found.ty else { continue };
        match offered.iter().find(|offered| offered.name == function) {
            Some(offered) => offered.check(&found)?,
            None => return Err(wrong(format!("it imports `{function}` of `{name}`, which this host does not have"))),
        }
    }
    Ok(())
}

fn interface<'i>(name: &str, item: &'i ComponentItem) -> Result<&'i ComponentInstance, LoadError> {
    match item {
        ComponentItem::ComponentInstance(interface) => Ok(interface),
        _ => Err(wrong(format!("`{name}` is not an interface"))),
    }
}

fn wrong(what: String) -> LoadError {
    LoadError::WrongContract(what)
}

impl Function {
    /// The first difference, as an error.
    fn check(&self, found: &ComponentFunc) -> Result<(), LoadError> {
        let name = self.name;
        let differs = |does: &str, difference: Difference| {
            wrong(format!("`{name}` {does} {}, expected {}", difference.found, difference.expected))
        };
        if found.async_() {
            return Err(wrong(format!("`{name}` is async, expected a plain function")));
        }
        let takes: Vec<(&str, Type)> = found.params().collect();
        fields("", &takes, self.takes).map_err(|difference| differs("takes", difference))?;
        let mut results = found.results();
        let Some(returned) = results.next() else {
            return Err(wrong(format!("`{name}` returns nothing, expected `{}`", self.returns)));
        };
        self.returns.compare("", &returned).map_err(|difference| differs("returns", difference))
    }
}

/// What was found and what was expected in its place, in backticks.
struct Difference {
    found: String,
    expected: String,
}

/// Compares what has names: parameters, or the fields of a record.
fn fields(path: &str, found: &[(&str, Type)], expected: &[(&str, Shape)]) -> Result<(), Difference> {
    let at = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    for (name, shape) in expected {
        match found.iter().find(|(found, _)| found == name) {
            Some((_, ty)) => shape.compare(&at(name), ty)?,
            None => {
                let found = if path.is_empty() { format!("no `{name}`") } else { format!("`{path}` without `{name}`") };
                return Err(Difference { found, expected: format!("`{}: {shape}`", at(name)) });
            }
        }
    }
    if let Some((name, ty)) = found.iter().find(|(name, _)| expected.iter().all(|(expected, _)| expected != name)) {
        return Err(Difference { found: told(Some(&at(name)), ty), expected: "nothing of that name".into() });
    }
    let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
    let wanted: Vec<&str> = expected.iter().map(|(name, _)| *name).collect();
    if names == wanted {
        return Ok(());
    }
    let found = cut(|out| comma_separated(out, names, fmt::Write::write_str));
    Err(Difference { found: format!("`{found}`"), expected: format!("the order `{}`", wanted.join(", ")) })
}

impl Shape {
    fn compare(&self, path: &str, found: &Type) -> Result<(), Difference> {
        let inside = |what: &str| if path.is_empty() { what.to_owned() } else { format!("{path}.{what}") };
        let part = |what: &str, shape: Option<&Shape>, ty: Option<Type>| match (shape, ty) {
            (None, None) => Some(Ok(())),
            (Some(shape), Some(ty)) => Some(shape.compare(&inside(what), &ty)),
            _ => None,
        };
        let parts = match (self, found) {
            (Shape::Bool, Type::Bool)
            | (Shape::U8, Type::U8)
            | (Shape::U32, Type::U32)
            | (Shape::U64, Type::U64)
            | (Shape::Text, Type::String) => return Ok(()),
            (Shape::List(shape), Type::List(list)) => part("item", Some(shape), Some(list.ty())),
            (Shape::Option(shape), Type::Option(option)) => part("some", Some(shape), Some(option.ty())),
            (Shape::Result(ok, err), Type::Result(result)) => {
                part("ok", *ok, result.ok()).and_then(|ok| Some(ok.and(part("err", *err, result.err())?)))
            }
            (Shape::Record(shapes), Type::Record(record)) => {
                let found: Vec<(&str, Type)> = record.fields().map(|field| (field.name, field.ty)).collect();
                Some(fields(path, &found, shapes))
            }
            _ => None,
        };
        parts.unwrap_or_else(|| {
            let path = Some(path).filter(|path| !path.is_empty());
            Err(Difference { found: told(path, found), expected: format!("`{self}`") })
        })
    }
}

/// Whether a part is there, and what it is.
fn or_none(part: Option<impl fmt::Display>) -> String {
    part.map_or_else(|| "_".to_owned(), |part| part.to_string())
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Bool => f.write_str("bool"),
            Shape::U8 => f.write_str("u8"),
            Shape::U32 => f.write_str("u32"),
            Shape::U64 => f.write_str("u64"),
            Shape::Text => f.write_str("string"),
            Shape::List(item) => write!(f, "list<{item}>"),
            Shape::Option(some) => write!(f, "option<{some}>"),
            Shape::Result(ok, err) => write!(f, "result<{}, {}>", or_none(*ok), or_none(*err)),
            Shape::Record(fields) => {
                let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
                write!(f, "record {{ {} }}", names.join(", "))
            }
        }
    }
}

/// What was found at a place, in backticks.
fn told(path: Option<&str>, ty: &Type) -> String {
    let text = cut(|out| {
        if let Some(path) = path {
            write!(out, "{path}: ")?;
        }
        write_type(out, ty, DEPTH)
    });
    format!("`{text}`")
}

/// How deep types in types are told.
const DEPTH: usize = 3;
/// How many characters are told of what was found.
const LENGTH: usize = 200;

/// A text that takes no more than [`LENGTH`] characters, and fails then, so that whoever writes stops.
#[derive(Default)]
struct Cut {
    text: String,
    chars: usize,
}

impl fmt::Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if self.chars == LENGTH {
                self.text.push_str("...");
                return Err(fmt::Error);
            }
            self.text.push(c);
            self.chars += 1;
        }
        Ok(())
    }
}

/// What `write` writes, cut to size.
fn cut(write: impl FnOnce(&mut Cut) -> fmt::Result) -> String {
    let mut cut = Cut::default();
    match write(&mut cut) {
        // An error says that it is full.
        Ok(()) | Err(fmt::Error) => cut.text,
    }
}

/// Words with commas between them.
fn comma_separated<T>(
    out: &mut Cut,
    words: impl IntoIterator<Item = T>,
    write: impl Fn(&mut Cut, T) -> fmt::Result,
) -> fmt::Result {
    for (index, word) in words.into_iter().enumerate() {
        if index > 0 {
            out.write_str(", ")?;
        }
        write(out, word)?;
    }
    Ok(())
}

/// Writes a type as in WIT, of a record the names of its fields; of what lies deeper than `depth`, nothing.
fn write_type(out: &mut Cut, ty: &Type, depth: usize) -> fmt::Result {
    let Some(depth) = depth.checked_sub(1) else { return out.write_str("...") };
    let inner = |out: &mut Cut, ty: Option<Type>| match ty {
        Some(ty) => write_type(out, &ty, depth),
        None => out.write_str("_"),
    };
    let plain = match ty {
        Type::List(list) => {
            out.write_str("list<")?;
            inner(out, Some(list.ty()))?;
            ">"
        }
        Type::Option(option) => {
            out.write_str("option<")?;
            inner(out, Some(option.ty()))?;
            ">"
        }
        Type::Result(result) => {
            out.write_str("result<")?;
            comma_separated(out, [result.ok(), result.err()], inner)?;
            ">"
        }
        Type::Record(record) => {
            out.write_str("record { ")?;
            comma_separated(out, record.fields(), |out, field| out.write_str(field.name))?;
            " }"
        }
        Type::Tuple(tuple) => {
            out.write_str("tuple<")?;
            comma_separated(out, tuple.types(), |out, ty| inner(out, Some(ty)))?;
            ">"
        }
        Type::Bool => "bool",
        Type::S8 => "s8",
        Type::U8 => "u8",
        Type::S16 => "s16",
        Type::U16 => "u16",
        Type::S32 => "s32",
        Type::U32 => "u32",
        Type::S64 => "s64",
        Type::U64 => "u64",
        Type::Float32 => "f32",
        Type::Float64 => "f64",
        Type::Char => "char",
        Type::String => "string",
        Type::Map(_) => "map",
        Type::Variant(_) => "variant",
        Type::Enum(_) => "enum",
        Type::Flags(_) => "flags",
        Type::Own(_) => "a resource",
        Type::Borrow(_) => "a borrowed resource",
        Type::Future(_) => "future",
        Type::Stream(_) => "stream",
        Type::ErrorContext => "error-context",
        Type::FixedLengthList(_) => "a list of fixed length",
    };
    out.write_str(plain)
}
