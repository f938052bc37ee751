//! Asked, granted, used: what capabilities ask for, what the policy opens for them, and what the journal says they did.
//!
//! Pure: fed with the events of runs ([`Reviewer::run`]) and a policy ([`Reviewer::finish`]), it reads nothing itself. It goes
//! through a run once, in order:
//!
//! 1. Each step's decision says under which grant it ran. What it touched is told apart by that grant's directories, so that
//!    an older policy does not confuse the answer.
//! 2. What counts as used is what the host saw: targets, reads by directory, requests, secrets that it put into headers. An
//!    attempt that was interrupted counts with the targets that it had announced; undoing counts, for it runs under the same
//!    grant; a declared compensation counts for its own capability.
//! 3. From that follows which permissions and grants were never used, and the smallest grant that would have sufficed
//!    (`suggest`).
//!
//! Whether a configuration value was looked at is not recorded, so nothing is said of it.

mod suggest;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

pub use suggest::{Suggested, yaml};

use crate::policy::{Opening, Policy, openings};
use crate::saga::event::{Entry, Event, Evidence, Outcome, StepSpec};
use crate::types::{
    Access, Action, CapabilityId, CapabilityInfo, Digest, DirGrant, Effect, EffectKind, EffectStatus, Failure, Grant,
    HttpMethod, Permission, Principal, Risk, RunId, SecretGrant, StepName, Target, TargetState, UrlGrant, UrlParts,
    below, code, opened,
};

/// How many refusals are listed of each capability.
const MAX_REFUSALS: usize = 20;

/// Failures that say that the policy or the sandbox refused something.
const REFUSALS: [&str; 5] = [code::DENIED, code::NOT_GRANTED, code::NO_UNDO, code::EFFECT_FORBIDDEN, code::NO_SECRET];

/// What came of a review.
#[derive(Clone, Debug, Serialize)]
pub struct Review {
    /// The policy that grants.
    pub policy: Digest,
    /// How many runs were read.
    pub runs: u64,
    /// The capabilities, in the order in which they were given.
    pub capabilities: Vec<Reviewed>,
    /// The smallest grants that would have sufficed.
    pub suggested: Vec<Suggested>,
}

/// One capability.
#[derive(Clone, Debug, Serialize)]
pub struct Reviewed {
    /// Its id.
    pub capability: CapabilityId,
    /// The component that provides it now.
    pub component: Digest,
    /// What it may change.
    pub effect: EffectKind,
    /// Its risk.
    pub risk: Risk,
    /// What it asks for.
    pub asked: Vec<Asked>,
    /// What the policy opens for it.
    pub granted: Vec<Granted>,
    /// What it did.
    pub used: Used,
    /// What it tried and was refused, each with how often.
    pub refused: Vec<Refused>,
}

/// A permission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// What is asked for.
    pub permission: Permission,
    /// Whether it was ever used; none if that is not recorded.
    pub used: Option<bool>,
}

/// One thing that an entry of `grants:` opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Granted {
    /// What.
    #[serde(flatten)]
    pub what: Opened,
    /// Patterns of the principals that it is for; none for everybody.
    pub principals: Option<Vec<String>>,
    /// Whether it was ever used; none if that is not recorded.
    pub used: Option<bool>,
    /// What of it was never used, if some of it was.
    pub unused: Vec<String>,
}

/// Something that a grant opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Opened {
    /// A directory.
    Directory(DirGrant),
    /// URLs.
    Url(UrlGrant),
    /// A secret.
    Secret(SecretGrant),
    /// A configuration value.
    Config(String),
}

/// What a capability did, by the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Used {
    /// In how many runs.
    pub runs: u64,
    /// Attempts to execute it.
    pub executed: u64,
    /// Attempts to undo it.
    pub undone: u64,
    /// By whom: the principals of runs, and agents that acted for them.
    pub principals: BTreeSet<Principal>,
    /// The smallest directories that enclose what was read or looked at.
    pub read: Vec<ReadDir>,
    /// The smallest directories that enclose what was changed.
    pub changed: Vec<ChangedDir>,
    /// Requests, by method and URL without the query.
    pub requests: Vec<Requested>,
    /// The names of the secrets that were put into headers.
    pub secrets: BTreeSet<String>,
    /// How many effects and requests the journal counts without listing them.
    pub unlisted: u64,
}

/// A directory in which something was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReadDir {
    /// As the component sees it.
    pub guest: String,
    /// On the host.
    pub host: String,
    /// How many files and listings were opened.
    pub opened: u64,
    /// How many bytes were read.
    pub bytes: u64,
}

/// A directory in which something was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChangedDir {
    /// As the component sees it.
    pub guest: String,
    /// On the host.
    pub host: String,
    /// How many files and directories, each counted once.
    pub targets: u64,
}

/// Requests of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Requested {
    /// The method.
    pub method: HttpMethod,
    /// Scheme, host and path.
    pub url: String,
    /// Whether any of them had a query.
    pub query: bool,
    /// How many.
    pub count: u64,
    /// Bytes of their bodies.
    pub sent: u64,
    /// Bytes of the answers' bodies.
    pub received: u64,
}

/// Something that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The failure's code.
    pub code: String,
    /// Its message.
    pub message: String,
    /// How often.
    pub count: u64,
    /// The run in which it was refused first.
    pub run: RunId,
    /// The step.
    pub step: StepName,
}

/// A directory below one that was granted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    guest: String,
    host: String,
    /// The guest path of the granted directory that it lies in.
    root: String,
}

/// What is gathered of one capability.
#[derive(Default)]
struct Usage {
    runs: BTreeSet<RunId>,
    executed: u64,
    undone: u64,
    principals: BTreeSet<Principal>,
    read: BTreeMap<Place, (u64, u64)>,
    /// The directories of what was changed, or tried to be where it was granted, each with its targets.
    changed: BTreeMap<Place, BTreeSet<String>>,
    requests: BTreeMap<(HttpMethod, String), Request>,
    secrets: BTreeMap<String, SecretGrant>,
    config: BTreeMap<String, String>,
    refused: Vec<Refused>,
    unlisted: u64,
}

#[derive(Clone, Default)]
struct Request {
    query: bool,
    local: bool,
    reads_are_effects: bool,
    count: u64,
    sent: u64,
    received: u64,
}

/// What is known of a step while its run is read.
struct StepSeen {
    spec: StepSpec,
    grant: Grant,
    compensation: Grant,
    succeeded: bool,
}

/// Gathers what capabilities did.
pub struct Reviewer<'a> {
    subjects: Vec<&'a CapabilityInfo>,
    principal: Option<&'a Principal>,
    usage: HashMap<CapabilityId, Usage>,
    /// Paths that a run made or removed, as guests and as the host call them: they cannot be counted on to be there.
    moving: BTreeSet<String>,
    runs: u64,
}

impl<'a> Reviewer<'a> {
    /// A review of `subjects`; only of what was done by or for `principal`, if one is given.
    pub fn new(subjects: Vec<&'a CapabilityInfo>, principal: Option<&'a Principal>) -> Reviewer<'a> {
        let usage = subjects.iter().map(|info| (info.id.clone(), Usage::default())).collect();
        Reviewer { subjects, principal, usage, moving: BTreeSet::new(), runs: 0 }
    }

    /// Takes in one run, all its events in order.
    pub fn run(&mut self, entries: &[Entry]) {
        let Some(Event::RunSubmitted(submitted)) = entries.first().map(|entry| &entry.event) else { return };
        self.runs += 1;
        let seen = |spec: &StepSpec| StepSeen {
            spec: spec.clone(),
            grant: Grant::default(),
            compensation: Grant::default(),
            succeeded: false,
        };
        let mut steps: HashMap<StepName, StepSeen> =
            submitted.steps.iter().map(|spec| (spec.name.clone(), seen(spec))).collect();
        for entry in entries {
            if let Event::StepSubmitted(submitted) = &entry.event {
                steps.insert(submitted.step.name.clone(), seen(&submitted.step));
            }
            if let Event::Owner(owner) = &entry.event {
                for note in &owner.noted {
                    if let Some(step) = steps.get(&note.step) {
                        self.of(submitted, step, false, |usage, grant| {
                            usage.target(grant, &note.target);
                            true
                        });
                        self.moves(&note.target, &[&note.before]);
                    }
                }
            }
            let Some(step) = entry.event.step().and_then(|name| steps.get_mut(name)) else { continue };
            match &entry.event {
                Event::Decision(decision) => {
                    step.grant = decision.grant.clone();
                    if decision.action == Action::Deny {
                        let by = decision.rule.as_ref().map_or_else(
                            || "its default".to_owned(),
                            |rule| format!("rule {} (line {})", rule.index, rule.line),
                        );
                        let failure = Failure::new(code::DENIED, format!("the policy denies it by {by}"));
                        self.of(submitted, step, false, |usage, _| {
                            usage.failed(Some(&failure), &submitted.run, &decision.step);
                            false
                        });
                    }
                    step.compensation = decision.compensation.as_ref().map(|c| c.grant.clone()).unwrap_or_default();
                }
                Event::Intent(intent) => {
                    self.of(submitted, step, false, |usage, grant| {
                        usage.target(grant, &intent.target);
                        true
                    });
                    self.moves(&intent.target, &[&intent.before]);
                }
                Event::Result(result) => {
                    step.succeeded |= result.outcome == Outcome::Succeeded;
                    self.of(submitted, step, false, |usage, grant| {
                        usage.executed += u64::from(result.attempt > 0);
                        usage.evidence(grant, &result.evidence);
                        usage.failed(result.error.as_ref(), &submitted.run, &result.step);
                        result.attempt > 0
                    });
                    self.moved(&result.evidence);
                }
                Event::UndoResult(result) => {
                    self.of(submitted, step, true, |usage, grant| {
                        usage.undone += u64::from(result.attempt > 0);
                        usage.evidence(grant, &result.evidence);
                        usage.failed(result.error.as_ref(), &submitted.run, &result.step);
                        result.attempt > 0
                    });
                    self.moved(&result.evidence);
                }
                _ => {}
            }
        }
    }

    /// Notes something of the capability that a step calls, or that undoes it; nothing if that is not under review. `note` says
    /// whether the capability was at work: only then did anybody use it.
    fn of(
        &mut self,
        run: &crate::saga::event::RunSubmitted,
        step: &StepSeen,
        undo: bool,
        note: impl FnOnce(&mut Usage, &Grant) -> bool,
    ) {
        let declared = step.spec.compensation.as_ref().filter(|_| undo && step.succeeded);
        let (capability, grant) = match declared {
            Some(other) => (Some(&other.capability), &step.compensation),
            None => (step.spec.capability.as_ref(), &step.grant),
        };
        let who = || step.spec.agent.iter().chain([&run.principal]);
        if self.principal.is_some_and(|only| who().all(|principal| principal != only)) {
            return;
        }
        let Some(usage) = capability.and_then(|capability| self.usage.get_mut(capability)) else { return };
        if note(usage, grant) {
            usage.runs.insert(run.run.clone());
            usage.principals.extend(who().cloned());
            usage.config.extend(grant.config.clone());
        }
    }

    fn moved(&mut self, evidence: &Evidence) {
        for record in &evidence.targets {
            self.moves(&record.target, &[&record.before, &record.after]);
        }
    }

    fn moves(&mut self, target: &Target, states: &[&TargetState]) {
        if let Target::File { host, guest } = target
            && states.contains(&&TargetState::Absent)
        {
            self.moving.extend([host.clone(), guest.clone()]);
        }
    }

    /// What came of it, under the policy that is in force now.
    pub fn finish(self, policy: &Policy) -> Review {
        let mut capabilities = Vec::with_capacity(self.subjects.len());
        let mut suggested = Vec::new();
        for info in &self.subjects {
            let Some(usage) = self.usage.get(&info.id) else { continue };
            let openings = openings(policy, self.principal, &info.id, &info.permissions);
            suggested.extend(suggest::of(&info.id, usage, &openings, &self.moving));
            capabilities.push(Reviewed {
                capability: info.id.clone(),
                component: info.component,
                effect: info.effect,
                risk: info.risk,
                asked: info.permissions.iter().map(|permission| usage.asked(permission)).collect(),
                granted: openings.iter().flat_map(|opening| usage.granted(opening)).collect(),
                used: usage.shown(),
                refused: usage.refused.clone(),
            });
        }
        Review { policy: policy.digest(), runs: self.runs, capabilities, suggested: suggest::merged(suggested) }
    }
}

/// The path `rest` below `above`.
fn joined(above: &str, rest: &str) -> String {
    match (above.trim_end_matches('/'), rest) {
        ("", "") => "/".to_owned(),
        (above, "") => above.to_owned(),
        (above, rest) => format!("{above}/{rest}"),
    }
}

/// Asks for every request: for whether a grant opens one, whatever is asked for.
fn any_request() -> Vec<Permission> {
    ["http:* https://*", "http:* http://*"].iter().filter_map(|text| Permission::parse(text).ok()).collect()
}

impl Place {
    /// A directory as the component sees it, below one that was granted; none if it was not granted.
    fn of(grant: &Grant, guest: &str) -> Option<Place> {
        let (root, rest) = grant.holding(guest)?;
        Some(Place { guest: joined(&root.guest, rest), host: joined(&root.host, rest), root: root.guest.clone() })
    }

    /// The directory that holds a path; the granted one itself for its own name.
    fn holding(grant: &Grant, guest: &str) -> Option<Place> {
        let parent = guest.rsplit_once('/').map(|(parent, _)| if parent.is_empty() { "/" } else { parent });
        parent.and_then(|parent| Place::of(grant, parent)).or_else(|| Place::of(grant, guest))
    }
}

impl Usage {
    /// A target of an effect that was let out, or about to be.
    fn target(&mut self, grant: &Grant, target: &Target) {
        match target {
            Target::File { guest, .. } => {
                if let Some(place) = Place::holding(grant, guest) {
                    self.changed.entry(place).or_default().insert(guest.clone());
                }
            }
            Target::Http { method, url } => {
                self.request(grant, *method, url);
            }
        }
    }

    /// The entry of a request; none for a URL that is not in normal form, which nothing lets through.
    fn request(&mut self, grant: &Grant, method: HttpMethod, url: &str) -> Option<&mut Request> {
        let parts = UrlParts::parse(url).ok()?;
        let plain = format!("{}/{}", parts.origin(), parts.segments.join("/"));
        let request = self.requests.entry((method, plain)).or_default();
        request.query |= parts.query.is_some();
        if let Ok(how) = opened(&grant.network, &any_request(), method, &parts) {
            request.local |= how.local;
            request.reads_are_effects |= how.effect && method.is_read();
        }
        Some(request)
    }

    fn evidence(&mut self, grant: &Grant, evidence: &Evidence) {
        for record in &evidence.targets {
            self.target(grant, &record.target);
        }
        for read in &evidence.reads {
            let Some(place) = Place::of(grant, &read.place) else {
                // Somewhere below one of them, in a directory whose name the system could not tell.
                for dir in &grant.filesystem {
                    if let Some(place) = Place::of(grant, &dir.guest) {
                        self.read.entry(place).or_default();
                    }
                }
                continue;
            };
            let (opened, bytes) = self.read.entry(place).or_default();
            *opened += read.count;
            *bytes = bytes.saturating_add(read.bytes);
        }
        for effect in evidence.effects.iter().chain(&evidence.egress) {
            self.effect(grant, effect);
        }
        let listed = (evidence.effects.len() + evidence.egress.len()) as u64;
        self.unlisted += (evidence.effects_total + evidence.egress_total).saturating_sub(listed);
    }

    fn effect(&mut self, grant: &Grant, effect: &Effect) {
        match &effect.target {
            // What the system refused inside of a writable grant would have been refused otherwise without it.
            Target::File { guest, .. } if effect.status == EffectStatus::Refused => {
                let place = Place::holding(grant, guest);
                let writable = |place: &Place| {
                    let root = grant.filesystem.iter().find(|dir| dir.guest == place.root);
                    root.is_some_and(|root| root.access == Access::ReadWrite)
                };
                if let Some(place) = place.filter(writable) {
                    self.changed.entry(place).or_default();
                }
            }
            Target::File { .. } => {}
            Target::Http { method, url } => {
                // Refused without an exchange: the host sent nothing and asked no name.
                if effect.status == EffectStatus::Refused && effect.exchange.is_none() {
                    return;
                }
                let Some(request) = self.request(grant, *method, url) else { return };
                request.count += 1;
                request.sent = request.sent.saturating_add(effect.bytes);
                let Some(exchange) = &effect.exchange else { return };
                request.received = request.received.saturating_add(exchange.received);
                let Ok(parts) = UrlParts::parse(url) else { return };
                for name in &exchange.secrets {
                    let Some(granted) = grant.secrets.iter().find(|secret| secret.name == *name) else { continue };
                    let used = self.secrets.entry(name.clone());
                    let used = used.or_insert_with(|| SecretGrant { hosts: Vec::new(), ..granted.clone() });
                    if !used.hosts.iter().any(|host| host == parts.authority) {
                        used.hosts.push(parts.authority.to_owned());
                    }
                }
            }
        }
    }

    fn failed(&mut self, error: Option<&Failure>, run: &RunId, step: &StepName) {
        let Some(error) = error.filter(|error| REFUSALS.contains(&error.code.as_str())) else { return };
        let same = |known: &&mut Refused| known.code == error.code && known.message == error.message;
        if let Some(known) = self.refused.iter_mut().find(same) {
            known.count += 1;
        } else if self.refused.len() < MAX_REFUSALS {
            let (code, message) = (error.code.clone(), error.message.clone());
            self.refused.push(Refused { code, message, count: 1, run: run.clone(), step: step.clone() });
        }
    }

    fn asked(&self, permission: &Permission) -> Asked {
        let requested = |(method, url): &(HttpMethod, String)| {
            UrlParts::parse(url).is_ok_and(|parts| permission.covers_request(*method, &parts))
        };
        let used = match permission {
            Permission::FsRead => Some(!self.read.is_empty()),
            Permission::FsWrite => Some(!self.changed.is_empty()),
            Permission::Http { .. } => Some(self.requests.keys().any(requested)),
            Permission::Secret(_) => Some(self.secrets.keys().any(|name| permission.covers_secret(name))),
            Permission::Config(_) => None,
        };
        Asked { permission: permission.clone(), used }
    }

    fn granted(&self, opening: &Opening) -> Vec<Granted> {
        let item = |what, used, unused| Granted { what, principals: opening.principals.clone(), used, unused };
        let grant = &opening.grant;
        let dirs = grant.filesystem.iter().map(|dir| {
            let inside = |place: &Place| below(&place.host, &dir.host).is_some();
            let changed = self.changed.keys().any(inside);
            let used = changed || self.read.keys().any(inside);
            let only_read = used && !changed && dir.access == Access::ReadWrite;
            let unused = only_read.then(|| "writing".to_owned()).into_iter().collect();
            item(Opened::Directory(dir.clone()), Some(used), unused)
        });
        let urls = grant.network.iter().map(|url| {
            let any = [Permission::Http { methods: vec!["*".into()], url: url.url.clone() }];
            let fits = |method: HttpMethod, plain: &String| {
                UrlParts::parse(plain).is_ok_and(|parts| any.iter().any(|any| any.covers_request(method, &parts)))
            };
            let used = |method: &HttpMethod| self.requests.keys().any(|(m, plain)| m == method && fits(*m, plain));
            let with_query = self.requests.iter().any(|((m, plain), request)| request.query && fits(*m, plain));
            let any_used = url.methods.iter().any(used);
            let mut unused: Vec<String> = url.methods.iter().filter(|m| !used(m)).map(ToString::to_string).collect();
            if url.query && !with_query {
                unused.push("query".to_owned());
            }
            item(Opened::Url(url.clone()), Some(any_used), if any_used { unused } else { Vec::new() })
        });
        let secrets = grant.secrets.iter().map(|secret| {
            let used = self.secrets.get(&secret.name);
            let sent = |host: &&String| used.is_none_or(|used| !used.hosts.contains(host));
            let unused = secret.hosts.iter().filter(sent).cloned().collect();
            item(Opened::Secret(secret.clone()), Some(used.is_some()), if used.is_some() { unused } else { Vec::new() })
        });
        let config = grant.config.keys().map(|name| item(Opened::Config(name.clone()), None, Vec::new()));
        dirs.chain(urls).chain(secrets).chain(config).collect()
    }

    fn shown(&self) -> Used {
        let read = suggest::smallest(self.read.keys());
        let changed = suggest::smallest(self.changed.iter().filter(|(_, targets)| !targets.is_empty()).map(|(p, _)| p));
        let inside = |place: &Place, dir: &Place| below(&place.host, &dir.host).is_some();
        Used {
            runs: self.runs.len() as u64,
            executed: self.executed,
            undone: self.undone,
            principals: self.principals.clone(),
            read: read
                .into_iter()
                .map(|dir| {
                    let sums = self.read.iter().filter(|(place, _)| inside(place, &dir));
                    let (opened, bytes) = sums.fold((0, 0), |(o, b), (_, sum)| (o + sum.0, b + sum.1));
                    ReadDir { guest: dir.guest, host: dir.host, opened, bytes }
                })
                .collect(),
            changed: changed
                .into_iter()
                .map(|dir| {
                    let sums = self.changed.iter().filter(|(place, _)| inside(place, &dir));
                    let targets = sums.map(|(_, targets)| targets.len() as u64).sum();
                    ChangedDir { guest: dir.guest, host: dir.host, targets }
                })
                .collect(),
            requests: self
                .requests
                .iter()
                .map(|((method, url), request)| Requested {
                    method: *method,
                    url: url.clone(),
                    query: request.query,
                    count: request.count,
                    sent: request.sent,
                    received: request.received,
                })
                .collect(),
            secrets: self.secrets.keys().cloned().collect(),
            unlisted: self.unlisted,
        }
    }
}

#[cfg(test)]
mod tests;
