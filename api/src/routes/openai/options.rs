//! The members of a request that decide how it is answered, not what is drawn.

use glimpse_shared::request::FieldError;
use serde_json::{Map, Value, json};

/// How many characters of an unknown model's name are returned.
const LONGEST_NAME: usize = 200;

/// The qualities that OpenAI has, besides `auto`.
const QUALITIES: [&str; 5] = ["low", "medium", "high", "xhigh", "max"];

/// How a request is answered.
pub(super) struct Options {
    /// The app; `None` for the only one.
    pub(super) model: Option<String>,
    /// Whether pictures are sent as they form.
    pub(super) streams: bool,
    /// Whether the answer has URLs instead of base64.
    pub(super) with_urls: bool,
    /// Echoed in the answer, if OpenAI has such a quality. It has no effect.
    pub(super) quality: Option<&'static str>,
    /// One entry per invalid member.
    pub(super) errors: Vec<FieldError>,
}

impl Options {
    /// Takes these members. `stream` stays: the check of the other members reads it too.
    pub(super) fn take(fields: &mut Map<String, Value>) -> Self {
        let mut errors = Vec::new();
        let mut text = |field: &str| match fields.remove(field) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(other) => {
                errors.push(FieldError::body(field, "string_type", "Input should be a valid string", &other));
                None
            }
        };
        let model = text("model").map(|name| name.chars().take(LONGEST_NAME).collect());
        let quality = text("quality");
        let response_format = text("response_format");
        let with_urls = match response_format.as_deref() {
            Some("url") => true,
            None | Some("b64_json") => false,
            Some(other) => {
                let msg = "Input should be one of b64_json, url";
                let error = FieldError::body("response_format", "one_of", msg, &other.into());
                errors.push(error.with_ctx(json!({ "expected": ["b64_json", "url"] })));
                false
            }
        };
        Self {
            model,
            streams: fields.get("stream").and_then(Value::as_bool).unwrap_or(false),
            with_urls,
            quality: QUALITIES.into_iter().find(|known| Some(*known) == quality.as_deref()),
            errors,
        }
    }
}
