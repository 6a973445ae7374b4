//! The schemas of fields. `null` is the default of a field that is not required.

use glimpse_shared::request::limits::ALPHA;
use glimpse_shared::webhook::LONGEST_WEBHOOK_URL;
use serde_json::Value;
use utoipa::openapi::{
    Object, ObjectBuilder, RefOr, Schema, SchemaFormat,
    schema::{SchemaType, Type},
};

use crate::config::LARGEST_BODY;

fn nullable(of: Type) -> ObjectBuilder {
    Object::builder().schema_type(SchemaType::from_iter([of, Type::Null]))
}

/// A text.
pub(super) fn string() -> ObjectBuilder {
    Object::builder().schema_type(Type::String)
}

/// The URL of a webhook.
pub(super) fn url() -> ObjectBuilder {
    as_url(string())
}

/// An optional URL of a webhook.
pub(super) fn optional_url() -> ObjectBuilder {
    as_url(nullable(Type::String))
}

fn as_url(text: ObjectBuilder) -> ObjectBuilder {
    let text = text.min_length(Some(1)).max_length(Some(LONGEST_WEBHOOK_URL));
    text.pattern(Some("^[Hh][Tt][Tt][Pp][Ss]?://"))
}

/// A UUID.
pub(super) fn uuid() -> ObjectBuilder {
    string().format(Some(SchemaFormat::Custom("uuid".to_owned())))
}

/// An optional text.
pub(super) fn text(least: usize, most: usize) -> ObjectBuilder {
    nullable(Type::String).min_length(Some(least)).max_length(Some(most))
}

/// An optional text of this form.
pub(super) fn of_form(pattern: &str) -> ObjectBuilder {
    nullable(Type::String).min_length(Some(1)).pattern(Some(pattern))
}

/// An optional picture.
pub(super) fn picture_uri() -> ObjectBuilder {
    of_form(PICTURE)
}

/// A required picture.
pub(super) fn required_picture_uri() -> ObjectBuilder {
    string().min_length(Some(1)).pattern(Some(PICTURE))
}

/// An optional mask: a picture, or the word for the alpha channel of the image.
pub(super) fn mask_uri() -> ObjectBuilder {
    of_form(&format!("({PICTURE})|^{ALPHA}$"))
}

/// The same, required.
pub(super) fn required_mask_uri() -> ObjectBuilder {
    mask_uri().schema_type(Type::String)
}

/// A data URI, or the URL of a picture.
const PICTURE: &str = r"^\s*([Dd][Aa][Tt][Aa]:|[Hh][Tt][Tt][Pp][Ss]?://)";

/// An optional text that has no effect. Only the limit of bodies bounds it.
pub(super) fn ignored() -> ObjectBuilder {
    nullable(Type::String).max_length(Some(LARGEST_BODY as usize))
}

/// An optional whole number.
pub(super) fn integer(least: u64, most: u64) -> ObjectBuilder {
    nullable(Type::Integer).minimum(Some(least)).maximum(Some(most))
}

/// An optional number.
pub(super) fn number(least: f64, most: f64) -> ObjectBuilder {
    nullable(Type::Number).minimum(Some(least)).maximum(Some(most))
}

/// An optional number above `least`.
pub(super) fn number_above(least: f64, most: f64) -> ObjectBuilder {
    nullable(Type::Number).exclusive_minimum(Some(least)).maximum(Some(most))
}

/// An optional boolean.
pub(super) fn boolean() -> ObjectBuilder {
    nullable(Type::Boolean)
}

/// One of these words, or `null`.
pub(super) fn one_of<'a>(words: impl IntoIterator<Item = &'a str>) -> ObjectBuilder {
    let words = words.into_iter().map(Value::from);
    nullable(Type::String).enum_values(Some(words.chain([Value::Null])))
}

/// A required object with these members and no others.
pub(super) fn closed(object: ObjectBuilder) -> ObjectBuilder {
    use utoipa::openapi::schema::AdditionalProperties;
    object.additional_properties(Some(AdditionalProperties::FreeForm(false)))
}

/// An object with a member.
pub(super) fn member(object: ObjectBuilder, name: &str, schema: impl Into<RefOr<Schema>>) -> ObjectBuilder {
    object.property(name, schema).required(name)
}
