//! Why a request was not done: a problem of RFC 9457.

use axum::Json;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use crate::document::Diagnostics;
use crate::engine::EngineError;
use crate::journal::JournalError;

const CONTENT: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Why nothing came of a request.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    /// A header that says what to do, and its value.
    header: Option<(HeaderName, &'static str)>,
}

/// What a refusal is called, for whoever counts answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Code(pub &'static str);

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(super) struct Body<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Problem {
        Problem { status, code, detail: detail.into(), header: None }
    }

    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, code, detail)
    }

    pub fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    pub fn with_header(self, name: HeaderName, value: &'static str) -> Problem {
        Problem { header: Some((name, value)), ..self }
    }

    pub fn code(&self) -> &'static str {
        self.code
    }

    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Problem { status, code, detail, header } = &self;
        let title = status.canonical_reason().unwrap_or("problem");
        let kind = format!("urn:redress:problem:{code}");
        let mut response = (*status, Json(Body { kind, title, status: status.as_u16(), detail, code })).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, CONTENT);
        response.extensions_mut().insert(Code(code));
        if let Some((name, value)) = header {
            response.headers_mut().insert(name.clone(), HeaderValue::from_static(value));
        }
        response
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Problem {
        let status = match &error {
            EngineError::NoSuchRun(_) => StatusCode::NOT_FOUND,
            EngineError::UnknownCapability(_) => StatusCode::UNPROCESSABLE_ENTITY,
            EngineError::KeyTaken { .. }
            | EngineError::Refused { .. }
            | EngineError::WrongState { .. }
            | EngineError::Owned { .. }
            | EngineError::MissingComponent { .. } => StatusCode::CONFLICT,
            EngineError::Erased { .. } => StatusCode::GONE,
            EngineError::Journal(JournalError::LowSpace { .. }) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let code = error.code();
        // What failed within is told to the operator, in the log.
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!("{}", crate::document::escape(&error.to_string()));
            return Problem::new(status, code, "the service failed; its log says why");
        }
        Problem::new(status, code, error.to_string())
    }
}

impl From<JournalError> for Problem {
    fn from(error: JournalError) -> Problem {
        EngineError::from(error).into()
    }
}

impl From<Diagnostics> for Problem {
    fn from(wrong: Diagnostics) -> Problem {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-document", wrong.to_string().trim_end())
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Problem {
        Problem::new(rejection.status(), "bad-body", rejection.body_text())
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Problem {
        Problem::new(rejection.status(), "bad-body", rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Problem {
        Problem::bad_request("bad-query", rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Problem {
        Problem::bad_request("bad-path", rejection.body_text())
    }
}

pub(super) async fn no_such_path() -> Problem {
    Problem::not_found("there is nothing at this path; `/openapi.json` says what there is")
}

pub(super) async fn wrong_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong-method", "this path does not take this method")
}
