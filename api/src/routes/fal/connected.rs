//! fal's clients that wait for their pictures on the connection of their request.

use axum::{
    Extension,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use glimpse_shared::request::Task;

use super::enter::{AppPath, enter};
use crate::{
    connection::ClientInput, edge::with_id, error::ApiError, reader::Reader, state::Api, waiting, wire::FAL,
};

/// `POST /{owner}/{app}`: waits for the job, then sends the pictures.
pub(super) async fn run(
    State(api): State<Api>,
    reader: Reader,
    path: AppPath,
    Extension(task): Extension<Task>,
    Extension(input): Extension<ClientInput>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let _place = api.stream()?;
    let entered = enter(&reader, path, task, &headers, body, None, Ok(None)).await?;
    let id = entered.waited.id();
    let answer = waiting::pictures(&reader, &FAL, entered, &input).await;
    Ok(with_id(answer.into_response(), id))
}

/// `POST /{owner}/{app}/stream`: sends the previews, then the pictures.
pub(super) async fn stream(
    State(api): State<Api>,
    reader: Reader,
    path: AppPath,
    Extension(task): Extension<Task>,
    Extension(input): Extension<ClientInput>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let place = api.stream()?;
    let entered = enter(&reader, path, task, &headers, body, None, Ok(None)).await?;
    let id = entered.waited.id();
    let answer = waiting::stream(&reader, FAL, entered, input, place).await;
    Ok(with_id(answer.into_response(), id))
}
