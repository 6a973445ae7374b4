//! The body of a request on fal's routes: our fields, and fal's names for SDXL.

use glimpse_shared::request::{
    Task,
    limits::{NOT_IMPLEMENTED, asks_for_nothing, size_names},
};
use utoipa::openapi::{
    Object, ObjectBuilder, RefOr, Schema,
    schema::{AnyOfBuilder, SchemaType, Type},
};

use super::{
    draft::Draft,
    field::{boolean, mask_uri, member, one_of, picture_uri, required_mask_uri, required_picture_uri},
    members::Members,
    picture::{Reading, picture, side},
};
use crate::wire::FAL;

/// The body of a request to an endpoint. Its name is [`schema_name`].
pub(super) fn body(draft: &mut Draft, task: Task) -> RefOr<Schema> {
    let defaults = FAL.wire.reads.defaults;
    let has_fals_strength = task != Task::Any;
    let fields = picture(draft, &Reading { defaults, has_fals_strength, members: Members::Fals });
    let fields = own(draft, fields, task);
    let fields = NOT_IMPLEMENTED.iter().fold(fields, |fields, name| fields.property(*name, nothing(name)));
    let text = "fal's input for SDXL. If it has both our name and fal's name for a field, ours counts and fal's is not \
                read. Members that are not listed are ignored.";
    draft.named(schema_name(task), fields.description(Some(text)))
}

fn schema_name(task: Task) -> &'static str {
    match task {
        Task::Any => "FalRequest",
        Task::ImageToImage => "FalImageToImageRequest",
        Task::Inpainting => "FalInpaintingRequest",
    }
}

/// fal's own fields.
fn own(draft: &mut Draft, fields: ObjectBuilder, task: Task) -> ObjectBuilder {
    let says = |field: ObjectBuilder, text: &str| field.description(Some(text));
    let picture = |own: &str, is_required: bool| {
        let uri = match (own, is_required) {
            ("mask", true) => required_mask_uri(),
            ("mask", false) => mask_uri(),
            (_, true) => required_picture_uri(),
            (_, false) => picture_uri(),
        };
        says(uri, &format!("As `{own}`, which counts if both are given"))
    };
    let mut fields = fields
        .property("image_size", image_size(draft))
        .property("format", says(one_of(["jpeg", "png", "webp"]), "As `output_format`"))
        .property("image_format", says(one_of(["jpeg", "png", "webp"]), "As `format`, which counts"))
        .property("image_url", picture("image", task != Task::Any))
        .property("mask_url", picture("mask", task == Task::Inpainting))
        .property(
            "sync_mode",
            says(boolean(), "The pictures as data URIs, also if the fleet keeps pictures outside of events"),
        )
        .property(
            "enable_safety_checker",
            says(boolean(), "Accepted without an effect: there is no safety model"),
        )
        .property(
            "expand_prompt",
            says(boolean(), "`true` has no effect and gives the warning `prompt_not_expanded`"),
        );
    if task != Task::Any {
        fields = fields.required("image_url");
    }
    if task == Task::Inpainting {
        fields = fields.required("mask_url");
    }
    fields
}

fn image_size(draft: &mut Draft) -> RefOr<Schema> {
    let side = || side().schema_type(Type::Integer);
    let sides = member(member(Object::builder(), "width", side()), "height", side());
    let named = one_of(size_names())
        .description(Some("For a model whose own size is 1024x1024; scaled to the own size of another one"));
    let size = AnyOfBuilder::new()
        .item(named)
        .item(sides)
        .description(Some("A name, or both sides. `width` and `height` count if one of them is given"));
    draft.named("ImageSize", size)
}

/// The values of a field that nothing here implements.
fn nothing(field: &str) -> ObjectBuilder {
    Object::builder()
        .schema_type(SchemaType::AnyValue)
        .enum_values(Some(asks_for_nothing(field)))
        .description(Some("Not implemented: leave it out. Only a value that asks for nothing is accepted"))
}
