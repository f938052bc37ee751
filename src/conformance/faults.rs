//! What goes wrong in the world, and what a component must make of it.

use super::KitError;
use super::checks::{Baseline, Finder, told};
use super::report::{Promise, Report};
use super::trial::{Done, Plan, Trial, Withheld};
use crate::types::{EffectKind, Permission};

/// Ends the component before its first effect and at each of them, and then undoes, or executes again and undoes.
pub(super) async fn death(
    finder: &Finder<'_>,
    baseline: &Baseline,
    idempotent: bool,
    report: &mut Report,
) -> Result<(), KitError> {
    let before = &baseline.before;
    let mut trial = finder.trial()?;
    trial.execute(Plan::DieBefore).await;
    finder.undone(Promise::UndoOfNothing, &mut trial, None, before, report).await?;
    if idempotent {
        retry(finder, baseline, Plan::DieBefore, report).await?;
    }
    for n in baseline.effects() {
        let mut trial = finder.trial()?;
        trial.execute(Plan::DieAt(n)).await;
        finder.undone(Promise::UndoAfterDeath, &mut trial, None, before, report).await?;
        if idempotent {
            retry(finder, baseline, Plan::DieAt(n), report).await?;
        }
        let kind = usize::try_from(n - 1).ok().and_then(|index| baseline.let_out.get(index));
        if kind.is_some_and(|kind| kind.starts_with("http.")) {
            let promise = Promise::UndoReckonsWithLateRequests;
            let mut trial = finder.trial()?;
            trial.execute(Plan::DieAtLate(n)).await;
            finder.undone(promise, &mut trial, None, before, report).await?;
            if idempotent {
                let mut trial = finder.trial()?;
                trial.execute(Plan::DieAtLate(n)).await;
                let done = trial.retry().await;
                finder.undone(promise, &mut trial, done.result.ok().as_ref(), before, report).await?;
            }
        }
    }
    Ok(())
}

async fn retry(finder: &Finder<'_>, baseline: &Baseline, plan: Plan, report: &mut Report) -> Result<(), KitError> {
    report.count();
    let mut trial = finder.trial()?;
    trial.execute(plan).await;
    let done = trial.retry().await;
    if finder.of_code(&trial, &done, report) {
        return Ok(());
    }
    match done.result {
        Err(failure) => {
            report.add(finder.broken(Promise::RetryAfterDeath, &trial.did, vec![told(&failure)]));
        }
        Ok(output) => {
            let as_at_once =
                finder.case.varies || finder.compare(Promise::RetryAfterDeath, &trial, &baseline.after, report)?;
            if as_at_once {
                let promise = Promise::UndoRestoresTheFirstState;
                finder.undone(promise, &mut trial, Some(&output), &baseline.before, report).await?;
            }
        }
    }
    Ok(())
}

/// Refuses each effect in turn: the component fails, and what it did before is undone.
pub(super) async fn effects_refused(
    finder: &Finder<'_>,
    baseline: &Baseline,
    report: &mut Report,
) -> Result<(), KitError> {
    for n in baseline.effects() {
        let mut trial = finder.trial()?;
        let done = trial.execute(Plan::Refuse(n)).await;
        failed_half_way(finder, baseline, &mut trial, &done, report).await?;
    }
    Ok(())
}

/// After a failure, undo makes the world as it was.
async fn failed_half_way(
    finder: &Finder<'_>,
    baseline: &Baseline,
    trial: &mut Trial<'_>,
    done: &Done,
    report: &mut Report,
) -> Result<(), KitError> {
    let trapped = finder.of_code(trial, done, report);
    if !trapped && done.unclear && trial.info().effect == EffectKind::Reversible {
        finder.undone(Promise::UndoAfterFailure, trial, None, &baseline.before, report).await?;
    }
    Ok(())
}

/// Success is success only if it is what it would have been: else an error was swallowed.
fn told_or_harmless(
    finder: &Finder<'_>,
    baseline: &Baseline,
    trial: &Trial<'_>,
    done: &Done,
    report: &mut Report,
) -> Result<bool, KitError> {
    report.count();
    let Ok(output) = &done.result else { return Ok(true) };
    let mut words = trial.snapshot()?.differs_from(&baseline.after);
    if *output != baseline.output {
        words.push(format!("it succeeded, and its output is {output}, was to be {}", baseline.output));
    }
    let harmless = words.is_empty();
    if !harmless && !finder.case.varies {
        report.add(finder.broken(Promise::TellsErrors, &trial.did, words));
    }
    Ok(!harmless)
}

/// Lets each request in turn be answered with 500.
pub(super) async fn requests_fail(
    finder: &Finder<'_>,
    baseline: &Baseline,
    report: &mut Report,
) -> Result<(), KitError> {
    for n in 1..=baseline.requests.min(20) {
        for carried_out in [false, true] {
            let mut trial = finder.trial()?;
            trial.fail_request(n, carried_out);
            let done = trial.execute(Plan::Whole).await;
            told_or_harmless(finder, baseline, &trial, &done, report)?;
            failed_half_way(finder, baseline, &mut trial, &done, report).await?;
        }
    }
    Ok(())
}

/// Ends the undo at each of its effects, and lets each of its requests fail: it says so, or it has undone, and asked for
/// again it makes the world as it was.
pub(super) async fn undo_ends_or_fails(
    finder: &Finder<'_>,
    baseline: &Baseline,
    report: &mut Report,
) -> Result<(), KitError> {
    for n in 1..=MOST_OF_AN_UNDO {
        let mut trial = finder.trial()?;
        let output = trial.execute(Plan::Whole).await.result.ok();
        let output = output.as_ref();
        let came_so_far = trial.has_record() && trial.undo_and_die(output, n).await;
        if !came_so_far {
            break;
        }
        finder.undone(Promise::UndoAfterItsOwnDeath, &mut trial, output, &baseline.before, report).await?;
    }
    for n in 1..=MOST_OF_AN_UNDO {
        let mut trial = finder.trial()?;
        let output = trial.execute(Plan::Whole).await.result.ok();
        let output = output.as_ref();
        let sent = trial.requests();
        trial.fail_request(n, false);
        let ended = trial.undo(output).await;
        trial.no_more_faults();
        if trial.requests() < sent + n {
            break;
        }
        if ended.is_ok() {
            finder.compare(Promise::TellsErrors, &trial, &baseline.before, report)?;
        } else {
            finder.undone(Promise::UndoAfterItsOwnDeath, &mut trial, output, &baseline.before, report).await?;
        }
    }
    Ok(())
}

/// How many effects and requests of an undo are tried one by one.
const MOST_OF_AN_UNDO: u64 = 40;

/// Withholds each permission in turn.
pub(super) async fn permissions_withheld(
    finder: &Finder<'_>,
    baseline: &Baseline,
    report: &mut Report,
) -> Result<(), KitError> {
    let Some(info) = finder.kit.info(&finder.case.capability) else { return Ok(()) };
    let asks = |wanted: Permission| info.permissions.contains(&wanted);
    let mut without: Vec<(Withheld, String)> = Vec::new();
    if asks(Permission::FsRead) || asks(Permission::FsWrite) {
        let all = if asks(Permission::FsRead) { Permission::FsRead } else { Permission::FsWrite };
        without.push((Withheld::Files, all.to_string()));
    }
    if asks(Permission::FsWrite) {
        without.push((Withheld::Writing, Permission::FsWrite.to_string()));
    }
    let others = info.permissions.iter().filter(|one| !matches!(one, Permission::FsRead | Permission::FsWrite));
    without.extend(others.map(|one| (Withheld::One(one.clone()), one.to_string())));
    for (withheld, name) in without {
        let optional = matches!(withheld, Withheld::One(Permission::Config(_)));
        let mut trial = finder.trial()?;
        trial.did.push(format!("withhold `{name}`"));
        trial.withheld = withheld;
        let done = trial.execute(Plan::Whole).await;
        if finder.of_code(&trial, &done, report) {
            continue;
        }
        // A configuration value may have a default.
        let mattered = match (&done.result, optional) {
            (Ok(output), true) => {
                *output != baseline.output || !trial.snapshot()?.differs_from(&baseline.after).is_empty()
            }
            _ => told_or_harmless(finder, baseline, &trial, &done, report)?,
        };
        report.tried_without(&info.id, name, mattered);
        if done.result.is_ok() {
            continue;
        }
        let promise = Promise::FailsCleanlyWithoutPermission;
        if done.unclear && info.effect == EffectKind::Reversible {
            finder.undone(promise, &mut trial, None, &baseline.before, report).await?;
        } else {
            finder.compare(promise, &trial, &baseline.before, report)?;
        }
    }
    Ok(())
}
