//! The headers of a call: its id, its time and its signature.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use base64::{Engine, prelude::BASE64_STANDARD};
use glimpse_shared::{
    id::JobId,
    webhook::{Delivery, WebhookForm},
};
use sha2::{Digest, Sha256};

use super::key::WebhookKey;

/// The headers of a call with this body at a time, in seconds since the Unix epoch. The id stays the same in every try;
/// time and signature are new.
pub(super) fn headers(delivery: &Delivery, body: &[u8], key: &WebhookKey, time: u64) -> HeaderMap {
    let (id, time) = (delivery.job, time.to_string());
    let named = match delivery.webhook.form {
        WebhookForm::Fal => {
            let signature = hex(&key.sign(fal_message(id, &delivery.tenant, &time, body).as_bytes()));
            vec![
                ("x-fal-webhook-request-id", id.to_string()),
                ("x-fal-webhook-user-id", delivery.tenant.clone()),
                ("x-fal-webhook-timestamp", time),
                ("x-fal-webhook-signature", signature),
            ]
        }
        // Standard Webhooks: `v1a` is Ed25519.
        WebhookForm::Own => {
            let message = [format!("{id}.{time}.").as_bytes(), body].concat();
            let signature = format!("v1a,{}", BASE64_STANDARD.encode(key.sign(&message)));
            vec![
                ("webhook-id", id.to_string()),
                ("webhook-timestamp", time),
                ("webhook-signature", signature),
            ]
        }
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in named {
        // A tenant with other characters than a header has is not in the header; the signature still counts it.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers
}

/// What fal signs: four lines, the last one the hash of the body.
fn fal_message(id: JobId, tenant: &str, time: &str, body: &[u8]) -> String {
    let hash: [u8; 32] = Sha256::digest(body).into();
    format!("{id}\n{tenant}\n{time}\n{}", hex(&hash))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
