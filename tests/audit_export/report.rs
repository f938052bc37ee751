//! The page for a reviewer: what it tells, and that text of others is nothing but text in it.

use std::path::Path;

use redress::types::sha256;
use serde_json::{Value, json};

use crate::binary::Place;
use crate::{EVIL, EVIL_NAME, Examples, examples};

fn report(place: &Place, file: &str, more: &[&str]) -> String {
    let arguments: Vec<&str> = ["audit", "report", "--output", file].into_iter().chain(more.iter().copied()).collect();
    place.redress(&arguments).exits(0);
    place.read(file)
}

/// The part of the page about one run.
fn article<'p>(page: &'p str, run: &str) -> &'p str {
    let from = page.find(&format!("<article class=\"run\" id=\"run-{run}\"")).unwrap();
    let rest = &page[from..];
    &rest[..rest.find("</article>").unwrap()]
}

#[track_caller]
fn holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part}\n---\n{text}");
    }
}

#[test]
fn a_report_tells_who_asked_who_allowed_what_was_done_and_whether_it_was_undone() {
    let Examples { place, completed, rolled_back, undone, approved, rejected, denied } = examples();
    let page = report(place, "all.html", &[]);
    holds(&page, &["<b>6</b>runs", "COMPLETED <span>2</span>", "ROLLED_BACK <span>4</span>", "policies/default.yaml"]);
    holds(
        article(&page, completed),
        &["agent:demo", "rule 2 “demo-files” in line", "/workspace/Acme/welcome.html", "called once"],
    );
    holds(
        article(&page, rolled_back),
        &[
            "<code>step_failed</code> at step <code>fails</code>",
            "checked by the host",
            "every file compared by the host",
        ],
    );
    holds(article(&page, undone), &["<strong>undo</strong> by <code>user:me</code>, <q>wrong customer</q>"]);
    holds(
        article(&page, approved),
        &[
            "1 of 1 votes",
            "approved</span> by <code>user:alice</code>",
            "<q>looks right</q>",
            "made stricter by the risk",
        ],
    );
    holds(
        article(&page, rejected),
        &["rejected</span> by <code>user:alice</code>", "<q>not yet</q>", "<code>rejected</code>"],
    );
    holds(
        article(&page, denied),
        &["<code>agent:intern</code> for <code>agent:demo</code>", "DENY</span>", "<code>denied</code>"],
    );
    holds(&page, &["Refused requests", "broken.yaml", "component with io.fs."]);
    let head =
        place.redress(&["audit", "verify", "--json"]).exits(0).json()["head"]["hash"].as_str().unwrap().to_owned();
    holds(&page, &[&head]);
}

#[test]
fn a_report_shows_inputs_and_outputs_only_if_it_is_told_to() {
    let Examples { place, denied, .. } = examples();
    let bare = report(place, "bare.html", &[]);
    let full = report(place, "full.html", &["--with-payloads"]);
    for secret in ["written by agent:intern", "no longer binary", "Spring prices\\n"] {
        assert!(!bare.contains(secret) && full.contains(secret), "{secret}");
    }
    let one = report(place, "one.html", &["--run", denied]);
    assert_eq!(one.matches("<article").count(), 1);
    holds(&one, &["<b>1</b>runs", "Not listed: of a request"]);
    let none = report(place, "none.html", &["--until", "1h"]);
    holds(&none, &["There are no such runs.", "<b>0</b>runs"]);
    let again = place.redress(&["audit", "report", "--output", "none.html"]).exits(2);
    assert!(again.stderr.contains("is there already"), "{}", again.stderr);
}

/// The tags of a page, checked to nest.
fn tags(page: &str) -> Vec<String> {
    let (mut tags, mut open) = (Vec::new(), Vec::new());
    for part in page.split('<').skip(1) {
        let tag = part.split('>').next().unwrap();
        let name = tag.trim_start_matches('/').split([' ', '\n']).next().unwrap().to_owned();
        match tag.strip_prefix('/') {
            Some(_) => assert_eq!(open.pop().as_ref(), Some(&name), "{tag}"),
            None if matches!(&*name, "!DOCTYPE" | "meta" | "br") => {}
            None => open.push(name.clone()),
        }
        tags.push(tag.to_owned());
    }
    assert!(open.is_empty(), "{open:?}");
    tags
}

#[test]
fn hostile_text_is_harmless_text_in_a_report() {
    let place = Place::new();
    let policy = format!("rules:\n  - name: {}\n{}", json!(EVIL_NAME), POLICY_REST);
    place.write("policy.yaml", policy);
    let workflow = json!({"name": EVIL_NAME, "steps": [
        {"name": "a", "capability": "data.json.merge", "inputs": {"target": {}, "patch": {"k": EVIL}}},
        {"name": "b", "capability": "io.fs.write_file", "inputs": {"path": format!("/workspace/{EVIL_FILE}"), "content": EVIL}},
        {"name": "c", "capability": "io.fs.write_file", "risk_level": "HIGH", "inputs": {"path": "/workspace/c", "content": "c"}},
    ]});
    place.write("evil.yaml", workflow.to_string());
    let run = || place.redress(&["run", "evil.yaml", "--json"]).exits(4).run().to_string();
    place.redress(&["reject", &run(), "c", "--reason", EVIL, "--as", "user:a"]).exits(3);
    place.redress(&["cancel", &run(), "--reason", EVIL, "--as", "user:a"]).exits(3);
    place.redress(&["run", "<img src=x onerror=alert(1)>.yaml"]).exits(2);
    let page = report(&place, "evil.html", &["--with-payloads"]);
    holds(&page, &["&lt;script&gt;alert(1)&lt;/script&gt;", "\\u{202e}", "\\u{200b}", "&quot; onload=&quot;x"]);
    let odd = |c: &char| {
        c.is_control() && *c != '\n' || ('\u{200b}'..='\u{200f}').contains(c) || ('\u{202a}'..='\u{202e}').contains(c)
    };
    assert_eq!(page.chars().find(odd), None);
    let tags = tags(&page);
    for tag in &tags {
        let name = tag.trim_start_matches('/').split(' ').next().unwrap();
        assert!(!matches!(name, "script" | "img" | "iframe" | "link" | "object" | "form" | "svg" | "base"), "{tag}");
        assert!(!tag.contains(" on") && !tag.contains("javascript:") && !tag.contains(" style="), "{tag}");
    }
    let links: Vec<&String> = tags.iter().filter(|tag| tag.contains("href=") || tag.contains("src=")).collect();
    assert!(links.iter().all(|tag| tag.starts_with("a href=\"#run-")), "{links:?}");
}

const EVIL_FILE: &str = "x<script>alert(1)<script>\u{202e}";
const POLICY_REST: &str = r#"    principal: "agent:demo"
    capabilities: ["io.fs.*", "data.*"]
    action: ALLOW
grants:
  - capabilities: ["io.fs.*"]
    filesystem: [{ host: ./workspace, guest: /workspace, access: read-write }]
"#;

#[test]
fn a_report_needs_nothing_but_itself_and_lets_nothing_else_in() {
    let Examples { place, .. } = examples();
    let page = report(place, "alone.html", &[]);
    let style = page.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
    assert!(!style.contains("url(") && !style.contains("@import"));
    use base64::Engine as _;
    let digest = base64::engine::general_purpose::STANDARD.encode(sha256(style.as_bytes()).0);
    holds(&page, &[&format!("default-src 'none'; style-src 'sha256-{digest}'")]);
    assert!(!page.contains("http://") && !page.contains("https://"));
    tags(&page);
}

#[test]
fn a_run_that_cannot_be_read_stands_in_the_report_as_such() {
    let (place, bad, good) = super::with_a_damaged_run();
    let answer = place.redress(&["audit", "report", "--output", "report.html", "--json"]).exits(1);
    let expected: Value = json!({"schema": 1, "file": "report.html", "runs": 1, "unreadable": 1});
    assert_eq!(answer.json(), expected);
    let page = place.read(Path::new("report.html"));
    holds(&page, &["What could not be read", &bad, "event 4 of chain"]);
    article(&page, &good);
}
