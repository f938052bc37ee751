//! Strict YAML with places, and the errors that point at them.
//!
//! Policies, workflows and settings are documents that decide what an agent may do, so a document is either understood
//! completely or refused. [`parse`] turns a [`Source`] into a tree of [`Node`]s in which every key and value knows its
//! line and column. It refuses, in this order:
//!
//! 1. what is not text: over 1 MiB, invalid UTF-8, control characters, a byte order mark;
//! 2. what is not YAML;
//! 3. what YAML allows and readers differ on, or what makes a short text mean a long one: duplicate keys, keys that are
//!    not strings, anchors, aliases, tags, merge keys, directives, a second document, no content at all, nesting deeper
//!    than 64, integers beyond 2^53, numbers that JSON cannot write.
//!
//! Everything of the third kind is reported at once. Scalars are read by the core schema of YAML 1.2 (`yes` and `on` are
//! strings). What a room accepts *inside* a document it reads through [`MapReader`], which reports every unknown key.
//!
//! [`Diagnostics`] are a product of their own: sorted by place, rendered with the line they are about, and safe to print,
//! because what a file's author wrote never reaches a terminal raw.

mod diagnostic;
mod node;
mod parse;
mod reader;
pub mod schema;
mod source;

pub use diagnostic::{Diagnostic, Diagnostics, Severity, escape, escape_json, is_blank};
pub use node::{Key, Node, NodeKind, Scalar, Style};
pub use parse::{parse, parse_up_to};
pub use reader::{MapReader, boolean, duration, integer, list, positive_duration, string, strings, suggest};
pub use source::{Source, Span};
