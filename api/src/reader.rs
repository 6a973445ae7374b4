//! Reads jobs for one client. A picture that the fleet keeps outside of events has a URL that begins with the address
//! under which the client reached this process.

use axum::{extract::FromRequestParts, http::request::Parts};
use futures::{StreamExt, stream::BoxStream};
use glimpse_shared::{
    error::StoreResult,
    event::{CancelledBy, Event, EventKind, FailureCode, Followed, Frame, ascii_json},
    id::{JobId, Seq},
    job::JobState,
    results::FILES,
    store::{Cancel, FinishEarly, Shown},
};

use crate::{
    caller::Caller,
    error::ApiError,
    origin::origin,
    state::{Api, ask},
};

/// The beginning of a `completed` event whose pictures are kept elsewhere, up to the path of the first one. The order of
/// the members is that of [`Event::Completed`].
const KEPT: &str = r#"{"type":"completed","images":[{"url":""#;
/// The beginning of a picture's URL. A quote inside of a text is escaped, so this matches nothing else.
const URL: &str = r#""url":""#;

/// Reads jobs for one client.
#[derive(Clone)]
pub(crate) struct Reader {
    api: Api,
    /// The address for the client's absolute URLs.
    origin: String,
    caller: Caller,
}

impl Reader {
    /// A reader for a client that reaches this process at `origin`.
    pub(crate) fn new(api: Api, origin: String, caller: Caller) -> Self {
        Self { api, origin, caller }
    }

    /// The shared state.
    pub(crate) fn api(&self) -> &Api {
        &self.api
    }

    /// The address for the client's absolute URLs.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// The client.
    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Whether the client sees the job. For the job of another tenant the store is asked as often as for none.
    async fn sees(&self, id: JobId) -> StoreResult<bool> {
        match self.caller.only() {
            None => Ok(true),
            Some(tenant) => Ok(self.api.store.tenant_of(id).await?.is_some_and(|of| of == tenant)),
        }
    }

    /// As `Store::status`; `None` also for the job of another tenant.
    ///
    /// # Errors
    /// If the store does not answer.
    pub(crate) async fn status(&self, id: JobId) -> Result<Option<JobState>, ApiError> {
        let status = async { if self.sees(id).await? { self.api.store.status(id).await } else { Ok(None) } };
        ask(status).await
    }

    /// As `Store::cancel`, for the client; unknown also for the job of another tenant.
    ///
    /// # Errors
    /// If the store does not answer.
    pub(crate) async fn cancel(&self, id: JobId) -> Result<Cancel, ApiError> {
        let cancel = async {
            match self.sees(id).await? {
                true => self.api.store.cancel(id, CancelledBy::Client).await,
                false => Ok(Cancel::Unknown),
            }
        };
        ask(cancel).await
    }

    /// As `Store::finish_early`, for the client; unknown also for the job of another tenant.
    ///
    /// # Errors
    /// If the store does not answer.
    pub(crate) async fn finish_early(&self, id: JobId) -> Result<FinishEarly, ApiError> {
        let finish = async {
            match self.sees(id).await? {
                true => self.api.store.finish_early(id).await,
                false => Ok(FinishEarly::Unknown),
            }
        };
        ask(finish).await
    }

    /// As `Store::follow`, of a job that the client sees. If this process cannot serve the pictures, the job's end is `failed`.
    pub(crate) fn follow(&self, id: JobId, after: Option<Seq>) -> BoxStream<'static, Followed> {
        let reader = self.clone();
        let events = self.api.store.follow(id, after);
        let told = move |followed| match followed {
            Followed::Frame(frame) => {
                let seq = frame.seq;
                Followed::Frame(reader.told(frame).unwrap_or_else(|error| {
                    let failed = Event::Failed { code: FailureCode::Internal, message: error.message() };
                    Frame::new(seq, &failed)
                }))
            }
            other => other,
        };
        events.map(told).boxed()
    }

    /// As `Store::status_with`; `None` also for the job of another tenant.
    ///
    /// # Errors
    /// If the store does not answer.
    pub(crate) async fn stored(
        &self,
        id: JobId,
        shown: Shown,
    ) -> Result<Option<(JobState, Option<Frame>)>, ApiError> {
        let stored = async {
            if self.sees(id).await? { self.api.store.status_with(id, shown).await } else { Ok(None) }
        };
        ask(stored).await
    }

    /// As [`Reader::stored`], with absolute URLs of pictures.
    ///
    /// # Errors
    /// If the store does not answer, or this process cannot serve the pictures.
    pub(crate) async fn state_with(
        &self,
        id: JobId,
        shown: Shown,
    ) -> Result<Option<(JobState, Option<Frame>)>, ApiError> {
        let Some((state, frame)) = self.stored(id, shown).await? else { return Ok(None) };
        Ok(Some((state, frame.map(|frame| self.told(frame)).transpose()?)))
    }

    /// The event as this client gets it.
    fn told(&self, frame: Frame) -> Result<Frame, ApiError> {
        let json = frame.json();
        let first = json.strip_prefix(KEPT.as_bytes());
        if frame.kind != EventKind::Completed || !first.is_some_and(|url| url.starts_with(FILES.as_bytes())) {
            return Ok(frame);
        }
        if self.api.config.results.is_none() {
            tracing::error!(
                "a picture cannot be sent: its worker keeps results with --results, and this API has no --results; \
                 start all with the same --results"
            );
            return Err(ApiError::ResultsElsewhere);
        }
        let json = std::str::from_utf8(&json).map_err(|_| ApiError::unreadable())?;
        let origin = ascii_json(&self.origin);
        let absolute =
            json.replace(&format!("{URL}{FILES}"), &format!("{URL}{}{FILES}", origin.trim_matches('"')));
        Ok(Frame::from_json(frame.seq, frame.kind, &absolute))
    }
}

impl FromRequestParts<Api> for Reader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, api).await?;
        Ok(Self::new(api.clone(), origin(api, parts), caller))
    }
}
