//! Webhooks: what a call says, and the public key of its signature.

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures::future::BoxFuture;
use glimpse_shared::{id::JobId, webhook::WebhookForm};
use serde_json::json;

use super::{fal, jobs};
use crate::{
    error::ApiError,
    json::json_response,
    state::{Api, ask},
};

/// The body of the call to a job's webhook: what a route of the same wire answers now. `None` if the job is gone.
pub(crate) fn webhook_body(
    api: &Api,
    id: JobId,
    form: WebhookForm,
) -> BoxFuture<'_, Result<Option<Bytes>, ApiError>> {
    Box::pin(async move {
        match form {
            WebhookForm::Fal => Ok(fal::webhook_body(api, id).await?.map(Bytes::from)),
            WebhookForm::Own => jobs::webhook_body(api, id).await,
        }
    })
}

/// `GET /.well-known/jwks.json`: the public key, as a JSON Web Key Set (RFC 8037).
pub(super) async fn keys(State(api): State<Api>) -> Result<Response, ApiError> {
    let key = ask(api.webhooks.key(&api.store)).await?;
    let x = BASE64_URL_SAFE_NO_PAD.encode(key.public());
    let keys = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "x": x }] });
    let mut response = json_response(StatusCode::OK, &keys);
    // A new key must be known soon: the store's key is a new one when the store was emptied.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=300"));
    Ok(response)
}
