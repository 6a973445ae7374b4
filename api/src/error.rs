//! Error responses. Our own errors are logged in full; the client gets a short message.

use std::{net::SocketAddr, time::Duration};

use axum::{
    body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use glimpse_shared::{
    error::StoreError,
    event::ascii_json,
    id::{App, JobId},
    request::FieldError,
};
use serde::Serialize;
use serde_json::{Value, json};

/// An error response. The comment of a variant says what the client can do.
#[derive(Debug, Clone)]
pub(crate) enum ApiError {
    /// Correct these fields.
    Fields(Vec<FieldError>),
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
    /// There is no such route.
    PathUnknown(String),
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
    /// Send a smaller body.
    BodyTooLarge {
        /// The limit.
        limit: u64,
    },
    /// Send the body faster.
    BodyTooSlow,
    /// Send the whole body.
    BodyCut,
    /// Retry later: this process has no memory left for bodies.
    BodiesFull,
    /// Retry later: too many jobs are queued.
    QueueFull {
        /// How many jobs are queued.
        waiting: u64,
        /// When the queue may have room.
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
    /// Retry later: no worker of the app can do this job.
    NoneCapable,
    /// Retry later: the store is unavailable.
    StoreAway,
    /// Ask another API: this process is shutting down.
    Ending,
    /// A bug or unreadable data: the client can do nothing.
    Defect,
}

impl ApiError {
    /// One invalid field.
    pub(crate) fn field(error: FieldError) -> Self {
        Self::Fields(vec![error])
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Fields(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::AppUnknown { .. } | Self::JobUnknown | Self::NoImage | Self::PathUnknown(_) => {
                StatusCode::NOT_FOUND
            }
            Self::MethodUnknown => StatusCode::METHOD_NOT_ALLOWED,
            Self::ForThisMachine { .. } | Self::ForeignHost { .. } => StatusCode::FORBIDDEN,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::BodyCut => StatusCode::BAD_REQUEST,
            Self::QueueFull { .. }
            | Self::StreamsFull { .. }
            | Self::FetchesFull { .. }
            | Self::BodiesFull => StatusCode::TOO_MANY_REQUESTS,
            Self::Unconfirmed { .. } | Self::NoneCapable | Self::StoreAway | Self::Ending => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Defect => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn detail(&self) -> Value {
        match self {
            Self::Fields(fields) => json!(fields),
            Self::AppUnknown { app, served } if served.is_empty() => {
                format!("No worker serves the app {app}. No apps are available at the moment").into()
            }
            Self::AppUnknown { app, served } => {
                let served: Vec<_> = served.iter().map(App::as_str).collect();
                format!("No worker serves the app {app}. Available apps: {}", served.join(", ")).into()
            }
            Self::JobUnknown => "Job not found".into(),
            Self::NoImage => "The job has no picture yet".into(),
            Self::PathUnknown(path) => format!("Path {path} not found").into(),
            Self::MethodUnknown => "Method Not Allowed".into(),
            Self::ForThisMachine { listens_on } => format!(
                "This route shows the jobs of all clients, so it is open only if the API listens on a loopback address. \
                 This one listens on {listens_on}: start another one with --listen 127.0.0.1:8081 and the same \
                 --redis-url, and send the request to that one"
            )
            .into(),
            Self::ForeignHost { listens_on } => format!(
                "This route is only for this machine, and the Host header names another one. Use http://{listens_on}"
            )
            .into(),
            Self::BodyTooLarge { limit } => format!("The body has more than {limit} bytes").into(),
            Self::BodyTooSlow => "The body did not arrive in time".into(),
            Self::BodyCut => "The body is shorter than its Content-Length, or its chunks are malformed".into(),
            Self::BodiesFull => "This server is receiving too many request bodies; retry later".into(),
            Self::QueueFull { waiting, .. } => {
                format!("The queue of this app is full ({waiting} jobs); retry later").into()
            }
            Self::StreamsFull { limit } => {
                format!("This server has reached its limit of {limit} clients that wait for a job; retry later").into()
            }
            Self::FetchesFull { limit } => {
                format!("This server is fetching its maximum of {limit} pictures; retry later").into()
            }
            Self::Unconfirmed { id, replicas, wanted } => format!(
                "The job {id} was accepted, but only {replicas} of {wanted} replicas of the store confirmed it"
            )
            .into(),
            Self::NoneCapable => {
                "No worker of this app can do this job now. The job stays on the dead list; retry later".into()
            }
            Self::StoreAway => "The store is unavailable; retry later".into(),
            Self::Ending => "This server is shutting down; retry the request".into(),
            Self::Defect => "Internal Server Error".into(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::QueueFull { retry_after, .. } => Some(*retry_after),
            Self::StreamsFull { .. } | Self::NoneCapable => Some(Duration::from_secs(10)),
            Self::BodiesFull
            | Self::FetchesFull { .. }
            | Self::Unconfirmed { .. }
            | Self::StoreAway
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

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body<'a> {
            detail: Value,
            #[serde(skip_serializing_if = "Option::is_none")]
            apps: Option<&'a [App]>,
            #[serde(skip_serializing_if = "Option::is_none")]
            id: Option<JobId>,
        }
        let apps = match &self {
            Self::AppUnknown { served, .. } => Some(&served[..]),
            _ => None,
        };
        let id = match self {
            Self::Unconfirmed { id, .. } => Some(id),
            _ => None,
        };
        let body = Body { detail: self.detail(), apps, id };
        let mut response = json_response(self.status(), &body);
        if let Some(after) = self.retry_after() {
            response.headers_mut().insert(header::RETRY_AFTER, after.as_secs().max(1).into());
        }
        response
    }
}

/// A response in ASCII JSON.
pub(crate) fn json_response<T: Serialize>(status: StatusCode, json: &T) -> Response {
    let mut response = Response::new(body::Body::from(ascii_json(json)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// `X-Fal-Error-Type`: fal's name for the kind of error, also for responses without a body.
pub(crate) const FAL_ERROR_TYPE: HeaderName = HeaderName::from_static("x-fal-error-type");
