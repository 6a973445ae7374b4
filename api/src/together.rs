//! What no worker of an app offers, and what no worker offers together.

use std::collections::BTreeSet;

use glimpse_shared::{
    job::{MAX_LISTED_LORAS, WorkerRecord},
    needs::{
        CONTROLNETS, Capabilities, FINISH_AT_STEP, FROM, NeededFeature, Needs, REQUIRED, SEEDS, WITHOUT,
        Word, features_of,
    },
    request::{Branch, ControlNet, EMBEDDINGS, Embedding, FieldError, ImageSpec, Loc, Lora, LoraPath},
};
use serde_json::{Value, json};

use crate::features;

/// The offer of one worker.
pub(crate) struct Each {
    max_pixels: u64,
    schedulers: Vec<String>,
    features: Vec<String>,
    loras: Vec<String>,
    capabilities: Capabilities,
}

impl Each {
    pub(crate) fn of(record: &WorkerRecord) -> Self {
        Self {
            max_pixels: record.max_pixels,
            schedulers: record.schedulers.clone(),
            features: record.features.clone(),
            loras: record.loras.clone(),
            capabilities: record.capabilities(),
        }
    }

    pub(crate) fn meets(&self, needs: &Needs) -> bool {
        needs.met_by(&self.capabilities)
    }

    /// Whether the LoRA of this name is not in its folder. It says only the first names, and none of folders in it.
    pub(crate) fn lacks_lora(&self, name: &str) -> bool {
        let name = name.strip_suffix(".safetensors").unwrap_or(name);
        let says_all = self.loras.len() < MAX_LISTED_LORAS && !name.contains('/');
        says_all && !self.loras.iter().any(|known| known == name)
    }

    fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|name| name == feature)
    }

    /// Whether it requires an image, and whether it requires a mask.
    fn requires(&self) -> [bool; 2] {
        let [by_image, by_mask] = REQUIRED.map(|feature| self.has(feature));
        [by_image || by_mask, by_mask]
    }
}

/// The needs of a request's job, if one of the workers meets all of them.
///
/// # Errors
/// At least one entry: one per field that no worker offers, or none together with the other fields.
pub(crate) fn needs(each: &[Each], spec: &ImageSpec) -> Result<Needs, Vec<FieldError>> {
    let asked = Asked::of(spec);
    let mut missing = asked.missing(each);
    missing.extend(asked.required(each));
    if !missing.is_empty() {
        return Err(missing);
    }
    let needs = Needs::of(spec);
    let apart = asked.without(each).into_iter().fold(needs.clone(), Needs::and);
    if each.iter().any(|each| each.meets(&apart)) {
        return Ok(apart);
    }
    // Only workers of a release that did not say what they take.
    if each.iter().any(|each| asked.lacking(each).is_empty()) {
        return Ok(needs);
    }
    Err(asked.apart(each))
}

/// A part of a request that a worker may lack.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Size,
    Scheduler,
    /// The worker needs this picture, and the request does not have it.
    Picture(&'static str),
    Feature(&'static str),
}

/// What a request asks for.
struct Asked<'a> {
    spec: &'a ImageSpec,
    pixels: u64,
    features: Vec<NeededFeature>,
}

impl<'a> Asked<'a> {
    fn of(spec: &'a ImageSpec) -> Self {
        let (width, height) = spec.largest();
        let pixels = u64::from(width) * u64::from(height);
        let mut features: Vec<_> = features_of(spec).collect();
        let before = spec.branches().flat_map(|branch| features_of(branch.request()));
        features.extend(before.map(|needed| NeededFeature { field: FROM, ..needed }));
        Self { spec, pixels, features }
    }

    /// The fields that no worker reads.
    fn missing(&self, each: &[Each]) -> Vec<FieldError> {
        let missing = self.features.iter().filter(|needed| !each.iter().any(|each| each.has(needed.feature)));
        let need_pictures = each.iter().all(|each| REQUIRED.iter().any(|feature| each.has(feature)));
        let msg = |needed: &NeededFeature| features::advice(needed, need_pictures);
        missing.flat_map(|needed| self.feature_errors(needed, &msg(needed))).collect()
    }

    /// Whether the request lacks an image, and whether it lacks a mask, each with the field's name.
    fn lacks(&self) -> [(&'static str, bool); 2] {
        [("image", self.spec.image().is_none()), ("mask", self.spec.mask().is_none())]
    }

    /// The pictures that all workers require and the request does not have.
    fn required(&self, each: &[Each]) -> Vec<FieldError> {
        let all = |picture: usize| !each.is_empty() && each.iter().all(|each| each.requires()[picture]);
        let lacking = self.lacks().into_iter().enumerate().filter(|(i, (_, lacks))| *lacks && all(*i));
        lacking
            .map(|(_, (field, _))| {
                let msg = format!("Every worker of this app has a model that needs {}: add one", a(field));
                FieldError::body(field, "missing", msg, &Value::Null)
            })
            .collect()
    }

    /// What the job needs of its worker where some workers require a picture that it lacks.
    fn without(&self, each: &[Each]) -> Vec<Word> {
        let requires = |feature: &&str| each.iter().any(|each| each.has(feature));
        if !REQUIRED.iter().any(requires) {
            return Vec::new();
        }
        let lacking = self.lacks().into_iter().zip(WITHOUT).filter(|((_, lacks), _)| *lacks);
        lacking.map(|(_, word)| Word::feature(word)).collect()
    }

    /// What a worker lacks for this request.
    fn lacking(&self, each: &Each) -> BTreeSet<Part> {
        let knows = |name: &str| each.schedulers.iter().any(|known| known == name);
        let size = (self.pixels > each.max_pixels).then_some(Part::Size);
        let before = self.spec.branches().filter_map(|branch| branch.request().scheduler());
        let scheduler = self.spec.scheduler().into_iter().chain(before).find(|name| !knows(name));
        let scheduler = scheduler.map(|_| Part::Scheduler);
        let pictures = self.lacks().into_iter().zip(each.requires());
        let pictures = pictures.filter(|((_, lacks), requires)| *lacks && *requires);
        let features = self.features.iter().map(|needed| needed.feature).filter(|feature| !each.has(feature));
        let parts = size.into_iter().chain(scheduler);
        parts
            .chain(pictures.map(|((field, _), _)| Part::Picture(field)))
            .chain(features.map(Part::Feature))
            .collect()
    }

    /// The parts of a request that some workers offer, but none all of them: those that the workers lack which lack
    /// the fewest.
    fn apart(&self, each: &[Each]) -> Vec<FieldError> {
        let each: Vec<_> = each.iter().map(|each| (each, self.lacking(each))).collect();
        let least = each.iter().map(|(_, lacking)| lacking.len()).min();
        let nearest = || each.iter().filter(|(_, lacking)| Some(lacking.len()) == least);
        let parts: BTreeSet<Part> = nearest().flat_map(|(_, lacking)| lacking.iter().copied()).collect();
        let mut errors = Vec::new();
        for part in parts {
            let without = each.iter().filter(|(_, lacking)| !lacking.contains(&part));
            let others: BTreeSet<Part> = without.flat_map(|(_, lacking)| lacking.iter().copied()).collect();
            let near = nearest().filter(|(_, lacking)| lacking.contains(&part)).map(|(each, _)| *each);
            match part {
                Part::Size => errors.extend(self.size_error(near.map(|each| each.max_pixels).max(), &others)),
                Part::Scheduler => errors.extend(self.scheduler_error(near, &others)),
                Part::Picture(field) => {
                    let msg = format!(
                        "No worker of this app makes it {}: add one",
                        self.rest(&[Part::Picture(field)].into_iter().chain(others).collect())
                    );
                    errors.push(FieldError::body(field, "missing", msg, &Value::Null));
                }
                Part::Feature(feature) => {
                    let (name, rest) = (features::name(feature), self.rest(&others));
                    let msg = format!("No worker of this app offers {name} {rest}");
                    let needed = self.features.iter().filter(|needed| needed.feature == feature);
                    errors.extend(needed.flat_map(|needed| self.feature_errors(needed, &msg)));
                }
            }
        }
        errors
    }

    /// `for a picture of 512x256 together with DDIMScheduler and ControlNets without an image`: these parts.
    fn rest(&self, parts: &BTreeSet<Part>) -> String {
        let (width, height) = self.spec.largest();
        let size = parts.contains(&Part::Size).then(|| format!("for a picture of {width}x{height}"));
        let names = self.names(parts);
        let names = (!names.is_empty()).then(|| format!("together with {}", names.join(" and ")));
        let texts: Vec<_> = size.into_iter().chain(names).chain(no_pictures(parts)).collect();
        texts.join(" ")
    }

    /// The names of the scheduler and the features among these parts.
    fn names(&self, parts: &BTreeSet<Part>) -> Vec<String> {
        let scheduler = self.spec.scheduler().filter(|_| parts.contains(&Part::Scheduler));
        let features = parts.iter().filter_map(|part| match part {
            Part::Feature(feature) => Some(features::name(feature)),
            _ => None,
        });
        scheduler.map(str::to_owned).into_iter().chain(features).collect()
    }

    /// `near` are the workers that would do with another scheduler, or that lack little else.
    fn scheduler_error<'b>(
        &self,
        near: impl Iterator<Item = &'b Each>,
        others: &BTreeSet<Part>,
    ) -> Option<FieldError> {
        let scheduler = self.spec.scheduler()?;
        let names: BTreeSet<_> = near.flat_map(|each| &each.schedulers).collect();
        let msg = format!("No worker of this app offers this scheduler {}", self.rest(others));
        let error = FieldError::body("scheduler", "one_of", msg, &scheduler.into());
        Some(error.with_ctx(json!({ "expected": names })))
    }

    /// `most`: the most pixels of the workers that would do with a smaller picture, or that lack little else.
    fn size_error(&self, most: Option<u64>, others: &BTreeSet<Part>) -> Option<FieldError> {
        let (most, (width, height), pixels) = (most?, self.spec.largest(), self.pixels);
        let (field, side) = if width >= height { ("width", width) } else { ("height", height) };
        let names = self.names(others);
        let names = (!names.is_empty()).then(|| format!("with {}", names.join(" and ")));
        let others: Vec<_> = names.into_iter().chain(no_pictures(others)).collect();
        let msg = format!(
            "A picture {} should have at most {most} pixels, {width}x{height} has {pixels}",
            others.join(" and ")
        );
        let error = FieldError::body(field, "less_than_equal", msg, &side.into());
        Some(error.with_ctx(json!({ "le": most })))
    }

    /// One entry for the field that needs a feature, or one per LoRA from such a source.
    fn feature_errors(&self, needed: &NeededFeature, msg: &str) -> Vec<FieldError> {
        let from =
            |lora: &Lora| lora.path().source().is_some_and(|source| source.feature() == needed.feature);
        let loras = self.spec.loras().iter().enumerate().filter(|(_, lora)| from(lora));
        let error = |field: &str, index: usize, path: &LoraPath| {
            let at = [Loc::Name(field.to_owned()), Loc::Index(index), Loc::Name("path".to_owned())];
            FieldError::within_body(at, "feature_not_supported", msg, &path.full_text().into())
        };
        let mut errors: Vec<_> = loras.map(|(index, lora)| error("loras", index, lora.path())).collect();
        let elsewhere = |embedding: &Embedding| {
            embedding.path().source().is_some() && embedding.feature() == needed.feature
        };
        let embeddings = self.spec.embeddings().iter().enumerate();
        let embeddings = embeddings.filter(|(_, embedding)| elsewhere(embedding));
        errors.extend(embeddings.map(|(index, embedding)| error(EMBEDDINGS, index, embedding.path())));
        let elsewhere = |net: &ControlNet| net.path().source().is_some() && net.feature() == needed.feature;
        let controlnets = self.spec.controlnets().iter().enumerate().filter(|(_, net)| elsewhere(net));
        errors.extend(controlnets.map(|(index, net)| error(CONTROLNETS, index, net.path())));
        if errors.is_empty() {
            let input = match needed.field {
                "scheduler_config" => Value::Object(self.spec.scheduler_config().clone()),
                "loras" => json!(self.spec.loras()),
                // Without the pictures.
                CONTROLNETS => self.spec.controlnets().iter().map(|net| net.path().full_text()).collect(),
                EMBEDDINGS => json!(self.spec.embeddings()),
                SEEDS => json!(self.spec.seeds()),
                FROM => json!({ "step": self.spec.branch().map(Branch::step) }),
                FINISH_AT_STEP => json!(self.spec.finish_at_step()),
                "prompt_syntax" => json!(self.spec.prompt_syntax()),
                "denoising_end" => json!(self.spec.denoising_end()),
                "aesthetic_score" => json!(self.spec.aesthetic_score()),
                "negative_aesthetic_score" => json!(self.spec.negative_aesthetic_score()),
                "padding_mask_crop" => json!(self.spec.padding_mask_crop()),
                "hires" => json!(self.spec.hires()),
                _ => json!(self.spec.long_prompt()),
            };
            errors.push(FieldError::body(needed.field, "feature_not_supported", msg, &input));
        }
        errors
    }
}

/// `without an image`, `without an image and a mask`; `None` with all pictures.
fn no_pictures(parts: &BTreeSet<Part>) -> Option<String> {
    let pictures = parts.iter().filter_map(|part| match part {
        Part::Picture(field) => Some(a(field)),
        _ => None,
    });
    let pictures: Vec<_> = pictures.collect();
    (!pictures.is_empty()).then(|| format!("without {}", pictures.join(" and ")))
}

/// `an image`, `a mask`.
fn a(field: &str) -> String {
    format!("{} {field}", if field.starts_with(['a', 'e', 'i', 'o']) { "an" } else { "a" })
}
