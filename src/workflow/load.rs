use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value, json};

use super::graph::{Cycle, Graph};
use super::inputs::Templated;
use super::json::{literal, to_document};
use super::read::{Draft, StepReader};
use super::scope::{Output, OutputKind, Scope, Usable};
use super::template::{Reference, is_name};
use super::{Step, Workflow};
use crate::document::{
    Diagnostic, Diagnostics, MapReader, Node, NodeKind, Source, Span, list, parse_up_to, string, suggest,
};
use crate::types::{CapabilityId, Catalog, StepName};

/// The largest workflow document.
pub const MAX_BYTES: usize = 16 << 20;
/// The most steps of a workflow. Their ancestors then take 34 MB.
pub const MAX_STEPS: usize = 16_384;

/// After so many errors the rest is not looked at.
const ENOUGH: usize = 100;

pub(super) const KEYS: &[&str] = &[
    "name",
    "version",
    "description",
    "inputs",
    "deadline",
    "metadata",
    "steps",
    "initial_state",
    "policy",
    "global_compensation_steps",
    "max_execution_time_seconds",
    "enable_auto_rollback",
    "workflow_id",
];

/// What a step that is submitted to an open run may refer to.
#[derive(Clone, Copy, Debug)]
pub struct Earlier<'a> {
    /// The inputs of the run.
    pub inputs: &'a Map<String, Value>,
    /// Every step submitted before: its name, its capability if it has one, and whether it has succeeded.
    pub steps: &'a [(StepName, Option<CapabilityId>, bool)],
}

impl Workflow {
    /// Reads and checks a document. `given` are the inputs that the caller gives; they go over the defaults. With the plan
    /// come the warnings, with an error everything that is wrong.
    pub fn load(
        source: &Source,
        catalog: &dyn Catalog,
        given: &Map<String, Value>,
    ) -> Result<(Workflow, Diagnostics), Diagnostics> {
        let root = parse_up_to(source, MAX_BYTES).map_err(explain_braces)?;
        let mut reader = StepReader::new(catalog, Diagnostics::new(source.clone()));
        match read_workflow(&root, &mut reader, given) {
            Some(workflow) if !reader.diagnostics.has_errors() => Ok((workflow, reader.diagnostics)),
            _ => Err(reader.diagnostics),
        }
    }

    /// The workflow of one step `call` that executes `capability` with exactly `inputs`: nothing in them is a template.
    pub fn one_step(
        capability: &str,
        inputs: &Map<String, Value>,
        catalog: &dyn Catalog,
    ) -> Result<(Workflow, Diagnostics), Diagnostics> {
        let inputs = literal(&Value::Object(inputs.clone()));
        let step = json!({"name": "call", "capability": capability, "inputs": inputs});
        let text = to_document(&json!({"name": capability, "steps": [step]}));
        Workflow::load(&Source::new("call", text), catalog, &Map::new())
    }
}

impl Step {
    /// Reads and checks a step that is submitted to an open run. It is written as in a workflow, without `depends_on`:
    /// it comes after every step that has finished. The places in errors are those in the returned document, which is the
    /// request, printed.
    pub fn from_request(
        request: &Value,
        earlier: Earlier<'_>,
        catalog: &dyn Catalog,
    ) -> Result<(Step, Diagnostics), Diagnostics> {
        let source = Source::new("step", to_document(request));
        let root = parse_up_to(&source, MAX_BYTES)?;
        let mut reader = StepReader::new(catalog, Diagnostics::new(source));
        match read_request(&root, &mut reader, earlier) {
            Some(step) if !reader.diagnostics.has_errors() => Ok((step, reader.diagnostics)),
            _ => Err(reader.diagnostics),
        }
    }
}

impl Step {
    /// The same, of a call with exactly `inputs`: nothing in them is a template.
    pub fn call(
        name: &str,
        capability: &str,
        inputs: &Map<String, Value>,
        earlier: Earlier<'_>,
        catalog: &dyn Catalog,
    ) -> Result<(Step, Diagnostics), Diagnostics> {
        let inputs = literal(&Value::Object(inputs.clone()));
        Step::from_request(&json!({"name": name, "capability": capability, "inputs": inputs}), earlier, catalog)
    }
}

fn read_workflow(root: &Node, reader: &mut StepReader<'_>, given: &Map<String, Value>) -> Option<Workflow> {
    let map = MapReader::new(root, "a workflow", KEYS, &mut reader.diagnostics)?;
    let name = map.required("name", &mut reader.diagnostics).and_then(|node| read_name(node, reader));
    let text = |key: &str, diagnostics: &mut Diagnostics| {
        map.optional(key).and_then(|node| string(node, &format!("`{key}`"), diagnostics)).map(str::to_owned)
    };
    let description = text("description", &mut reader.diagnostics);
    let version = map.optional("version").and_then(|node| read_version(node, reader));
    let deadline = map.optional("deadline").and_then(|node| reader.positive_duration(node, "deadline"));
    let owner = map.optional("metadata").and_then(|node| read_owner(node, reader));
    warn_about_old_keys(&map, reader);

    let declared = reader.either(&map, "inputs", "initial_state");
    let inputs_span = declared.map_or(map.span(), |(key, _)| key.span);
    let mut inputs = declared.map(|(_, node)| read_inputs(node, reader)).unwrap_or_default();
    let defaults: BTreeSet<String> = inputs.keys().cloned().collect();
    inputs.extend(given.iter().map(|(name, value)| (name.clone(), value.clone())));

    let drafts = read_steps(&map, reader)?;
    let (mut steps, graph) = order(drafts, reader);
    let used = bind_all(&mut steps, &inputs, graph.as_ref(), reader);
    for name in given.keys().filter(|name| !defaults.contains(*name) && !used.contains(*name)) {
        let known = defaults.iter().chain(&used).map(String::as_str);
        let error = Diagnostic::error("unknown-input", inputs_span, format!("the workflow has no input `{name}`"));
        reader.diagnostics.push(error.did_you_mean(suggest(name, known)));
    }
    let steps = steps.into_iter().map(|(step, _)| step).collect();
    let source = reader.diagnostics.source().clone();
    Some(Workflow { name: name?, version, description, owner, inputs, deadline, steps, graph: graph?, source })
}

/// Whether a workflow, or an open run, may have this name: one line of 1 to 128 characters.
pub fn is_run_name(text: &str) -> bool {
    !text.trim().is_empty() && text.chars().count() <= 128 && !text.chars().any(char::is_control)
}

fn read_name(node: &Node, reader: &mut StepReader<'_>) -> Option<String> {
    let text = string(node, "`name`", &mut reader.diagnostics)?;
    if !is_run_name(text) {
        reader.error("bad-name", node.span, "`name` must be one line of 1 to 128 characters");
        return None;
    }
    Some(text.to_owned())
}

/// A version as it was written, so that `1.10` stays what it is.
fn read_version(node: &Node, reader: &mut StepReader<'_>) -> Option<String> {
    match &node.kind {
        NodeKind::Scalar { text, .. } if !text.is_empty() => Some(text.clone()),
        _ => string(node, "`version`", &mut reader.diagnostics).map(str::to_owned),
    }
}

/// `metadata` holds labels of any kind; only `owner` is ever looked at.
fn read_owner(node: &Node, reader: &mut StepReader<'_>) -> Option<String> {
    let Some(entries) = node.as_mapping() else {
        reader.error("wrong-type", node.span, format!("`metadata` must be a mapping, found {}", node.what()));
        return None;
    };
    let (_, owner) = entries.iter().find(|(key, _)| key.name == "owner")?;
    string(owner, "`metadata.owner`", &mut reader.diagnostics).map(str::to_owned)
}

fn warn_about_old_keys(map: &MapReader<'_>, reader: &mut StepReader<'_>) {
    reader.without_effect(map, "policy", "what is allowed is said by the policy file");
    reader.without_effect(map, "global_compensation_steps", "a compensation stands in the step that it undoes");
    reader.without_effect(map, "max_execution_time_seconds", "how long a run may take is said by `deadline: 1h`");
    reader.without_effect(map, "workflow_id", "a run gets an id of its own");
    match map.optional("enable_auto_rollback").map(|node| (node.as_bool(), node.span)) {
        None => {}
        Some((Some(true), _)) => {
            reader.without_effect(map, "enable_auto_rollback", "a run that fails is always rolled back");
        }
        Some((_, span)) => {
            let error = Diagnostic::error("always-rolls-back", span, "rollback cannot be switched off");
            reader.diagnostics.push(error.help("a run that fails is always rolled back: remove the key"));
        }
    }
}

fn read_inputs(node: &Node, reader: &mut StepReader<'_>) -> Map<String, Value> {
    let Some(entries) = node.as_mapping() else {
        reader.error("wrong-type", node.span, format!("the inputs must be a mapping, found {}", node.what()));
        return Map::new();
    };
    for (key, _) in entries.iter().filter(|(key, _)| !is_name(&key.name)) {
        let message = format!("`{}` is not the name of an input", key.name);
        let help = "a name has letters, digits, `_` and `-`, and begins with a letter or `_`";
        reader.diagnostics.push(Diagnostic::error("bad-name", key.span, message).help(help));
    }
    entries.iter().map(|(key, value)| (key.name.clone(), value.to_json())).collect()
}

fn read_steps<'n>(map: &MapReader<'n>, reader: &mut StepReader<'_>) -> Option<Vec<Draft<'n>>> {
    let node = map.required("steps", &mut reader.diagnostics)?;
    let items = list(node, "`steps`", &mut reader.diagnostics)?;
    if items.is_empty() || items.len() > MAX_STEPS {
        let message = format!("a workflow has 1 to {MAX_STEPS} steps, this one has {}", items.len());
        reader.error("wrong-value", node.span, message);
        return None;
    }
    let mut drafts = Vec::with_capacity(items.len());
    for item in items {
        drafts.push(reader.step(item));
        if reader.diagnostics.iter().len() > ENOUGH {
            return None;
        }
    }
    // A step without a name is reported already; without it all places would be wrong.
    drafts.into_iter().collect()
}

/// Finds the steps that are named in `depends_on`, and the order; none if there is none. With each step comes whether its
/// output can be known.
fn order(drafts: Vec<Draft<'_>>, reader: &mut StepReader<'_>) -> (Vec<(Step, bool)>, Option<Graph>) {
    let mut places: HashMap<StepName, usize> = HashMap::with_capacity(drafts.len());
    let mut good = true;
    for (place, draft) in drafts.iter().enumerate() {
        let name = &draft.step.name;
        if let Some(first) = places.get(name).and_then(|first| drafts.get(*first)) {
            good = false;
            let error = Diagnostic::error("duplicate-step", draft.step.span, format!("the step `{name}` stands twice"));
            reader.diagnostics.push(
                error.help(format!(
                    "it stands on line {} already: give one of the two another name",
                    first.step.span.line
                )),
            );
        } else {
            places.insert(name.clone(), place);
        }
    }
    let names: Vec<StepName> = drafts.iter().map(|draft| draft.step.name.clone()).collect();
    let in_order = drafts.iter().all(|draft| draft.depends_on.is_none());
    let mut steps = Vec::with_capacity(drafts.len());
    for (place, Draft { mut step, depends_on, output_known }) in drafts.into_iter().enumerate() {
        if in_order {
            step.depends_on = place.checked_sub(1).into_iter().collect();
        }
        for (name, span) in depends_on.into_iter().flatten() {
            match places.get(name) {
                Some(parent) if step.depends_on.contains(parent) => {
                    let warning = Diagnostic::warning("duplicate-dependency", span, format!("`{name}` stands twice"));
                    reader.diagnostics.push(warning.help("once is enough"));
                }
                Some(parent) => step.depends_on.push(*parent),
                None if reader.diagnostics.iter().len() > ENOUGH => good = false,
                None => {
                    good = false;
                    let error = Diagnostic::error("unknown-step", span, format!("there is no step `{name}`"));
                    let others = names.iter().map(StepName::as_str).filter(|other| *other != step.name.as_str());
                    reader.diagnostics.push(error.did_you_mean(suggest(name, others)));
                }
            }
        }
        steps.push((step, output_known));
    }
    let parents: Vec<Vec<usize>> = steps.iter().map(|(step, _)| step.depends_on.clone()).collect();
    let graph = if good { Graph::new(&parents) } else { return (steps, None) };
    let graph = graph.map_err(|cycle| report_cycle(&cycle, &steps, reader)).ok();
    (steps, graph)
}

fn report_cycle(Cycle(path): &Cycle, steps: &[(Step, bool)], reader: &mut StepReader<'_>) {
    let named = |place: &usize| steps.get(*place).map(|(step, _)| step);
    let Some(first) = path.first().and_then(named) else { return };
    let mut names: Vec<String> = path.iter().filter_map(named).map(|step| format!("`{}`", step.name)).collect();
    if names.len() > 12 {
        names.splice(6..names.len() - 5, ["...".to_owned()]);
    }
    names.push(format!("`{}`", first.name));
    let message = format!("the steps wait for each other: {}", names.join(" -> "));
    let error = Diagnostic::error("cycle", first.span, message);
    reader.diagnostics.push(error.help("`a -> b` means that `a` depends on `b`: take one of the dependencies out"));
}

/// Binds every reference of every step; returns the names of the inputs that are referred to. Without a graph, what may be
/// used where is not checked.
fn bind_all(
    steps: &mut [(Step, bool)],
    inputs: &Map<String, Value>,
    graph: Option<&Graph>,
    reader: &mut StepReader<'_>,
) -> BTreeSet<String> {
    let catalog = reader.catalog;
    let outputs = steps.iter().map(|(step, known)| output_of(step.name.clone(), step.capability(), *known, catalog));
    let scope = Scope::new(inputs, outputs.collect());
    let names: Vec<StepName> = steps.iter().map(|(step, _)| step.name.clone()).collect();
    let used = RefCell::new(BTreeSet::new());
    for (place, (step, _)) in steps.iter_mut().enumerate() {
        let ancestor = |other: usize| {
            if graph.is_none_or(|graph| graph.is_ancestor(other, place)) {
                return Ok(());
            }
            let (own, other) = (names.get(place), names.get(other));
            let (own, other) = (own.map_or("", StepName::as_str), other.map_or("", StepName::as_str));
            Err(match own == other {
                true => (
                    format!("`{own}` refers to its own output"),
                    "only its `compensation` can: the output is known when the step has succeeded".to_owned(),
                ),
                false => (
                    format!("`{other}` may not have finished when `{own}` starts"),
                    format!("add `{other}` to the `depends_on` of `{own}`"),
                ),
            })
        };
        bind(&mut step.inputs, &scope, &ancestor, &used, &mut reader.diagnostics);
        if let Some(compensation) = &mut step.compensation {
            let ancestor_or_self = |other| if other == place { Ok(()) } else { ancestor(other) };
            bind(&mut compensation.inputs, &scope, &ancestor_or_self, &used, &mut reader.diagnostics);
        }
        if reader.diagnostics.iter().len() > ENOUGH {
            break;
        }
    }
    used.into_inner()
}

fn bind(
    inputs: &mut Templated,
    scope: &Scope<'_>,
    usable: Usable<'_>,
    used: &RefCell<BTreeSet<String>>,
    diagnostics: &mut Diagnostics,
) {
    inputs.bind(&mut |reference: &mut Reference, span: Span, alone: bool| {
        if diagnostics.iter().len() > ENOUGH {
            return;
        }
        if let Err(error) = scope.bind(reference, span, alone, usable) {
            diagnostics.push(error);
        }
        if let (true, Some(name)) = (reference.is_input(), reference.fields().first())
            && !used.borrow().contains(name)
        {
            used.borrow_mut().insert(name.clone());
        }
    });
}

fn output_of<'c>(
    name: StepName,
    capability: Option<&CapabilityId>,
    known: bool,
    catalog: &'c dyn Catalog,
) -> Output<'c> {
    let kind = match capability {
        _ if !known => OutputKind::Unknown,
        None => OutputKind::Nothing,
        Some(id) => catalog.capability(id.as_str()).map_or(OutputKind::Unknown, OutputKind::Of),
    };
    Output { name, kind }
}

fn read_request(root: &Node, reader: &mut StepReader<'_>, earlier: Earlier<'_>) -> Option<Step> {
    let catalog = reader.catalog;
    let Draft { mut step, depends_on, .. } = reader.step(root)?;
    if depends_on.is_some() {
        let error = Diagnostic::error("unknown-key", step.span, "a step of an open run has no `depends_on`");
        reader.diagnostics.push(error.help("it comes after every step that has finished: remove the key"));
    }
    if earlier.steps.iter().any(|(name, ..)| *name == step.name) {
        let message = format!("the run has a step `{}` already", step.name);
        reader.diagnostics.push(Diagnostic::error("duplicate-step", step.span, message).help("give it another name"));
    }
    let before = earlier.steps.iter().map(|(name, capability, _)| (name.clone(), capability.as_ref()));
    let mut outputs: Vec<_> = before.map(|(name, capability)| output_of(name, capability, true, catalog)).collect();
    let own = outputs.len();
    outputs.push(output_of(step.name.clone(), step.capability(), true, catalog));
    let scope = Scope::new(earlier.inputs, outputs);
    let finished = |place: usize| match earlier.steps.get(place) {
        Some((_, _, true)) => Ok(()),
        Some((name, ..)) => Err((format!("`{name}` has not succeeded"), "wait until it has".to_owned())),
        None => Err((
            format!("`{}` refers to its own output", step.name),
            "only its `compensation` can: the output is known when the step has succeeded".to_owned(),
        )),
    };
    let used = RefCell::default();
    bind(&mut step.inputs, &scope, &finished, &used, &mut reader.diagnostics);
    if let Some(compensation) = &mut step.compensation {
        let finished_or_self = |place| if place == own { Ok(()) } else { finished(place) };
        bind(&mut compensation.inputs, &scope, &finished_or_self, &used, &mut reader.diagnostics);
    }
    Some(step)
}

/// `key: {{ x }}` without quotes is a mapping in YAML; the parser's error says nothing of templates.
fn explain_braces(diagnostics: Diagnostics) -> Diagnostics {
    let source = diagnostics.source().clone();
    let mut explained = Diagnostics::new(source.clone());
    for (index, diagnostic) in diagnostics.iter().cloned().enumerate() {
        let start = diagnostic.span.column.saturating_sub(2);
        let braces = || source.line(diagnostic.span.line).chars().skip(start).take(2).eq("{{".chars());
        // Each look at a line walks through the document.
        explained.push(match diagnostic.code {
            "key-not-a-string" if index < ENOUGH && braces() => {
                diagnostic.help("put a template in quotes: `\"{{ ... }}\"`")
            }
            _ => diagnostic,
        });
    }
    explained
}
