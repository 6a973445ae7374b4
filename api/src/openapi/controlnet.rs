//! The ControlNets of a request.

use glimpse_shared::request::limits::{
    HIGH_THRESHOLD, LOW_THRESHOLD, MAX_CONTROLNET_MODE, MAX_CONTROLNET_SCALE, MAX_CONTROLNETS,
    MAX_LORA_NAME_CHARS, MAX_LORA_URL_BYTES, MAX_THRESHOLD,
};
use serde_json::json;
use utoipa::openapi::{
    Array, Object, ObjectBuilder, RefOr, Schema,
    schema::{SchemaType, Type},
};

use super::{
    draft::Draft,
    field::{
        closed, integer, member, number, number_above, one_of, picture_uri, required_picture_uri, string,
    },
    members::Members,
};

/// The field `controlnets`.
pub(super) fn controlnets(draft: &mut Draft, members: Members) -> RefOr<Schema> {
    let says = |field: ObjectBuilder, text: &str| field.description(Some(text));
    let path = string().min_length(Some(1)).pattern(Some(format!("^.{{1,{MAX_LORA_URL_BYTES}}}$")));
    let text = format!(
        "A folder or a file of the workers' `--controlnet-dir`, of at most {MAX_LORA_NAME_CHARS} characters; parts are \
         divided by `/`, and `.safetensors` may be left out. With `--allow-lora-hub` also `OWNER/NAME` or \
         `hf://OWNER/NAME[@REVISION][/FILE.safetensors]`, and with `--allow-lora-urls` an http or https URL of at most \
         {MAX_LORA_URL_BYTES} bytes"
    );
    let path = says(path, &text);
    let scale = || number(0.0, MAX_CONTROLNET_SCALE);
    let (start, end) = (|| number(0.0, 1.0), || number_above(0.0, 1.0));
    let picture = "Its picture, of any size, in the same forms as the request's `image`";
    let net = member(Object::builder(), "path", path)
        .property("scale", says(scale(), "The factor of what it adds to the UNet").default(Some(json!(1.0))))
        .property("start", says(start(), "The share of the steps before it begins").default(Some(json!(0.0))))
        .property(
            "end",
            says(end(), "The share of the steps after which it has ended; above the start")
                .default(Some(json!(1.0))),
        )
        .property(
            "mode",
            says(
                integer(0, MAX_CONTROLNET_MODE),
                "The kind of its picture, for a union ControlNet: diffusers' `control_mode`",
            ),
        )
        .property(
            "preprocess",
            says(one_of(["canny"]), "Finds the edges of the picture first, as OpenCV's `Canny` does"),
        )
        .property(
            "low_threshold",
            says(integer(0, MAX_THRESHOLD), "Of `canny`; at most the high one")
                .default(Some(json!(LOW_THRESHOLD))),
        )
        .property(
            "high_threshold",
            says(integer(0, MAX_THRESHOLD), "Of `canny`").default(Some(json!(HIGH_THRESHOLD))),
        )
        .description(Some("A ControlNet and its picture"));
    let own = |net| member(net, "image", says(required_picture_uri(), picture));
    let net = match members {
        Members::Closed => draft.named("ControlNet", closed(own(net))),
        Members::Open => draft.named("ControlNetOfOpenAi", own(net)),
        Members::Fals => {
            let like = |own: &str| format!("As `{own}`, which counts if both are given");
            let net = member(net, "image_url", says(required_picture_uri(), picture))
                .property("image", says(picture_uri(), "Instead of `image_url`"))
                .property("conditioning_scale", says(scale(), &like("scale")))
                .property("start_percentage", says(start(), &like("start")))
                .property("end_percentage", says(end(), &like("end")));
            draft.named("ControlNetOfFal", net)
        }
    };
    let mut list = Array::new(net);
    list.schema_type = SchemaType::from_iter([Type::Array, Type::Null]);
    list.max_items = Some(MAX_CONTROLNETS);
    list.description = Some(
        "ControlNets, whose additions are summed, where a worker has them (`--controlnet-dir`)".to_owned(),
    );
    list.default = Some(json!([]));
    list.into()
}
