//! What a wire is.

use axum::{Router, middleware::map_response, response::Response};
use bytes::Bytes;
use glimpse_shared::{
    event::{EventKind, Frame},
    request::Dialect,
};

use crate::{
    error::ApiError,
    picture::{self, CompletedParts},
    sse::Out,
    state::Api,
};

/// How requests are read and errors are answered.
#[derive(Clone, Copy)]
pub(crate) struct Wire {
    /// How the fields of a request are read.
    pub(crate) reads: Dialect,
    /// The response to an error.
    pub(crate) reports: fn(&ApiError) -> Response,
}

/// A wire whose clients wait for their pictures on the connection of their request.
#[derive(Clone, Copy)]
pub(crate) struct Connected {
    /// How requests are read and errors are answered.
    pub(crate) wire: Wire,
    /// The response with the pictures of a job and its prompt.
    pub(crate) pictures: fn(&CompletedParts<'_>, prompt: &str) -> Response,
    /// Writes a preview, whose picture is in JSON, to a stream.
    pub(crate) preview: fn(image: Bytes, &mut Out),
    /// The last event of a stream: the pictures of a job and its prompt.
    pub(crate) last: fn(&CompletedParts<'_>, prompt: &str) -> String,
    /// The last event of a stream that is cut by an error.
    pub(crate) cut: fn(&ApiError) -> String,
}

/// How the pictures of one job are streamed.
pub(crate) trait PictureStream: Send + Sync + 'static {
    /// Whether the stream shows events of this kind, before the end.
    fn shows(&self, kind: EventKind) -> bool;

    /// Writes an event that it shows.
    fn preview(&self, frame: &Frame, out: &mut Out);

    /// The last bytes: the pictures of a `completed` event. `prompt` is that of the request.
    ///
    /// # Errors
    /// When the event cannot be read.
    fn last(
        &self,
        api: &Api,
        json: Bytes,
        prompt: &str,
    ) -> impl Future<Output = Result<Bytes, ApiError>> + Send;

    /// The last bytes of a stream that is cut by an error.
    fn cut(&self, error: &ApiError) -> String;
}

impl PictureStream for Connected {
    fn shows(&self, kind: EventKind) -> bool {
        kind == EventKind::Preview
    }

    fn preview(&self, frame: &Frame, out: &mut Out) {
        if let Some(image) = picture::of_preview(&frame.json()) {
            (self.preview)(image, out);
        }
    }

    async fn last(&self, api: &Api, json: Bytes, prompt: &str) -> Result<Bytes, ApiError> {
        let (last, prompt) = (self.last, prompt.to_owned());
        let size = json.len();
        let event = move || picture::of_completed(&json).map(|completed| last(&completed, &prompt).into());
        api.answers.run_if_large(size, event).await?.ok_or_else(ApiError::unreadable)
    }

    fn cut(&self, error: &ApiError) -> String {
        (self.cut)(error)
    }
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
                    // For example that no web page may read it.
                    reported.extensions_mut().extend(std::mem::take(response.extensions_mut()));
                    reported
                }
                None => response,
            }
        };
        routes.layer(map_response(report))
    }
}
