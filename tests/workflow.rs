//! What a workflow file means, and what is said about one that means nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail loudly

mod support;

use proptest::prelude::*;
use redress::document::{Diagnostics, Source};
use redress::types::{CapabilityId, Duration, Retry, Risk, StepName};
use redress::workflow::template::{Reference, ResolveError};
use redress::workflow::{Earlier, MAX_STEPS, Step, StepKind, Workflow};
use serde_json::{Map, Value, json};
use support::catalog;

fn map(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn load_with(text: &str, given: Value) -> Result<(Workflow, Diagnostics), Diagnostics> {
    Workflow::load(&Source::new("w.yaml", text), &catalog(), &map(given))
}

fn load(text: &str) -> Workflow {
    let (workflow, warnings) = load_with(text, json!({})).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(warnings.is_empty(), "{warnings}");
    workflow
}

/// The codes of what is said about a document, with their lines.
fn refused(text: &str, given: Value) -> Vec<(&'static str, usize)> {
    load_with(text, given).unwrap_err().iter().map(|d| (d.code, d.span.line)).collect()
}

/// A document of one step with these lines in it.
fn one(lines: &str) -> String {
    format!("name: w\nsteps:\n  - name: a\n    capability: io.fs.delete\n{lines}")
}

#[test]
fn every_key_of_the_file_arrives() {
    let workflow = load(
        r#"
name: onboarding
version: 1.10
description: Create the account folder and its welcome page
inputs: { customer: Acme, n: 3 }
deadline: 10m
metadata: { owner: ops, team: [a, b] }
steps:
  - name: folder
    description: first
    capability: io.fs.make_dir
    inputs: { path: "/workspace/{{ inputs.customer }}" }
  - name: page
    capability: io.fs.write_file
    agent: writer
    depends_on: [folder]
    inputs: { path: "{{ folder.path }}/welcome.html", n: "{{ inputs.n }}", list: [1, { deep: "{{ inputs.n }}!" }] }
    risk_level: HIGH
    retry: { max_attempts: 5, initial_interval: 1s, multiplier: 1.5, max_interval: 1m }
    timeout: 30s
    compensation: { capability: io.fs.delete, inputs: { path: "{{ page.path }}" } }
  - name: gate
    step_type: HUMAN_APPROVAL
    agent: asker
    depends_on: [page]
    inputs: { message: "Publish {{ inputs.customer }}?" }
"#,
    );
    assert_eq!((workflow.name.as_str(), workflow.version.as_deref()), ("onboarding", Some("1.10")));
    assert_eq!(workflow.description.as_deref(), Some("Create the account folder and its welcome page"));
    assert_eq!((workflow.owner.as_deref(), workflow.deadline), (Some("ops"), Some(Duration::from_secs(600))));
    assert_eq!(workflow.inputs, map(json!({"customer": "Acme", "n": 3})));
    assert_eq!(workflow.graph.order(), [0, 1, 2]);
    let [folder, page, gate] = workflow.steps.as_slice() else { panic!() };
    assert_eq!((folder.retry, folder.timeout, folder.risk), (Retry::default(), None, None));
    assert_eq!(page.capability().unwrap().as_str(), "io.fs.write_file");
    assert_eq!(page.agent.as_ref().unwrap().as_str(), "agent:writer");
    assert_eq!(
        (page.depends_on.as_slice(), page.risk, page.timeout),
        (&[0][..], Some(Risk::High), Some(Duration(30_000)))
    );
    let retry = Retry {
        max_attempts: 5,
        initial_interval: Duration(1_000),
        multiplier_milli: 1_500,
        max_interval: Duration(60_000),
    };
    assert_eq!(page.retry, retry);
    assert_eq!(page.compensation.as_ref().unwrap().capability.as_str(), "io.fs.delete");
    assert_eq!((&gate.kind, gate.capability()), (&StepKind::HumanApproval, None));
    assert_eq!((workflow.place("gate"), workflow.place("none")), (Some(2), None));
}

#[test]
fn inputs_are_resolved_with_their_types_and_point_at_their_places() {
    let workflow = load(
        "name: w\ninputs: { n: 3, who: '{{ n }}' }\nsteps:\n  - name: a\n    capability: data.json.query\n    inputs:\n      \
         plain: 1\n      known: \"{{ inputs.n }}\"\n      text: \"<{{ inputs.who }}>\"\n      list: [x, { y/z: \"{{inputs.n}}%\" }]\n  \
         - name: b\n    capability: data.json.query\n    inputs: { value: \"{{ a.rows.1 }}\", all: \"{{ a }}\" }\n",
    );
    let [a, b] = workflow.steps.as_slice() else { panic!() };
    let expected = json!({"plain": 1, "known": 3, "text": "<{{ n }}>", "list": ["x", {"y/z": "3%"}]});
    assert_eq!(a.inputs.known(&workflow.inputs, 1_000), Some(Ok(expected)));
    let too_large = a.inputs.known(&workflow.inputs, 20).unwrap().unwrap_err();
    assert_eq!(too_large.error, ResolveError::TooLarge { limit: 20 });
    let at = |pointer| (a.inputs.place(pointer).line, a.inputs.place(pointer).column);
    assert_eq!((at("/known"), at("/list/1/y~1z"), at("/list/7/x")), ((8, 14), (10, 24), (10, 13)));
    assert_eq!((at("/known/deeper"), at(""), a.inputs.span().line), ((8, 14), (7, 7), 7));

    assert!(a.inputs.is_known() && !b.inputs.is_known());
    assert_eq!(b.inputs.known(&workflow.inputs, 1_000), None);
    let output = json!({"rows": [0, "{{ inputs.n }}"]});
    let lookup = |reference: &Reference| reference.find(&workflow.inputs, |step| (step == "a").then_some(&output));
    let resolved = b.inputs.resolve(&lookup, 1_000).unwrap();
    assert_eq!(resolved, json!({"value": "{{ inputs.n }}", "all": output}));
    let missing = b.inputs.resolve(&|_| None, 1_000).unwrap_err();
    assert_eq!((missing.to_string(), missing.span.line), ("`a.rows.1` has no value".to_owned(), 13));
}

#[test]
fn without_any_depends_on_steps_run_in_the_order_of_the_file() {
    let steps = |extra: &str| {
        format!(
            "name: w\nsteps:\n  - {{name: a, capability: io.fs.delete}}\n  - {{name: b, capability: io.fs.delete{extra}}}\n  \
             - {{name: c, capability: io.fs.delete, inputs: {{path: \"x\"}}}}\n"
        )
    };
    let parents = |workflow: &Workflow| workflow.steps.iter().map(|s| s.depends_on.clone()).collect::<Vec<_>>();
    assert_eq!(parents(&load(&steps(""))), [vec![], vec![0], vec![1]]);
    assert_eq!(parents(&load(&steps(", depends_on: []"))), [vec![], vec![], Vec::<usize>::new()]);
    assert_eq!(parents(&load(&steps(", depends_on: [c]"))), [vec![], vec![2], vec![]]);
}

#[test]
fn older_spellings_mean_the_same() {
    let (old, warnings) = load_with(
        "name: w\ninitial_state: { customer_name: Acme }\nmetadata: { owner: ops }\npolicy: []\n\
         global_compensation_steps: []\nenable_auto_rollback: true\nmax_execution_time_seconds: 60\nsteps:\n  \
         - name: a\n    agent_name: writer\n    capability_name: crm.create_account\n    inputs: { name: \"{{customer_name}}\" }\n    \
         max_retries: 4\n    timeout_seconds: 7\n    risk_level: LOW\n    step_type: ACTION\n    approval_config: {}\n    \
         compensation: { step_name: a, capability_name: io.fs.delete, inputs: { path: \"{{account_id}}\" } }\n  \
         - name: b\n    capability_name: io.fs.delete\n    agent_name: writer\n    \
         inputs: { path: \"/{{ account_id }}/{{customer_name}}\" }\n  \
         - { name: gate, step_type: HUMAN_APPROVAL, capability: human.approve, timeout_seconds: 3 }\n",
        json!({}),
    )
    .unwrap();
    let (new, _) = load_with(
        "name: w\ninputs: { customer_name: Acme }\nsteps:\n  \
         - name: a\n    agent: writer\n    capability: crm.create_account\n    inputs: { name: \"{{ inputs.customer_name }}\" }\n    \
         retry: { max_attempts: 4 }\n    timeout: 7s\n    risk_level: LOW\n    \
         compensation: { capability: io.fs.delete, inputs: { path: \"{{ a.account_id }}\" } }\n  \
         - name: b\n    capability: io.fs.delete\n    agent: writer\n    \
         inputs: { path: \"/{{ a.account_id }}/{{ inputs.customer_name }}\" }\n  \
         - { name: gate, step_type: HUMAN_APPROVAL }\n",
        json!({}),
    )
    .unwrap();
    for (old, new) in old.steps.iter().zip(&new.steps) {
        assert_eq!((&old.name, &old.kind, &old.agent, &old.retry), (&new.name, &new.kind, &new.agent, &new.retry));
        assert_eq!((old.timeout, old.risk, &old.depends_on), (new.timeout, new.risk, &new.depends_on));
        let paths = |step: &Step| step.inputs.references().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(paths(old), paths(new));
    }
    let undo = old.steps[0].compensation.as_ref().unwrap();
    assert_eq!(undo.inputs.references()[0].path(), ["a", "account_id"]);
    assert_eq!(old.inputs, new.inputs);
    let said: Vec<_> = warnings.iter().map(|w| w.message.as_str()).collect();
    assert_eq!(said.len(), 7, "{warnings}");
    assert!(said.iter().all(|message| message.ends_with("has no effect")));
}

#[test]
fn inputs_of_the_caller_go_over_the_defaults() {
    let text = "name: w\ninputs: { a: 1 }\nsteps:\n  - {name: s, capability: data.json.query, inputs: {x: \"{{ inputs.a }}\", y: \"{{ b }}\"}}\n";
    let (workflow, _) = load_with(text, json!({"a": "{{ b }}", "b": [1]})).unwrap();
    let known = workflow.steps[0].inputs.known(&workflow.inputs, 100).unwrap().unwrap();
    assert_eq!(known, json!({"x": "{{ b }}", "y": [1]}));
    assert_eq!(refused(text, json!({})), [("unknown-reference", 4)]);
    assert_eq!(refused(text, json!({"b": 1, "c": 1})), [("unknown-input", 2)]);
    assert_eq!(refused(&one("    inputs: {p: \"{{ inputs.path }}\"}\n"), json!({})), [("missing-input", 5)]);
    assert!(load_with(&one("    inputs: {p: \"{{ inputs.path }}\"}\n"), json!({"path": 1})).is_ok());
    let text = one("    inputs: {p: \"x{{ inputs.path }}\"}\n");
    assert_eq!(refused(&text, json!({"path": {}})), [("not-text", 5)]);
}

#[test]
fn zero_attempts_are_a_load_error_in_every_spelling() {
    for lines in ["    retry: {max_attempts: 0}\n", "    retry: {max_retries: 0}\n", "    max_retries: 0\n"] {
        assert_eq!(refused(&one(lines), json!({})), [("wrong-value", 5)], "{lines}");
    }
    for lines in ["    max_retries: -1\n", "    retry: {max_attempts: 4294967296}\n", "    retry: {multiplier: 0.5}\n"]
    {
        assert_eq!(refused(&one(lines), json!({})), [("wrong-value", 5)], "{lines}");
    }
}

#[test]
fn a_reference_needs_a_step_that_is_sure_to_have_finished() {
    let text = "name: w\nsteps:\n  - {name: a, capability: io.fs.delete}\n  - {name: b, capability: io.fs.delete, depends_on: []}\n  \
                - {name: c, capability: io.fs.delete, depends_on: [b], inputs: {path: \"{{ a.path }}\"}}\n";
    let errors = load_with(text, json!({})).unwrap_err();
    let found = errors.iter().next().unwrap();
    assert_eq!(found.message, "`a` may not have finished when `c` starts");
    assert_eq!(found.help.as_deref(), Some("add `a` to the `depends_on` of `c`"));
    assert_eq!((found.span.line, found.span.column, found.span.len), (5, 74, 12));
    load(&text.replace("depends_on: []", "depends_on: [a]"));
    assert_eq!(refused(&one("    inputs: {path: \"{{ a.path }}\"}\n"), json!({})), [("not-finished", 5)]);
    load(&one("    compensation: {capability: io.fs.delete, inputs: {path: \"{{ a.path }}\"}}\n"));
}

#[test]
fn ten_thousand_steps_in_a_chain_and_two_hundred_side_by_side_load() {
    let mut chain = String::from("name: w\nsteps:\n");
    for i in 0..10_000 {
        let inputs = if i == 0 { String::new() } else { format!(", inputs: {{path: \"{{{{ s{}.path }}}}\"}}", i - 1) };
        chain.push_str(&format!("  - {{name: s{i}, capability: io.fs.delete{inputs}}}\n"));
    }
    let workflow = load(&chain);
    assert!(format!("{:?}", workflow.graph).starts_with("Graph { order: [0, 1,"));
    assert!(workflow.graph.is_ancestor(0, 9_999) && !workflow.graph.is_ancestor(9_999, 0));
    let mut wide = String::from("name: w\nsteps:\n  - {name: root, capability: io.fs.delete}\n");
    for i in 0..200 {
        wide.push_str(&format!("  - {{name: s{i}, capability: io.fs.delete, depends_on: [root]}}\n"));
    }
    let workflow = load(&wide);
    assert!((1..=200).all(|step| workflow.graph.ancestors(step).eq([0])));
    let many = format!("name: w\nsteps: [{}]\n", "0,".repeat(MAX_STEPS + 1));
    assert_eq!(refused(&many, json!({})), [("wrong-value", 2)]);
}

#[test]
fn a_document_full_of_mistakes_is_not_read_to_its_end() {
    let unknown: String = (0..2_000).map(|i| format!("  - {{name: s{i}, capability: no.such{i}}}\n")).collect();
    assert!(refused(&format!("name: w\nsteps:\n{unknown}"), json!({})).len() < 110);
    let missing: String =
        (0..2_000).map(|i| format!("  - {{name: s{i}, capability: io.fs.delete, depends_on: [t{i}]}}\n")).collect();
    assert!(refused(&format!("name: w\nsteps:\n{missing}"), json!({})).len() < 110);
    let references: String = (0..2_000)
        .map(|i| format!("  - {{name: s{i}, capability: io.fs.delete, inputs: {{path: \"{{{{ t{i} }}}}\"}}}}\n"))
        .collect();
    assert!(refused(&format!("name: w\nsteps:\n{references}"), json!({})).len() < 110);
}

#[test]
fn a_text_of_many_references_is_read_in_one_go() {
    let text = |reference: &str| {
        format!(
            "name: w\ninputs: {{ a: 1 }}\nsteps:\n  - {{name: s, capability: data.json.query, inputs: {{x: \"{}\"}}}}\n",
            reference.repeat(30_000)
        )
    };
    let workflow = load(&text("{{ a }}"));
    let known = workflow.steps[0].inputs.known(&workflow.inputs, 1 << 20).unwrap().unwrap();
    assert_eq!(known["x"].as_str().unwrap().len(), 30_000);
    assert!(refused(&text("{{ b }}"), json!({})).len() < 110);
    assert!(load_with(&"{{}}: 1\n".repeat(3_000), json!({})).is_err());
}

#[test]
fn a_call_delivers_exactly_what_it_was_given() {
    let inputs = map(json!({"path": "/{{ x }}", "list": ["{{{{", {"k": "\u{1f600}\u{7f}\u{85}\n"}], "n": 1.5}));
    let (workflow, warnings) = Workflow::one_step("io.fs.delete", &inputs, &catalog()).unwrap();
    assert!(warnings.is_empty() && workflow.steps.len() == 1 && workflow.name == "io.fs.delete");
    assert_eq!(workflow.steps[0].name.as_str(), "call");
    let known = workflow.steps[0].inputs.known(&workflow.inputs, 1_000).unwrap();
    assert_eq!(known, Ok(Value::Object(inputs)));
    let again = Workflow::load(&workflow.source, &catalog(), &Map::new()).unwrap().0;
    assert_eq!(again.steps, workflow.steps);
    let errors = Workflow::one_step("io.fs.delte", &Map::new(), &catalog()).unwrap_err();
    assert_eq!(errors.iter().next().unwrap().help.as_deref(), Some("did you mean `io.fs.delete`?"));
}

#[test]
fn a_step_of_an_open_run_refers_to_what_has_finished() {
    let name = |name| StepName::parse(name).unwrap();
    let capability = |id| Some(CapabilityId::parse(id).unwrap());
    let steps = [
        (name("done"), capability("crm.create_account"), true),
        (name("busy"), capability("io.fs.delete"), false),
        (name("gate"), None, true),
    ];
    let inputs = map(json!({"n": 1}));
    let earlier = Earlier { inputs: &inputs, steps: &steps };
    let request = |inputs: Value| json!({"name": "next", "capability": "io.fs.delete", "inputs": inputs});
    let submit = |request: Value| Step::from_request(&request, earlier, &catalog()).map(|(step, _)| step);

    let step =
        submit(request(json!({"path": "{{ done.account_id }}/{{ inputs.n }}", "flat": "{{ account_id }}"}))).unwrap();
    assert_eq!((step.name.as_str(), step.inputs.references().len(), step.depends_on.len()), ("next", 3, 0));
    let undo = json!({"capability": "io.fs.delete", "inputs": {"path": "{{ next.path }}"}});
    let with_undo = json!({"name": "next", "capability": "io.fs.delete", "compensation": undo});
    assert!(submit(with_undo).unwrap().compensation.is_some());
    assert!(submit(json!({"name": "wait", "step_type": "HUMAN_APPROVAL"})).is_ok());

    for (request, code) in [
        (request(json!({"path": "{{ busy.path }}"})), "not-finished"),
        (request(json!({"path": "{{ next.path }}"})), "not-finished"),
        (request(json!({"path": "{{ gate.vote }}"})), "unknown-field"),
        (request(json!({"path": "{{ done.acount_id }}"})), "unknown-field"),
        (request(json!({"path": "{{ other.path }}"})), "unknown-reference"),
        (request(json!({"path": "{{ inputs.m }}"})), "missing-input"),
        (json!({"name": "done", "capability": "io.fs.delete"}), "duplicate-step"),
        (json!({"name": "x", "capability": "io.fs.delete", "depends_on": ["done"]}), "unknown-key"),
        (json!({"name": "x", "capability": "no.such"}), "unknown-capability"),
        (json!({"capability": "io.fs.delete"}), "missing-key"),
        (json!([1]), "wrong-type"),
    ] {
        let codes: Vec<_> = submit(request.clone()).unwrap_err().iter().map(|d| d.code).collect();
        assert_eq!(codes, [code], "{request}");
    }
    assert!(submit(json!(null)).is_err());
}

proptest! {
    #[test]
    fn random_text_never_panics_the_loader(text in "([a-z{}:,\"\\[\\]\n -]|name: |steps:\n|inputs: |  - |capability: |\\{\\{ ){0,60}") {
        let _ = load_with(&text, json!({}));
    }

    #[test]
    fn random_values_in_place_of_right_ones_never_panic_the_loader(
        key in prop::sample::select(&["name", "step_type", "capability", "agent", "depends_on", "inputs", "risk_level",
            "retry", "timeout", "compensation", "max_retries", "timeout_seconds", "approval_config", "description"][..]),
        value in prop::sample::select(&["", "1", "-1", "1.5", "true", "a", "\"{{ a }}\"", "\"{{\"", "[]", "[a]", "[[]]", "{}",
            "{a: 1}", "{capability: a}", "{max_attempts: {}}", "{capability: io.fs.delete, inputs: 1}"][..]),
    ) {
        let _ = load_with(&format!("name: w\nsteps:\n  - {key}: {value}\n"), json!({}));
        let _ = load_with(&one(&format!("    {key}: {value}\n")), json!({}));
    }
}
