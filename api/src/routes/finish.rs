//! `POST /v1/jobs/{id}/finish`: the picture that a job has is good enough.

use axum::{
    extract::{Path, rejection::PathRejection},
    http::StatusCode,
    response::Response,
};
use glimpse_shared::{id::JobId, job::Status, store::FinishEarly};
use serde::Serialize;
use utoipa::ToSchema;

use super::jobs::{job_id, known};
use crate::{error::ApiError, json::json_response, reader::Reader};

/// The answer to a request to finish a job early.
#[derive(Serialize, ToSchema)]
pub(crate) struct FinishingJob {
    id: JobId,
    /// Of an accepted request, what the job does until its worker has heard of it; otherwise the status with which the
    /// job had already ended.
    status: Status,
}

/// Asks the job's worker to finish with the picture that it has. Idempotent.
pub(crate) async fn finish(
    reader: Reader,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let id = job_id(path)?;
    match reader.finish_early(id).await? {
        FinishEarly::Asked => {
            let status = known(&reader, id).await?.status;
            Ok(json_response(StatusCode::ACCEPTED, &FinishingJob { id, status }))
        }
        FinishEarly::AlreadyDone(status) => Ok(json_response(StatusCode::OK, &FinishingJob { id, status })),
        FinishEarly::TooEarly => Err(ApiError::NoStep),
        FinishEarly::Unknown => Err(ApiError::JobUnknown),
    }
}
