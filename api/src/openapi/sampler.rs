//! `scheduler_config`, and the keys of it that a request may have itself.

use glimpse_shared::request::limits::{
    KeyRule, MAX_LISTED, MAX_SIGMA, MAX_TIMESTEP, SCHEDULER_KEYS, asks_for_nothing,
};
use utoipa::openapi::{
    Array, Object, ObjectBuilder, RefOr, Schema,
    schema::{AnyOfBuilder, SchemaType, Type},
};

use super::{
    draft::Draft,
    field::{boolean, closed, integer, number, number_above, one_of},
    members::Members,
};

const SCHEDULER_CONFIG: &str = "Keys of diffusers' `scheduler_config.json` that replace the checkpoint's, and arguments \
                                of its samplers. The length of `timesteps`, or of `sigmas` less one, is the number of \
                                steps. A key that the sampler does not have has no effect";

/// Changes to a sampler's configuration.
pub(super) fn scheduler_config(draft: &mut Draft) -> RefOr<Schema> {
    let object = Object::builder().schema_type(SchemaType::from_iter([Type::Object, Type::Null]));
    let keys = SCHEDULER_KEYS.into_iter();
    let object = keys.fold(object, |object, (key, rule)| object.property(key, schema(rule)));
    draft.named("SchedulerConfig", closed(object).description(Some(SCHEDULER_CONFIG)))
}

/// A key of `scheduler_config` that is a field of a request. On fal's routes a list may have fal's form.
pub(super) fn argument(draft: &mut Draft, key: &str, members: Members) -> RefOr<Schema> {
    let text = format!("As `scheduler_config.{key}`, which must have the same value if both are given");
    let rules = SCHEDULER_KEYS.into_iter().filter(|(name, _)| *name == key);
    let fields = rules.fold(AnyOfBuilder::new(), |any, (_, rule)| any.item(schema(rule)));
    if members != Members::Fals {
        return fields.description(Some(text)).into();
    }
    let nothing = Object::builder()
        .schema_type(SchemaType::AnyValue)
        .enum_values(Some(asks_for_nothing(key)))
        .description(Some("Asks for nothing"));
    let mut fields = fields.item(nothing);
    if key != "eta" {
        fields = fields.item(fals_list(key));
    }
    let name = format!("FalArgument{}{}", key[..1].to_uppercase(), &key[1..]);
    draft.named(&name, fields.description(Some(text)))
}

/// `{"method","array"}` with the method `array`; the other one is among what asks for nothing.
fn fals_list(key: &str) -> ObjectBuilder {
    let method = Object::builder().schema_type(Type::String).enum_values(Some(["array"]));
    let rules = SCHEDULER_KEYS.into_iter().filter(|(name, _)| *name == key);
    let object = Object::builder().property("method", method).required("method");
    let object = rules.fold(object, |object, (_, rule)| object.property("array", not_null(schema(rule))));
    object.required("array").description(Some("fal's form: its array replaces `num_inference_steps`"))
}

/// A list that is not `null`.
fn not_null(schema: RefOr<Schema>) -> RefOr<Schema> {
    match schema {
        RefOr::T(Schema::Array(mut list)) => {
            list.schema_type = Type::Array.into();
            list.into()
        }
        other => other,
    }
}

fn list(items: ObjectBuilder, least: usize, text: &str) -> RefOr<Schema> {
    let mut list = Array::new(items);
    list.schema_type = SchemaType::from_iter([Type::Array, Type::Null]);
    (list.min_items, list.max_items) = (Some(least), Some(MAX_LISTED));
    list.description = Some(text.to_owned());
    list.into()
}

fn schema(rule: KeyRule) -> RefOr<Schema> {
    match rule {
        KeyRule::Flag => boolean().into(),
        KeyRule::Word(words) => one_of(words.iter().copied()).into(),
        KeyRule::Number(least, most) => number(least, most).into(),
        KeyRule::Above0(most) => number_above(0.0, most).into(),
        KeyRule::Integer(least, most) => integer(least, most).into(),
        KeyRule::Sigmas => {
            let level = Object::builder().schema_type(Type::Number);
            let level = level.minimum(Some(0.0)).maximum(Some(MAX_SIGMA));
            list(level, 2, "Noise levels, each below the one before; the last is that after the last step")
        }
        KeyRule::Timesteps => {
            let timestep = Object::builder().schema_type(Type::Integer);
            let timestep = timestep.minimum(Some(0)).maximum(Some(MAX_TIMESTEP));
            list(timestep, 1, "Timesteps of the training, each below the one before")
        }
    }
}
