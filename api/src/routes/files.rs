//! `GET /files/{name}`: a picture that the fleet keeps outside of events.
//!
//! A picture never changes, and everyone who knows its name may read it. One in a directory is served from here. For one
//! in a bucket the answer is a redirect to a URL of the bucket that is signed now: so the URL that a client has been told
//! lives as long as the picture, and does not depend on the credentials of this process.

use std::{io, path::Path as FilePath, time::Duration};

use axum::{
    body::Body,
    extract::{Path, Request, State, rejection::PathRejection},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use glimpse_shared::results::{Located, Name};
use tower_http::services::ServeFile;

use super::range;
use crate::{error::ApiError, state::Api};

/// Pages of other origins may show the picture, also if they are isolated.
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Serves a picture, or redirects to the bucket that has it.
pub(crate) async fn file(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    // A name has one form, without a `/`: no path leads elsewhere.
    let name: Name = path.ok().and_then(|Path(name)| name.parse().ok()).ok_or(ApiError::FileUnknown)?;
    let results = api.config.results.as_ref().ok_or(ApiError::FileUnknown)?;
    let located = results.located(&name).await?.ok_or(ApiError::FileUnknown)?;
    let left = results.left(&name).ok_or(ApiError::FileUnknown)?;
    let about = About { name: &name, left };
    match located {
        Located::File(path) => of_directory(&path, request, about).await,
        Located::Object { url, valid, .. } if request.method() == Method::GET => redirect(&url, valid),
        // The bucket's URL is signed for GET alone.
        Located::Object { size, .. } => {
            let length = [(header::CONTENT_LENGTH, size.into()), (header::ACCEPT_RANGES, value("bytes")?)];
            about.describe((length, Body::empty()).into_response())
        }
    }
}

/// A file: the whole, a range, or nothing if the client has it.
async fn of_directory(path: &FilePath, request: Request, about: About<'_>) -> Result<Response, ApiError> {
    let (parts, _) = request.into_parts();
    let ask = |range: Option<HeaderValue>| {
        let mut request = Request::new(Body::empty());
        (*request.method_mut(), *request.headers_mut()) = (parts.method.clone(), parts.headers.clone());
        request.headers_mut().remove(header::RANGE);
        request.headers_mut().extend(range.map(|range| (header::RANGE, range)));
        request
    };
    let mut response = served(path, ask(None)).await?;
    // Only a whole picture has parts: not one that the client has, and not a head.
    if response.status() == StatusCode::OK
        && parts.method == Method::GET
        && let Some(range) = range::wanted(&parts.headers, response.headers())
    {
        response = served(path, ask(Some(range))).await?;
    }
    match response.status() {
        StatusCode::NOT_FOUND => Err(ApiError::FileUnknown),
        // An error is not cached.
        StatusCode::PRECONDITION_FAILED => Ok(response),
        StatusCode::RANGE_NOT_SATISFIABLE => {
            let size = response.headers().get(header::CONTENT_RANGE).cloned();
            let mut refused = ApiError::RangeUnknown.into_response();
            refused.headers_mut().extend(size.map(|size| (header::CONTENT_RANGE, size)));
            Ok(refused)
        }
        _ => about.describe(response),
    }
}

async fn served(path: &FilePath, request: Request) -> Result<Response, ApiError> {
    match ServeFile::new(path).try_call(request).await {
        Ok(response) => Ok(response.map(Body::new)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ApiError::FileUnknown),
        Err(error) => {
            tracing::error!(%error, "a picture in --results cannot be read: check the rights of this process' user");
            Err(ApiError::ResultsAway)
        }
    }
}

/// A redirect is cached for a part of the time for which the signature is valid.
fn redirect(url: &str, valid: Duration) -> Result<Response, ApiError> {
    let age = format!("public, max-age={}", (valid / 2).min(Duration::from_secs(3600)).as_secs());
    let headers = [(header::LOCATION, value(url)?), (header::CACHE_CONTROL, value(&age)?)];
    Ok((StatusCode::TEMPORARY_REDIRECT, headers).into_response())
}

/// What is known of a picture without reading it.
#[derive(Clone, Copy)]
struct About<'a> {
    name: &'a Name,
    /// How long it can still be read.
    left: Duration,
}

impl About<'_> {
    /// Adds the headers that a picture has wherever it is.
    fn describe(self, mut response: Response) -> Result<Response, ApiError> {
        let Self { name, left } = self;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(name.format().content_type()));
        let disposition = format!("inline; filename=\"{name}\"");
        headers.insert(header::CONTENT_DISPOSITION, value(&disposition)?);
        let age = format!("public, max-age={}, immutable", left.as_secs());
        headers.insert(header::CACHE_CONTROL, value(&age)?);
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
        Ok(response)
    }
}

fn value(text: &str) -> Result<HeaderValue, ApiError> {
    HeaderValue::try_from(text).map_err(|_| ApiError::Defect)
}
