//! Webhooks: what a call says, and the public key of its signature.

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures::future::BoxFuture;
use glimpse_shared::{
    id::JobId,
    webhook::{Webhook, WebhookForm},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{fal, jobs};
use crate::{
    caller::Caller,
    error::ApiError,
    json::json_response,
    reader::Reader,
    state::{Api, ask},
};

/// The body of the call to a job's webhook: what a route of the same wire answers now. `None` if the job is gone.
pub(crate) fn webhook_body(
    api: &Api,
    id: JobId,
    webhook: &Webhook,
) -> BoxFuture<'static, Result<Option<Bytes>, ApiError>> {
    let (reader, form) = (Reader::new(api.clone(), webhook.origin.clone(), Caller::anyone()), webhook.form);
    Box::pin(async move {
        match form {
            WebhookForm::Fal => Ok(fal::webhook_body(&reader, id).await?.map(Bytes::from)),
            WebhookForm::Own => jobs::webhook_body(&reader, id).await,
        }
    })
}

/// The public keys of the signatures, as a JSON Web Key Set.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeySet {
    keys: [PublicKey; 1],
}

/// An Ed25519 key, as RFC 8037 writes it.
#[derive(Serialize, ToSchema)]
struct PublicKey {
    kty: &'static str,
    crv: &'static str,
    r#use: &'static str,
    alg: &'static str,
    /// The key, in unpadded URL-safe base64.
    x: String,
}

/// `GET /.well-known/jwks.json`: the public key, as a JSON Web Key Set (RFC 8037).
pub(super) async fn keys(State(api): State<Api>) -> Result<Response, ApiError> {
    let key = ask(api.webhooks.key(&api.store)).await?;
    let x = BASE64_URL_SAFE_NO_PAD.encode(key.public());
    let keys = KeySet { keys: [PublicKey { kty: "OKP", crv: "Ed25519", r#use: "sig", alg: "EdDSA", x }] };
    let mut response = json_response(StatusCode::OK, &keys);
    // A new key must be known soon: the store's key is a new one when the store was emptied.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=300"));
    Ok(response)
}
