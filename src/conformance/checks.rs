//! What is tried with every case, each time in a world made anew.

use serde_json::Value;

use super::case::Case;
use super::report::{Broken, Promise, Report};
use super::trial::{Done, Plan, Trial};
use super::world::Snapshot;
use super::{Kit, KitError, faults};
use crate::types::{EffectKind, Failure, code};

/// Of an execution with more effects, so many are tried one by one: the first, the last, and some in between.
const MOST_EFFECTS: u64 = 40;

/// How far the clock is moved to see whether anything depends on it: years, and odd in every unit.
const LATER: std::time::Duration =
    std::time::Duration::from_secs(2 * 365 * 86_400 + 41 * 86_400 + 7 * 3_600 + 13 * 60 + 29);

/// How a case goes if nothing goes wrong.
pub(super) struct Baseline {
    pub(super) before: Snapshot,
    pub(super) after: Snapshot,
    pub(super) output: Value,
    /// The kind of each effect.
    pub(super) let_out: Vec<String>,
    pub(super) requests: u64,
}

impl Baseline {
    /// The numbers of the effects that are tried.
    pub(super) fn effects(&self) -> Vec<u64> {
        let all = self.let_out.len() as u64;
        let third = MOST_EFFECTS / 3;
        if all <= MOST_EFFECTS {
            return (1..=all).collect();
        }
        let between = (1..third).map(|n| third + n * (all - 2 * third) / third);
        (1..=third).chain(between).chain(all - third + 1..=all).collect()
    }
}

/// Makes findings about one case.
pub(super) struct Finder<'a> {
    pub(super) kit: &'a Kit,
    pub(super) case: &'a Case,
    /// Whether the input is the author's.
    pub(super) authors: bool,
}

impl<'a> Finder<'a> {
    pub(super) fn trial(&self) -> Result<Trial<'a>, KitError> {
        Trial::new(self.kit, self.case)
    }

    pub(super) fn broken(&self, promise: Promise, did: &[String], found: Vec<String>) -> Broken {
        Broken {
            case: self.authors.then(|| self.case.name.clone()),
            input: Some(self.case.input.clone()),
            ..Broken::of(promise, "").capability(&self.case.capability).did(did).found(found)
        }
    }

    /// What the host's own failure codes say of the component.
    pub(super) fn of_code(&self, trial: &Trial<'_>, done: &Done, report: &mut Report) -> bool {
        let Err(failure) = &done.result else { return false };
        let Some(promise) = promise_of(&failure.code) else { return false };
        report.add(self.broken(promise, &trial.did, vec![failure.to_string()]));
        true
    }

    /// Whether the world is as it is to be; if not, that is found.
    pub(super) fn compare(
        &self,
        promise: Promise,
        trial: &Trial<'_>,
        expected: &Snapshot,
        report: &mut Report,
    ) -> Result<bool, KitError> {
        report.count();
        let differences = trial.snapshot()?.differs_from(expected);
        let same = differences.is_empty();
        if !same {
            report.add(self.broken(promise, &trial.did, differences));
        }
        Ok(same)
    }

    /// Undoes and compares.
    pub(super) async fn undone(
        &self,
        promise: Promise,
        trial: &mut Trial<'_>,
        output: Option<&Value>,
        expected: &Snapshot,
        report: &mut Report,
    ) -> Result<bool, KitError> {
        // Where nothing was saved nothing was changed, and the host asks for no undo.
        if trial.has_record()
            && let Err(failure) = trial.undo(output).await
        {
            report.count();
            report.add(self.broken(promise, &trial.did, vec![format!("the undo failed: {failure}")]));
            return Ok(false);
        }
        self.compare(promise, trial, expected, report)
    }
}

/// The promise that a failure code of the host tells of.
fn promise_of(code: &str) -> Option<Promise> {
    Some(match code {
        code::NO_UNDO => Promise::SavesBeforeEffects,
        code::EFFECT_FORBIDDEN => Promise::EffectIsAsDeclared,
        code::INVALID_OUTPUT => Promise::OutputFitsSchema,
        code::TRAP
        | code::EXITED
        | code::TIMEOUT
        | code::OUT_OF_FUEL
        | code::OUT_OF_MEMORY
        | code::STACK_OVERFLOW
        | code::LIMIT => Promise::EndsWithAnAnswer,
        _ => return None,
    })
}

/// Tries a case of the author.
pub(super) async fn check(kit: &Kit, case: &Case, report: &mut Report) -> Result<(), KitError> {
    report.cases += 1;
    let finder = Finder { kit, case, authors: true };
    let Some(baseline) = as_the_case_says(&finder, report).await? else { return Ok(()) };
    depends_on_input_alone(&finder, &baseline, report).await?;
    faults::requests_fail(&finder, &baseline, report).await?;
    faults::permissions_withheld(&finder, &baseline, report).await?;
    let Some(info) = kit.info(&case.capability) else { return Ok(()) };
    if baseline.let_out.is_empty() {
        return Ok(());
    }
    let tried = baseline.effects().len();
    if tried < baseline.let_out.len() {
        report.note(format!(
            "{}: {}: {tried} of its {} effects are tried one by one",
            info.id,
            case.name,
            baseline.let_out.len()
        ));
    }
    let unseen =
        case.script.answers.iter().find(|answer| !matches!(answer.method.as_str(), "GET" | "HEAD" | "OPTIONS"));
    if let Some(answer) = unseen {
        let what = format!("{} {}", answer.method, answer.url);
        report.note(format!(
            "{}: {}: what `{what}` changes is in no collection, so that its undo is not compared",
            info.id, case.name
        ));
    }
    if info.idempotent {
        once_for_one_key(&finder, &baseline, info.effect, report).await?;
    }
    if info.effect == EffectKind::Reversible {
        undo_restores(&finder, &baseline, report).await?;
        faults::death(&finder, &baseline, info.idempotent, report).await?;
        faults::effects_refused(&finder, &baseline, report).await?;
    }
    Ok(())
}

/// Executes once; none if it failed, as expected or not.
async fn as_the_case_says(finder: &Finder<'_>, report: &mut Report) -> Result<Option<Baseline>, KitError> {
    let case = finder.case;
    let mut trial = finder.trial()?;
    let before = trial.snapshot()?;
    report.count();
    if let Err(failure) = finder.kit.component.validate_input(&case.capability, &case.input) {
        // The host refuses it before the component is asked.
        if case.expected.failure.as_deref() != Some(failure.code.as_str()) {
            report.add(finder.broken(Promise::DoesWhatItsCasesSay, &[], vec![failure.to_string()]));
        }
        return Ok(None);
    }
    let done = trial.execute(Plan::Whole).await;
    let after = trial.snapshot()?;
    if finder.of_code(&trial, &done, report) {
        return Ok(None);
    }
    if let Some(failure) = done.result.as_ref().err().filter(|failure| failure.code == code::NOT_GRANTED) {
        // Everything that it asks for is granted, in this world.
        report.add(finder.broken(Promise::AsksForWhatItUses, &trial.did, vec![failure.to_string()]));
        return Ok(None);
    }
    let differences = case.expected.differences(&done, &after);
    if !differences.is_empty() {
        report.add(finder.broken(Promise::DoesWhatItsCasesSay, &trial.did, differences));
    }
    match done.result {
        Ok(output) => {
            let requests = trial.requests();
            Ok(Some(Baseline { before, after, output, let_out: done.let_out, requests }))
        }
        Err(_) => {
            if done.unclear && trial.info().effect == EffectKind::Reversible {
                finder.undone(Promise::UndoAfterFailure, &mut trial, None, &before, report).await?;
            }
            Ok(None)
        }
    }
}

async fn depends_on_input_alone(finder: &Finder<'_>, baseline: &Baseline, report: &mut Report) -> Result<(), KitError> {
    if finder.case.varies {
        return Ok(());
    }
    report.count();
    let mut trial = finder.trial()?;
    trial.clock_ahead = LATER;
    trial.did.push("move the clock on by two years and some".to_owned());
    let done = trial.execute(Plan::Whole).await;
    let mut words = trial.snapshot()?.differs_from(&baseline.after);
    match done.result {
        Ok(output) if output == baseline.output => {}
        Ok(output) => words.push(format!("output: is {output}, was {} before", baseline.output)),
        Err(failure) => words.push(format!("it failed: {failure}")),
    }
    if !words.is_empty() {
        words.push("if that is meant, say `depends_on_time: true` in the case".to_owned());
        report.add(finder.broken(Promise::DependsOnInputAlone, &trial.did, words));
    }
    Ok(())
}

async fn once_for_one_key(
    finder: &Finder<'_>,
    baseline: &Baseline,
    effect: EffectKind,
    report: &mut Report,
) -> Result<(), KitError> {
    let mut trial = finder.trial()?;
    let _ = trial.execute(Plan::Whole).await;
    let done = trial.execute(Plan::Whole).await;
    if finder.of_code(&trial, &done, report) {
        return Ok(());
    }
    let output = match done.result {
        Ok(output) => output,
        Err(failure) => {
            report.add(finder.broken(Promise::OnceForOneKey, &trial.did, vec![told(&failure)]));
            return Ok(());
        }
    };
    let once = finder.case.varies || finder.compare(Promise::OnceForOneKey, &trial, &baseline.after, report)?;
    if once && effect == EffectKind::Reversible {
        let promise = Promise::UndoRestoresTheFirstState;
        finder.undone(promise, &mut trial, Some(&output), &baseline.before, report).await?;
    }
    Ok(())
}

async fn undo_restores(finder: &Finder<'_>, baseline: &Baseline, report: &mut Report) -> Result<(), KitError> {
    let mut trial = finder.trial()?;
    let done = trial.execute(Plan::Whole).await;
    let output = done.result.ok();
    let (output, before) = (output.as_ref(), &baseline.before);
    if !finder.undone(Promise::UndoRestores, &mut trial, output, before, report).await? {
        return Ok(());
    }
    finder.undone(Promise::UndoIsRepeatable, &mut trial, output, before, report).await?;
    let mut trial = finder.trial()?;
    let _ = trial.execute(Plan::Whole).await;
    trial.clock_ahead = LATER;
    trial.did.push("move the clock on by two years and some".to_owned());
    finder.undone(Promise::UndoRestores, &mut trial, output, before, report).await?;
    faults::undo_ends_or_fails(finder, baseline, report).await
}

pub(super) fn told(failure: &Failure) -> String {
    format!("it failed: {failure}")
}
