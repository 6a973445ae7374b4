//! `GET /v1/models`: the apps that are served.

use axum::{
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
    response::Response,
};
use glimpse_shared::id::App;
use serde::Serialize;

use crate::{
    error::ApiError,
    json::json_response,
    state::{Api, ask},
};

/// An app, as OpenAI's clients read a model.
#[derive(Serialize)]
struct Model<'a> {
    id: &'a App,
    object: &'static str,
    /// Seconds since the Unix epoch; nothing knows when a model was made, so it is 0.
    created: u64,
    /// The first part of the app's name.
    owned_by: &'a str,
}

impl<'a> From<&'a App> for Model<'a> {
    fn from(app: &'a App) -> Self {
        let owned_by = app.as_str().split('/').next().unwrap_or_default();
        Self { id: app, object: "model", created: 0, owned_by }
    }
}

/// Every app that a worker is registered for.
pub(super) async fn list(State(api): State<Api>) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct List<'a> {
        object: &'static str,
        data: Vec<Model<'a>>,
    }
    let apps = ask(api.admission.apps()).await?;
    let list = List { object: "list", data: apps.iter().map(Model::from).collect() };
    Ok(json_response(StatusCode::OK, &list))
}

/// `GET /v1/models/{id}`.
pub(super) async fn one(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let id = path.map(|Path(id)| id).unwrap_or_default();
    let served = ask(api.admission.apps()).await?;
    match served.iter().find(|app| app.as_str() == id) {
        Some(app) => Ok(json_response(StatusCode::OK, &Model::from(app))),
        None => Err(ApiError::AppUnknown { app: id, served }),
    }
}
