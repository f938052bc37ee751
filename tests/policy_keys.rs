//! A policy file means what it says: every key that the loader knows has a test that shows what the key does.
// Tests may stop at the first surprise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/tree.rs"]
mod tree;

use std::collections::BTreeMap;

use redress::document::Source;
use redress::policy::{Offer, Policy, Request, decide, effective_grant, keys};
use redress::types::{
    Access, Action, CapabilityId, HttpMethod, Limits, Opened, Permission, Principal, Risk, SecretSource, UrlParts,
    opened,
};
use serde_json::{Value, json};

/// For each key the tests that fail if the key has no effect, or another one. The first one reads the key from a file; where
/// it looks at what was loaded, another one shows what becomes of that. A key that ends in `*` stands for all below it that
/// have no row of their own.
const SHOWN: &[(&str, &[&str])] = &[
    ("default", &["what_no_rule_names_is_answered_by_the_default"]),
    ("groups", &["a_group_stands_for_its_members_wherever_principals_stand"]),
    ("rules", &["the_first_rule_that_matches_decides"]),
    ("rules.name", &["a_rule_is_named_in_what_it_decides"]),
    ("rules.principal", &["principal_capability_and_action_of_a_rule_each_count"]),
    ("rules.capabilities", &["principal_capability_and_action_of_a_rule_each_count"]),
    ("rules.action", &["principal_capability_and_action_of_a_rule_each_count"]),
    ("rules.when", &["an_error_in_a_condition_denies_and_never_skips_the_rule"]),
    ("rules.when.*", &["each_operator_decides_on_both_sides_of_its_bound"]),
    ("rules.accept_risk", &["accept_risk_waives_high_and_never_critical"]),
    ("rules.approval", &["the_terms_of_an_approval_are_those_of_its_rule"]),
    ("rules.approval.approvers", &["the_requester_cannot_approve_and_nobody_approves_twice"]),
    ("rules.approval.quorum", &["a_quorum_needs_so_many_different_voters"]),
    ("rules.approval.expires", &["an_expired_request_rolls_back_and_a_late_vote_is_refused"]),
    ("risk", &["risk_is_never_lowered_by_a_step_and_floors_only_raise"]),
    ("risk.capabilities", &["a_floor_is_for_the_capabilities_that_it_names"]),
    ("risk.level", &["a_floor_is_for_the_capabilities_that_it_names"]),
    ("sensitive", &["what_a_policy_names_is_masked_for_the_capabilities_that_it_names"]),
    ("sensitive.capabilities", &["what_a_policy_names_is_masked_for_the_capabilities_that_it_names"]),
    ("sensitive.fields", &["what_a_policy_names_is_masked_for_the_capabilities_that_it_names"]),
    ("grants", &["a_grant_opens_what_is_asked_for_and_granted_to_everybody_involved"]),
    ("grants.capabilities", &["a_grant_opens_what_is_asked_for_and_granted_to_everybody_involved"]),
    ("grants.principals", &["a_grant_opens_what_is_asked_for_and_granted_to_everybody_involved"]),
    (
        "grants.filesystem",
        &[
            "a_directory_is_granted_from_where_to_where_and_how_the_file_says",
            "nothing_outside_of_the_grant_can_be_read_or_changed",
        ],
    ),
    (
        "grants.filesystem.host",
        &[
            "a_directory_is_granted_from_where_to_where_and_how_the_file_says",
            "nothing_outside_of_the_grant_can_be_read_or_changed",
        ],
    ),
    (
        "grants.filesystem.guest",
        &[
            "a_directory_is_granted_from_where_to_where_and_how_the_file_says",
            "nothing_outside_of_the_grant_can_be_read_or_changed",
        ],
    ),
    (
        "grants.filesystem.access",
        &[
            "a_directory_is_granted_from_where_to_where_and_how_the_file_says",
            "a_read_only_directory_stays_so_inside_a_wider_grant",
        ],
    ),
    (
        "grants.network",
        &["a_request_is_opened_by_the_url_and_the_methods_of_the_file", "without_a_grant_no_packet_is_sent"],
    ),
    (
        "grants.network.url",
        &["a_request_is_opened_by_the_url_and_the_methods_of_the_file", "without_a_grant_no_packet_is_sent"],
    ),
    (
        "grants.network.methods",
        &["a_request_is_opened_by_the_url_and_the_methods_of_the_file", "without_a_grant_no_packet_is_sent"],
    ),
    (
        "grants.network.query",
        &[
            "each_flag_of_a_granted_url_is_on_where_the_file_says_so_and_off_elsewhere",
            "scheme_host_port_path_method_and_query_each_count",
        ],
    ),
    (
        "grants.network.local",
        &[
            "each_flag_of_a_granted_url_is_on_where_the_file_says_so_and_off_elsewhere",
            "a_local_host_that_is_named_is_dialled_at_the_address_that_was_checked",
        ],
    ),
    (
        "grants.network.reads_are_effects",
        &[
            "each_flag_of_a_granted_url_is_on_where_the_file_says_so_and_off_elsewhere",
            "reads_are_effects_where_the_grant_says_so",
        ],
    ),
    (
        "grants.secrets",
        &["a_secret_is_granted_by_its_name_from_where_the_file_says", "a_secret_is_on_the_wire_and_nowhere_else"],
    ),
    ("grants.secrets.name", &["a_secret_is_granted_by_its_name_from_where_the_file_says"]),
    ("grants.secrets.env", &["a_secret_is_granted_by_its_name_from_where_the_file_says"]),
    (
        "grants.secrets.file",
        &["a_secret_is_granted_by_its_name_from_where_the_file_says", "a_secret_is_on_the_wire_and_nowhere_else"],
    ),
    (
        "grants.secrets.hosts",
        &["a_secret_is_granted_for_the_hosts_of_the_file_and_for_no_other", "a_secret_goes_to_its_hosts_by_https_only"],
    ),
    ("grants.config", &["what_a_component_is_told_is_what_was_decided"]),
    ("grants.limits", &["a_limit_of_a_grant_lowers_that_of_the_call_and_no_other"]),
    (
        "grants.limits.fuel",
        &[
            "a_limit_of_a_grant_lowers_that_of_the_call_and_no_other",
            "a_loop_ends_when_its_fuel_or_its_time_is_used_up",
        ],
    ),
    (
        "grants.limits.wall_time",
        &[
            "a_limit_of_a_grant_lowers_that_of_the_call_and_no_other",
            "a_loop_ends_when_its_fuel_or_its_time_is_used_up",
        ],
    ),
    (
        "grants.limits.header_bytes",
        &[
            "a_limit_of_a_grant_lowers_that_of_the_call_and_no_other",
            "bodies_headers_and_the_number_of_requests_are_limited_by_name",
        ],
    ),
    (
        "grants.limits.request_bytes",
        &[
            "a_limit_of_a_grant_lowers_that_of_the_call_and_no_other",
            "bodies_headers_and_the_number_of_requests_are_limited_by_name",
        ],
    ),
    (
        "grants.limits.response_bytes",
        &[
            "a_limit_of_a_grant_lowers_that_of_the_call_and_no_other",
            "bodies_headers_and_the_number_of_requests_are_limited_by_name",
        ],
    ),
    (
        "grants.limits.requests",
        &[
            "a_limit_of_a_grant_lowers_that_of_the_call_and_no_other",
            "bodies_headers_and_the_number_of_requests_are_limited_by_name",
        ],
    ),
    ("grants.limits.*", &["a_limit_of_a_grant_lowers_that_of_the_call_and_no_other", LIMITS]),
    ("signers", &["a_signature_counts_for_what_its_signer_is_trusted_for"]),
    ("signers.*", &["a_signature_counts_for_what_its_signer_is_trusted_for"]),
    ("providers", &["an_id_is_provided_from_where_and_by_whom_the_first_matching_entry_says"]),
    ("providers.*", &["an_id_is_provided_from_where_and_by_whom_the_first_matching_entry_says"]),
    ("tests", &["a_policy_knows_its_text_and_its_failing_tests"]),
    ("tests.*", &["each_key_of_a_test_decides_whether_it_passes"]),
];

/// The test in which each limit that has no row of its own is passed.
const LIMITS: &str = "every_limit_is_hit_by_a_hostile_component";

fn row(key: &str) -> Option<&'static [&'static str]> {
    let of = |wanted: &str| SHOWN.iter().find(|(shown, _)| *shown == wanted).map(|(_, tests)| *tests);
    of(key).or_else(|| of(&format!("{}.*", key.rsplit_once('.')?.0)))
}

#[test]
fn every_key_of_a_policy_has_a_test_that_shows_what_it_does() {
    let tests = tree::tests();
    let keys = keys();
    let shown: BTreeMap<&str, Option<&[&str]>> = keys.iter().map(|key| (key.as_str(), row(key))).collect();
    for (key, named) in &shown {
        let named = named.unwrap_or_else(|| panic!("nothing shows what `{key}` does: add a test and its row"));
        for test in named {
            assert!(tests.contains(*test), "`{key}`: there is no test `{test}`");
        }
    }
    for (key, _) in SHOWN {
        let known = match key.strip_suffix('*') {
            Some(place) => keys.iter().any(|known| known.starts_with(place)),
            None => shown.contains_key(key),
        };
        assert!(known, "there is no key `{key}`");
    }
}

fn policy(text: &str) -> Policy {
    Policy::load(Source::new("policy.yaml", text), "/srv/policies").unwrap_or_else(|e| panic!("{e}\n{text}")).0
}

fn ask(text: &str, who: &str, what: &str, inputs: &Value) -> redress::policy::Decision {
    let request = Request {
        principal: Principal::parse(who).unwrap(),
        acting_for: None,
        capability: CapabilityId::parse(what).unwrap(),
        declared_risk: Risk::Low,
        step_risk: None,
        inputs: Some(inputs),
        unknown: &[],
    };
    decide(&policy(text), &request)
}

fn action(text: &str, who: &str, what: &str) -> Action {
    ask(text, who, what, &json!({})).action
}

const ALL: &str = "{ principal: \"*\", capabilities: [\"*\"], action: ALLOW }";

#[test]
fn what_no_rule_names_is_answered_by_the_default() {
    for (default, expected) in [
        ("", Action::Deny),
        ("default: DENY\n", Action::Deny),
        ("default: REQUIRE_APPROVAL\n", Action::RequireApproval),
    ] {
        assert_eq!(action(&format!("{default}rules: []\n"), "user:a", "a.b"), expected);
    }
}

#[test]
fn a_group_stands_for_its_members_wherever_principals_stand() {
    let text = |members: &str| {
        format!(
            "groups: {{ g: {members} }}\nrules:\n  - {{ principal: \"group:g\", capabilities: [\"*\"], action: REQUIRE_APPROVAL, \
             approval: {{ approvers: [\"group:g\"] }} }}\n"
        )
    };
    let members = text("[\"user:a\", \"agent:*\"]");
    for (who, expected) in
        [("user:a", Action::RequireApproval), ("agent:x", Action::RequireApproval), ("user:b", Action::Deny)]
    {
        assert_eq!(action(&members, who, "a.b"), expected, "{who}");
    }
    let terms = ask(&members, "user:a", "a.b", &json!({})).approval.unwrap();
    assert_eq!(terms.approvers.iter().map(|pattern| pattern.as_str()).collect::<Vec<_>>(), ["user:a", "agent:*"]);
    assert_eq!(action(&text("[\"user:b\"]"), "user:a", "a.b"), Action::Deny);
}

#[test]
fn a_rule_is_named_in_what_it_decides() {
    let text = "rules: [{ name: everything, principal: \"*\", capabilities: [\"*\"], action: ALLOW }]";
    assert_eq!(ask(text, "user:a", "a.b", &json!({})).rule.unwrap().name.as_deref(), Some("everything"));
}

#[test]
fn principal_capability_and_action_of_a_rule_each_count() {
    let rule = |who: &str, what: &str, then: Action| {
        format!("rules: [{{ principal: {who:?}, capabilities: [{what:?}], action: {then} }}]")
    };
    for then in [Action::Allow, Action::RequireApproval] {
        assert_eq!(action(&rule("user:a", "a.*", then), "user:a", "a.b"), then);
        assert_eq!(action(&rule("user:b", "a.*", then), "user:a", "a.b"), Action::Deny);
        assert_eq!(action(&rule("user:a", "b.*", then), "user:a", "a.b"), Action::Deny);
    }
    let denied = format!("rules: [{{ principal: \"user:a\", capabilities: [a.b], action: DENY }}, {ALL}]");
    assert_eq!(action(&denied, "user:a", "a.b"), Action::Deny);
    assert_eq!(action(&denied, "user:b", "a.b"), Action::Allow);
}

#[test]
fn each_operator_decides_on_both_sides_of_its_bound() {
    let cases = [
        ("equals", "x", json!("x"), json!("y")),
        ("in", "[x, 2]", json!(2), json!("y")),
        ("glob", "/w/*", json!("/w/a"), json!("/v/a")),
        ("min", "3", json!(3), json!(2.9)),
        ("max", "3", json!(3), json!(3.1)),
        ("min_length", "2", json!("ab"), json!("a")),
        ("max_length", "2", json!([1, 2]), json!([1, 2, 3])),
    ];
    let operators: Vec<String> =
        keys().iter().filter_map(|key| key.strip_prefix("rules.when.")).map(str::to_owned).collect();
    assert_eq!(cases.iter().map(|(operator, ..)| *operator).collect::<Vec<_>>(), operators);
    for (operator, bound, inside, outside) in cases {
        let when = format!("when: {{ inputs.f: {{ {operator}: {bound} }} }}");
        let text = format!("rules: [{{ principal: \"*\", capabilities: [\"*\"], action: ALLOW, {when} }}]");
        assert_eq!(ask(&text, "user:a", "a.b", &json!({"f": inside})).action, Action::Allow, "{operator}");
        let without = ask(&text, "user:a", "a.b", &json!({"f": outside}));
        assert_eq!((without.action, without.rule), (Action::Deny, None), "{operator}");
    }
}

#[test]
fn the_terms_of_an_approval_are_those_of_its_rule() {
    let text = "rules: [{ principal: \"*\", capabilities: [\"*\"], action: REQUIRE_APPROVAL, \
                approval: { approvers: [\"user:boss\"], quorum: 3, expires: 5m } }]";
    let terms = ask(text, "agent:a", "a.b", &json!({})).approval.unwrap();
    assert_eq!((terms.quorum, terms.expires.0), (3, 300_000));
    assert_eq!(terms.approvers.iter().map(|pattern| pattern.as_str()).collect::<Vec<_>>(), ["user:boss"]);
}

#[test]
fn a_floor_is_for_the_capabilities_that_it_names() {
    for (level, expected) in
        [("MEDIUM", Action::Allow), ("HIGH", Action::RequireApproval), ("CRITICAL", Action::RequireApproval)]
    {
        let text = format!("rules: [{ALL}]\nrisk: [{{ capabilities: [\"a.*\"], level: {level} }}]\n");
        let decision = ask(&text, "user:a", "a.b", &json!({}));
        assert_eq!((decision.action, decision.risk.as_str()), (expected, level));
        assert_eq!(ask(&text, "user:a", "b.b", &json!({})).risk, Risk::Low);
    }
}

fn granted(grant: &str, asked: &[&str]) -> redress::types::Grant {
    let text = format!("rules: [{ALL}]\ngrants: [{{ capabilities: [\"*\"], {grant} }}]\n");
    let asked: Vec<Permission> = asked.iter().map(|text| Permission::parse(text).unwrap()).collect();
    let who = Principal::parse("user:a").unwrap();
    effective_grant(&policy(&text), &[&who], &CapabilityId::parse("a.b").unwrap(), &asked)
}

#[test]
fn a_secret_is_granted_by_its_name_from_where_the_file_says() {
    let both = "secrets: [{ name: T, env: API_TOKEN, hosts: [h] }, { name: K, file: ./key, hosts: [h, \"i:8443\"] }]";
    let of = |name: &str| granted(both, &[&format!("secret:{name}")]).secrets;
    let (token, key) = (of("T"), of("K"));
    assert_eq!((token.len(), key.len(), of("other").len()), (1, 1, 0));
    assert_eq!(token[0].source, SecretSource::Env("API_TOKEN".into()));
    assert_eq!(key[0].source, SecretSource::File("/srv/policies/key".into()));
    assert_eq!(key[0].hosts, ["h", "i:8443"]);
}

#[test]
fn a_directory_is_granted_from_where_to_where_and_how_the_file_says() {
    for (access, expected) in [("read-only", Access::ReadOnly), ("read-write", Access::ReadWrite)] {
        let entry = format!("filesystem: [{{ host: ./a, guest: /one, access: {access} }}]");
        let of = |asked: &[&str]| granted(&entry, asked).filesystem;
        let [dir] = &of(&["fs:read", "fs:write"])[..] else { panic!("one directory: {entry}") };
        assert_eq!((dir.host.as_str(), dir.guest.as_str(), dir.access), ("/srv/policies/a", "/one", expected));
        // What asks for reading alone gets no more, and what asks for no files gets none.
        let [dir] = &of(&["fs:read"])[..] else { panic!("one directory: {entry}") };
        assert_eq!(dir.access, Access::ReadOnly);
        assert_eq!(of(&["secret:*"]), []);
    }
}

/// How a grant of the file opens a request to a capability that asks for any.
fn opens(entry: &str, method: HttpMethod, url: &str) -> Result<Opened, &'static str> {
    let asked = [Permission::parse("http:* https://*").unwrap(), Permission::parse("http:* http://*").unwrap()];
    let grant = granted(&format!("network: [{{ {entry} }}]"), &["http:* https://*", "http:* http://*"]);
    opened(&grant.network, &asked, method, &UrlParts::parse(url).unwrap())
}

#[test]
fn a_request_is_opened_by_the_url_and_the_methods_of_the_file() {
    let one = "url: \"https://h/a/**\", methods: [GET, POST]";
    assert!(opens(one, HttpMethod::Get, "https://h/a/b").is_ok());
    assert!(opens(one, HttpMethod::Post, "https://h/a/b").is_ok());
    for method in HttpMethod::ALL.into_iter().filter(|method| ![HttpMethod::Get, HttpMethod::Post].contains(method)) {
        assert_eq!(opens(one, method, "https://h/a/b"), Err("is granted, but not with this method"), "{method}");
        let other = format!("url: \"https://h/a/**\", methods: [{method}]");
        assert!(opens(&other, method, "https://h/a/b").is_ok(), "{method}");
    }
    for elsewhere in ["https://h/b", "https://i/a/b", "http://h/a/b", "https://h:8443/a/b"] {
        assert_eq!(opens(one, HttpMethod::Get, elsewhere), Err("is not in a granted URL"), "{elsewhere}");
        let other = format!("url: {elsewhere:?}, methods: [GET]");
        assert!(opens(&other, HttpMethod::Get, elsewhere).is_ok(), "{elsewhere}");
    }
}

#[test]
fn each_flag_of_a_granted_url_is_on_where_the_file_says_so_and_off_elsewhere() {
    let flags = ["query", "local", "reads_are_effects"];
    let loaded = |said: &str| {
        let entry = format!("network: [{{ url: \"https://h/**\", methods: [GET]{said} }}]");
        let network = granted(&entry, &["http:* https://*"]).network;
        let [url] = &network[..] else { panic!("one entry: {entry}") };
        assert_eq!((url.url.as_str(), &url.methods[..]), ("https://h/**", &[HttpMethod::Get][..]));
        [url.query, url.local, url.reads_are_effects]
    };
    assert_eq!(loaded(""), [false; 3]);
    for flag in flags {
        assert_eq!(loaded(&format!(", {flag}: false")), [false; 3], "{flag}");
        assert_eq!(loaded(&format!(", {flag}: true")), flags.map(|other| other == flag), "{flag}");
    }
    // And what is loaded decides.
    let opens =
        |said: &str, url: &str| opens(&format!("url: \"https://h/**\", methods: [GET], {said}"), HttpMethod::Get, url);
    let as_is = Opened { named: false, local: false, effect: false };
    assert_eq!(opens("query: true", "https://h/a?q=1"), Ok(as_is));
    assert_eq!(opens("query: false", "https://h/a?q=1"), Err("has a query, and no grant says `query: true`"));
    assert_eq!(opens("local: true", "https://h/a"), Ok(Opened { local: true, ..as_is }));
    assert_eq!(opens("local: false", "https://h/a"), Ok(as_is));
    assert_eq!(opens("reads_are_effects: true", "https://h/a"), Ok(Opened { effect: true, ..as_is }));
    assert_eq!(opens("reads_are_effects: false", "https://h/a"), Ok(as_is));
}

#[test]
fn a_secret_is_granted_for_the_hosts_of_the_file_and_for_no_other() {
    let of = |hosts: &str| {
        let secrets = granted(&format!("secrets: [{{ name: T, env: TOKEN, hosts: {hosts} }}]"), &["secret:T"]).secrets;
        let [secret] = &secrets[..] else { panic!("one secret: {hosts}") };
        secret.hosts.clone()
    };
    assert_eq!(of("[a.example.com]"), ["a.example.com"]);
    assert_eq!(of("[\"b.example.com:8443\", a.example.com]"), ["b.example.com:8443", "a.example.com"]);
}

#[test]
fn a_limit_of_a_grant_lowers_that_of_the_call_and_no_other() {
    let defaults = Limits::default().entries();
    for (name, default, unit) in &defaults {
        let value = match unit {
            redress::types::LimitUnit::Time => "1ms",
            redress::types::LimitUnit::Bytes | redress::types::LimitUnit::Count => "1",
        };
        for ((own, value, _), (_, before, _)) in
            granted(&format!("limits: {{ {name}: {value} }}"), &[]).limits.entries().iter().zip(&defaults)
        {
            assert_eq!(*value, if own == name { 1 } else { *before }, "{name}: {default}, {own}");
        }
    }
}

#[test]
fn each_key_of_a_test_decides_whether_it_passes() {
    let rules = "rules:\n  - { principal: \"user:a\", capabilities: [\"a.*\"], when: { inputs.n: { max: 5 } }, action: ALLOW }\n\
                 \x20 - { principal: \"user:a\", capabilities: [\"a.*\"], action: REQUIRE_APPROVAL }\n";
    let right = [
        ("as", "\"user:a\""),
        ("do", "a.b"),
        ("inputs", "{ n: 5 }"),
        ("risk", "MEDIUM"),
        ("expect", "ALLOW"),
        ("rule", "1"),
    ];
    let wrong = [
        ("as", "\"user:b\""),
        ("do", "b.b"),
        ("inputs", "{ n: 6 }"),
        ("risk", "HIGH"),
        ("expect", "DENY"),
        ("rule", "2"),
    ];
    let known: Vec<String> = keys().iter().filter_map(|key| key.strip_prefix("tests.")).map(str::to_owned).collect();
    assert_eq!(right.iter().map(|(key, _)| *key).collect::<Vec<_>>(), known);
    let loads = |test: &[(&str, &str)]| {
        let test: Vec<String> = test.iter().map(|(key, value)| format!("{key}: {value}")).collect();
        let text = format!("{rules}tests:\n  - {{ {} }}\n", test.join(", "));
        Policy::load(Source::new("p.yaml", text), "/").map(|_| ())
    };
    assert!(loads(&right).is_ok());
    for (place, other) in wrong.into_iter().enumerate() {
        let mut test = right;
        test[place] = other;
        let refused = loads(&test).unwrap_err();
        assert!(refused.iter().all(|problem| problem.code == "test-failed"), "{other:?}: {refused}");
    }
}

const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
const OTHER: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO4";

fn admitted(policy: &Policy, origin: &str, id: &str, signer: Option<(&str, &str)>) -> Result<(), String> {
    policy.admit(&Offer { origin, ids: &[id], signer })
}

#[test]
fn a_signature_counts_for_what_its_signer_is_trusted_for() {
    let policy = policy(&format!(
        "rules: []\nsigners:\n  - {{ name: acme, key: {KEY}, from: \"oci://r.example/acme/*\", capabilities: [\"acme.*\"], \
         require: true }}\n  - {{ name: other, key: {OTHER}, capabilities: [\"acme.notes.*\"] }}\n"
    ));
    let (here, there) = ("oci://r.example/acme/notes", "oci://r.example/bcme/notes");
    let acme = Some(("acme", KEY));
    assert_eq!(admitted(&policy, here, "acme.mail.send", acme), Ok(()));
    // Not signed, or by a key that the policy knows under another name.
    for signer in [None, Some(("acme", OTHER)), Some(("other", KEY)), Some(("nobody", KEY))] {
        let why = admitted(&policy, here, "acme.mail.send", signer).unwrap_err();
        let by = match signer {
            Some((name, _)) => format!("its signature, by `{name}`, does not count for that"),
            None => "it has no signature that counts".to_owned(),
        };
        assert_eq!(why, format!("`acme.mail.send` from `{here}` must be signed by `acme`, and {by}"));
    }
    // Another signer is trusted for one of the ids, and where nothing is required nothing is asked for.
    assert_eq!(admitted(&policy, here, "acme.notes.add", Some(("other", OTHER))), Ok(()));
    assert_eq!(admitted(&policy, there, "acme.mail.send", None), Ok(()));
    assert_eq!(admitted(&policy, here, "crm.add", None), Ok(()));
    let names = |ids: &[&str]| policy.signers_for(here, ids).map(|signer| signer.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&["acme.notes.add"]), ["acme", "other"]);
    assert_eq!(names(&["acme.notes.add", "acme.mail.send"]), ["acme"]);
}

#[test]
fn an_id_is_provided_from_where_and_by_whom_the_first_matching_entry_says() {
    let policy = policy(&format!(
        "rules: []\nsigners: [{{ name: acme, key: {KEY} }}]\nproviders:\n  - {{ capabilities: [\"crm.*\"], from: \
         \"oci://r.example/acme/*\", signer: acme }}\n  - {{ capabilities: [\"crm.x\"], from: \"file:///srv/*\" }}\n"
    ));
    let (here, acme) = ("oci://r.example/acme/crm", Some(("acme", KEY)));
    assert_eq!(admitted(&policy, here, "crm.x", acme), Ok(()));
    assert!(admitted(&policy, here, "crm.x", None).unwrap_err().contains("must be signed by `acme`"));
    assert!(admitted(&policy, "file:///srv/crm.wasm", "crm.x", acme).unwrap_err().contains("may come only from"));
    assert!(admitted(&policy, "oci://r.example/acme", "crm.x", acme).is_err());
    assert_eq!(admitted(&policy, "file:///tmp/x.wasm", "mail.send", None), Ok(()));
    let both = Offer { origin: here, ids: &["mail.send", "crm.x"], signer: None };
    assert!(policy.admit(&both).is_err());
}

#[test]
fn a_policy_knows_whether_it_says_anything_of_components() {
    let signers = format!("signers: [{{ name: acme, key: {KEY} }}]\n");
    let providers = "providers: [{ capabilities: [\"crm.*\"], from: \"*\" }]\n";
    for (said, expected) in [("", false), (signers.as_str(), true), (providers, true)] {
        assert_eq!(policy(&format!("rules: []\n{said}")).has_provenance(), expected, "{said}");
    }
}

#[test]
fn a_mistake_in_signers_or_providers_is_named() {
    for (text, expected) in [
        ("signers: [{ name: a, key: RWx }]", "is not a public key of minisign"),
        ("signers: [{ name: a }]", "needs the key `key`"),
        ("providers: [{ capabilities: [\"crm.*\"], signer: acmee }]", "there is no signer `acmee`"),
        ("providers: [{ capabilities: [\"crm.*\"] }]", "says nothing"),
        ("providers: [{ capabilities: [\"crm.*\"], from: \"r.example/*\" }]", "is not a pattern over places"),
    ] {
        let error =
            Policy::load(Source::new("policy.yaml", format!("rules: []\n{text}\n")), "/srv").unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let twice = format!("rules: []\nsigners: [{{ name: a, key: {KEY} }}, {{ name: a, key: {OTHER} }}]\n");
    let error = Policy::load(Source::new("policy.yaml", twice), "/srv").unwrap_err().to_string();
    assert!(error.contains("two signers"), "{error}");
}
