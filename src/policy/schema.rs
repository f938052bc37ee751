//! The JSON Schema of a policy file, made of the keys that the loader reads by.

use serde_json::{Value, json};

use super::keys;
use crate::document::schema::{
    count, described, document, flag, items, mapping, named, one_or_more, some, text, texts, time, word,
};
use crate::types::{Access, Action, HttpMethod, LimitUnit, Limits, Risk};

const RISKS: [Risk; 4] = [Risk::Low, Risk::Medium, Risk::High, Risk::Critical];
const ACTIONS: [Action; 3] = [Action::Allow, Action::RequireApproval, Action::Deny];

/// The JSON Schema of a policy file.
pub fn schema() -> Value {
    let title = "Redress policy";
    let description = "Who may do what, and what the sandbox opens. The first rule that matches decides.";
    document(title, description, mapping(&keys::FILE, &["rules"], of_file))
}

fn of_file(key: &str) -> Value {
    match key {
        "default" => word(
            "What is answered where no rule matches; DENY if left out.",
            &[Action::Deny.as_str(), Action::RequireApproval.as_str()],
        ),
        "groups" => named(
            "Names for lists of principals; `group:NAME` stands for one wherever principals stand.",
            &texts("Patterns of principals, such as `agent:data_*`."),
        ),
        "rules" => items("The first rule that matches decides.", &mapping(&keys::RULE, &RULE_NEEDS, of_rule)),
        "risk" => items(
            "Floors: the least risk that some capabilities have.",
            &mapping(&keys::FLOOR, &keys::FLOOR, |key| match key {
                "capabilities" => capabilities(),
                _ => word("Their least risk; from HIGH on a person is asked.", &RISKS.map(Risk::as_str)),
            }),
        ),
        "grants" => items(
            "What the sandbox opens, whatever the rules say; entries for one call add up.",
            &mapping(&keys::GRANT, &["capabilities"], of_grant),
        ),
        "sensitive" => items(
            "Fields of inputs and outputs that are masked wherever they are shown.",
            &mapping(&keys::SENSITIVE, &keys::SENSITIVE, |key| match key {
                "capabilities" => capabilities(),
                _ => texts("Fields, such as `inputs.customer.email` or `outputs.token`; `*` for any one name."),
            }),
        ),
        "signers" => {
            items("Whose signatures of components count.", &mapping(&keys::SIGNER, &["name", "key"], of_signer))
        }
        "providers" => items(
            "Who may provide which capabilities; the first entry that matches an id decides.",
            &mapping(&keys::PROVIDER, &["capabilities"], |key| match key {
                "capabilities" => capabilities(),
                "from" => one_or_more("Where they may come from, such as `oci://registry.example.com/acme/*`."),
                _ => text("Who must have signed them, by the name under `signers`."),
            }),
        ),
        "tests" => items(
            "Run whenever the file is loaded; one that fails refuses the file.",
            &mapping(&keys::TEST, &["as", "do", "expect"], of_test),
        ),
        _ => unknown(),
    }
}

const RULE_NEEDS: [&str; 3] = ["principal", "capabilities", "action"];

fn of_rule(key: &str) -> Value {
    match key {
        "name" => text("What messages call the rule."),
        "principal" => one_or_more("Who: patterns such as `agent:data_*`, or `group:NAME`."),
        "capabilities" => capabilities(),
        "when" => {
            let operators = mapping(&keys::OPERATORS, &[], of_operator);
            let mut when = named(
                "What the input must be; all conditions must hold. Keys are fields such as `inputs.url`.",
                &operators,
            );
            if let Some(when) = when.as_object_mut() {
                when.insert("minProperties".to_owned(), json!(1));
                when.insert("propertyNames".to_owned(), json!({ "pattern": "^inputs\\.." }));
            }
            when
        }
        "action" => word("The answer.", &ACTIONS.map(Action::as_str)),
        "accept_risk" => {
            word("Lets HIGH risk run without asking a person; CRITICAL always asks.", &[Risk::High.as_str()])
        }
        "approval" => described(
            "Who is asked, where the answer is REQUIRE_APPROVAL.",
            mapping(&keys::APPROVAL, &[], |key| match key {
                "approvers" => texts("Who may vote; `user:*` if left out. Nobody votes on what they asked for."),
                "quorum" => described(
                    "How many must approve; 1 if left out.",
                    json!({ "type": "integer", "minimum": 1, "maximum": 100 }),
                ),
                _ => time("How long the request stands; 24h if left out."),
            }),
        ),
        _ => unknown(),
    }
}

fn of_operator(key: &str) -> Value {
    let any = |description: &str| described(description, json!({}));
    match key {
        "equals" => any("Holds if the value is this JSON value."),
        "in" => some("Holds if the value is one of these.", &json!({})),
        "glob" => one_or_more("Holds if the path or URL matches; `*` stays in a segment, `**` crosses segments."),
        "min" => described("Holds if the number is at least this.", json!({ "type": "number" })),
        "max" => described("Holds if the number is at most this.", json!({ "type": "number" })),
        "min_length" => count("Holds if the text or list is at least this long.", 0),
        "max_length" => count("Holds if the text or list is at most this long.", 0),
        _ => unknown(),
    }
}

fn of_grant(key: &str) -> Value {
    match key {
        "capabilities" => capabilities(),
        "principals" => texts("For whom; for everybody if left out."),
        "filesystem" => items(
            "Directories.",
            &mapping(&keys::DIRECTORY, &keys::DIRECTORY, |key| match key {
                "host" => text("The directory: absolute, or relative to this file."),
                "guest" => text("The absolute path under which components see it, such as `/workspace`."),
                _ => word("What they may do there.", &[Access::ReadOnly, Access::ReadWrite].map(Access::as_str)),
            }),
        ),
        "network" => items("URLs.", &mapping(&keys::URL, &["url", "methods"], of_url)),
        "secrets" => items(
            "Secrets that the host puts into headers; components never see them.",
            &mapping(&keys::SECRET, &["name", "hosts"], |key| match key {
                "name" => text("A header says `${secret:NAME}` where it goes."),
                "env" => text("The variable of the host that holds it; either this or `file`."),
                "file" => text("The file that holds it; either this or `env`."),
                _ => texts("The hosts that it may be sent to, by https."),
            }),
        ),
        "config" => named("Texts by name, for components that ask for them.", &json!({ "type": "string" })),
        "limits" => {
            let names: Vec<&str> = Limits::NAMES.iter().map(|(name, _)| *name).collect();
            described("Lowers limits of each call.", mapping(&names, &[], of_limit))
        }
        _ => unknown(),
    }
}

fn of_url(key: &str) -> Value {
    match key {
        "url" => text("A glob over URLs with a path, such as `https://api.example.com/v1/**`."),
        "methods" => some("With which methods.", &json!({ "enum": HttpMethod::ALL.map(HttpMethod::as_str) })),
        "query" => flag("Whether a URL may have a query; a query carries data out."),
        "local" => flag("Whether the host may be a loopback or private address."),
        "reads_are_effects" => flag("Whether GET, HEAD and OPTIONS count as effects, too."),
        _ => unknown(),
    }
}

fn of_limit(name: &str) -> Value {
    let limits = Limits::default().entries();
    let Some((_, usual, unit)) = limits.into_iter().find(|(known, ..)| *known == name) else { return unknown() };
    let lower = format!("At most, and unless given, {usual}");
    match unit {
        LimitUnit::Count => {
            described(&format!("{lower}."), json!({ "type": "integer", "minimum": 1, "maximum": usual }))
        }
        LimitUnit::Time => time(&format!("{lower} ms.")),
        LimitUnit::Bytes => described(
            &format!("{lower} bytes; a number, or with a unit such as `4MiB`."),
            json!({ "anyOf": [
                { "type": "integer", "minimum": 1, "maximum": usual },
                { "type": "string", "pattern": "^[0-9]+(KiB|MiB|GiB)$" },
            ] }),
        ),
    }
}

fn of_signer(key: &str) -> Value {
    match key {
        "name" => text("What the policy, the lock and messages call them."),
        "key" => text("The public key of minisign: the second line of its `.pub` file."),
        "from" => one_or_more("Only for what comes from there; from anywhere if left out."),
        "capabilities" => texts("Only for components that provide nothing but these ids."),
        "require" => flag("Whether what they are trusted for must be signed."),
        _ => unknown(),
    }
}

fn of_test(key: &str) -> Value {
    match key {
        "as" => text("Who acts, such as `agent:demo`."),
        "do" => text("The capability."),
        "inputs" => described("The input; empty if left out.", json!({ "type": "object" })),
        "risk" => word("The declared risk; LOW if left out.", &RISKS.map(Risk::as_str)),
        "expect" => word("The answer that is expected.", &ACTIONS.map(Action::as_str)),
        "rule" => count("The rule that must decide, from 1.", 1),
        _ => unknown(),
    }
}

fn capabilities() -> Value {
    texts("Patterns of capabilities, such as `io.fs.*`; `*` stands for anything.")
}

/// Of a key that nothing is said of here, nothing is said to the author.
fn unknown() -> Value {
    json!({})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_schema_is_the_one_that_the_keys_of_the_loader_make() {
        let committed: Value = serde_json::from_str(include_str!("../../schemas/policy.schema.json")).unwrap();
        assert_eq!(schema(), committed);
    }

    #[test]
    fn of_a_key_that_no_schema_knows_nothing_is_said() {
        for of in [of_file, of_rule, of_operator, of_grant, of_url, of_limit, of_signer, of_test] {
            assert_eq!(of("none"), json!({}));
        }
    }
}
