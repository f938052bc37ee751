//! What a workflow would do, decided and not executed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::registry::Registry;
use crate::document::{Diagnostic, Diagnostics, Span};
use crate::policy::{self, Foresight, Policy};
use crate::types::{
    Access, Action, CapabilityId, CapabilityInfo, Catalog, EffectKind, Failure, Grant, Limits, Permission, Principal,
    Risk, UrlGrant, canonical_bytes,
};
use crate::workflow::{Step, Workflow};

/// What is foreseen for one step.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedStep {
    /// Its name.
    pub name: String,
    /// The capability; none for a step that only waits.
    pub capability: Option<CapabilityId>,
    /// What the policy answers, or that it depends.
    pub decision: Foreseen,
    /// What the decision depends on, if it depends.
    pub depends_on: Vec<String>,
    /// The rules that may answer, from 1.
    pub rules: Vec<usize>,
    /// Why, where the rule alone does not say it.
    pub reason: Option<String>,
    /// The risk that counts.
    pub risk: Risk,
    /// What the sandbox would open.
    pub grant: Grant,
    /// How it would be undone.
    pub undo: String,
    /// The input, as far as it is known; what is not known yet is null.
    pub input: Value,
    /// The places in the input that are not known yet, such as `inputs.path`.
    pub unknown: Vec<String>,
    /// What is wrong with the input, if that is known.
    pub problem: Option<Failure>,
    /// What to know besides.
    pub warnings: Vec<String>,
}

/// A decision, as far as it can be foreseen. Shown as `ALLOW`, `REQUIRE_APPROVAL`, `DENY`, or `depends`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreseen {
    /// It is known.
    Decided(Action),
    /// It depends on values that are not known yet.
    Depends,
}

impl Foreseen {
    /// The word in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Foreseen::Decided(action) => action.as_str(),
            Foreseen::Depends => "depends",
        }
    }
}

impl Serialize for Foreseen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl PlannedStep {
    /// Whether it is known that the step cannot succeed: it is denied, or its input does not fit.
    pub fn is_refused(&self) -> bool {
        self.decision == Foreseen::Decided(Action::Deny) || self.problem.is_some()
    }
}

/// What is foreseen for a workflow.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// Each step, in the order of the file.
    pub steps: Vec<PlannedStep>,
    /// Where data could leave to, at worst.
    pub egress: Vec<Egress>,
}

/// URLs to which steps could send.
#[derive(Clone, Debug, Serialize)]
pub struct Egress {
    /// The URLs, and how.
    #[serde(flatten)]
    pub url: UrlGrant,
    /// The steps that may, or whose compensations may.
    pub steps: Vec<String>,
}

/// What each step of a workflow would be answered, and what all of them could do at worst.
pub fn plan(workflow: &Workflow, registry: &Registry, policy: &Policy, principal: &Principal) -> Plan {
    let mut steps: Vec<PlannedStep> =
        workflow.steps.iter().map(|step| planned_step(workflow, step, registry, policy, principal)).collect();
    warn(workflow, registry, &mut steps);
    let mut egress: BTreeMap<UrlGrant, Vec<String>> = BTreeMap::new();
    for (step, planned) in workflow.steps.iter().zip(&mut steps) {
        let compensation = step.compensation.as_ref().and_then(|named| registry.capability(named.capability.as_str()));
        let compensation = compensation.map(|info| granted(policy, principal, step, info)).unwrap_or_default();
        let grants = [&planned.grant, &compensation];
        let missing = grants.into_iter().flat_map(|grant| missing_folders(policy, grant)).collect::<BTreeSet<_>>();
        planned.warnings.extend(missing);
        let info = step.capability().and_then(|capability| registry.capability(capability.as_str()));
        if planned.decision != Foreseen::Decided(Action::Deny) {
            planned.warnings.extend(info.and_then(|info| not_granted(info, &planned.grant)));
        }
        if planned.decision != Foreseen::Decided(Action::Deny) {
            let urls: BTreeSet<&UrlGrant> = grants.into_iter().flat_map(|grant| &grant.network).collect();
            urls.into_iter().for_each(|url| egress.entry(url.clone()).or_default().push(planned.name.clone()));
        }
    }
    Plan { steps, egress: egress.into_iter().map(|(url, steps)| Egress { url, steps }).collect() }
}

/// Who acts in a step, and for whom.
fn acting<'p>(step: &'p Step, principal: &'p Principal) -> (&'p Principal, Option<&'p Principal>) {
    match &step.agent {
        Some(agent) if agent != principal => (agent, Some(principal)),
        _ => (principal, None),
    }
}

fn granted(policy: &Policy, principal: &Principal, step: &Step, info: &CapabilityInfo) -> Grant {
    let (acting, acting_for) = acting(step, principal);
    let principals: Vec<&Principal> = std::iter::once(acting).chain(acting_for).collect();
    policy::effective_grant(policy, &principals, &info.id, &info.permissions)
}

/// A warning for each folder of a grant that is not there, with its places in the policy.
fn missing_folders(policy: &Policy, grant: &Grant) -> Vec<String> {
    let missing = grant.filesystem.iter().filter(|dir| !Path::new(&dir.host).is_dir());
    let told = missing.map(|dir| {
        let places = policy.granted_hosts().into_iter().filter(|granted| granted.host == dir.host);
        let places: Vec<String> =
            places.map(|host| format!("{}:{}:{}", policy.name(), host.span.line, host.span.column)).collect();
        format!("the granted folder `{}` is not there: make it, or mend {}", dir.host, places.join(", "))
    });
    told.collect()
}

/// A warning of what a capability asks for and is not granted at all. Whoever takes any secret goes without one most often.
fn not_granted(info: &CapabilityInfo, grant: &Grant) -> Option<String> {
    let is_open = |permission: &&Permission| match permission {
        Permission::FsRead => !grant.filesystem.is_empty(),
        Permission::FsWrite => grant.filesystem.iter().any(|dir| dir.access == Access::ReadWrite),
        Permission::Http { .. } => !grant.network.is_empty(),
        Permission::Config(name) => grant.config.contains_key(name),
        Permission::Secret(name) => name == "*" || grant.secrets.iter().any(|secret| secret.name == *name),
    };
    let closed: Vec<String> =
        info.permissions.iter().filter(|asked| !is_open(asked)).map(|p| format!("`{p}`")).collect();
    let says = || format!("it asks for {}, which is not granted: whatever needs that will fail", closed.join(" and "));
    (!closed.is_empty()).then(says)
}

fn planned_step(
    workflow: &Workflow,
    step: &Step,
    registry: &Registry,
    policy: &Policy,
    principal: &Principal,
) -> PlannedStep {
    let info = step.capability().and_then(|capability| registry.capability(capability.as_str()));
    let (input, unknown) = step.inputs.resolve_known(&|reference| reference.find(&workflow.inputs, |_| None));
    let grant = info.map(|info| granted(policy, principal, step, info)).unwrap_or_default();
    let (acting, acting_for) = acting(step, principal);
    let request = policy::Request {
        principal: acting.clone(),
        acting_for: acting_for.cloned(),
        capability: step.capability().cloned().unwrap_or_else(super::decide::human),
        declared_risk: info.map_or(Risk::Low, |info| info.risk),
        step_risk: step.risk,
        inputs: Some(&input),
        unknown: &unknown,
    };
    let (mut decision, mut depends_on, mut possible) = match policy::foresee(policy, &request) {
        Foresight::Decided(decision) => (Foreseen::Decided(decision.action), Vec::new(), vec![decision]),
        Foresight::Depends { on, possible } => (Foreseen::Depends, on, possible),
    };
    if let Some(named) = &step.compensation {
        let (inputs, unknown) = named.inputs.resolve_known(&|reference| reference.find(&workflow.inputs, |_| None));
        let request = policy::Request {
            capability: named.capability.clone(),
            inputs: Some(&inputs),
            unknown: &unknown,
            step_risk: None,
            ..request
        };
        let answer = policy::decide_by_rule_only(policy, &request);
        // What is not known of its input now may be known when the step is decided: only then does it count as unknown.
        let later = named.inputs.references().iter().any(|r| !r.is_input() && r.root() != step.name.as_str());
        if later && answer.reason.is_some() {
            decision = Foreseen::Depends;
            depends_on.push("compensation".to_owned());
        } else {
            possible =
                possible.into_iter().map(|own| own.with_compensation(answer.clone(), &named.capability)).collect();
            if let (true, [only]) = (depends_on.is_empty(), possible.as_slice()) {
                decision = Foreseen::Decided(only.action);
            }
        }
    }
    let risk = possible.iter().map(|decision| decision.risk).max().unwrap_or(Risk::Low);
    PlannedStep {
        name: step.name.to_string(),
        capability: step.capability().cloned(),
        decision,
        depends_on,
        rules: possible.iter().filter_map(|decision| decision.rule.as_ref().map(|rule| rule.index)).collect(),
        reason: possible.iter().find_map(|decision| decision.reason.clone()),
        risk,
        grant,
        undo: undo_of(
            step.compensation.as_ref().map(|named| &named.capability),
            info.map_or(EffectKind::None, |info| info.effect),
        ),
        problem: if unknown.is_empty() { problem(registry, step, &input) } else { None },
        input,
        unknown,
        warnings: Vec::new(),
    }
}

/// How a step would be undone, for a person: by the compensation that it declares, or as its effect says.
pub fn undo_of(compensation: Option<&CapabilityId>, effect: EffectKind) -> String {
    match (compensation, effect) {
        (Some(capability), _) => format!("by `{capability}`"),
        (None, EffectKind::Reversible) => "by its own compensate".to_owned(),
        (None, EffectKind::Irreversible) => "none: it cannot be undone".to_owned(),
        (None, EffectKind::None) => "nothing to undo".to_owned(),
    }
}

/// What is wrong with an input that is known, before anything runs.
pub(super) fn problem(registry: &Registry, step: &Step, input: &Value) -> Option<Failure> {
    let capability = step.capability()?;
    let component = &registry.provider(capability.as_str())?.component;
    if let Err(error) = canonical_bytes(input) {
        return Some(Failure::new(crate::types::code::INVALID_INPUT, error.to_string()));
    }
    component.validate_input(capability, input).err()
}

fn warn(workflow: &Workflow, registry: &Registry, planned: &mut [PlannedStep]) {
    let effect = |step: &Step| {
        step.capability().and_then(|capability| registry.capability(capability.as_str())).map(|info| info.effect)
    };
    let irreversible: Vec<usize> = (0..workflow.steps.len())
        .filter(|i| {
            workflow
                .steps
                .get(*i)
                .is_some_and(|s| s.compensation.is_none() && effect(s) == Some(EffectKind::Irreversible))
        })
        .collect();
    for (index, step) in planned.iter_mut().enumerate() {
        for before in irreversible.iter().filter(|before| workflow.graph.is_ancestor(**before, index)) {
            if let Some(before) = workflow.steps.get(*before) {
                step.warnings.push(format!("if it fails, `{}` before it cannot be undone", before.name));
            }
        }
        let waits = matches!(step.decision, Foreseen::Decided(Action::RequireApproval) | Foreseen::Depends);
        if let (true, Some(deadline)) = (waits, workflow.deadline) {
            step.warnings.push(format!("an approval may outlive the deadline of {deadline}"));
        }
    }
}

/// What is wrong with the inputs of a workflow that are known before anything runs: the step, the place in the input, why.
pub fn known_problems<'w>(workflow: &'w Workflow, registry: &Registry) -> Vec<(&'w Step, Failure)> {
    let limit = usize::try_from(Limits::default().input).unwrap_or(usize::MAX);
    let known = |step: &'w Step| -> Option<(&'w Step, Failure)> {
        let failure = match step.inputs.known(&workflow.inputs, limit)? {
            Ok(value) => problem(registry, step, &value)?,
            Err(error) => Failure::new(crate::types::code::INVALID_INPUT, error.to_string()),
        };
        Some((step, failure))
    };
    workflow.steps.iter().filter_map(known).collect()
}

/// Refuses a workflow with inputs of which it is known that their capabilities will not take them.
pub fn refuse_known_problems(workflow: &Workflow, registry: &Registry) -> Result<(), Diagnostics> {
    let mut diagnostics = Diagnostics::new(workflow.source.clone());
    for (step, failure) in known_problems(workflow, registry) {
        let message = format!("step `{}`: {}", step.name, failure.message);
        diagnostics.push(Diagnostic::error("invalid-input", misfit(step, workflow, registry), message));
    }
    if diagnostics.has_errors() { Err(diagnostics) } else { Ok(()) }
}

/// The place of the value that is wrong in a step's inputs.
fn misfit(step: &Step, workflow: &Workflow, registry: &Registry) -> Span {
    let whole = step.inputs.span();
    let limit = usize::try_from(Limits::default().input).unwrap_or(usize::MAX);
    let value = match step.inputs.known(&workflow.inputs, limit) {
        Some(Ok(value)) => value,
        Some(Err(unresolved)) => return unresolved.span,
        None => return whole,
    };
    let Some(capability) = step.capability() else { return whole };
    let component = registry.provider(capability.as_str()).map(|installed| &installed.component);
    let pointer = component.and_then(|component| component.input_misfit(capability, &value));
    pointer.map_or(whole, |pointer| step.inputs.place(&pointer))
}
