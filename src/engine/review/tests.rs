use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::document::Source;
use crate::saga::event::{
    CompensationDecision, CompensationSpec, Decision, Intent, Mode, ReadRecord, RuleRef, RunSubmitted, StepResult,
    TargetRecord, UndoOutcome, UndoResult,
};
use crate::types::{Duration, Exchange, PayloadRef, Retry, SecretSource, Timestamp, sha256};

fn capability(id: &str, permissions: &[&str]) -> CapabilityInfo {
    CapabilityInfo {
        id: CapabilityId::parse(id).unwrap(),
        component: sha256(b"component"),
        title: "t".into(),
        summary: "s".into(),
        risk: Risk::Medium,
        effect: EffectKind::Reversible,
        idempotent: true,
        input: json!({}),
        output: json!({}),
        permissions: permissions.iter().map(|text| Permission::parse(text).unwrap()).collect(),
    }
}

fn policy(grants: &str) -> Policy {
    let text = format!("rules:\n  - {{ principal: '*', capabilities: ['*'], action: ALLOW }}\n{grants}");
    Policy::load(Source::new("policy.yaml", text), "/p").unwrap().0
}

fn who(text: &str) -> Principal {
    Principal::parse(text).unwrap()
}

fn name(text: &str) -> StepName {
    StepName::parse(text).unwrap()
}

/// A run of `agent:a` in which events are put one after the other.
struct Run(Vec<Entry>);

impl Run {
    fn of(steps: &[(&str, &CapabilityInfo)]) -> Run {
        let reference = PayloadRef { digest: sha256(b""), len: 0 };
        let spec = |(step, info): &(&str, &CapabilityInfo)| StepSpec {
            name: name(step),
            capability: Some(info.id.clone()),
            component: Some(info.component),
            effect: info.effect,
            idempotent: info.idempotent,
            risk: info.risk,
            step_risk: None,
            agent: None,
            depends_on: Vec::new(),
            retry: Retry::default(),
            timeout: None,
            compensation: None,
        };
        let submitted = RunSubmitted {
            run: RunId::parse("01980000-0000-7000-8000-000000000001").unwrap(),
            name: "w".into(),
            version: None,
            principal: who("agent:a"),
            mode: Mode::Sealed,
            steps: steps.iter().map(spec).collect(),
            workflow: reference,
            inputs: reference,
            templates: None,
            engine: "0".into(),
            binary: None,
            max_parallel: 8,
            deadline: None,
            idle_timeout: Duration(0),
            settle_timeout: Duration(0),
            undo_window: Duration(0),
            run_key: None,
            agent: None,
        };
        let mut run = Run(Vec::new());
        run.push(Event::RunSubmitted(Box::new(submitted)));
        run
    }

    fn push(&mut self, event: Event) {
        self.0.push(Entry { seq: self.0.len() as u64 + 1, at: Timestamp(0), event });
    }

    fn change_spec(mut self, change: impl FnOnce(&mut StepSpec)) -> Run {
        let Some(Event::RunSubmitted(submitted)) = self.0.first_mut().map(|entry| &mut entry.event) else { panic!() };
        change(&mut submitted.steps[0]);
        self
    }

    fn decided(mut self, step: &str, action: Action, grant: Grant, compensation: Option<Grant>) -> Run {
        self.push(Event::Decision(Box::new(Decision {
            step: name(step),
            action,
            base: action,
            rule: Some(RuleRef { index: 2, line: 7, name: None }),
            risk: Risk::Medium,
            escalated: false,
            reason: None,
            policy: sha256(b"policy"),
            input: None,
            grant,
            approval: None,
            compensation: compensation.map(|grant| CompensationDecision {
                capability: CapabilityId::parse("t.undo").unwrap(),
                action: Action::Allow,
                rule: None,
                input: None,
                grant,
            }),
            shadow: None,
        })));
        self
    }

    fn executed(mut self, step: &str, evidence: Evidence, error: Option<Failure>) -> Run {
        let outcome = if error.is_some() { Outcome::Clean } else { Outcome::Succeeded };
        self.push(Event::Result(Box::new(StepResult {
            step: name(step),
            attempt: 1,
            outcome,
            output: None,
            error,
            evidence,
            log: None,
            retry_at: None,
            compensation: None,
        })));
        self
    }

    fn began(mut self, step: &str, target: Target) -> Run {
        self.push(Event::Intent(Box::new(Intent {
            step: name(step),
            attempt: 1,
            key: "do-0".into(),
            component: sha256(b"component"),
            undo: None,
            target,
            before: SOME,
        })));
        self
    }

    fn undone(mut self, step: &str, evidence: Evidence) -> Run {
        self.push(Event::UndoResult(Box::new(UndoResult {
            step: name(step),
            attempt: 1,
            outcome: UndoOutcome::Undone,
            checked: true,
            error: None,
            evidence,
            log: None,
            retry_at: None,
        })));
        self
    }
}

fn workspace(access: Access) -> Grant {
    let dir = DirGrant { host: "/p/workspace".into(), guest: "/workspace".into(), access };
    Grant { filesystem: vec![dir], ..Grant::default() }
}

fn file(path: &str) -> Target {
    Target::File { host: format!("/p{path}"), guest: path.into() }
}

fn touched(paths: &[(&str, TargetState, TargetState)]) -> Evidence {
    let record = |(path, before, after): &(&str, TargetState, TargetState)| TargetRecord {
        target: file(path),
        before: before.clone(),
        after: after.clone(),
    };
    Evidence { let_out: true, targets: paths.iter().map(record).collect(), ..Evidence::default() }
}

fn read(places: &[&str]) -> Evidence {
    let record = |place: &&str| ReadRecord { place: (*place).into(), count: 1, bytes: 10 };
    Evidence { reads: places.iter().map(record).collect(), ..Evidence::default() }
}

const SOME: TargetState = TargetState::Unobserved;
const NOTHING: TargetState = TargetState::Absent;
const DIR: TargetState = TargetState::Directory { device: None, inode: None };

const WORKSPACE: &str = "grants:
  - { capabilities: ['t.*'], filesystem: [{ host: ./workspace, guest: /workspace, access: read-write }] }
";

fn review(infos: &[&CapabilityInfo], runs: &[Run], policy: &Policy) -> Review {
    let mut reviewer = Reviewer::new(infos.to_vec(), None);
    for run in runs {
        reviewer.run(&run.0);
    }
    reviewer.finish(policy)
}

/// What the suggestion opens for the first capability, read back as a policy.
fn opened_by(review: &Review, info: &CapabilityInfo) -> Grant {
    let text = yaml(&review.suggested);
    crate::policy::effective_grant(&policy(&text), &[&who("agent:a")], &info.id, &info.permissions)
}

#[test]
fn what_was_only_read_is_suggested_read_only_and_writing_was_never_used() {
    let info = capability("t.x", &["fs:read", "fs:write"]);
    let run = Run::of(&[("s", &info)]).decided("s", Action::Allow, workspace(Access::ReadWrite), None).executed(
        "s",
        read(&["/workspace/a", "/workspace/a/b"]),
        None,
    );
    let review = review(&[&info], &[run], &policy(WORKSPACE));
    let one = &review.capabilities[0];
    assert_eq!(one.asked.iter().map(|asked| asked.used).collect::<Vec<_>>(), [Some(true), Some(false)]);
    assert_eq!((one.granted[0].used, &one.granted[0].unused[..]), (Some(true), &["writing".to_owned()][..]));
    let dir = ReadDir { guest: "/workspace/a".into(), host: "/p/workspace/a".into(), opened: 2, bytes: 20 };
    assert_eq!((&one.used.read[..], one.used.executed), (&[dir][..], 1));
    assert_eq!(
        opened_by(&review, &info).filesystem,
        [DirGrant { host: "/p/workspace/a".into(), guest: "/workspace/a".into(), access: Access::ReadOnly }]
    );
}

#[test]
fn a_directory_that_a_run_made_is_granted_by_the_one_that_stands() {
    let (maker, writer) = (capability("t.mk", &["fs:write"]), capability("t.wr", &["fs:write"]));
    let run = Run::of(&[("m", &maker), ("w", &writer)])
        .decided("m", Action::Allow, workspace(Access::ReadWrite), None)
        .decided("w", Action::Allow, workspace(Access::ReadWrite), None)
        .executed("m", touched(&[("/workspace/a/new", NOTHING, DIR)]), None)
        .executed("w", touched(&[("/workspace/a/new/b/f", NOTHING, SOME), ("/workspace/c/f", SOME, SOME)]), None);
    let review = review(&[&writer], &[run], &policy(WORKSPACE));
    let changed: Vec<&str> = review.capabilities[0].used.changed.iter().map(|dir| dir.guest.as_str()).collect();
    assert_eq!(changed, ["/workspace/a/new/b", "/workspace/c"]);
    let guests: Vec<String> = opened_by(&review, &writer).filesystem.into_iter().map(|dir| dir.guest).collect();
    assert_eq!(guests, ["/workspace/a", "/workspace/c"]);
}

#[test]
fn what_was_read_where_no_name_was_known_keeps_the_whole_grant() {
    let info = capability("t.x", &["fs:read"]);
    let run = Run::of(&[("s", &info)]).decided("s", Action::Allow, workspace(Access::ReadOnly), None).executed(
        "s",
        read(&["/workspace/a", "?"]),
        None,
    );
    let review = review(&[&info], &[run], &policy(WORKSPACE));
    assert_eq!(opened_by(&review, &info), workspace(Access::ReadOnly));
}

#[test]
fn a_name_that_cannot_stand_in_a_policy_is_granted_by_the_directory_above() {
    let info = capability("t.x", &["fs:read"]);
    let run = Run::of(&[("s", &info)]).decided("s", Action::Allow, workspace(Access::ReadOnly), None).executed(
        "s",
        read(&["/workspace/a/$HOME/b", "/workspace/a/\n"]),
        None,
    );
    let review = review(&[&info], &[run], &policy(WORKSPACE));
    assert_eq!(opened_by(&review, &info).filesystem[0].guest, "/workspace/a");
}

#[test]
fn reading_outside_of_what_is_written_makes_one_grant_that_loads() {
    let info = capability("t.x", &["fs:read", "fs:write"]);
    let evidence = Evidence { reads: read(&["/workspace"]).reads, ..touched(&[("/workspace/a/f", SOME, SOME)]) };
    let run = Run::of(&[("s", &info)])
        .decided("s", Action::Allow, workspace(Access::ReadWrite), None)
        .executed("s", evidence, None);
    let review = review(&[&info], &[run], &policy(WORKSPACE));
    assert_eq!(opened_by(&review, &info), workspace(Access::ReadWrite));
}

#[test]
fn what_undoing_needed_counts_and_a_declared_compensation_for_its_own_capability() {
    let (info, other) = (capability("t.x", &["fs:write"]), capability("t.undo", &["fs:write"]));
    let own = Run::of(&[("s", &info)])
        .decided("s", Action::Allow, workspace(Access::ReadWrite), None)
        .executed("s", touched(&[("/workspace/a/f", SOME, SOME)]), None)
        .undone("s", touched(&[("/workspace/b/f", SOME, SOME)]));
    let declared = Run::of(&[("s", &info)])
        .change_spec(|spec| {
            let compensation = CompensationSpec { capability: other.id.clone(), component: other.component };
            spec.compensation = Some(compensation);
        })
        .decided("s", Action::Allow, workspace(Access::ReadWrite), Some(workspace(Access::ReadWrite)))
        .executed("s", touched(&[("/workspace/a/f", SOME, SOME)]), None)
        .undone("s", touched(&[("/workspace/c/f", SOME, SOME)]));
    let review = review(&[&info, &other], &[own, declared], &policy(WORKSPACE));
    let of = |index: usize| {
        let used = &review.capabilities[index].used;
        (used.executed, used.undone, used.changed.iter().map(|dir| dir.guest.as_str()).collect::<Vec<_>>())
    };
    assert_eq!(of(0), (2, 1, vec!["/workspace/a", "/workspace/b"]));
    assert_eq!(of(1), (0, 1, vec!["/workspace/c"]));
}

#[test]
fn refusals_are_counted_and_open_nothing() {
    let info = capability("t.x", &["fs:write"]);
    let refused = Failure::new(code::NOT_GRANTED, "`../x` leads out of `/workspace`");
    let run = || {
        Run::of(&[("s", &info), ("d", &info)])
            .decided("s", Action::Allow, workspace(Access::ReadWrite), None)
            .decided("d", Action::Deny, Grant::default(), None)
            .executed("s", Evidence::default(), Some(refused.clone()))
    };
    let review = review(&[&info], &[run(), run()], &policy(WORKSPACE));
    let one = &review.capabilities[0];
    let counts: Vec<_> = one.refused.iter().map(|refused| (refused.code.as_str(), refused.count)).collect();
    assert_eq!(counts, [(code::DENIED, 2), (code::NOT_GRANTED, 2)]);
    assert_eq!(one.refused[0].message, "the policy denies it by rule 2 (line 7)");
    assert_eq!(one.granted[0].used, Some(false));
    assert_eq!((review.suggested.len(), yaml(&review.suggested).as_str()), (0, "grants: []\n"));
}

#[test]
fn only_what_the_named_principal_did_is_reviewed() {
    let info = capability("t.x", &["fs:read"]);
    let run = Run::of(&[("s", &info)])
        .change_spec(|spec| spec.agent = Some(who("agent:b")))
        .decided("s", Action::Allow, workspace(Access::ReadOnly), None)
        .executed("s", read(&["/workspace"]), None);
    for (principal, executed) in [("agent:a", 1), ("agent:b", 1), ("agent:c", 0)] {
        let principal = who(principal);
        let mut reviewer = Reviewer::new(vec![&info], Some(&principal));
        reviewer.run(&run.0);
        let review = reviewer.finish(&policy(WORKSPACE));
        assert_eq!(review.capabilities[0].used.executed, executed, "{principal}");
        let both = [who("agent:a"), who("agent:b")];
        assert!(review.suggested.iter().all(|entry| entry.principals == both), "both must be granted to");
    }
}

const API: &str = "grants:
  - capabilities: ['t.*']
    network:
      - { url: 'https://api.test/**', methods: [GET, POST, DELETE], query: true }
      - { url: 'https://never.test/**', methods: [GET] }
      - { url: 'http://db.test:8080/**', methods: [GET], local: true, reads_are_effects: true }
    secrets: [{ name: TOKEN, env: T, hosts: [api.test, never.test] }, { name: OTHER, file: ./o, hosts: [api.test] }]
    config: { region: eu }
    limits: { wall_time: 10s, memory: 32MiB, requests: 7 }
";

fn request(method: HttpMethod, url: &str, status: EffectStatus, secrets: &[&str]) -> Effect {
    let exchange = Exchange {
        address: "192.0.2.1:443".into(),
        status: Some(200),
        received: 5,
        body: None,
        secrets: secrets.iter().map(|name| (*name).to_owned()).collect(),
    };
    let exchange = (status != EffectStatus::Refused).then_some(exchange);
    let target = Target::Http { method, url: url.into() };
    Effect { kind: method.effect_kind().into(), target, to: None, status, bytes: 3, exchange }
}

#[test]
fn requests_become_the_urls_that_enclose_them_by_origin_and_method() {
    use EffectStatus::{Done, Refused};
    use HttpMethod::{Delete, Get, Post};
    let info = capability("t.x", &["http:* https://*", "http:* http://*", "secret:*", "config:region"]);
    let policy_now = policy(API);
    let grant = crate::policy::effective_grant(&policy_now, &[&who("agent:a")], &info.id, &info.permissions);
    let evidence = Evidence {
        egress: vec![
            request(Get, "https://api.test/v1/a?q=1", Done, &["TOKEN"]),
            request(Get, "https://api.test/v1/b/c", Done, &[]),
            request(Get, "https://never.test/x", Refused, &[]),
            request(Get, "http://db.test:8080/one", Done, &[]),
        ],
        egress_total: 6,
        effects: vec![request(Post, "https://api.test/v1/a", Done, &[])],
        effects_total: 1,
        ..Evidence::default()
    };
    let run = Run::of(&[("s", &info)]).decided("s", Action::Allow, grant, None).executed("s", evidence, None);
    let review = review(&[&info], &[run], &policy_now);
    let one = &review.capabilities[0];
    let asked: Vec<_> = one.asked.iter().map(|asked| asked.used).collect();
    assert_eq!(asked, [Some(true), Some(true), Some(true), None]);
    assert_eq!((one.used.unlisted, one.used.requests.len()), (2, 4));
    let granted: Vec<_> = one.granted.iter().map(|granted| (granted.used, granted.unused.join(" "))).collect();
    assert_eq!(
        granted,
        [
            (Some(true), String::new()),
            (Some(true), Delete.to_string()),
            (Some(false), String::new()),
            (Some(false), String::new()),
            (Some(true), "never.test".to_owned()),
            (None, String::new()),
        ]
    );
    let grant = opened_by(&review, &info);
    let url = |url: &str, methods: &[HttpMethod], query| UrlGrant {
        url: url.into(),
        methods: methods.to_vec(),
        query,
        local: false,
        reads_are_effects: false,
    };
    assert_eq!(
        grant.network,
        [
            UrlGrant { local: true, reads_are_effects: true, ..url("http://db.test:8080/one", &[Get], false) },
            url("https://api.test/v1/a", &[Get], true),
            url("https://api.test/v1/a", &[Post], false),
            url("https://api.test/v1/b/c", &[Get], false),
        ]
    );
    let token =
        SecretGrant { name: "TOKEN".into(), source: SecretSource::Env("T".into()), hosts: vec!["api.test".into()] };
    assert_eq!(grant.secrets, [token]);
    assert_eq!(grant.config, BTreeMap::from([("region".to_owned(), "eu".to_owned())]));
    assert_eq!((grant.limits.wall_time, grant.limits.memory, grant.limits.requests), (10_000, 32 << 20, 7));
}

#[test]
fn what_a_killed_run_had_begun_is_suggested_for_those_who_began_it() {
    let info = capability("t.x", &["fs:write"]);
    let run = Run::of(&[("s", &info)])
        .decided("s", Action::Allow, workspace(Access::ReadWrite), None)
        .began("s", file("/workspace/a/f"));
    let review = review(&[&info], &[run], &policy(WORKSPACE));
    assert_eq!(review.capabilities[0].used.executed, 0);
    let [entry] = &review.suggested[..] else { panic!("{:?}", review.suggested) };
    assert_eq!((entry.filesystem.len(), &entry.principals[..]), (1, &[who("agent:a")][..]));
    assert!(yaml(&review.suggested).contains("principals: [\"agent:a\"]"));
}

#[test]
fn nothing_is_suggested_for_one_who_was_only_denied() {
    let info = capability("t.x", &["fs:write"]);
    let worked = Run::of(&[("s", &info)]).decided("s", Action::Allow, workspace(Access::ReadWrite), None).executed(
        "s",
        touched(&[("/workspace/a/f", SOME, SOME)]),
        None,
    );
    let denied = Run::of(&[("s", &info)]).change_spec(|spec| spec.agent = Some(who("agent:denied"))).decided(
        "s",
        Action::Deny,
        Grant::default(),
        None,
    );
    let review = review(&[&info], &[worked, denied], &policy(WORKSPACE));
    assert_eq!(review.suggested[0].principals, [who("agent:a")]);
}

#[test]
fn an_entry_for_nobody_opens_nothing() {
    let mut usage = Usage::default();
    usage.config.insert("region".into(), "eu".into());
    let id = CapabilityId::parse("t.x").unwrap();
    assert_eq!(suggest::of(&id, &usage, &[], &BTreeSet::new()), None);
}

/// The URLs that are suggested after requests under `before` while `now` is in force, each with its flags.
fn suggested_urls(before: &str, now: &str, requests: &[(HttpMethod, &str)]) -> Vec<String> {
    let info = capability("t.x", &["http:* https://*", "http:* http://*"]);
    let granting = |network: &str| policy(&format!("grants:\n  - {{ capabilities: ['t.*'], network: [{network}] }}\n"));
    let grant = crate::policy::effective_grant(&granting(before), &[&who("agent:a")], &info.id, &info.permissions);
    let egress: Vec<Effect> =
        requests.iter().map(|(method, url)| request(*method, url, EffectStatus::Done, &[])).collect();
    let evidence = Evidence { egress_total: egress.len() as u64, egress, ..Evidence::default() };
    let run = Run::of(&[("s", &info)]).decided("s", Action::Allow, grant, None).executed("s", evidence, None);
    let review = review(&[&info], &[run], &granting(now));
    let shown = |url: &UrlGrant| {
        let methods: Vec<&str> = url.methods.iter().map(|method| method.as_str()).collect();
        let flags = [(url.query, " query"), (url.local, " local"), (url.reads_are_effects, " effects")];
        let flags: String = flags.iter().filter(|(set, _)| *set).map(|(_, flag)| *flag).collect();
        format!("{} {}{flags}", methods.join(","), url.url)
    };
    review.suggested.iter().flat_map(|entry| &entry.network).map(shown).collect()
}

#[test]
fn suggested_urls_stay_inside_of_those_that_the_policy_in_force_opens() {
    use HttpMethod::{Get, Post};
    let two = "{ url: 'https://h.test/a/**', methods: [GET] }, { url: 'https://h.test/b/**', methods: [GET] }";
    let used = [(Get, "https://h.test/a/1"), (Get, "https://h.test/a/2"), (Get, "https://h.test/b/3")];
    assert_eq!(suggested_urls(two, two, &used), ["GET https://h.test/a/**", "GET https://h.test/b/3"]);
    let narrow = "{ url: 'https://h.test/a/*/log', methods: [GET, POST] }";
    let used = [(Get, "https://h.test/a/1/log"), (Get, "https://h.test/a/2/log"), (Post, "https://h.test/a/1/log")];
    assert_eq!(suggested_urls(narrow, narrow, &used), ["GET https://h.test/a/*/log", "POST https://h.test/a/1/log"]);
    let wide = "{ url: 'https://h.test/**', methods: [GET], query: true }";
    let used = [(Get, "https://h.test/a/1?q=1"), (Get, "https://h.test/b/1"), (Get, "https://h.test/c")];
    assert_eq!(suggested_urls(wide, two, &used), ["GET https://h.test/a/1", "GET https://h.test/b/1"]);
}

#[test]
fn a_query_is_suggested_only_where_one_was_sent_and_may_be() {
    use HttpMethod::Get;
    let open = "{ url: 'https://h.test/**', methods: [GET], query: true }";
    let used = [(Get, "https://h.test/search?q=1"), (Get, "https://h.test/a/1"), (Get, "https://h.test/a/2")];
    assert_eq!(suggested_urls(open, open, &used), ["GET https://h.test/a/**", "GET https://h.test/search query"]);
    let local = "{ url: 'http://h.test/x', methods: [GET], local: true, reads_are_effects: true }, \
                 { url: 'http://h.test/y', methods: [GET] }";
    let used = [(Get, "http://h.test/x"), (Get, "http://h.test/y")];
    assert_eq!(suggested_urls(local, local, &used), ["GET http://h.test/y", "GET http://h.test/x local effects"]);
}

#[test]
fn names_of_strangers_stay_inside_their_quotes() {
    let info = capability("t.x", &["fs:read"]);
    let evil = "/workspace/a\": }\u{202e}\u{1f4a9}";
    let run = Run::of(&[("s", &info)]).decided("s", Action::Allow, workspace(Access::ReadOnly), None).executed(
        "s",
        read(&[evil]),
        None,
    );
    let review = review(&[&info], &[run], &policy(WORKSPACE));
    let text = yaml(&review.suggested);
    assert!(text.chars().all(|c| c == '\n' || (' '..='~').contains(&c)), "{text}");
    assert_eq!(text.lines().count(), 5, "{text}");
    assert_eq!(opened_by(&review, &info).filesystem[0].guest, evil);
}
