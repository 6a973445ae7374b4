//! Errors of requests. They know no wire: the wire of a route gives them their form (`wire`). Our own errors are logged
//! in full; the client gets a short message.

use std::{net::SocketAddr, time::Duration};

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use glimpse_shared::{
    error::StoreError,
    event::FailureCode,
    id::{App, JobId},
    request::FieldError,
    results::ResultsError,
};
use serde_json::Value;

use crate::keys::{Rate, Scope};

/// Why a request gets an error. The comment of a variant says what the client can do.
#[derive(Debug, Clone)]
pub(crate) enum ApiError {
    /// Correct these fields.
    Fields(Vec<FieldError>),
    /// The job that the request goes on from is unknown: name another one.
    SourceUnknown(Box<FieldError>),
    /// What the request goes on from is not here any more, or not yet.
    SourceChanged(Vec<FieldError>),
    /// No worker serves the app: use another app.
    AppUnknown {
        /// The requested app.
        app: String,
        /// The apps that are served.
        served: Vec<App>,
    },
    /// There is no such job, or it has expired.
    JobUnknown,
    /// The job has no picture (yet).
    NoImage,
    /// The job has made no step yet: retry when it has a preview.
    NoStep,
    /// There is no such file, or it has expired.
    FileUnknown,
    /// Ask for a part that the file has.
    RangeUnknown,
    /// The pictures are where this process does not look: an operator must give all processes the same `--results`.
    ResultsElsewhere,
    /// Retry later: the place where pictures are kept does not answer.
    ResultsAway,
    /// Send a right key.
    KeyUnknown,
    /// Use a key with this scope.
    ScopeMissing {
        /// The scope that the route needs.
        scope: Scope,
    },
    /// Retry later: the key's tenant has sent all its requests of this minute.
    RateExceeded {
        /// What it has left.
        rate: Rate,
    },
    /// There is no such route.
    PathUnknown(String),
    /// Name an address of fal's that stands for a route of ours.
    TargetUnknown,
    /// The route does not support the method.
    MethodUnknown,
    /// The route is only for the machine that the API runs on.
    ForThisMachine {
        /// The address that the API listens on.
        listens_on: SocketAddr,
    },
    /// The same, and the request's Host header names another machine.
    ForeignHost {
        /// The address that the API listens on.
        listens_on: SocketAddr,
    },
    /// Send one `Host` header.
    HostUnclear,
    /// Open a WebSocket.
    NoWebSocket,
    /// Send a smaller body.
    BodyTooLarge {
        /// The limit.
        limit: u64,
    },
    /// Send the body faster.
    BodyTooSlow,
    /// Send the whole body.
    BodyCut,
    /// Send the body as it is, or compressed with gzip.
    EncodingUnknown,
    /// Send a whole body in the gzip format, or no `Content-Encoding`.
    BodyNotGzip,
    /// Retry later: this process has no memory left for bodies.
    BodiesFull,
    /// Retry later: too many jobs are queued.
    QueueFull {
        /// How many jobs are queued.
        waiting: u64,
        /// When the queue may have room.
        retry_after: Duration,
    },
    /// Retry later, or cancel a job: the key's tenant has as many unfinished jobs as it may.
    JobsFull {
        /// How many it may have.
        limit: u64,
        /// When one of them may have ended.
        retry_after: Duration,
    },
    /// Retry later: this process has reached its limit of streams.
    StreamsFull {
        /// The limit.
        limit: usize,
    },
    /// Retry later: this process is fetching its maximum of pictures.
    FetchesFull {
        /// The maximum.
        limit: usize,
    },
    /// The job exists, but a failover of the store may lose it: read its status, or submit it again with its key.
    Unconfirmed {
        /// The job.
        id: JobId,
        /// How many replicas have it.
        replicas: u32,
        /// How many replicas should have it.
        wanted: u32,
    },
    /// Retry later: the operator's endpoint that decides about prompts does not answer.
    ModerationAway,
    /// Retry later: no app is served, and the request names none.
    NoneServed,
    /// Retry later: no worker of the app can do this job.
    NoneCapable,
    /// Retry later: the store is unavailable.
    StoreAway,
    /// Ask another API: this process is shutting down.
    Ending,
    /// Wait for the end of the job.
    StillRunning,
    /// The job ended without pictures: what to do depends on the code.
    Failed {
        /// Why, for programs.
        code: FailureCode,
        /// Why, for people.
        message: String,
    },
    /// The job was cancelled: submit it again.
    Cancelled,
    /// The client closed its sending half where that counts as a disconnect: keep it open.
    InputEnded,
    /// A bug or unreadable data: the client can do nothing.
    Defect,
}

impl ApiError {
    /// One invalid field.
    pub(crate) fn field(error: FieldError) -> Self {
        Self::Fields(vec![error])
    }

    /// The same error, whose entries about missing fields of the body show the body that the client sent: the check
    /// gets it without the members that were read before.
    pub(crate) fn of_sent(mut self, sent: &Value) -> Self {
        if let Self::Fields(fields) = &mut self {
            for field in fields.iter_mut().filter(|field| field.kind == "missing" && field.loc.len() == 2) {
                if field.is_of_body() {
                    field.input = Some(sent.clone());
                }
            }
        }
        self
    }

    /// The store no longer knows the job that the client waits for.
    pub(crate) fn lost() -> Self {
        let message = "the store no longer knows the job".to_owned();
        Self::Failed { code: FailureCode::JobLost, message }
    }

    /// The job has an end that this version cannot read.
    pub(crate) fn unreadable() -> Self {
        Self::Failed { code: FailureCode::Internal, message: "Internal Server Error".to_owned() }
    }

    /// What happened and what to do, for people.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::SourceUnknown(error) => Self::SourceChanged(vec![(**error).clone()]).message(),
            Self::Fields(fields) | Self::SourceChanged(fields) => {
                let field = |error: &FieldError| {
                    let path = error.path().unwrap_or_else(|| error.field());
                    format!("{path}: {}", error.msg)
                };
                fields.iter().map(field).collect::<Vec<_>>().join("; ")
            }
            Self::AppUnknown { app, served } if served.is_empty() => {
                format!("No worker serves the app {app}. No apps are available at the moment")
            }
            Self::AppUnknown { app, served } => {
                let served: Vec<_> = served.iter().map(App::as_str).collect();
                format!("No worker serves the app {app}. Available apps: {}", served.join(", "))
            }
            Self::JobUnknown => "Job not found".to_owned(),
            Self::NoImage => "The job has no picture yet".to_owned(),
            Self::NoStep => "The job has made no step yet, so there is no picture to finish with: retry after its first \
                             preview, or cancel it"
                .to_owned(),
            Self::FileUnknown => "File not found: it never existed, or it has expired".to_owned(),
            Self::RangeUnknown => "The file does not have the requested range".to_owned(),
            Self::ResultsElsewhere => {
                "The worker keeps the pictures where this server does not look. Tell its operator: all workers and \
                 APIs need the same --results"
                    .to_owned()
            }
            Self::ResultsAway => "The place where pictures are kept is unavailable; retry later".to_owned(),
            Self::KeyUnknown => "This route needs a key: send the header Authorization: Bearer KEY with a key that the \
                                 operator gave you"
                .to_owned(),
            Self::ScopeMissing { scope } => {
                format!("This route needs a key with the scope {}, which this key does not have", scope.as_str())
            }
            Self::RateExceeded { rate } => {
                format!("This key has sent its {} requests of a minute; retry later", rate.limit)
            }
            Self::PathUnknown(path) => format!("Path {path} not found"),
            Self::TargetUnknown => {
                "The header X-Fal-Target-Url should be an address of https://fal.run or https://queue.fal.run".to_owned()
            }
            Self::MethodUnknown => "Method Not Allowed".to_owned(),
            Self::ForThisMachine { listens_on } => format!(
                "This route is for operators, so without keys it is open only if the API listens on a loopback address. \
                 This one listens on {listens_on}: start it with --keys-file and use a key with the scope of this route, \
                 or start another one with --listen 127.0.0.1:8081 and the same --redis-url, and send the request to \
                 that one"
            ),
            Self::ForeignHost { listens_on } => format!(
                "This route is only for this machine, and the Host header names another one. Use http://{listens_on}"
            ),
            Self::HostUnclear => "A request of HTTP/1.1 should have exactly one Host header".to_owned(),
            Self::NoWebSocket => {
                "This route is for WebSocket clients: send the headers of its handshake, over HTTP/1.1".to_owned()
            }
            Self::BodyTooLarge { limit } => format!("The body has more than {limit} bytes"),
            Self::BodyTooSlow => "The body did not arrive in time".to_owned(),
            Self::BodyCut => "The body is shorter than its Content-Length, or its chunks are malformed".to_owned(),
            Self::EncodingUnknown => "The header Content-Encoding should be gzip, or absent".to_owned(),
            Self::BodyNotGzip => {
                "The header Content-Encoding is gzip, but the body is not in the gzip format, or is cut".to_owned()
            }
            Self::BodiesFull => "This server is receiving too many request bodies; retry later".to_owned(),
            Self::QueueFull { waiting, .. } => {
                format!("The queue of this app is full ({waiting} jobs); retry later")
            }
            Self::JobsFull { limit, .. } => {
                format!("This key may have {limit} unfinished jobs, and has them; retry when one has ended, or cancel one")
            }
            Self::StreamsFull { limit } => {
                format!("This server has reached its limit of {limit} clients that wait for a job; retry later")
            }
            Self::FetchesFull { limit } => {
                format!("This server is fetching its maximum of {limit} pictures; retry later")
            }
            Self::Unconfirmed { id, replicas, wanted } => format!(
                "The job {id} was accepted, but only {replicas} of {wanted} replicas of the store confirmed it"
            ),
            Self::NoneCapable => {
                "No worker of this app can do this job now. The job stays on the dead list; retry later".to_owned()
            }
            Self::NoneServed => "No worker is registered, so there is no model; retry later".to_owned(),
            Self::StoreAway => "The store is unavailable; retry later".to_owned(),
            Self::ModerationAway => "The prompt cannot be checked at the moment; retry later".to_owned(),
            Self::Ending => "This server is shutting down; retry the request".to_owned(),
            Self::StillRunning => "Request is still in progress".to_owned(),
            Self::Failed { message, .. } => message.clone(),
            Self::Cancelled => "Request was cancelled".to_owned(),
            Self::InputEnded => {
                "The client closed its sending half before the response, which counts as a disconnect: keep it open"
                    .to_owned()
            }
            Self::Defect => "Internal Server Error".to_owned(),
        }
    }

    /// When a repeated request may succeed; `None` if it should not be repeated.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::QueueFull { retry_after, .. } | Self::JobsFull { retry_after, .. } => Some(*retry_after),
            Self::RateExceeded { rate } => {
                Some(Duration::from_secs(rate.more_in.as_secs_f64().ceil() as u64))
            }
            Self::StreamsFull { .. } | Self::NoneServed | Self::NoneCapable => Some(Duration::from_secs(10)),
            Self::BodiesFull
            | Self::FetchesFull { .. }
            | Self::Unconfirmed { .. }
            | Self::StoreAway
            | Self::ModerationAway
            | Self::ResultsAway
            | Self::Ending => Some(Duration::from_secs(2)),
            _ => None,
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => {
                tracing::warn!(%error, "answered 503");
                Self::StoreAway
            }
            StoreError::Corrupt(_) => {
                tracing::error!(%error, "answered 500");
                Self::Defect
            }
        }
    }
}

impl From<ResultsError> for ApiError {
    fn from(error: ResultsError) -> Self {
        tracing::warn!(%error, "answered 503");
        Self::ResultsAway
    }
}

impl IntoResponse for ApiError {
    /// Only carries the error to the edge, which answers in the form of the route's wire (`wire::Wire::reported`).
    fn into_response(self) -> Response {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
