//! OpenAI's routes for pictures.

use glimpse_shared::request::{
    Endpoint, MAX_INPUT_IMAGE_BYTES, Partials, Unknown,
    limits::{MAX_COMPRESSION, MAX_IMAGES, MAX_STEPS},
};
use utoipa::openapi::{HttpMethod, ObjectBuilder, RefOr, Schema};

use super::{
    answer::{any_of, event, events, json},
    draft::Draft,
    errors::{ON_OPENAIS, of_submits, of_the_store, of_waiting},
    field::{boolean, ignored, integer, of_form, one_of, string},
    members::Members,
    operators::APP,
    picture::{Reading, picture},
    route::Route,
};
use crate::{
    error::ApiError,
    keys::Scope,
    routes::openai::{
        answer::{PictureEvent, Whole},
        models::{Model, ModelList},
    },
    wire::{OPENAI, OpenAiErrorEvent},
};

pub(super) const TAG: &str = "OpenAI";

pub(super) fn describe(draft: &mut Draft) {
    let generation = body(draft, Endpoint::Generation);
    let route = waits(draft, Route::new("generateImages", TAG, "Makes pictures").body(generation));
    let route = route.keyed(draft, &ON_OPENAIS, Scope::Jobs);
    draft.add(HttpMethod::Post, "/v1/images/generations", route);
    let edit = body(draft, Endpoint::Edit);
    let route = waits(draft, Route::new("editImage", TAG, "Makes pictures from a picture").form(edit));
    let route = route.keyed(draft, &ON_OPENAIS, Scope::Jobs);
    draft.add(HttpMethod::Post, "/v1/images/edits", route);

    let models = draft.schema::<ModelList<'_>>();
    let route = Route::new("listModels", TAG, "Lists the apps, as models")
        .answer(200, json("The apps.", models))
        .errors(draft, &ON_OPENAIS, &of_the_store());
    let route = route.keyed(draft, &ON_OPENAIS, Scope::Jobs);
    draft.add(HttpMethod::Get, "/v1/models", route);
    let model = draft.schema::<Model<'_>>();
    let unknown = ApiError::AppUnknown { app: String::new(), served: Vec::new() };
    let route = Route::new("getModel", TAG, "Says whether an app is served")
        .path(
            "id",
            string().min_length(Some(1)).max_length(Some(131)),
            "The name of the app; its slash may be escaped or not",
        )
        .answer(200, json("The app.", model))
        .errors(draft, &ON_OPENAIS, &[unknown])
        .errors(draft, &ON_OPENAIS, &of_the_store());
    let route = route.keyed(draft, &ON_OPENAIS, Scope::Jobs);
    draft.add(HttpMethod::Get, "/v1/models/{id}", route);
}

/// The answers of a route whose client waits for its pictures.
fn waits(draft: &mut Draft, route: Route) -> Route {
    let (whole, picture) = (draft.schema::<Whole<'_>>(), draft.schema::<PictureEvent<'_>>());
    let shown = event(any_of(vec![picture, draft.schema::<OpenAiErrorEvent>()]));
    let shown = shown.property("event", string().description(Some("The `type` of the event")));
    let word = string().enum_values(Some(["cancel", "detach"]));
    route
        .header("X-Glimpse-On-Disconnect", word, "What happens to the job when its client disconnects")
        .answer(200, json("The pictures.", whole))
        .answer(200, events("With `stream`: the partial pictures and the pictures.", shown))
        .errors(draft, &ON_OPENAIS, &of_submits())
        .errors(draft, &ON_OPENAIS, &of_waiting())
        .errors(draft, &ON_OPENAIS, &[ApiError::NoneServed, ApiError::InputEnded])
}

/// The body of a request: our fields, and OpenAI's names.
fn body(draft: &mut Draft, endpoint: Endpoint) -> RefOr<Schema> {
    let defaults = OPENAI.reads.defaults;
    let members = if defaults.unknown == Unknown::Refused { Members::Closed } else { Members::Open };
    let fields = own(picture(draft, &Reading { defaults, has_fals_strength: false, members }));
    let text = "OpenAI's input, with our fields, which count if both say the same. Members that are not listed are \
                ignored.";
    let fields = fields.description(Some(text));
    if endpoint == Endpoint::Generation {
        return draft.named("OpenAiRequest", fields);
    }
    let file = |text: &str| {
        let bytes = string().min_length(Some(1)).max_length(Some(MAX_INPUT_IMAGE_BYTES));
        bytes.content_media_type("application/octet-stream").description(Some(text))
    };
    let fields = fields
        .property("image", file("A PNG, JPEG, WebP or GIF, as `image` or `image[]`"))
        .property("mask", file("Its transparent pixels are repainted; without it those of `image`"))
        .required("image");
    draft.named("OpenAiEditRequest", fields)
}

/// OpenAI's own fields.
fn own(fields: ObjectBuilder) -> ObjectBuilder {
    let says = |field: ObjectBuilder, text: &str| field.description(Some(text));
    let size = says(of_form("^(auto|[0-9]+x[0-9]+)$"), "`WIDTHxHEIGHT` in pixels, multiples of 8, or `auto`");
    let format = says(one_of(["jpeg", "png", "webp"]), "How the final pictures are encoded");
    let partial_images = says(integer(0, Partials::MOST.into()), "How many partial pictures a stream has");
    fields
        .property("model", says(of_form(APP), "The app; without it the only one"))
        .property("n", says(integer(1, MAX_IMAGES), "As `num_images`"))
        .property("size", size.examples(["auto", "512x512"]))
        .property(
            "response_format",
            says(one_of(["b64_json", "url"]), "Whether the answer has pictures or URLs"),
        )
        .property("output_format", format.default(Some("png".into())))
        .property("output_compression", says(integer(0, MAX_COMPRESSION), "The quality of a JPEG"))
        .property("background", says(one_of(["opaque", "auto"]), "The pictures have no transparent pixels"))
        .property(
            "preview_every",
            says(integer(0, MAX_STEPS), "Has no effect: a stream has partial pictures")
                .default(Some(0.into())),
        )
        .property("stream", says(boolean(), "Whether the answer is a stream of events"))
        .property("partial_images", partial_images)
        .property("quality", says(ignored(), "Has no effect"))
        .property("user", says(ignored(), "Has no effect"))
}
