//! Reads `from` of a request: the request and the step that it goes on from. What the request does not say is as there.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    bounds::MAX_STEP_INDEX,
    branch::{MAX_BRANCHES, OF_PICTURES, RECIPE_VERSION, STEP_NOT_REACHED},
    controlnet::ControlNet,
    dialect::Dialect,
    field_error::{FieldError, Loc},
    fields::Fields,
    input_image::InputImage,
    offer::Offer,
    spec::{Branch, ImageSpec},
};

/// What is read of a recipe.
#[derive(Deserialize)]
struct Recipe {
    version: u32,
    request: Map<String, Value>,
    #[serde(default)]
    finished_at_step: Option<u32>,
}

/// A request and a step of it.
struct Source {
    request: Map<String, Value>,
    step: u32,
}

/// What a request with `from` goes on from.
pub(super) struct Origin {
    /// What made the step.
    source: Source,
    /// The members about pictures that the request must have too.
    pictures: Map<String, Value>,
}

/// A place in `from`.
fn at(names: &[&str]) -> Vec<Loc> {
    ["from"].iter().chain(names).map(|name| Loc::Name((*name).to_owned())).collect()
}

impl Source {
    /// Reads the member `from`.
    fn read(from: Value) -> Result<Self, Vec<FieldError>> {
        let members = match from {
            Value::Object(members) => members,
            other => {
                let msg = "Input should be a valid dictionary or object to extract fields from";
                return Err(vec![FieldError::within_body(at(&[]), "model_attributes_type", msg, &other)]);
            }
        };
        let mut fields = Fields::at(at(&[]), members);
        for member in ["step", "recipe"] {
            if fields.body.get(member).is_none_or(Value::is_null) && !fields.body.contains_key("job") {
                fields.missing(member);
            }
        }
        let step = fields.integer("step", 0, MAX_STEP_INDEX).map(|step| step as u32);
        if let Some(job) = fields.take("job") {
            let msg = "Only a server knows jobs: input should be a recipe";
            fields.wrong("job", "feature_not_supported", msg, &job);
        }
        let recipe =
            fields.take("recipe").and_then(|recipe| match serde_json::from_value::<Recipe>(recipe.clone()) {
                Ok(read) if read.version == RECIPE_VERSION => Some(read),
                Ok(read) => {
                    let msg =
                        format!("Input should be a recipe of version {RECIPE_VERSION}, not {}", read.version);
                    fields.wrong("recipe", "recipe", msg, &recipe);
                    None
                }
                Err(error) => {
                    fields.wrong("recipe", "recipe", format!("Input should be a recipe: {error}"), &recipe);
                    None
                }
            });
        fields.refuse_rest();
        let (Some(step), Some(recipe), true) = (step, recipe, fields.errors.is_empty()) else {
            return Err(fields.errors);
        };
        if let Some(last) = recipe.finished_at_step.filter(|last| step > *last) {
            let msg = format!("It was finished after step {last}");
            return Err(vec![FieldError::within_body(at(&["step"]), STEP_NOT_REACHED, msg, &step.into())]);
        }
        Ok(Self { request: recipe.request, step })
    }

    /// The request that made the step: a step before the last branch is one of the request before that.
    fn made_by(&self) -> &Map<String, Value> {
        let mut request = &self.request;
        while let Some((before, last)) = before(request) {
            if u64::from(self.step) > last {
                break;
            }
            request = before;
        }
        request
    }
}

/// The request that another one goes on from, and the step.
fn before(request: &Map<String, Value>) -> Option<(&Map<String, Value>, u64)> {
    let from = request.get("from")?;
    Some((from["recipe"]["request"].as_object()?, from["step"].as_u64()?))
}

impl Origin {
    /// Takes `from` of a body, and adds to the body what it does not say.
    pub(super) fn take(body: &mut Map<String, Value>) -> Result<Option<Self>, Vec<FieldError>> {
        let Some(from) = body.remove("from").filter(|from| !from.is_null()) else { return Ok(None) };
        let source = Source::read(from)?;
        let made_by = source.made_by().clone();
        let depth = 1 + std::iter::successors(before(&made_by), |(request, _)| before(request)).count();
        if depth > MAX_BRANCHES {
            let msg = format!("At most {MAX_BRANCHES} requests may be before this one, and here are {depth}");
            return Err(vec![FieldError::within_body(at(&[]), "too_many_branches", msg, &depth.into())]);
        }
        let Source { request: mut base, step } = source;
        for not_repeated in ["prompt", "from", "finish_at_step"] {
            base.remove(not_repeated);
        }
        let pictures: Map<_, _> = OF_PICTURES
            .into_iter()
            .filter_map(|name| base.get(name).map(|value| (name.to_owned(), value.clone())))
            .collect();
        body.retain(|_, value| !value.is_null());
        without_replaced(&mut base, body);
        needed_pictures(&mut base, body)?;
        base.append(body);
        *body = base;
        Ok(Some(Self { source: Source { request: made_by, step }, pictures }))
    }

    /// The branch of a request that was checked with what [`Origin::take`] added.
    pub(super) fn branch(
        self,
        spec: &ImageSpec,
        offer: &Offer,
        dialect: Dialect,
    ) -> Result<Branch, Vec<FieldError>> {
        let Source { request, step } = self.source;
        let request = earlier(request, offer, dialect)?;
        let mut errors = spec.branch_errors(&request, step);
        errors.extend(other_pictures(spec, &self.pictures));
        if errors.is_empty() { Ok(Branch { request: Box::new(request), step }) } else { Err(errors) }
    }
}

/// Checks the request that makes the steps before a branch, without its pictures.
fn earlier(
    mut request: Map<String, Value>,
    offer: &Offer,
    dialect: Dialect,
) -> Result<ImageSpec, Vec<FieldError>> {
    let within = |errors: Vec<FieldError>| {
        let prefixed = errors.into_iter().map(|mut error| {
            let rest = error.loc.split_off(1);
            error.loc.extend(at(&["recipe", "request"]).into_iter().chain(rest));
            error
        });
        prefixed.collect::<Vec<_>>()
    };
    let from = request.remove("from").filter(|from| !from.is_null());
    let of_its_end = ["finish_at_step", "preview_every", "preview_source", "output_format", "metadata"];
    for other in OF_PICTURES.into_iter().chain(of_its_end) {
        request.remove(other);
    }
    let mut spec = ImageSpec::check(request, offer, dialect).map_err(within)?;
    if let Some(from) = from {
        let source = Source::read(from).map_err(within)?;
        let before = earlier(source.made_by().clone(), offer, dialect).map_err(within)?;
        let errors = spec.branch_errors(&before, source.step);
        if !errors.is_empty() {
            return Err(within(errors));
        }
        spec.from = Some(Branch { request: Box::new(before), step: source.step });
    }
    Ok(spec)
}

/// Removes from the other request what this one replaces with another field.
fn without_replaced(base: &mut Map<String, Value>, given: &Map<String, Value>) {
    let gives = |names: &[&str]| names.iter().any(|name| given.contains_key(*name));
    let mut remove = |names: &[&str]| names.iter().for_each(|name| drop(base.remove(*name)));
    if gives(&["preset"]) {
        remove(&["scheduler", "scheduler_config", "num_inference_steps", "guidance_scale"]);
    }
    if gives(&["scheduler", "scheduler_config"]) {
        remove(&["scheduler_config"]);
    }
    if gives(&["seeds"]) {
        remove(&["seed", "num_images"]);
    }
    if gives(&["seed"]) {
        remove(&["seeds"]);
    }
    let lists = ["sigmas", "timesteps"];
    let gives_list = gives(&lists)
        || given
            .get("scheduler_config")
            .is_some_and(|config| lists.iter().any(|list| !config[*list].is_null()));
    if gives_list {
        remove(&["num_inference_steps"]);
    }
    if gives_list || gives(&["num_inference_steps"]) {
        remove(&lists);
        if let Some(Value::Object(config)) = base.get_mut("scheduler_config") {
            lists.iter().for_each(|list| drop(config.remove(*list)));
        }
    }
}

/// Whether a member names a picture by its digest.
fn is_digest(picture: &Value) -> bool {
    picture.is_object()
}

/// Removes the pictures that the other request only names.
///
/// # Errors
/// If they are not in this request.
fn needed_pictures(base: &mut Map<String, Value>, given: &Map<String, Value>) -> Result<(), Vec<FieldError>> {
    let needed = |field: &str, picture: &Value| {
        let digest = picture["sha256"].as_str().unwrap_or_default();
        let msg = format!("The recipe needs its input picture: send the file with the SHA-256 {digest}");
        vec![FieldError::body(field, "missing", msg, &Value::Null)]
    };
    if let Some(image) = base.get("image").filter(|image| is_digest(image)) {
        if !given.contains_key("image") {
            return Err(needed("image", image));
        }
        base.remove("image");
    }
    // A mask may be the transparent part of the image.
    if base.get("mask").is_some_and(is_digest) {
        base.remove("mask");
    }
    let nets = base.get("controlnets").and_then(Value::as_array).into_iter().flatten();
    if let Some(picture) = nets.map(|net| &net["image"]).find(|image| is_digest(image))
        && !given.contains_key("controlnets")
    {
        return Err(needed("controlnets", picture));
    }
    Ok(())
}

/// The SHA-256 of a picture that a request has or names.
fn digest(picture: &Value) -> Option<String> {
    match picture {
        Value::String(uri) => InputImage::from_data_uri(uri).ok().map(|image| image.sha256()),
        other => other["sha256"].as_str().map(str::to_ascii_lowercase),
    }
}

/// The pictures, and what is said about them, that are not those of the other request.
fn other_pictures(spec: &ImageSpec, pictures: &Map<String, Value>) -> Vec<FieldError> {
    let own = |name: &str| pictures.get(name).filter(|value| !value.is_null());
    let mut errors = Vec::new();
    let mut wrong = |field: &str, input: Value| {
        let msg = "Input should be that of the request it goes on from: it cannot change there";
        errors.push(FieldError::body(field, "unchangeable", msg, &input));
    };
    for (field, picture) in [("image", spec.image()), ("mask", spec.mask())] {
        if picture.map(InputImage::sha256) != own(field).and_then(digest) {
            wrong(field, Value::Null);
        }
    }
    let strength = own("strength").and_then(Value::as_f64);
    if spec.image().is_some() && strength.is_some_and(|strength| strength != spec.strength()) {
        wrong("strength", spec.strength().into());
    }
    let margin = own("padding_mask_crop").and_then(Value::as_u64);
    if margin != spec.padding_mask_crop().map(u64::from) {
        wrong("padding_mask_crop", json!(spec.padding_mask_crop()));
    }
    let nets = own("controlnets").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let alike = spec.controlnets().len() == nets.len()
        && spec.controlnets().iter().zip(nets).all(|(net, other)| is_same_net(net, other));
    if !alike {
        wrong("controlnets", Value::Null);
    }
    errors
}

fn is_same_net(net: &ControlNet, other: &Value) -> bool {
    let path = other["path"].as_str().unwrap_or_default();
    let number = |name: &str, default: f64| other[name].as_f64().unwrap_or(default);
    (path == net.path().full_text() || path == net.path().to_string())
        && Some(net.image().sha256()) == digest(&other["image"])
        && (net.scale(), net.start(), net.end())
            == (number("scale", 1.0), number("start", 0.0), number("end", 1.0))
        && net.mode().map(u64::from) == other["mode"].as_u64()
        && net.canny().is_some() == other["preprocess"].is_string()
}
