//! Reads a request in `multipart/form-data`, as a JSON request with pictures in data URIs: then all wires check the same.

use axum::{
    body::Bytes,
    extract::multipart::{Multipart, MultipartError, MultipartRejection},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use glimpse_shared::request::{FieldError, Loc, parse_object};
use serde_json::{Map, Number, Value};

use crate::{error::ApiError, intake::Parsed, state::Api};

/// The most parts of a request.
const MOST_PARTS: usize = 64;

/// The fields whose value is a text even if it looks like a number.
const TEXTS: [&str; 12] = [
    "prompt",
    "negative_prompt",
    "model",
    "size",
    "background",
    "response_format",
    "output_format",
    "quality",
    "preset",
    "scheduler",
    "preview_source",
    "user",
];

/// The fields of pictures.
const PICTURES: [&str; 2] = ["image", "mask"];

/// Reads the parts of a form.
///
/// # Errors
/// When it is not a form, or a part is invalid.
pub(super) async fn parsed(
    api: &Api,
    form: Result<Multipart, MultipartRejection>,
) -> Result<Parsed, ApiError> {
    let mut form = form.map_err(|error| malformed(error.body_text()))?;
    let (mut parts, mut size) = (Vec::new(), 0);
    while let Some(part) = form.next_field().await.map_err(|error| cut(&error))? {
        if parts.len() == MOST_PARTS {
            return Err(malformed(format!("The form has more than {MOST_PARTS} parts")));
        }
        // The clients write a list as `image[]`.
        let name = part.name().unwrap_or_default().trim_end_matches("[]").to_owned();
        let is_file = part.file_name().is_some();
        let content = part.bytes().await.map_err(|error| cut(&error))?;
        size += content.len();
        parts.push(Part { name, is_file, content });
    }
    // Encoding a picture takes long.
    let read = move || members(parts).map(|fields| Parsed::new(fields, size));
    api.requests.run_if_large(size, read).await?.map_err(|error| ApiError::field(*error))
}

struct Part {
    name: String,
    is_file: bool,
    content: Bytes,
}

fn members(parts: Vec<Part>) -> Result<Map<String, Value>, Box<FieldError>> {
    let mut fields = Map::new();
    for part in parts {
        let is_picture = PICTURES.contains(&part.name.as_str());
        if is_picture && fields.contains_key(&part.name) {
            let msg = "One picture can be edited at a time";
            return Err(FieldError::body(&part.name, "too_many_images", msg, &Value::Null).into());
        }
        let value = match part.is_file {
            true if is_picture => data_uri(&part.content),
            true if part.name == "markup" => {
                let msg =
                    "This server does not implement it, and the picture would be another one: leave it out";
                return Err(FieldError::body("markup", "feature_not_supported", msg, &Value::Null).into());
            }
            // As all unknown fields.
            true => continue,
            false => part.value()?,
        };
        fields.insert(part.name, value);
    }
    Ok(fields)
}

impl Part {
    /// The value of a part that is not a file.
    fn value(&self) -> Result<Value, Box<FieldError>> {
        let name = &*self.name;
        let Ok(text) = std::str::from_utf8(&self.content) else {
            let msg = "Input should be a valid string in UTF-8";
            return Err(FieldError::body(name, "string_unicode", msg, &Value::Null).into());
        };
        let is_text = TEXTS.contains(&name) || PICTURES.contains(&name);
        Ok(match text.trim() {
            _ if is_text => text.into(),
            "true" => true.into(),
            "false" => false.into(),
            "null" => Value::Null,
            list if list.starts_with(['[', '{']) => {
                // With the limit on the number of values.
                let object = parse_object(format!("{{\"list\":{list}}}").as_bytes());
                object.ok().and_then(|mut object| object.remove("list")).unwrap_or_else(|| text.into())
            }
            other => other.parse::<Number>().map_or_else(|_| text.into(), Value::Number),
        })
    }
}

/// The bytes decide the format of a picture, so the media type does not matter.
fn data_uri(content: &[u8]) -> Value {
    let mut uri = "data:;base64,".to_owned();
    STANDARD.encode_string(content, &mut uri);
    uri.into()
}

fn cut(error: &MultipartError) -> ApiError {
    malformed(error.body_text())
}

/// An error about the whole form.
fn malformed(msg: String) -> ApiError {
    ApiError::field(FieldError {
        loc: vec![Loc::Name("body".to_owned())],
        msg: format!("The body should be multipart/form-data with an image: {msg}"),
        kind: "multipart_invalid",
        input: None,
        ctx: None,
    })
}
