//! Reads a request in `multipart/form-data`, as a JSON request with pictures in data URIs: then all wires check the same.

use std::collections::BTreeSet;

use axum::{
    body::Bytes,
    extract::multipart::{Multipart, MultipartError, MultipartRejection},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use glimpse_shared::{
    needs::CONTROLNETS,
    request::{FieldError, Loc, parse_object},
};
use serde_json::{Map, Number, Value};

use super::nested::{self, Name, Step};
use crate::{error::ApiError, intake::Parsed, state::Api};

/// The most parts of a request.
const MOST_PARTS: usize = 64;

/// The fields whose value is a text even if it looks like a number.
const TEXTS: [&str; 15] = [
    "prompt",
    "negative_prompt",
    "model",
    "size",
    "background",
    "response_format",
    "output_format",
    "quality",
    "preset",
    "prompt_syntax",
    "scheduler",
    "preview_source",
    "user",
    "path",
    "token",
];

/// The fields whose value is a switch: clients write it as `True` and `1` too.
const SWITCHES: [&str; 3] = ["stream", "long_prompt", "metadata"];

/// The other fields that are read. Malformed names of fields that are not read are ignored with them.
const OTHERS: [&str; 27] = [
    "n",
    "num_images",
    "num_inference_steps",
    "width",
    "height",
    "guidance_scale",
    "guidance_rescale",
    "clip_skip",
    "loras",
    "embeddings",
    CONTROLNETS,
    "scheduler_config",
    "sigmas",
    "timesteps",
    "eta",
    "strength",
    "denoising_end",
    "aesthetic_score",
    "negative_aesthetic_score",
    "padding_mask_crop",
    "hires",
    "seed",
    "seeds",
    "preview_every",
    "output_compression",
    "partial_images",
    "markup",
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
        let name = Name::read(part.name().unwrap_or_default());
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
    /// The field alone, if its brackets are malformed.
    name: Result<Name, String>,
    is_file: bool,
    content: Bytes,
}

fn members(parts: Vec<Part>) -> Result<Map<String, Value>, Box<FieldError>> {
    let (mut fields, mut lists) = (Map::new(), BTreeSet::new());
    for Part { name, is_file, content } in parts {
        let name = match name {
            Ok(name) => name,
            Err(field) if is_read(&field) => return Err(brackets(&field)),
            Err(_) => continue,
        };
        let field = &*name.field;
        let is_picture = PICTURES.contains(&field);
        if is_picture && !name.is_flat() {
            return Err(brackets(field));
        }
        if is_picture && fields.contains_key(field) {
            let msg = "One picture can be edited at a time";
            return Err(FieldError::body(field, "too_many_images", msg, &Value::Null).into());
        }
        let value = match is_file {
            true if is_picture || is_control(&name) => data_uri(&content),
            true if field == "markup" => {
                let msg =
                    "This server does not implement it, and the picture would be another one: leave it out";
                return Err(FieldError::body("markup", "feature_not_supported", msg, &Value::Null).into());
            }
            // As all unknown fields.
            true => continue,
            false => value(&name, &content)?,
        };
        if is_picture {
            // The clients write its list as `image[]`.
            fields.insert(field.to_owned(), value);
            continue;
        }
        if name.steps.first() == Some(&Step::Each) && name.steps.len() > 1 {
            lists.insert(field.to_owned());
        }
        if nested::put(&mut fields, &name, value).is_err() && is_read(field) {
            return Err(brackets(field));
        }
    }
    for field in lists.into_iter().filter(|field| is_read(field)) {
        let list = fields.get(&field).unwrap_or(&Value::Null);
        if nested::check_entries(list).is_err() {
            let msg = "It is not clear to which entry a value belongs: give all entries the same members, number them as \
                       name[0][member], or write the whole list in JSON";
            return Err(FieldError::body(&field, "form_brackets", msg, list).into());
        }
    }
    Ok(fields)
}

/// Whether a part is the picture of a ControlNet.
fn is_control(name: &Name) -> bool {
    name.field == CONTROLNETS && name.last() == "image"
}

/// Whether a field is known.
fn is_read(field: &str) -> bool {
    PICTURES.contains(&field)
        || TEXTS.contains(&field)
        || SWITCHES.contains(&field)
        || OTHERS.contains(&field)
}

/// The names of the parts of a field are malformed, or contradict each other.
fn brackets(field: &str) -> Box<FieldError> {
    let msg = "The name of its parts should be name, name[], name[0], name[member], or these one after the other, and the \
               same for all of its parts";
    FieldError::body(field, "form_brackets", msg, &Value::Null).into()
}

/// The value of a part that is not a file.
fn value(name: &Name, content: &[u8]) -> Result<Value, Box<FieldError>> {
    let Ok(text) = std::str::from_utf8(content) else {
        let msg = "Input should be a valid string in UTF-8";
        return Err(FieldError::body(&name.field, "string_unicode", msg, &Value::Null).into());
    };
    let last = name.last();
    let is_text = TEXTS.contains(&last) || PICTURES.contains(&last);
    Ok(match text.trim() {
        _ if is_text => text.into(),
        "true" => true.into(),
        "false" => false.into(),
        "True" | "1" if SWITCHES.contains(&last) => true.into(),
        "False" | "0" if SWITCHES.contains(&last) => false.into(),
        "null" => Value::Null,
        list if list.starts_with(['[', '{']) => {
            // With the limit on the number of values.
            let object = parse_object(format!("{{\"list\":{list}}}").as_bytes());
            object.ok().and_then(|mut object| object.remove("list")).unwrap_or_else(|| text.into())
        }
        other => other.parse::<Number>().map_or_else(|_| text.into(), Value::Number),
    })
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
