//! Reads the parts of a request that do not describe the picture: the headers, the app, the timeouts and the digest of
//! the body.

use std::{fmt::Write as _, io, time::Duration};

use axum::{
    extract::{Query, rejection::QueryRejection},
    http::HeaderMap,
};
use bytes::Bytes;
use glimpse_shared::{
    id::App,
    job::Class,
    request::{FieldError, parse_object, sent},
    telemetry::Traceparent,
    webhook::{Webhook, WebhookForm},
};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::{
    config::{self, OnDisconnect, TIMEOUT_RULE},
    error::ApiError,
    reader::Reader,
    state::Api,
    webhooks::Refused,
};

/// The query of a route whose only parameter is `name`.
///
/// # Errors
/// When the parameter is there twice, or is no text.
pub(crate) fn read_query<T>(query: Result<Query<T>, QueryRejection>, name: &str) -> Result<T, ApiError> {
    let wrong = |rejection: QueryRejection| {
        ApiError::field(FieldError::query(name, "query_parsing", rejection.body_text(), ""))
    };
    query.map(|Query(query)| query).map_err(wrong)
}

/// A request's headers, and the errors in them.
pub(crate) struct Headers<'a> {
    headers: &'a HeaderMap,
    /// One entry per invalid header.
    pub(crate) errors: Vec<FieldError>,
}

impl<'a> Headers<'a> {
    pub(crate) fn new(headers: &'a HeaderMap) -> Self {
        Self { headers, errors: Vec::new() }
    }

    /// A header, parsed by `read`; `None` if it is absent, or invalid and added to `errors`.
    fn read<T>(
        &mut self,
        name: &str,
        kind: &'static str,
        rule: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.headers.get(name)?;
        let value = String::from_utf8_lossy(value.as_bytes());
        let understood = read(value.trim());
        if understood.is_none() {
            self.errors.push(FieldError::header(name, kind, rule, &value));
        }
        understood
    }

    /// `X-Fal-Request-Timeout`: seconds within which a worker must claim the job.
    pub(crate) fn start_timeout(&mut self) -> Option<Duration> {
        self.read("x-fal-request-timeout", "timeout", TIMEOUT_RULE, |value| {
            value.parse().ok().and_then(config::timeout)
        })
    }

    /// `X-Fal-Queue-Priority`.
    pub(crate) fn class(&mut self) -> Class {
        let class =
            self.read("x-fal-queue-priority", "one_of", "Input should be one of normal, low", |value| {
                match value {
                    "normal" => Some(Class::Normal),
                    "low" => Some(Class::Low),
                    _ => None,
                }
            });
        class.unwrap_or_default()
    }

    /// `X-Glimpse-On-Disconnect`.
    pub(crate) fn on_disconnect(&mut self) -> Option<OnDisconnect> {
        let rule = "Input should be one of cancel, detach";
        self.read("x-glimpse-on-disconnect", "one_of", rule, OnDisconnect::parse)
    }

    /// `Idempotency-Key`.
    pub(crate) fn idempotency_key(&mut self) -> Option<String> {
        let rule = "Input should have 1 to 255 printable ASCII characters";
        self.read("idempotency-key", "idempotency_key", rule, |value| {
            let right = (1..=255).contains(&value.len()) && value.bytes().all(|b| (b' '..=b'~').contains(&b));
            right.then(|| value.to_owned())
        })
    }

    /// W3C's `traceparent`: where the span of this request is (`traced.rs`).
    pub(crate) fn traceparent(&self) -> Option<String> {
        let value = self.headers.get("traceparent")?.to_str().ok()?;
        Traceparent::parse(value).map(|place| place.to_string())
    }
}

/// Members of a body on our own routes that do not describe the picture, and their errors.
pub(crate) struct Members {
    /// The members that are not taken yet.
    pub(crate) body: Map<String, Value>,
    /// One entry per invalid member.
    pub(crate) errors: Vec<FieldError>,
}

impl Members {
    /// Takes `app`, which is required; `None` if it is invalid.
    pub(crate) fn app(&mut self) -> Option<App> {
        let error = match self.body.remove("app") {
            None | Some(Value::Null) => {
                let body = Value::Object(std::mem::take(&mut self.body));
                let error = FieldError::body("app", "missing", "Field required", &body);
                if let Value::Object(body) = body {
                    self.body = body;
                }
                error
            }
            Some(Value::String(name)) => match name.parse::<App>() {
                Ok(app) => return Some(app),
                Err(error) => FieldError::body("app", "app", error.to_string(), &name.into()),
            },
            Some(other) => FieldError::body("app", "string_type", "Input should be a valid string", &other),
        };
        self.errors.push(error);
        None
    }

    /// Takes a timeout in seconds; `None` if it is absent or invalid.
    pub(crate) fn timeout(&mut self, field: &str) -> Option<Duration> {
        let value = self.body.remove(field).filter(|value| !value.is_null())?;
        let error = match value.as_f64().map(config::timeout) {
            Some(Some(timeout)) => return Some(timeout),
            Some(None) => FieldError::body(field, "timeout", TIMEOUT_RULE, &value)
                .with_ctx(json!({ "gt": 0, "le": 604_800 })),
            None => FieldError::body(field, "float_type", "Input should be a valid number", &value),
        };
        self.errors.push(error);
        None
    }

    /// Takes `webhook`, a URL that may be called; `None` if it is absent or invalid. `reader` is that of the client.
    pub(crate) async fn webhook(&mut self, reader: &Reader) -> Option<Webhook> {
        let value = self.body.remove("webhook").filter(|value| !value.is_null())?;
        let error = match &value {
            Value::String(url) => match reader.api().webhooks.checked(url).await {
                Ok(()) => {
                    let (url, origin) = (url.clone(), reader.origin().to_owned());
                    return Some(Webhook { url, form: WebhookForm::Own, origin });
                }
                Err(Refused { kind, message }) => FieldError::body("webhook", kind, message, &value),
            },
            _ => FieldError::body("webhook", "string_type", "Input should be a valid string", &value),
        };
        self.errors.push(error);
        None
    }
}

/// A parsed body.
pub(crate) struct Parsed {
    /// Its members.
    pub(crate) fields: Map<String, Value>,
    /// The body as the errors of missing fields show it.
    pub(crate) sent: Value,
    /// See [`digest`].
    pub(crate) digest: String,
    /// Its size in bytes.
    pub(crate) size: usize,
}

impl Parsed {
    /// A request of `size` bytes that has these members.
    pub(crate) fn new(mut fields: Map<String, Value>, size: usize) -> Self {
        Self { digest: digest(&mut fields), sent: sent(&fields), fields, size }
    }
}

/// Parses a body.
///
/// # Errors
/// When it is not a JSON object.
pub(crate) async fn parsed(api: &Api, body: &Bytes) -> Result<Parsed, ApiError> {
    let (body, size) = (body.clone(), body.len());
    let parse = move || {
        let fields = parse_object(&body)?;
        Ok(Parsed::new(fields, size))
    };
    api.requests.run_if_large(size, parse).await?.map_err(ApiError::Fields)
}

/// Identifies a repeated request: the SHA-256 (hex) of its members, which this puts into alphabetical order, so it does not
/// depend on the client's formatting. They are hashed while they are serialised, so there is no second copy of the body.
fn digest(body: &mut Map<String, Value>) -> String {
    struct Hashed(Sha256);

    impl io::Write for Hashed {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    body.sort_keys();
    body.values_mut().for_each(Value::sort_all_objects);
    let mut hashed = Hashed(Sha256::new());
    // Every JSON value can be serialised, and hashing cannot fail.
    let written = serde_json::to_writer(&mut hashed, body);
    debug_assert!(written.is_ok());
    let mut hex = String::with_capacity(64);
    for byte in hashed.0.finalize() {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_the_same_as_in_the_previous_release() {
        let body = r#" {"prompt":"a \u00e9 \"heart\"\n", "seed": 7, "guidance_scale": 5.50, "loras": [{"scale":1e0,"path":"b"}],
            "app":"glimpse/demo","image":null} "#;
        let before = Sha256::digest(
            "{\"app\":\"glimpse/demo\",\"guidance_scale\":5.5,\"image\":null,\"loras\":[{\"path\":\"b\",\"scale\":1.0}],\
             \"prompt\":\"a \u{e9} \\\"heart\\\"\\n\",\"seed\":7}"
                .as_bytes(),
        );
        let before: String = before.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest(&mut parse_object(body.as_bytes()).unwrap()), before);
    }
}
