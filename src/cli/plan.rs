//! `redress plan`: what each step would be answered, decided by the policy in force and executed by nobody.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::context::{Context, Opening, Tools};
use super::error::CliError;
use super::inputs::InputOptions;
use super::output::{Output, Tone, quoted, shortened};
use super::text::{granted, granted_url};
use super::{Exit, run};
use crate::document::escape;
use crate::engine::{self, Egress, Foreseen, Plan, PlannedStep, human};
use crate::policy::{Side, mask_marked};
use crate::types::{Action, Catalog as _, Digest, EffectKind};
use crate::workflow::Workflow;

/// How much of an input is shown.
const SHORT: usize = 200;

/// See [`super::Command::Plan`].
#[derive(Args, Debug)]
#[command(
    after_help = "Exits with 2 if the workflow does not load or a grant contains what guards it, with 6 if a step would be \
    denied or its input does not fit.\n\n\
    Example: redress plan examples/onboarding.yaml --input customer=Acme"
)]
pub(super) struct Arguments {
    /// The workflow
    workflow: PathBuf,
    #[command(flatten)]
    inputs: InputOptions,
}

/// A plan, as it is printed.
#[derive(Serialize)]
struct PlanView<'a> {
    schema: u32,
    workflow: &'a str,
    principal: &'a str,
    policy: Digest,
    /// Steps that no rollback can undo.
    residue: Vec<&'a str>,
    #[serde(flatten)]
    plan: &'a Plan,
}

pub(super) fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let given = arguments.inputs.read()?;
    let tools = context.tools(Opening::Existing)?;
    let workflow = run::load(context, &tools, &arguments.workflow, &given)?;
    let principal = run::principal(context, &workflow)?;
    let mut plan = engine::plan(&workflow, &tools.registry, &tools.policy, &principal);
    if !context.globals.show_sensitive {
        mask(&mut plan, &tools);
    }
    let irreversible = |step: &&PlannedStep| {
        let info = step.capability.as_ref().and_then(|capability| tools.registry.capability(capability.as_str()));
        info.is_some_and(|info| info.effect == EffectKind::Irreversible) && !compensated(&workflow, &step.name)
    };
    let view = PlanView {
        schema: 1,
        workflow: &workflow.name,
        principal: principal.as_str(),
        policy: tools.policy.digest(),
        residue: plan.steps.iter().filter(irreversible).map(|step| step.name.as_str()).collect(),
        plan: &plan,
    };
    context.output.result(&view, || text(&view, &context.output))?;
    Ok(if plan.steps.iter().any(PlannedStep::is_refused) { Exit::Refused } else { Exit::Done })
}

/// Masks the inputs of steps that are sensitive.
fn mask(plan: &mut Plan, tools: &Tools) {
    for step in &mut plan.steps {
        let capability = step.capability.clone().unwrap_or_else(human);
        if let Some(info) = tools.registry.capability(capability.as_str()) {
            mask_marked(&info.input, &mut step.input);
        }
        tools.policy.mask(&capability, Side::Inputs, &mut step.input);
    }
}

fn compensated(workflow: &Workflow, step: &str) -> bool {
    workflow.steps.iter().any(|other| other.name.as_str() == step && other.compensation.is_some())
}

/// A value as JSON; what is not known yet stands as the bare word `depends`, which no JSON is.
fn known(value: &Value, at: &str, unknown: &[String]) -> String {
    let below = |value: &Value, name: &str| known(value, &format!("{at}.{name}"), unknown);
    match value {
        Value::Null if unknown.iter().any(|place| place == at) => "depends".to_owned(),
        Value::Array(items) => {
            let items = items.iter().enumerate().map(|(index, item)| below(item, &index.to_string()));
            format!("[{}]", items.collect::<Vec<_>>().join(","))
        }
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{}:{}", Value::from(&**name), below(value, name)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

fn text(view: &PlanView<'_>, output: &Output) -> String {
    let mut text = format!("plan of {} for {}, nothing was executed\n", quoted(view.workflow), escape(view.principal));
    let width = view.plan.steps.iter().map(|step| step.name.len()).max().unwrap_or(0);
    for step in &view.plan.steps {
        let capability = step.capability.as_ref().map_or("waits for a person", |capability| capability.as_str());
        let tone = match step.decision {
            Foreseen::Decided(Action::Allow) => Tone::Good,
            Foreseen::Decided(Action::Deny) => Tone::Bad,
            Foreseen::Decided(Action::RequireApproval) | Foreseen::Depends => Tone::Warn,
        };
        let decision = output.paint(tone, step.decision.as_str());
        let _ = writeln!(text, "  {:width$}  {capability}  {decision}", step.name);
        let rules: Vec<String> = step.rules.iter().map(|rule| format!("rule {rule}")).collect();
        let by = if rules.is_empty() { "the default".to_owned() } else { rules.join(" or ") };
        let _ = writeln!(text, "      by {by}, risk {}, undo: {}", step.risk, step.undo);
        if !step.depends_on.is_empty() {
            let _ = writeln!(text, "      depends on {}", escape(&step.depends_on.join(", ")));
        }
        if let Some(reason) = &step.reason {
            let _ = writeln!(text, "      because {}", quoted(reason));
        }
        let _ = writeln!(text, "      input {}", shortened(&known(&step.input, "inputs", &step.unknown), SHORT));
        for line in granted(&step.grant).iter().filter(|_| step.capability.is_some()) {
            let _ = writeln!(text, "      grant {line}");
        }
        if let Some(problem) = &step.problem {
            let line = format!("      problem {}: {}", escape(&problem.code), quoted(&problem.message));
            let _ = writeln!(text, "{}", output.paint(Tone::Bad, &line));
        }
        for warning in &step.warnings {
            let _ = writeln!(text, "      warning: {}", escape(warning));
        }
    }
    let residue = if view.residue.is_empty() { "nothing".to_owned() } else { view.residue.join(", ") };
    let _ = writeln!(text, "cannot be undone: {residue}");
    let nothing = if view.plan.egress.is_empty() { " nothing" } else { "" };
    let _ = writeln!(text, "can leave to the network:{nothing}");
    for Egress { url, steps } in &view.plan.egress {
        let _ = writeln!(text, "  {} by {}", granted_url(url), escape(&steps.join(", ")));
    }
    text
}
