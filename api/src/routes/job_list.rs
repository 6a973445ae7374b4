//! `GET /v1/jobs`: the jobs of the client's tenant, newest first.

use axum::{
    extract::{Query, RawQuery, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use glimpse_shared::{
    id::{App, JobId},
    job::Status,
    request::FieldError,
    store::{ListedJob, Listing},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    caller::Caller,
    edge::not_for_pages,
    error::ApiError,
    json::json_response,
    state::{Api, ask},
};

/// The limits of `limit`, and its default.
pub(crate) const LIMITS: std::ops::RangeInclusive<usize> = 1..=100;
pub(crate) const DEFAULT_LIMIT: usize = 50;

/// The query of the route.
#[derive(Deserialize)]
pub(crate) struct Filter {
    status: Option<String>,
    limit: Option<String>,
    before: Option<String>,
}

/// Jobs, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct JobList {
    #[schema(max_items = 100)]
    jobs: Vec<JobEntry>,
}

/// A job of the list.
#[derive(Serialize, ToSchema)]
struct JobEntry {
    id: JobId,
    app: App,
    status: Status,
    #[schema(format = DateTime)]
    created_at: String,
}

impl From<ListedJob> for JobEntry {
    fn from(job: ListedJob) -> Self {
        Self { id: job.id, app: job.app, status: job.status, created_at: job.created_at.rfc3339() }
    }
}

/// Without keys all callers are one tenant. So the list is only for callers on this machine, and no web page may read it:
/// an id gives access to its job.
pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    query: Result<Query<Filter>, QueryRejection>,
    RawQuery(sent): RawQuery,
) -> Response {
    let listed = async {
        api.for_this_machine(&headers)?;
        let wrong = |wrong: QueryRejection| ApiError::field(unreadable(&wrong, &sent.unwrap_or_default()));
        let Query(filter) = query.map_err(wrong)?;
        let listing = filter.listing(caller.tenant())?;
        let jobs = ask(api.store.jobs(&listing)).await?;
        let jobs = jobs.ok_or_else(|| ApiError::field(unknown(filter.before.as_deref())))?;
        let jobs = jobs.into_iter().map(JobEntry::from).collect();
        Ok::<_, ApiError>(json_response(StatusCode::OK, &JobList { jobs }))
    };
    let response = listed.await.into_response();
    if api.keys.is_some() { response } else { not_for_pages(response) }
}

impl Filter {
    /// # Errors
    /// One entry per invalid parameter.
    fn listing(&self, tenant: &str) -> Result<Listing, ApiError> {
        let mut errors = Vec::new();
        let mut invalid =
            |name, kind, rule, text: &str| errors.push(FieldError::query(name, kind, rule, text));
        let status = self.status.as_deref().and_then(|text| {
            Status::parse(text).or_else(|| {
                invalid("status", "enum", STATUS_RULE, text);
                None
            })
        });
        let limit = self.limit.as_deref().map_or(Some(DEFAULT_LIMIT), |text| {
            let limit = text.parse().ok().filter(|limit| LIMITS.contains(limit));
            limit.or_else(|| {
                invalid("limit", "int_parsing", LIMIT_RULE, text);
                None
            })
        });
        let before = self.before.as_deref().and_then(|text| {
            text.parse().ok().or_else(|| {
                invalid("before", "uuid_parsing", BEFORE_RULE, text);
                None
            })
        });
        match limit {
            Some(limit) if errors.is_empty() => {
                Ok(Listing { tenant: tenant.to_owned(), status, before, limit })
            }
            _ => Err(ApiError::Fields(errors)),
        }
    }
}

const STATUS_RULE: &str = "Input should be 'queued', 'running', 'completed', 'failed' or 'cancelled'";
const LIMIT_RULE: &str = "Input should be a whole number from 1 to 100";
const BEFORE_RULE: &str = "Input should be the id of a job";

fn unknown(before: Option<&str>) -> FieldError {
    let msg =
        "This job is not in the list; it may be too old. Leave out `before` to begin with the newest job";
    FieldError::query("before", "job_unknown", msg, before.unwrap_or_default())
}

/// A query with a parameter that is there twice, or is no text.
fn unreadable(wrong: &QueryRejection, sent: &str) -> FieldError {
    let count = |name: &str| sent.split('&').filter(|pair| pair.split('=').next() == Some(name)).count();
    match ["status", "limit", "before"].into_iter().find(|name| count(name) > 1) {
        Some(name) => FieldError::query(name, "query_parsing", "This parameter should be there once", ""),
        None => FieldError::query("query", "query_parsing", wrong.body_text(), ""),
    }
}
