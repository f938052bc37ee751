//! The files of the console: a page, its style and its script, which are part of this program. They hold nothing of the service's;
//! everything that they show they ask for with the token that whoever looks at them has given.
//!
//! Nothing that comes from a component, an agent or a workflow becomes markup: the script puts text into the page as text, the policy of
//! the page lets no other script run, and makes the browser refuse what would turn text into markup.

use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Redirect, Response};

/// One file.
#[derive(Clone, Copy)]
pub(super) struct File {
    kind: &'static str,
    text: &'static str,
}

const PAGE: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

macro_rules! file {
    ($kind:expr, $name:literal) => {
        (concat!("/console/", $name), File { kind: $kind, text: include_str!(concat!("../console/", $name)) })
    };
}

/// Every path, and what is there.
pub(super) const FILES: [(&str, File); 14] = [
    ("/console", File { kind: PAGE, text: include_str!("../console/index.html") }),
    file!(STYLE, "style.css"),
    file!(PICTURE, "icon.svg"),
    file!(SCRIPT, "main.js"),
    file!(SCRIPT, "api.js"),
    file!(SCRIPT, "page.js"),
    file!(SCRIPT, "shown.js"),
    file!(SCRIPT, "graph.js"),
    file!(SCRIPT, "approvals.js"),
    file!(SCRIPT, "runs.js"),
    file!(SCRIPT, "submit.js"),
    file!(SCRIPT, "capabilities.js"),
    file!(SCRIPT, "policy.js"),
    file!(SCRIPT, "audit.js"),
];

/// What the page may do: load these files, ask this service, and nothing else.
const MAY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
                   form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

pub(super) async fn answer(file: File) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(file.kind)),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(MAY)),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
        (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    ];
    (headers, file.text).into_response()
}

/// Leads whoever opens the address of the service in a browser to the console.
pub(super) async fn go_there() -> Redirect {
    Redirect::to("/console")
}
