//! One step, from its mapping to a [`Step`] whose names are not bound yet.

use crate::document::{
    Diagnostic, Diagnostics, Key, MapReader, Node, Span, duration, integer, list, positive_duration, string, suggest,
};
use crate::types::{CapabilityId, Catalog, Duration, IdError, Principal, Retry, Risk, StepName};

use super::inputs::Templated;
use super::template::INPUTS;
use super::{NamedCompensation, Step, StepKind};

pub(super) const STEP_KEYS: &[&str] = &[
    "name",
    "description",
    "step_type",
    "capability",
    "agent",
    "depends_on",
    "inputs",
    "risk_level",
    "retry",
    "timeout",
    "compensation",
    "capability_name",
    "agent_name",
    "max_retries",
    "timeout_seconds",
    "approval_config",
];
pub(super) const RETRY_KEYS: &[&str] =
    &["max_attempts", "initial_interval", "multiplier", "max_interval", "max_retries"];
pub(super) const COMPENSATION_KEYS: &[&str] = &["capability", "inputs", "description", "capability_name", "step_name"];

/// The capability as which an approval is decided.
const APPROVE: &str = "human.approve";
/// The largest `multiplier`.
const MAX_MULTIPLIER: f64 = 1_000.0;

/// A step as it stands in its document.
pub(super) struct Draft<'n> {
    pub step: Step,
    /// Its `depends_on`, if the key is there.
    pub depends_on: Option<Vec<(&'n str, Span)>>,
    /// Whether its output can be known: it has no capability, or a known one.
    pub output_known: bool,
}

/// Reads steps against a catalog.
pub(super) struct StepReader<'c> {
    pub catalog: &'c dyn Catalog,
    pub diagnostics: Diagnostics,
}

impl<'c> StepReader<'c> {
    pub(super) fn new(catalog: &'c dyn Catalog, diagnostics: Diagnostics) -> StepReader<'c> {
        StepReader { catalog, diagnostics }
    }

    /// Reads one step. None if it has no name to speak of it; what else is wrong is reported and left out.
    pub(super) fn step<'n>(&mut self, node: &'n Node) -> Option<Draft<'n>> {
        let map = MapReader::new(node, "a step", STEP_KEYS, &mut self.diagnostics)?;
        let name = self.name(&map);
        if let Some(text) = map.optional("description") {
            string(text, "`description`", &mut self.diagnostics);
        }
        self.without_effect(&map, "approval_config", "who approves is said by the policy");
        let (kind, output_known) = self.kind(&map);
        let waits = kind == Some(StepKind::HumanApproval);
        if waits {
            self.refuse_on_approval(&map);
        }
        let depends_on = map.optional("depends_on").map(|node| self.depends_on(node));
        let agent = self.agent(&map);
        let inputs = self.inputs(&map);
        let risk = map.optional("risk_level").and_then(|node| self.risk(node));
        let (retry, timeout, compensation) = match waits {
            true => (Retry::default(), None, None),
            false => (self.retry(&map), self.timeout(&map), self.compensation(&map)),
        };
        // Without a kind there was an error, and nobody sees this step.
        let kind = kind.unwrap_or(StepKind::HumanApproval);
        let span = map.span();
        let step =
            Step { name: name?, kind, agent, depends_on: Vec::new(), inputs, risk, retry, timeout, compensation, span };
        Some(Draft { step, depends_on, output_known })
    }

    fn name(&mut self, map: &MapReader<'_>) -> Option<StepName> {
        let node = map.required("name", &mut self.diagnostics)?;
        let text = string(node, "`name`", &mut self.diagnostics)?;
        if text == INPUTS {
            let message = "a step cannot be called `inputs`: that name is taken by the inputs of the workflow";
            self.error("bad-name", node.span, message);
            return None;
        }
        self.id(StepName::parse(text), node)
    }

    /// What the step is, and whether its output can be known; none if that was not understood.
    fn kind(&mut self, map: &MapReader<'_>) -> (Option<StepKind>, bool) {
        match map.optional("step_type").map(|node| (node.as_str(), node.span)) {
            None | Some((Some("ACTION"), _)) => {}
            Some((Some("HUMAN_APPROVAL"), _)) => return (Some(StepKind::HumanApproval), true),
            Some((word, span)) => {
                self.step_type(word, span);
                return (None, false);
            }
        }
        match self.either(map, "capability", "capability_name") {
            None => {
                map.required("capability", &mut self.diagnostics);
                (None, false)
            }
            Some((_, node)) => match self.capability(node) {
                Some((capability, known)) => (Some(StepKind::Action { capability }), known),
                None => (None, false),
            },
        }
    }

    fn step_type(&mut self, word: Option<&str>, span: Span) {
        let shown = word.unwrap_or_default();
        let (message, help) = match word {
            Some("PARALLEL") => (
                "`step_type: PARALLEL` does not exist",
                "write the steps one by one: those without a `depends_on` between them run in parallel".to_owned(),
            ),
            Some("CONDITION") => (
                "`step_type: CONDITION` does not exist: a workflow has no branches",
                "let the caller choose between two workflows, or submit the steps one by one to an open run".to_owned(),
            ),
            Some("COMPENSATION") => (
                "`step_type: COMPENSATION` does not exist",
                "write `compensation: {capability: ..., inputs: {...}}` in the step that it undoes".to_owned(),
            ),
            _ => (
                "`step_type` must be `ACTION` or `HUMAN_APPROVAL`",
                suggest(shown, ["ACTION", "HUMAN_APPROVAL"]).map_or_else(
                    || "leave it out for a step with a capability".to_owned(),
                    |w| format!("did you mean `{w}`?"),
                ),
            ),
        };
        self.diagnostics.push(Diagnostic::error("bad-step-type", span, message).help(help));
    }

    /// A capability's id, and whether the catalog has it; if not, that was said.
    fn capability(&mut self, node: &Node) -> Option<(CapabilityId, bool)> {
        let text = string(node, "`capability`", &mut self.diagnostics)?;
        let id = self.id(CapabilityId::parse(text), node)?;
        if self.catalog.capability(text).is_some() {
            return Some((id, true));
        }
        let error = Diagnostic::error("unknown-capability", node.span, format!("no component provides `{text}`"));
        let ids = self.catalog.ids();
        self.diagnostics.push(match suggest(text, ids.iter().map(CapabilityId::as_str)) {
            _ if text == APPROVE => error.help("a step that only waits is written `step_type: HUMAN_APPROVAL`"),
            Some(word) => error.did_you_mean(Some(word)),
            None => error.help("`redress capability list` shows what there is"),
        });
        Some((id, false))
    }

    /// An approval runs nothing, so that what would say how to run something is refused, or never had an effect.
    fn refuse_on_approval(&mut self, map: &MapReader<'_>) {
        if let Some((_, node)) = self.either(map, "capability", "capability_name")
            && node.as_str() != Some(APPROVE)
        {
            let error =
                Diagnostic::error("runs-nothing", node.span, "a HUMAN_APPROVAL step only waits and runs nothing");
            self.diagnostics.push(error.help("give the capability a step of its own that depends on this one"));
        }
        for key in ["retry", "timeout"] {
            if let Some((key, _)) = map.entry(key) {
                let message = format!("`{}` means nothing for a HUMAN_APPROVAL step", key.name);
                let error = Diagnostic::error("runs-nothing", key.span, message);
                self.diagnostics.push(
                    error.help(
                        "how long an approval stands open is said by the policy's rule: `approval: {expires: 4h}`",
                    ),
                );
            }
        }
        for key in ["max_retries", "timeout_seconds", "compensation"] {
            self.without_effect(map, key, "a HUMAN_APPROVAL step only waits and changes nothing");
        }
    }

    fn agent(&mut self, map: &MapReader<'_>) -> Option<Principal> {
        let (_, node) = self.either(map, "agent", "agent_name")?;
        let text = string(node, "`agent`", &mut self.diagnostics)?;
        if text.contains(':') {
            let message = format!("`{text}` is not the name of an agent");
            let name = text.rsplit(':').next().unwrap_or_default();
            let help = format!("write the name alone: `agent: {name}` acts as `agent:{name}`");
            self.diagnostics.push(Diagnostic::error("bad-name", node.span, message).help(help));
            return None;
        }
        self.id(Principal::parse(&format!("agent:{text}")), node)
    }

    fn depends_on<'n>(&mut self, node: &'n Node) -> Vec<(&'n str, Span)> {
        let items = list(node, "`depends_on`", &mut self.diagnostics).unwrap_or_default();
        let read = |item: &'n Node| {
            string(item, "each item of `depends_on`", &mut self.diagnostics).map(|name| (name, item.span))
        };
        items.iter().filter_map(read).collect()
    }

    fn inputs(&mut self, map: &MapReader<'_>) -> Templated {
        match map.optional("inputs") {
            Some(node) => Templated::read(node, "`inputs`", &mut self.diagnostics),
            None => Templated::none(map.span()),
        }
    }

    fn risk(&mut self, node: &Node) -> Option<Risk> {
        let words = [Risk::Low, Risk::Medium, Risk::High, Risk::Critical].map(Risk::as_str);
        let risk = node.as_str().and_then(Risk::parse);
        if risk.is_none() {
            let message = "`risk_level` must be `LOW`, `MEDIUM`, `HIGH` or `CRITICAL`";
            let word = node.as_str().and_then(|text| suggest(text, words));
            self.diagnostics.push(Diagnostic::error("bad-risk", node.span, message).did_you_mean(word));
        }
        risk
    }

    fn retry(&mut self, map: &MapReader<'_>) -> Retry {
        let mut retry = Retry::default();
        let old = map.entry("max_retries");
        let mut attempts = old;
        if let Some(node) = map.optional("retry")
            && let Some(inner) = MapReader::new(node, "`retry`", RETRY_KEYS, &mut self.diagnostics)
        {
            if let Some(found) = self.either(&inner, "max_attempts", "max_retries") {
                if let Some((key, _)) = old {
                    self.twice(key, &found.0.name);
                }
                attempts = Some(found);
            }
            if let Some(value) = inner
                .optional("initial_interval")
                .and_then(|node| duration(node, "`initial_interval`", &mut self.diagnostics))
            {
                retry.initial_interval = value;
            }
            if let Some(value) =
                inner.optional("max_interval").and_then(|node| duration(node, "`max_interval`", &mut self.diagnostics))
            {
                retry.max_interval = value;
            }
            if let Some(value) = inner.optional("multiplier").and_then(|node| self.multiplier(node)) {
                retry.multiplier_milli = value;
            }
        }
        if let Some((key, node)) = attempts
            && let Some(count) = self.attempts(key, node)
        {
            retry.max_attempts = count;
        }
        retry
    }

    fn attempts(&mut self, key: &Key, node: &Node) -> Option<u32> {
        let what = format!("`{}`", key.name);
        let count = u32::try_from(integer(node, &what, &mut self.diagnostics)?).ok();
        match count {
            Some(1..) => count,
            Some(0) => {
                let error = Diagnostic::error("wrong-value", node.span, format!("{what} must be at least 1"));
                self.diagnostics.push(error.help("it counts all attempts, the first one too: 1 means no retry"));
                None
            }
            None => {
                self.error("wrong-value", node.span, format!("{what} must be at most {}", u32::MAX));
                None
            }
        }
    }

    /// A multiplier in thousandths.
    fn multiplier(&mut self, node: &Node) -> Option<u32> {
        let number = node.as_number().filter(|number| (1.0..=MAX_MULTIPLIER).contains(number));
        if number.is_none() {
            let message = format!("`multiplier` must be a number from 1 to {MAX_MULTIPLIER}");
            self.error("wrong-value", node.span, message);
        }
        // INVARIANT: from 1 000 to 1 000 000, so that nothing is cut off.
        number.map(|number| (number * 1_000.0).round() as u32)
    }

    fn timeout(&mut self, map: &MapReader<'_>) -> Option<Duration> {
        let (key, node) = self.either(map, "timeout", "timeout_seconds")?;
        if key.name == "timeout" {
            return self.positive_duration(node, "timeout");
        }
        let seconds = integer(node, "`timeout_seconds`", &mut self.diagnostics)?;
        if seconds == 0 {
            self.error("wrong-value", node.span, "`timeout_seconds` must be at least 1");
            return None;
        }
        let timeout = Duration::from_secs(seconds);
        if timeout > Duration::LONGEST {
            self.error("wrong-value", node.span, "`timeout_seconds` is longer than a hundred years");
            return None;
        }
        Some(timeout)
    }

    fn compensation(&mut self, map: &MapReader<'_>) -> Option<NamedCompensation> {
        let node = map.optional("compensation")?;
        let map = MapReader::new(node, "`compensation`", COMPENSATION_KEYS, &mut self.diagnostics)?;
        self.without_effect(&map, "step_name", "a compensation belongs to the step in which it stands");
        if let Some(text) = map.optional("description") {
            string(text, "`description`", &mut self.diagnostics);
        }
        let inputs = self.inputs(&map);
        let Some((_, node)) = self.either(&map, "capability", "capability_name") else {
            map.required("capability", &mut self.diagnostics);
            return None;
        };
        let (capability, _) = self.capability(node)?;
        Some(NamedCompensation { capability, inputs, span: node.span })
    }

    /// A key under its name or its older one; both at once is an error.
    pub(super) fn either<'n>(&mut self, map: &MapReader<'n>, key: &str, old: &str) -> Option<(&'n Key, &'n Node)> {
        match (map.entry(key), map.entry(old)) {
            (Some(found), Some((old, _))) => {
                self.twice(old, key);
                Some(found)
            }
            (found, None) => found,
            (None, found) => found,
        }
    }

    fn twice(&mut self, old: &Key, key: &str) {
        let message = match old.name == key {
            true => format!("`{key}` is given twice, in the step and in `retry`"),
            false => format!("`{}` is an older spelling of `{key}`, which is given too", old.name),
        };
        self.diagnostics.push(Diagnostic::error("both-spellings", old.span, message).help("keep one of the two"));
    }

    /// Warns about a key that is understood and means nothing.
    pub(super) fn without_effect(&mut self, map: &MapReader<'_>, key: &str, why: &str) {
        if let Some((key, _)) = map.entry(key) {
            let message = format!("`{}` has no effect", key.name);
            self.diagnostics
                .push(Diagnostic::warning("no-effect", key.span, message).help(format!("{why}; remove it")));
        }
    }

    /// A length of time longer than none.
    pub(super) fn positive_duration(&mut self, node: &Node, key: &str) -> Option<Duration> {
        positive_duration(node, &format!("`{key}`"), &mut self.diagnostics)
    }

    fn id<T>(&mut self, id: Result<T, IdError>, node: &Node) -> Option<T> {
        id.map_err(|IdError { kind, text, rule }| {
            let error = Diagnostic::error("bad-name", node.span, format!("`{text}` is not a {kind}"));
            self.diagnostics.push(error.help(rule));
        })
        .ok()
    }

    pub(super) fn error(&mut self, code: &'static str, span: Span, message: impl Into<String>) {
        self.diagnostics.push(Diagnostic::error(code, span, message));
    }
}
