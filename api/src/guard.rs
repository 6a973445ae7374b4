//! Lets a request in, or refuses it: its key, the scope that the route needs, and the requests per minute.

use std::{sync::Arc, time::SystemTime};

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::time::Instant;

use crate::{
    caller::Caller,
    error::ApiError,
    keys::{Key, KeyRing, Pass, Rate, Scope, sent_key, sent_token},
    state::{Api, ask},
};

/// What a tenant has left (draft-ietf-httpapi-ratelimit-headers), and the rule.
const RATE: HeaderName = HeaderName::from_static("ratelimit");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The end of the path of fal's realtime connections, whose key may be in the query.
const REALTIME: &str = "/realtime";

/// What the requests of some routes need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Nothing.
    Nothing,
    /// Where there are keys: one with this scope. Without keys everybody is let in, but operators' routes are open only
    /// where no other machine reaches this process.
    Scope(Scope),
}

/// Lets a request in, with its [`Caller`], or answers it.
pub(crate) async fn guard(
    State((api, needs)): State<(Api, Needs)>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    match let_in(&api, needs, &parts).await {
        Ok((caller, rate)) => {
            parts.extensions.insert(caller);
            let mut response = next.run(Request::from_parts(parts, body)).await;
            if let Some(rate) = rate {
                tell(&mut response, rate);
            }
            response
        }
        Err(refused) => {
            // A client reads the response only after it has sent its body.
            api.bodies.discard(&parts.headers, body).await;
            let mut response = refused.clone().into_response();
            if let ApiError::RateExceeded { rate } = refused {
                tell(&mut response, rate);
            }
            response
        }
    }
}

async fn let_in(api: &Api, needs: Needs, parts: &Parts) -> Result<(Caller, Option<Rate>), ApiError> {
    let Needs::Scope(scope) = needs else { return Ok((Caller::anyone(), None)) };
    let Some(keys) = &api.keys else {
        if scope == Scope::Admin {
            api.reached_by_this_machine_alone()?;
        }
        return Ok((Caller::anyone(), None));
    };
    let key = key(api, keys, parts).await?.ok_or(ApiError::KeyUnknown)?;
    if !key.may(scope) {
        return Err(ApiError::ScopeMissing { scope });
    }
    let rate = key.requests_per_minute().map(|limit| api.rates.take(key.tenant(), limit, Instant::now()));
    let rate = rate.transpose().map_err(|rate| ApiError::RateExceeded { rate })?;
    Ok((Caller::holder(key), rate))
}

/// The key of a request.
async fn key(api: &Api, keys: &KeyRing, parts: &Parts) -> Result<Option<Arc<Key>>, ApiError> {
    if let Some(sent) = sent_key(&parts.headers) {
        return Ok(keys.find(sent));
    }
    let token = sent_token(&parts.uri).filter(|_| parts.uri.path().ends_with(REALTIME));
    let Some(token) = token else { return Ok(None) };
    match keys.find(token.as_bytes()) {
        None => Ok(Pass::new(&ask(api.store.key_secret()).await?).key(&token, keys, now())),
        found => Ok(found),
    }
}

/// The time in seconds since the epoch.
pub(crate) fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}

/// Adds what a tenant has left to a response.
fn tell(response: &mut Response, rate: Rate) {
    let Rate { limit, left, more_in } = rate;
    let fields = [
        (POLICY, format!("\"requests\";q={limit};w=60")),
        (RATE, format!("\"requests\";r={left};t={}", more_in.as_secs_f64().ceil() as u64)),
    ];
    for (name, value) in fields {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
}
