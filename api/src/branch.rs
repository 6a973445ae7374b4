//! `from` of a submit: finds the job that the new one goes on from, and puts its recipe in its place.

use glimpse_shared::{
    error::StoreError,
    event::{Event, Image},
    id::{App, JobId},
    job::{JobState, Status},
    recipe::{ModelRecipe, Recipe},
    request::{FieldError, ImageSpec, InputPictures, Loc, PreviewSource, STEP_NOT_REACHED},
    store::Shown,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    admission::Served,
    error::ApiError,
    reader::Reader,
    state::{Api, in_time},
};

fn at(member: &str) -> [Loc; 2] {
    ["from", member].map(|name| Loc::Name(name.to_owned()))
}

/// Replaces `from.job` by the recipe of that job, if the client sees it. `app` is that of the new job.
///
/// # Errors
/// When there is no such job, it did not make the step, or its request or its model is no longer here.
pub(crate) async fn resolve(
    reader: &Reader,
    app: &App,
    served: &Served,
    fields: &mut Map<String, Value>,
) -> Result<(), ApiError> {
    let Some(Value::Object(from)) = fields.get_mut("from") else { return Ok(()) };
    let Some(job) = from.remove("job").filter(|job| !job.is_null()) else {
        let model = from.get("recipe").and_then(|recipe| recipe.get("model"));
        return has_model(served, "recipe", model.and_then(|model| ModelRecipe::deserialize(model).ok()));
    };
    let wrong = |member: &str, kind, msg: &str, input: &Value| {
        ApiError::field(FieldError::within_body(at(member), kind, msg, input))
    };
    if from.get("recipe").is_some_and(|recipe| !recipe.is_null()) {
        return Err(wrong("recipe", "excluded", "Input should not be given together with job", &Value::Null));
    }
    // As the check reads it: 4.0 is a whole number too.
    let step = match from.get("step").filter(|step| !step.is_null()) {
        None => return Err(wrong("step", "missing", "Field required", &Value::Null)),
        Some(step) => match step.as_f64().filter(|number| number.fract() == 0.0 && *number >= 0.0) {
            Some(number) => number as u64,
            None => return Err(wrong("step", "int_type", "Input should be a valid integer from 0", step)),
        },
    };
    let Value::String(text) = &job else {
        return Err(wrong("job", "string_type", "Input should be a valid string", &job));
    };
    let unknown = || {
        let msg = "There is no such job, or it has expired";
        ApiError::SourceUnknown(Box::new(FieldError::within_body(at("job"), "job_unknown", msg, &job)))
    };
    let id: JobId = text.parse().map_err(|_| unknown())?;
    let (state, last, model) = reached(reader, id).await?.ok_or_else(unknown)?;
    if state.app != *app {
        let msg = format!("Input should be {}, the app of the job that it goes on from", state.app);
        return Err(ApiError::field(FieldError::body("app", "unchangeable", msg, &app.as_str().into())));
    }
    if let Some(made) = last.filter(|made| made.is_none_or(|made| step > u64::from(made))) {
        let msg = match made {
            Some(made) => format!("That job has made only the steps up to {made}"),
            None => "That job has made no step yet".to_owned(),
        };
        let error = FieldError::within_body(at("step"), STEP_NOT_REACHED, msg, &step.into());
        return Err(ApiError::SourceChanged(vec![error]));
    }
    has_model(served, "job", model)?;
    let spec = match in_time(async { Ok(reader.api().store.job(id).await) }).await? {
        Ok(found) => found.ok_or_else(unknown)?.spec,
        Err(StoreError::Corrupt(_)) => {
            let msg = "The request of that job cannot be read any more";
            let error = FieldError::within_body(at("job"), "request_unreadable", msg, &job);
            return Err(ApiError::SourceChanged(vec![error]));
        }
        Err(error) => return Err(error.into()),
    };
    from.insert("recipe".to_owned(), json!({ "version": 1, "request": request(&spec) }));
    Ok(())
}

/// The last step that a job is known to have made, if that is not all of them: `None` before the first.
type Made = Option<Option<u32>>;

/// The state of a job, the last step that it made, and its model, if a picture of it says it. `None` if the client sees no
/// such job.
async fn reached(
    reader: &Reader,
    id: JobId,
) -> Result<Option<(JobState, Made, Option<ModelRecipe>)>, ApiError> {
    let Some((state, end)) = reader.stored(id, Shown::End).await? else { return Ok(None) };
    let (last, picture) = match (state.status, end.and_then(|end| end.event())) {
        (Status::Completed, Some(Event::Completed { finished_at_step, images, .. })) => {
            (finished_at_step.map(Some), images.into_iter().next())
        }
        // All, as the check counts them.
        (Status::Completed, _) => (None, None),
        _ => (Some(state.step), None),
    };
    let model = match picture {
        Some(picture) => model_of(reader.api(), picture).await?,
        None => None,
    };
    Ok(Some((state, last, model)))
}

/// The model that a picture names. A picture that is kept elsewhere is not read.
async fn model_of(api: &Api, picture: Image) -> Result<Option<ModelRecipe>, ApiError> {
    let read = move || Recipe::from_picture(picture.decode()?.into()).ok()?.recipe.model;
    api.requests.run(read).await
}

/// Checks that a worker of the app has this model. A worker of the release before does not say what it has.
///
/// # Errors
/// If all have others.
fn has_model(served: &Served, member: &str, wanted: Option<ModelRecipe>) -> Result<(), ApiError> {
    let Some(wanted) = wanted else { return Ok(()) };
    if served.models.is_empty() || served.models.iter().any(|model| wanted.fits(model)) {
        return Ok(());
    }
    let msg = "No worker of this app has the model of its steps any more";
    let error = FieldError::within_body(at(member), "model_gone", msg, &wanted.name.as_str().into());
    Err(ApiError::SourceChanged(vec![error]))
}

/// The request of a job with its pictures, and with its previews, which are no part of a recipe.
fn request(spec: &ImageSpec) -> Map<String, Value> {
    let mut request = spec.to_request(InputPictures::Whole);
    let source = match spec.preview_source() {
        PreviewSource::Latents => "latents",
        PreviewSource::Denoised => "denoised",
    };
    request.insert("preview_every".to_owned(), spec.preview_every().into());
    request.insert("preview_source".to_owned(), source.into());
    if !spec.has_metadata() {
        request.insert("metadata".to_owned(), false.into());
    }
    request
}

/// Gives errors about what has changed since the other job its own status.
pub(crate) fn told(errors: Vec<FieldError>) -> ApiError {
    match errors.iter().all(|error| error.kind == STEP_NOT_REACHED) && !errors.is_empty() {
        true => ApiError::SourceChanged(errors),
        false => ApiError::Fields(errors),
    }
}

/// Checks that the LoRAs of a branch are still here.
///
/// # Errors
/// One entry for each that no worker has.
pub(crate) fn loras(spec: &ImageSpec, served: &Served) -> Result<(), ApiError> {
    if spec.branch().is_none() {
        return Ok(());
    }
    let gone = spec.loras().iter().enumerate().filter(|(_, lora)| lora.path().source().is_none());
    let gone = gone.filter(|(_, lora)| served.lacks_lora(&lora.path().full_text()));
    let errors: Vec<_> = gone
        .map(|(index, lora)| {
            let at = [Loc::Name("loras".to_owned()), Loc::Index(index), Loc::Name("path".to_owned())];
            let msg = "No worker of this app has this LoRA any more";
            FieldError::within_body(at, "lora_gone", msg, &lora.path().full_text().into())
        })
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(ApiError::SourceChanged(errors)) }
}
