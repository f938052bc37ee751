use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::engine::decide::planted::FRIEND;
use crate::engine::{Engine, NoObserver, Parts, Protected, Registry, SimClock, Stop, Submit, Submitted};
use crate::journal::{Finding, Flaw, Held, Options, SqliteJournal};
use crate::policy::effective_grant;
use crate::sandbox::{Sandbox, SandboxConfig};
use crate::types::{Permission, Principal};
use crate::workflow::Workflow;

const POLICY: &str = "rules:\n  - { principal: \"agent:demo\", capabilities: [\"io.fs.*\"], action: ALLOW }\ngrants:\n  \
                      - { capabilities: [\"io.fs.*\"], filesystem: [{ host: ./work, guest: /work, access: read-write }] }\n";
const WRITES: &str =
    "name: writes\nsteps:\n  - { name: a, capability: io.fs.write_file, inputs: { path: /work/a, content: one } }\n";

fn engine(dir: &Path) -> (Engine, Arc<SqliteJournal>) {
    std::fs::create_dir_all(dir.join("work")).unwrap();
    let journal = SqliteJournal::create_or_open(&dir.join("journal/journal.db"), Options::default()).unwrap();
    let journal = Arc::new(journal);
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tmp/auditor-cache");
    let sandbox = Sandbox::new(SandboxConfig { cache_dir: Some(cache), ..SandboxConfig::default() }).unwrap();
    let policy = Policy::load(Source::new("policy.yaml", POLICY), dir.to_str().unwrap()).unwrap().0;
    let engine = Engine::new(Parts {
        journal: journal.clone(),
        owners: journal.owners_dir(),
        sandbox: sandbox.clone(),
        registry: Registry::standard(sandbox).unwrap(),
        policy: Arc::new(policy),
        clock: Arc::new(SimClock::leaping(Timestamp(1_700_000_000_000))),
        observer: Arc::new(NoObserver),
        protected: Protected::guards(vec![journal.path().to_owned()]),
        webhook: None,
        shadow: None,
    });
    (engine.unwrap(), journal)
}

async fn run_as(engine: &Engine, principal: &str) {
    let workflow = Workflow::load(&Source::new("w.yaml", WRITES), engine.registry(), &Default::default()).unwrap().0;
    let submit = Submit::by(Principal::parse(principal).unwrap());
    let Submitted::New(run) = engine.submit(&workflow, &submit).await.unwrap() else { panic!("it exists") };
    run.drive(&Stop::default()).await.unwrap();
}

fn findings(journal: &SqliteJournal) -> (Vec<Finding>, u64) {
    let mut auditor = Auditor::new(journal);
    let found = journal.verify_with(Held::default(), &mut auditor).unwrap().findings;
    (found, auditor.decisions)
}

#[tokio::test]
async fn a_decision_that_the_policy_does_not_give_is_found_at_its_event_although_every_hash_follows() {
    let dir = TempDir::new().unwrap();
    let (engine, journal) = engine(dir.path());
    run_as(&engine, "agent:demo").await;
    run_as(&engine, "agent:stranger").await;
    assert_eq!(findings(&journal), (vec![], 2));
    std::fs::remove_file(dir.path().join("work/a")).unwrap();
    run_as(&engine, FRIEND).await;
    assert!(dir.path().join("work/a").exists(), "the host did what the policy denies");
    assert_eq!(journal.verify().unwrap().findings, []);
    let (found, _) = findings(&journal);
    let [Finding { seq: 3, what: Flaw::Meaning(what), .. }] = &found[..] else { panic!("{found:?}") };
    assert_eq!(what, "it says the answer ALLOW, and its policy says DENY");
}

#[test]
fn a_grant_is_the_one_of_the_policy_whatever_folder_that_was_in() {
    let grant = |base: &str, policy: &str| {
        let policy = Policy::load(Source::new("policy.yaml", policy), base).unwrap().0;
        let capability = CapabilityId::parse("io.fs.write_file").unwrap();
        effective_grant(&policy, &[&Principal::parse("agent:demo").unwrap()], &capability, &[Permission::FsWrite])
    };
    let marked = format!("/{FOLDER}").repeat(DEPTH);
    let other = |from: &str, to: &str| POLICY.replace(from, to);
    for policy in [POLICY.to_owned(), other("./work", "../work"), other("./work", "/srv/work")] {
        assert_eq!(same_grant(&grant("/a/b", &policy), &grant(&marked, &policy), &mut None), Ok(()), "{policy}");
    }
    let two = |x: &str, y: &str| {
        let dirs =
            format!("{{ host: {x}, guest: /x, access: read-only }}, {{ host: {y}, guest: /y, access: read-only }}");
        other("{ host: ./work, guest: /work, access: read-write }", &dirs)
    };
    assert_eq!(
        same_grant(&grant("/q", &two("/a/b/x", "/a/b/y")), &grant(&marked, &two("./x", "./y")), &mut None),
        Ok(())
    );
    for (recorded, policy) in [
        (other("read-write", "read-only"), POLICY.to_owned()),
        (other("./work", "./more"), POLICY.to_owned()),
        (other("./work", "/srv/more"), other("./work", "/srv/work")),
        // One path tells where the policy lay, and the other must lie there, too.
        (two("/a/b/x", "/a/c/y"), two("./x", "./y")),
        (other("guest: /work", "guest: /more"), POLICY.to_owned()),
    ] {
        assert!(same_grant(&grant("/a/b", &recorded), &grant(&marked, &policy), &mut None).is_err(), "{recorded}");
    }
    // What a policy names as if it were the mark is compared as it stands.
    let strange = other("./work", "./~folder~/x");
    assert!(same_grant(&grant("/a", &strange), &grant(&marked, &strange), &mut None).is_err());
    assert_eq!(same_grant(&grant(&marked, &strange), &grant(&marked, &strange), &mut None), Ok(()));
    // Once it is known where the policy lay, another grant of the same decision must say so, too.
    let mut folder = Some("/b".to_owned());
    assert!(same_grant(&grant("/a", POLICY), &grant(&marked, POLICY), &mut folder).is_err());
}

/// A host that leaves out of a decision what would give it away gives itself away by that.
#[tokio::test]
async fn a_decision_that_leaves_out_what_was_decided_is_found() {
    let dir = TempDir::new().unwrap();
    let (engine, journal) = engine(dir.path());
    let undone_by_another = WRITES.replace(
        "content: one } }",
        "content: one }, compensation: { capability: io.fs.delete, inputs: { path: /work/a } } }",
    );
    let workflow = Workflow::load(&Source::new("w.yaml", undone_by_another), engine.registry(), &Default::default());
    let submit = Submit::by(Principal::parse("agent:demo").unwrap());
    let Submitted::New(run) = engine.submit(&workflow.unwrap().0, &submit).await.unwrap() else { panic!("it exists") };
    run.drive(&Stop::default()).await.unwrap();
    let entries = crate::engine::entries_of(&*journal, run.id()).unwrap();
    let says = |change: &dyn Fn(&mut Decision)| {
        let mut auditor = Auditor::new(&*journal);
        entries.iter().find_map(|entry| {
            let mut entry = entry.clone();
            if let Event::Decision(decision) = &mut entry.event {
                change(decision);
            }
            let payloads = entry.event.payloads();
            let payloads: Vec<_> = payloads.iter().map(|one| journal.payload(&one.digest).unwrap()).collect();
            auditor.event(run.id(), &entry, &payloads)
        })
    };
    assert_eq!(says(&|_| {}), None);
    let not_the_steps = Some("it decides a compensation that is not the step's".to_owned());
    assert_eq!(says(&|decision| decision.compensation = None), not_the_steps);
    let other = CapabilityId::parse("io.fs.copy").unwrap();
    let renamed = |decision: &mut Decision| decision.compensation.as_mut().unwrap().capability = other.clone();
    assert_eq!(says(&renamed), not_the_steps);
    let no_input = Some("it names no input that was decided".to_owned());
    assert_eq!(says(&|decision| decision.compensation.as_mut().unwrap().input = None), no_input);
    assert_eq!(says(&|decision| decision.input = None), no_input);
}
