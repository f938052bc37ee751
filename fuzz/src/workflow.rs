//! A workflow file loads or says why not, and a plan that loads is one that can be run.
//!
//! A first line that begins with `{` is what the caller gives as inputs; what follows is the file. Each line of it is
//! also read as a template, as `name=value` of the command line, and all of it as a step for an open run.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use redress::document::{Diagnostics, Source};
use redress::types::{CapabilityId, CapabilityInfo, EffectKind, MapCatalog, Risk, StepName, parse_strict, sha256};
use redress::workflow::template::Template;
use redress::workflow::{Earlier, Step, StepKind, Templated, Workflow, parse_input_argument};
use serde_json::{Map, Value, json};

/// How much a resolved input may take.
const LIMIT: usize = 64 << 10;

fn catalog() -> &'static MapCatalog {
    static CATALOG: OnceLock<MapCatalog> = OnceLock::new();
    CATALOG.get_or_init(|| {
        let info = |id: &str, effect, fields: &[&str]| {
            let properties: Map<String, Value> = fields.iter().map(|field| ((*field).to_owned(), json!({}))).collect();
            let id = CapabilityId::parse(id).expect("one of the stock");
            let info = CapabilityInfo {
                id: id.clone(),
                component: sha256(b"component"),
                title: "t".into(),
                summary: "s".into(),
                risk: Risk::Medium,
                effect,
                idempotent: true,
                input: json!({}),
                output: json!({"type": "object", "properties": properties}),
                permissions: Vec::new(),
            };
            (id, info)
        };
        MapCatalog(
            [
                info("io.fs.read_file", EffectKind::None, &["path", "content"]),
                info("io.fs.write_file", EffectKind::Reversible, &["path", "sha256", "created"]),
                info("net.http.send", EffectKind::Irreversible, &["status", "json"]),
                info("io.fs.make_dir", EffectKind::Reversible, &["path", "created"]),
                info("io.fs.delete", EffectKind::Reversible, &["path"]),
                info("crm.create_account", EffectKind::Reversible, &["account_id", "status"]),
                info("a.b", EffectKind::Reversible, &["path"]),
            ]
            .into(),
        )
    })
}

/// See the module.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return assert!(Source::from_bytes("w.yaml", data).is_err()) };
    let (given, file) = match text.split_once('\n') {
        Some((line, file)) if line.starts_with('{') => (parse_strict(line.as_bytes()).ok(), file),
        _ => (None, text),
    };
    let given = given.and_then(|value| value.as_object().cloned()).unwrap_or_default();
    match Workflow::load(&Source::new("w.yaml", file), catalog(), &given) {
        Ok((workflow, warnings)) => {
            assert!(!warnings.has_errors(), "a file with errors was loaded");
            let _ = (warnings.to_string(), warnings.to_json());
            check(&workflow, &given);
        }
        Err(errors) => refused(&errors),
    }
    for line in file.lines().take(64) {
        let _ = parse_input_argument(line);
        if let Ok(template) = Template::parse(line) {
            let length = line.chars().count();
            for reference in template.references() {
                let (start, len) = reference.place();
                assert!(start + len <= length && !reference.path().is_empty());
            }
        }
    }
    if let Ok(request) = parse_strict(file.as_bytes()) {
        one_more_step(&request, &given);
    }
}

fn refused(errors: &Diagnostics) {
    assert!(errors.has_errors(), "a file was refused without a reason");
    let _ = (errors.to_string(), errors.to_json());
}

fn check(workflow: &Workflow, given: &Map<String, Value>) {
    let steps = &workflow.steps;
    assert!(!steps.is_empty());
    let names: BTreeSet<&str> = steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names.len(), steps.len(), "two steps have one name");
    for (name, value) in given {
        assert_eq!(workflow.inputs.get(name), Some(value), "an input that was given is not there");
    }
    let order = workflow.graph.order();
    assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), steps.len());
    assert_eq!(order.len(), steps.len());
    let place_of = |step: usize| order.iter().position(|other| *other == step);
    for (index, step) in steps.iter().enumerate() {
        assert_eq!(workflow.place(step.name.as_str()), Some(index));
        for parent in &step.depends_on {
            assert!(place_of(*parent) < place_of(index), "a step comes before one that it depends on");
        }
        let ancestors = reachable(steps, index);
        assert!(!ancestors.contains(&index), "a step depends on itself");
        assert_eq!(workflow.graph.ancestors(index).collect::<BTreeSet<_>>(), ancestors);
        refers_to_what_is_known(workflow, &step.inputs, &ancestors);
        if let Some(compensation) = &step.compensation {
            let with_itself = ancestors.iter().copied().chain([index]).collect();
            refers_to_what_is_known(workflow, &compensation.inputs, &with_itself);
        }
        assert!(step.retry.max_attempts >= 1);
        assert!(matches!(&step.kind, StepKind::HumanApproval) || step.capability().is_some());
    }
}

/// All that a step depends on, by asking again until nothing is new.
fn reachable(steps: &[Step], from: usize) -> BTreeSet<usize> {
    let mut found: BTreeSet<usize> = steps[from].depends_on.iter().copied().collect();
    loop {
        let more: BTreeSet<usize> = found.iter().flat_map(|step| &steps[*step].depends_on).copied().collect();
        let before = found.len();
        found.extend(more);
        if found.len() == before {
            return found;
        }
    }
}

fn refers_to_what_is_known(workflow: &Workflow, inputs: &Templated, finished: &BTreeSet<usize>) {
    for reference in inputs.references() {
        if !reference.is_input() {
            let place = workflow.place(reference.root()).expect("a reference leads to a step");
            assert!(finished.contains(&place), "a reference leads to a step that may not have finished");
        }
    }
    let output = json!({"path": "/w/a", "content": "{{ inputs.a }}", "status": 200, "json": {"id": [1, "x"]}});
    let resolved = inputs.resolve(&|reference| reference.find(&workflow.inputs, |_| Some(&output)), LIMIT);
    if let Ok(value) = resolved {
        // What a reference brings in is never read as a template again, and the limit holds up to a little.
        assert!(value.to_string().len() <= 8 * LIMIT, "an input is longer than its limit");
    }
    let (known, unknown) = inputs.resolve_known(&|reference| reference.find(&workflow.inputs, |_| None));
    assert!(unknown.iter().all(|place| place.starts_with("inputs")));
    if let (true, Some(Ok(value))) = (unknown.is_empty(), inputs.known(&workflow.inputs, LIMIT)) {
        assert_eq!(known, value);
    }
}

fn one_more_step(request: &Value, inputs: &Map<String, Value>) {
    let name = |text: &str| StepName::parse(text).expect("one of the stock");
    let capability = CapabilityId::parse("io.fs.write_file").ok();
    let earlier =
        [(name("done"), capability.clone(), true), (name("failed"), capability, false), (name("asked"), None, true)];
    match Step::from_request(request, Earlier { inputs, steps: &earlier }, catalog()) {
        Ok((step, warnings)) => {
            assert!(!warnings.has_errors());
            assert!(earlier.iter().all(|(name, ..)| *name != step.name), "two steps have one name");
            for reference in step.inputs.references() {
                assert!(reference.is_input() || matches!(reference.root(), "done" | "asked"));
            }
        }
        Err(errors) => refused(&errors),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_of_the_corpus_load_and_are_looked_at() {
        for text in [include_str!("../corpus/workflow/references.txt"), include_str!("../corpus/workflow/chain.txt")] {
            let (given, file) = text.split_once('\n').unwrap();
            let given = parse_strict(given.as_bytes()).unwrap().as_object().cloned().unwrap();
            let loaded = Workflow::load(&Source::new("w.yaml", file), catalog(), &given);
            let (workflow, _) = loaded.unwrap_or_else(|errors| panic!("{errors}"));
            check(&workflow, &given);
        }
    }
}
