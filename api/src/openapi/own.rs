//! Our own routes: a job continues without its client.

use glimpse_shared::{
    event::Event,
    id::App,
    job::Status,
    request::{
        FieldError, Unknown,
        limits::{MAX_IMAGES, MAX_STEP_INDEX},
    },
};
use utoipa::{
    PartialSchema,
    openapi::{
        HttpMethod, Object, ObjectBuilder, RefOr, Schema,
        schema::{SchemaType, Type},
    },
};

use super::{
    answer::{LOCATION, empty, event, events, file, json},
    draft::Draft,
    errors::{ON_OUR_OWN, of_bodies, of_operators, of_results, of_submits, of_the_store},
    field::{closed, integer, member, number, optional_url, string, uuid},
    members::Members,
    picture::{Reading, picture},
    route::Route,
};
use crate::{
    config::{LONGEST, SHORTEST},
    error::ApiError,
    keys::Scope,
    routes::{
        apps::AppList,
        finish::FinishingJob,
        job_list::{DEFAULT_LIMIT, JobList, LIMITS},
        recipe::PictureRecipe,
        view::{AcceptedJob, CancelledJob, JobView},
        webhook::KeySet,
    },
    wire::OWN,
};

pub(super) const TAG: &str = "jobs";

const JOB: &str = "The job";

pub(super) fn describe(draft: &mut Draft) {
    submit(draft);
    list(draft);
    apps(draft);
    status(draft);
    follow(draft);
    image(draft);
    kept(draft);
    keys(draft);
    cancel(draft);
    finish(draft);
    recipe(draft);
}

fn submit(draft: &mut Draft) {
    let body = submission(draft);
    let (accepted, key) =
        (draft.schema::<AcceptedJob<'_>>(), string().min_length(Some(1)).max_length(Some(255)));
    let location = |text| json(text, accepted.clone()).header(LOCATION);
    let route = Route::new("submitJob", TAG, "Submits a job")
        .header(
            "Idempotency-Key",
            key.pattern(Some("^[!-~]([ -~]*[!-~])?$")),
            "With the same key and the same body, a repeated submit gets the same job. Keep it secret",
        )
        .body(body)
        .answer(202, location("The job is queued."))
        .answer(200, location("The job of the same key."))
        .errors(draft, &ON_OUR_OWN, &of_submits())
        .errors(draft, &ON_OUR_OWN, &of_sources());
    let route = route.keyed(draft, &ON_OUR_OWN, Scope::Jobs);
    draft.add(HttpMethod::Post, "/v1/jobs", route);
}

/// The body of a submit.
fn submission(draft: &mut Draft) -> RefOr<Schema> {
    let defaults = OWN.reads.defaults;
    let members = if defaults.unknown == Unknown::Refused { Members::Closed } else { Members::Open };
    let fields = picture(draft, &Reading { defaults, has_fals_strength: false, members });
    let seconds = |text: &str| {
        let (least, most) = (SHORTEST.as_secs_f64(), LONGEST.as_secs_f64());
        number(least, most)
            .description(Some(format!("{text}, in seconds; without it what the operator has set")))
    };
    let from = from(draft);
    let fields = member(fields, "app", app())
        .property("from", from)
        .property("start_timeout", seconds("How long the job may wait for its first worker"))
        .property(
            "webhook",
            optional_url()
                .description(Some("An http or https URL that is called with the job when it has ended")),
        )
        .property(
            "finish_at_step",
            integer(0, MAX_STEP_INDEX).description(Some(
                "The step, counted from 0, after which the job finishes early with its estimate of the picture, as \
                 `POST /v1/jobs/{id}/finish` asks for it. A job without such a step ends as usual",
            )),
        )
        .property("run_timeout", seconds("How long the job may take from its first claim to its end"));
    draft.named("JobRequest", if members == Members::Closed { closed(fields) } else { fields })
}

/// Errors about what a submit goes on from.
fn of_sources() -> [ApiError; 2] {
    let unknown = FieldError::body("from", "job_unknown", "", &serde_json::Value::Null);
    [ApiError::SourceUnknown(Box::new(unknown)), ApiError::SourceChanged(Vec::new())]
}

/// Where a job goes on from another one.
fn from(draft: &mut Draft) -> RefOr<Schema> {
    let recipe = Object::builder()
        .schema_type(Type::Object)
        .property("version", integer(1, 1).schema_type(Type::Integer))
        .property("request", Object::builder().schema_type(Type::Object))
        .required("version")
        .required("request")
        .description(Some(
            "The recipe of a picture. An input picture that it names by its digest is in the request",
        ));
    let step = integer(0, MAX_STEP_INDEX).schema_type(Type::Integer);
    let object = Object::builder()
        .schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
        .property("job", uuid().description(Some("The other job. Instead of `recipe`")))
        .property("recipe", recipe)
        .property("step", step.description(Some("The last step that is made as there, counted from 0")))
        .required("step")
        .description(Some(
            "The job goes on from what another one had after a step. Those steps are made again as there, and the others \
             by this request. What it does not say is as there; pictures, sizes, LoRAs and embeddings cannot change",
        ));
    draft.named("From", closed(object))
}

/// The name of an app. Not a reference: readers of a flat object look at its members.
fn app() -> RefOr<Schema> {
    App::schema()
}

/// The schema of a job's id in a path.
fn id() -> ObjectBuilder {
    uuid()
}

fn list(draft: &mut Draft) {
    let jobs = draft.schema::<JobList>();
    let (least, most) = (*LIMITS.start() as u64, *LIMITS.end() as u64);
    let limit = integer(least, most).schema_type(Type::Integer).default(Some(DEFAULT_LIMIT.into()));
    let route = Route::new("listJobs", TAG, "Lists the jobs of all clients, newest first")
        .says("There are no keys, so all clients are one caller. Only for callers on the machine of the API. No web page of another origin may read it.")
        .query("status", Status::schema(), "Only jobs with this status")
        .query("limit", limit, "How many jobs at most")
        .query("before", uuid(), "Only jobs that are older than this one, for the next page")
        .answer(200, json("The jobs.", jobs))
        .errors(draft, &ON_OUR_OWN, &of_operators())
        .errors(draft, &ON_OUR_OWN, &[ApiError::Fields(Vec::new())])
        .errors(draft, &ON_OUR_OWN, &of_the_store());
    let route = route.keyed(draft, &ON_OUR_OWN, Scope::Jobs);
    draft.add(HttpMethod::Get, "/v1/jobs", route);
}

fn apps(draft: &mut Draft) {
    let apps = draft.schema::<AppList>();
    let route = Route::new("listApps", TAG, "Says what each app offers")
        .answer(200, json("The apps.", apps))
        .errors(draft, &ON_OUR_OWN, &of_the_store());
    let route = route.keyed(draft, &ON_OUR_OWN, Scope::Jobs);
    draft.add(HttpMethod::Get, "/v1/apps", route);
}

fn status(draft: &mut Draft) {
    let job = draft.schema::<JobView<'_>>();
    let route = Route::new("getJob", TAG, "Says where a job is, and its result")
        .path("id", id(), JOB)
        .answer(200, json("The job.", job))
        .errors(draft, &ON_OUR_OWN, &[ApiError::JobUnknown])
        .errors(draft, &ON_OUR_OWN, &of_the_store());
    let route = route.keyed(draft, &ON_OUR_OWN, Scope::Jobs);
    draft.add(HttpMethod::Get, "/v1/jobs/{id}", route);
}

fn follow(draft: &mut Draft) {
    let event = event(draft.schema::<Event>())
        .property("id", string().pattern(Some("^[0-9]+$")).description(Some("The number of the event")))
        .property("event", string().description(Some("The `type` of the event")));
    let cursor = || integer(0, u64::MAX).schema_type(Type::Integer);
    let route = Route::new("followJob", TAG, "Sends the events of a job as they happen")
        .says(
            "Each event has `id:` (its number), `event:` (its `type`) and `data:`. The last one is `completed`, \
             `failed` or `cancelled`; then the body ends. A comment `: gap` comes before an event if others before it \
             were skipped. While nothing happens, comments are sent.",
        )
        .path("id", id(), JOB)
        .query("after", cursor(), "The number of the last event that the client has")
        .header("Last-Event-ID", cursor(), "The same; it counts if both are given")
        .answer(200, events("The events.", event))
        .answer(204, empty("The client already has the last event."))
        .errors(draft, &ON_OUR_OWN, &[ApiError::JobUnknown, ApiError::Fields(Vec::new())])
        .errors(draft, &ON_OUR_OWN, &[ApiError::StreamsFull { limit: 0 }])
        .errors(draft, &ON_OUR_OWN, &of_the_store());
    let route = route.keyed(draft, &ON_OUR_OWN, Scope::Jobs);
    draft.add(HttpMethod::Get, "/v1/jobs/{id}/events", route);
}

fn image(draft: &mut Draft) {
    let route =
        Route::new("getJobImage", TAG, "Sends the newest preview of a job, later its first final picture")
            .path("id", id(), JOB)
            .query(
                "index",
                integer(0, MAX_IMAGES - 1).schema_type(Type::Integer).default(Some(0.into())),
                "Which of the final pictures; a preview is only of the first",
            )
            .answer(200, file("The picture.", &PICTURES))
            .errors(draft, &ON_OUR_OWN, &[ApiError::JobUnknown, ApiError::NoImage])
            .errors(draft, &ON_OUR_OWN, &[ApiError::Fields(Vec::new())])
            .errors(draft, &ON_OUR_OWN, &of_results())
            .errors(draft, &ON_OUR_OWN, &of_the_store());
    let route = route.keyed(draft, &ON_OUR_OWN, Scope::Jobs);
    draft.add(HttpMethod::Get, "/v1/jobs/{id}/image", route);
}

fn kept(draft: &mut Draft) {
    let name = string().pattern(Some(r"^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{32}\.(jpg|png|webp)$"));
    let route = Route::new(
        "getFile",
        TAG,
        "Sends a picture that the fleet keeps outside of events (`--results`)",
    )
    .says(
        "The address is in a job's result. A picture never changes. A part of it can be asked for (`Range`).",
    )
    .path("name", name, "The picture")
    .answer(200, file("The picture.", &PICTURES))
    .answer(206, file("The part of it that was asked for.", &PICTURES))
    .answer(304, empty("The client has it."))
    .answer(412, empty("It has changed since `If-Unmodified-Since`, or is not the one of `If-Match`."))
    .answer(307, empty("It is in a bucket, at the signed address in `Location`.").header(LOCATION))
    .errors(draft, &ON_OUR_OWN, &[ApiError::RangeUnknown])
    .errors(draft, &ON_OUR_OWN, &of_results());
    draft.add(HttpMethod::Get, "/files/{name}", route);
}

fn keys(draft: &mut Draft) {
    let keys = draft.schema::<KeySet>();
    let route = Route::new("getWebhookKeys", TAG, "The public key of the signatures of webhooks")
        .answer(200, json("A JSON Web Key Set (RFC 8037).", keys))
        .errors(draft, &ON_OUR_OWN, &of_the_store());
    draft.add(HttpMethod::Get, "/.well-known/jwks.json", route);
}

/// The media types of pictures.
const PICTURES: [&str; 3] = ["image/jpeg", "image/png", "image/webp"];

fn cancel(draft: &mut Draft) {
    let cancelled = draft.schema::<CancelledJob>();
    let route = Route::new("cancelJob", TAG, "Cancels a job")
        .path("id", id(), JOB)
        .answer(200, json("The job has ended.", cancelled))
        .errors(draft, &ON_OUR_OWN, &[ApiError::JobUnknown])
        .errors(draft, &ON_OUR_OWN, &of_bodies())
        .errors(draft, &ON_OUR_OWN, &of_the_store());
    let route = route.keyed(draft, &ON_OUR_OWN, Scope::Jobs);
    draft.add(HttpMethod::Delete, "/v1/jobs/{id}", route);
}

fn finish(draft: &mut Draft) {
    let (finishing, ended) = (draft.schema::<FinishingJob>(), draft.schema::<FinishingJob>());
    let route = Route::new("finishJob", TAG, "Finishes a job early, with the picture that it has")
        .says(
            "The worker decodes its estimate of the final picture after the step that it makes now. Then the job is \
             `completed`, and says `finished_at_step`. A repeated request is answered in the same way.",
        )
        .path("id", id(), JOB)
        .answer(202, json("The job's worker is asked to finish it.", finishing))
        .answer(200, json("The job had already ended.", ended))
        .errors(draft, &ON_OUR_OWN, &[ApiError::JobUnknown, ApiError::NoStep])
        .errors(draft, &ON_OUR_OWN, &of_bodies())
        .errors(draft, &ON_OUR_OWN, &of_the_store());
    let route = route.keyed(draft, &ON_OUR_OWN, Scope::Jobs);
    draft.add(HttpMethod::Post, "/v1/jobs/{id}/finish", route);
}

fn recipe(draft: &mut Draft) {
    let read = draft.schema::<PictureRecipe>();
    let route = Route::new("readRecipe", TAG, "Reads the recipe that a picture carries")
        .says(
            "The body is the picture, of at most 12 MiB. A picture of another program gives what of its text is known \
             here (docs/recipes.md).",
        )
        .file(&PICTURES)
        .answer(200, json("The recipe, and what is missing to make the picture again.", read))
        .errors(draft, &ON_OUR_OWN, &[ApiError::Fields(Vec::new())])
        .errors(draft, &ON_OUR_OWN, &of_bodies())
        .errors(draft, &ON_OUR_OWN, &of_the_store());
    let route = route.keyed(draft, &ON_OUR_OWN, Scope::Jobs);
    draft.add(HttpMethod::Post, "/v1/recipe", route);
}
