//! What a request brings: JSON, read as strictly as all other input. A key that stands twice and an integer that does not survive are refused,
//! also where any value may stand.

use axum::Json;
use axum::body::{Body as Raw, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::types::parse_strict;

/// The body of a request.
pub(super) struct Given<T>(pub T);

/// The body, or what is wrong with it: a handler says first whether whoever asks may.
pub(super) type Body<T> = Result<Given<T>, Problem>;

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Given<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Given<T>, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = Bytes::from_request(Request::from_parts(parts.clone(), body), state).await?;
        let again = Request::from_parts(parts, Raw::from(bytes.clone()));
        let Json(value) = Json::<T>::from_request(again, state).await?;
        match parse_strict(&bytes) {
            Ok(_) => Ok(Given(value)),
            Err(error) => Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-body", error.to_string())),
        }
    }
}
