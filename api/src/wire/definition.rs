//! What a wire is.

use axum::{Router, middleware::map_response, response::Response};
use bytes::Bytes;
use glimpse_shared::request::Dialect;

use crate::{error::ApiError, picture::CompletedParts, sse::Out, state::Api};

/// How requests are read and errors are answered.
pub(crate) struct Wire {
    /// How the fields of a request are read.
    pub(crate) reads: Dialect,
    /// The response to an error.
    pub(crate) reports: fn(&ApiError) -> Response,
}

/// A wire whose clients wait for their pictures on the connection of their request.
pub(crate) struct Connected {
    /// How requests are read and errors are answered.
    pub(crate) wire: Wire,
    /// The response with the pictures of a job and its prompt.
    pub(crate) pictures: fn(&CompletedParts<'_>, prompt: &str) -> Response,
    /// Writes a preview, whose picture is in JSON, to a stream.
    pub(crate) preview: fn(image: Bytes, &mut Out),
    /// The last event of a stream: the pictures.
    pub(crate) last: fn(&CompletedParts<'_>) -> Vec<u8>,
    /// The last event of a stream that is cut by an error.
    pub(crate) cut: fn(&ApiError) -> String,
}

impl Wire {
    /// Gives the errors of these routes the form of this wire.
    pub(crate) fn reported(&self, routes: Router<Api>) -> Router<Api> {
        let reports = self.reports;
        let report = move |mut response: Response| async move {
            match response.extensions_mut().remove::<ApiError>() {
                Some(error) => {
                    let mut reported = reports(&error);
                    // For example the request's id, or the allowed methods.
                    reported.headers_mut().extend(std::mem::take(response.headers_mut()));
                    reported
                }
                None => response,
            }
        };
        routes.layer(map_response(report))
    }
}
