//! fal's clients ask for a token before they open a realtime connection.

use axum::{extract::State, http::StatusCode, response::Response};
use uuid::Uuid;

use crate::{
    caller::Caller,
    error::ApiError,
    guard::now,
    json::json_response,
    keys::Pass,
    state::{Api, ask},
};

/// The path of fal's service for tokens.
pub(super) const PATH: &str = "/tokens";

/// `POST /tokens`: a token as fal's clients need it to go on. Without keys a connection is open with any token and without
/// one.
pub(super) async fn create(State(api): State<Api>, caller: Caller) -> Result<Response, ApiError> {
    let token = match caller.key() {
        Some(key) => Pass::new(&ask(api.store.key_secret()).await?).token(key, now()),
        None => Uuid::new_v4().simple().to_string(),
    };
    Ok(json_response(StatusCode::OK, &token))
}
