use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use super::template::{Budget, Lookup, Reference, ResolveError, Template};
use crate::document::{Diagnostic, Diagnostics, Node, NodeKind, Span};

/// The inputs of a step: a JSON object in whose strings references stand, each value with its place in the document.
/// Keys are not templates.
///
/// As JSON it is the same without the places: what a journal keeps, so that a run does not depend on how workflow files
/// are read when it is taken over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Templated {
    #[serde(skip)]
    span: Span,
    #[serde(flatten)]
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Literal(Value),
    /// A text with references, and the place of each of them.
    Text(Template, #[serde(skip)] Vec<Span>),
    List(Vec<Templated>),
    Map(Vec<(String, Templated)>),
}

/// Inputs that have no value, and where.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{error}")]
pub struct Unresolved {
    /// What is wrong.
    pub error: ResolveError,
    /// The value in the document that it is about.
    pub span: Span,
}

impl Templated {
    /// No inputs at all, where `span` says that there could be some.
    pub(super) fn none(span: Span) -> Templated {
        Templated { span, kind: Kind::Map(Vec::new()) }
    }

    /// Reads a mapping; texts that are not templates are reported.
    pub(super) fn read(node: &Node, what: &str, diagnostics: &mut Diagnostics) -> Templated {
        if node.as_mapping().is_some() {
            return read_value(node, diagnostics);
        }
        let message = format!("{what} must be a mapping, found {}", node.what());
        diagnostics.push(
            Diagnostic::error("wrong-type", node.span, message).help("write one `name: value` a line, or leave it out"),
        );
        Templated::none(node.span)
    }

    /// Where the inputs stand.
    pub fn span(&self) -> Span {
        self.span
    }

    /// The place of the value to which a JSON pointer (`/headers/0/name`) leads; of what encloses it, if it is part of
    /// what a reference brings in or is not there.
    pub fn place(&self, pointer: &str) -> Span {
        let mut here = self;
        for part in pointer.split('/').skip(1) {
            let part = part.replace("~1", "/").replace("~0", "~");
            let next = match &here.kind {
                Kind::Map(entries) => entries.iter().find(|(name, _)| *name == part).map(|(_, value)| value),
                Kind::List(items) => part.parse::<usize>().ok().and_then(|place| items.get(place)),
                Kind::Literal(_) | Kind::Text(..) => None,
            };
            match next {
                Some(next) => here = next,
                None => break,
            }
        }
        here.span
    }

    /// Everything referred to.
    pub fn references(&self) -> Vec<&Reference> {
        let mut found = Vec::new();
        self.collect(&mut found);
        found
    }

    /// Whether the value is known before anything runs: nothing refers to the output of a step.
    pub fn is_known(&self) -> bool {
        self.references().iter().all(|reference| reference.is_input())
    }

    /// The value before anything runs; none if something refers to the output of a step.
    pub fn known(&self, inputs: &Map<String, Value>, limit: usize) -> Option<Result<Value, Unresolved>> {
        self.is_known().then(|| self.resolve(&|reference| reference.find(inputs, |_| None), limit))
    }

    /// The value, references replaced by what `lookup` finds ([`Reference::find`]). It takes at most about `limit` bytes
    /// as JSON.
    pub fn resolve(&self, lookup: Lookup<'_, '_>, limit: usize) -> Result<Value, Unresolved> {
        self.resolve_within(lookup, &mut Budget::new(limit))
    }

    /// The value as far as it is known, and the pointers (`inputs.headers.name`) to what is not, which is null.
    pub fn resolve_known(&self, lookup: Lookup<'_, '_>) -> (Value, Vec<String>) {
        let mut unknown = Vec::new();
        let value = self.known_at("inputs", lookup, &mut unknown);
        (value, unknown)
    }

    fn known_at(&self, at: &str, lookup: Lookup<'_, '_>, unknown: &mut Vec<String>) -> Value {
        match &self.kind {
            Kind::Literal(value) => value.clone(),
            Kind::Text(template, _) => template.resolve(lookup, &mut Budget::new(usize::MAX)).unwrap_or_else(|_| {
                unknown.push(at.to_owned());
                Value::Null
            }),
            Kind::List(items) => {
                let item =
                    |(place, item): (usize, &Templated)| item.known_at(&format!("{at}.{place}"), lookup, unknown);
                Value::Array(items.iter().enumerate().map(item).collect())
            }
            Kind::Map(entries) => {
                let entry = |(name, value): &(String, Templated)| {
                    (name.clone(), value.known_at(&format!("{at}.{name}"), lookup, unknown))
                };
                Value::Object(entries.iter().map(entry).collect())
            }
        }
    }

    fn resolve_within(&self, lookup: Lookup<'_, '_>, budget: &mut Budget) -> Result<Value, Unresolved> {
        let here = |error| Unresolved { error, span: self.span };
        match &self.kind {
            Kind::Literal(value) => budget.take_value(value).map(|()| value.clone()).map_err(here),
            Kind::Text(template, _) => template.resolve(lookup, budget).map_err(here),
            Kind::List(items) => {
                budget.take(items.len() + 2).map_err(here)?;
                items.iter().map(|item| item.resolve_within(lookup, budget)).collect()
            }
            Kind::Map(entries) => {
                budget.take(2).map_err(here)?;
                let mut fields = Map::new();
                for (name, value) in entries {
                    budget.take(name.len() + 4).map_err(here)?;
                    fields.insert(name.clone(), value.resolve_within(lookup, budget)?);
                }
                Ok(Value::Object(fields))
            }
        }
    }

    /// Calls `bind` for each reference with its place, and whether it stands alone.
    pub(super) fn bind(&mut self, bind: &mut dyn FnMut(&mut Reference, Span, bool)) {
        match &mut self.kind {
            Kind::Literal(_) => {}
            Kind::Text(template, spans) => {
                let alone = template.is_whole();
                for (reference, span) in template.references_mut().zip(spans) {
                    bind(reference, *span, alone);
                }
            }
            Kind::List(items) => items.iter_mut().for_each(|item| item.bind(bind)),
            Kind::Map(entries) => entries.iter_mut().for_each(|(_, value)| value.bind(bind)),
        }
    }

    fn collect<'t>(&'t self, found: &mut Vec<&'t Reference>) {
        match &self.kind {
            Kind::Literal(_) => {}
            Kind::Text(template, _) => found.extend(template.references()),
            Kind::List(items) => items.iter().for_each(|item| item.collect(found)),
            Kind::Map(entries) => entries.iter().for_each(|(_, value)| value.collect(found)),
        }
    }
}

fn read_value(node: &Node, diagnostics: &mut Diagnostics) -> Templated {
    let kind = match (&node.kind, node.as_str()) {
        (NodeKind::Sequence(items), _) => Kind::List(items.iter().map(|item| read_value(item, diagnostics)).collect()),
        (NodeKind::Mapping(entries), _) => {
            let read = |(key, value): &(crate::document::Key, Node)| (key.name.clone(), read_value(value, diagnostics));
            Kind::Map(entries.iter().map(read).collect())
        }
        (NodeKind::Scalar { .. }, Some(text)) => read_text(text, node, diagnostics),
        (NodeKind::Scalar { .. }, None) => Kind::Literal(node.to_json()),
    };
    Templated { span: node.span, kind }
}

fn read_text(text: &str, node: &Node, diagnostics: &mut Diagnostics) -> Kind {
    match Template::parse(text) {
        Ok(template) if template.references().next().is_none() => {
            // Without references it has a value, which is the text with its escapes resolved.
            let value = template.resolve(&|_| None, &mut Budget::new(usize::MAX)).unwrap_or(Value::Null);
            Kind::Literal(value)
        }
        Ok(template) => {
            let spans = places(node, &template);
            Kind::Text(template, spans)
        }
        Err(error) => {
            let place = node.inner_span(error.offset, error.len);
            diagnostics.push(Diagnostic::error("bad-template", place, error.to_string()).help(error.problem.help()));
            Kind::Literal(Value::Null)
        }
    }
}

/// The place of each reference; that of the whole text, where it is not written in one piece.
fn places(node: &Node, template: &Template) -> Vec<Span> {
    // Asked twice and not for each reference, because the answer takes a look at all of the text.
    let (first, second) = (node.inner_span(0, 1), node.inner_span(1, 1));
    let place = |reference: &Reference| match reference.place() {
        _ if first == second => node.span,
        (start, len) => Span { line: first.line, column: first.column + start, len },
    };
    template.references().map(place).collect()
}
