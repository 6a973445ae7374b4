//! What no worker of an app offers, and what no worker offers together.

use std::collections::BTreeSet;

use glimpse_shared::{
    job::WorkerRecord,
    needs::{CONTROLNETS, Capabilities, NeededFeature, Needs, REQUIRED, SEEDS, WITHOUT, Word, features_of},
    request::{ControlNet, EMBEDDINGS, Embedding, FieldError, ImageSpec, Loc, Lora, LoraPath, LoraSource},
};
use serde_json::{Value, json};

/// The offer of one worker.
pub(crate) struct Each {
    max_pixels: u64,
    schedulers: Vec<String>,
    features: Vec<String>,
    capabilities: Capabilities,
}

impl Each {
    pub(crate) fn of(record: &WorkerRecord) -> Self {
        Self {
            max_pixels: record.max_pixels,
            schedulers: record.schedulers.clone(),
            features: record.features.clone(),
            capabilities: record.capabilities(),
        }
    }

    pub(crate) fn meets(&self, needs: &Needs) -> bool {
        needs.met_by(&self.capabilities)
    }

    fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|name| name == feature)
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
    if each.iter().any(|each| each.meets(&needs)) {
        return Ok(needs);
    }
    Err(asked.apart(each))
}

/// A part of a request that a worker may not offer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Size,
    Scheduler,
    Features,
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
        Self { spec, pixels, features: features_of(spec).collect() }
    }

    /// The fields that no worker reads.
    fn missing(&self, each: &[Each]) -> Vec<FieldError> {
        let missing = self.features.iter().filter(|needed| !each.iter().any(|each| each.has(needed.feature)));
        let msg = |feature: &str| {
            match feature {
            CONTROLNETS => {
                "No worker of this app has ControlNets: leave them out, or start a worker with --controlnet-dir"
                    .to_owned()
            }
            EMBEDDINGS => {
                "No worker of this app has embeddings: leave them out, or start a worker with --embedding-dir"
                    .to_owned()
            }
            feature => match source_of(feature) {
                Some((what, from)) => format!(
                    "No worker of this app loads {what} from {from}: an operator allows it with {}",
                    from.flag()
                ),
                None => {
                    format!(
                        "No worker of this app reads {}: leave it out, or update the workers",
                        words(feature)
                    )
                }
            },
        }
        };
        let mut errors: Vec<_> =
            missing.flat_map(|needed| self.feature_errors(needed, &msg(needed.feature))).collect();
        // A worker that says nothing is of a release that did not say it.
        let all_say = each.iter().all(|each| !each.features.is_empty());
        let files = self.spec.loras().iter().any(|lora| lora.path().source().is_none());
        if all_say && files && !each.iter().any(|each| each.has("loras")) {
            let msg = "No worker of this app has LoRAs: leave them out, or start a worker with --lora-dir";
            let input = json!(self.spec.loras());
            errors.push(FieldError::body("loras", "feature_not_supported", msg, &input));
        }
        errors
    }

    /// Whether the request lacks an image, and whether it lacks a mask, each with the field's name.
    fn lacks(&self) -> [(&'static str, bool); 2] {
        [("image", self.spec.image().is_none()), ("mask", self.spec.mask().is_none())]
    }

    /// The pictures that all workers require and the request does not have.
    fn required(&self, each: &[Each]) -> Vec<FieldError> {
        let [by_image, by_mask] = REQUIRED;
        let all = |requires: &dyn Fn(&Each) -> bool| !each.is_empty() && each.iter().all(requires);
        let required = [all(&|each| each.has(by_image) || each.has(by_mask)), all(&|each| each.has(by_mask))];
        let lacking =
            self.lacks().into_iter().zip(required).filter(|((_, lacks), required)| *lacks && *required);
        lacking
            .map(|((field, _), _)| {
                let msg = format!("Every worker of this app has a model that needs a {field}: add one");
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

    /// The fields of a request that some workers offer, but none all of them: those without which one worker would do;
    /// if there are none, all.
    fn apart(&self, each: &[Each]) -> Vec<FieldError> {
        let able = |but: Part| -> Vec<&Each> { each.iter().filter(|each| self.met_by(each, but)).collect() };
        let (large, knowing, reading) = (able(Part::Size), able(Part::Scheduler), able(Part::Features));
        let none = [&large, &knowing, &reading].iter().all(|able| able.is_empty());
        let mut errors = Vec::new();
        if let Some(most) = large.iter().map(|each| each.max_pixels).max() {
            errors.push(self.size_error(most));
        }
        if let Some(scheduler) = self.spec.scheduler().filter(|_| none || !knowing.is_empty()) {
            let names: BTreeSet<_> = knowing.iter().flat_map(|each| &each.schedulers).collect();
            let msg = format!(
                "No worker of this app offers this scheduler for a picture of {}",
                self.picture(Part::Scheduler)
            );
            let ctx = json!({ "expected": names });
            errors.push(FieldError::body("scheduler", "one_of", msg, &scheduler.into()).with_ctx(ctx));
        }
        if none || !reading.is_empty() {
            errors.extend(self.features.iter().flat_map(|needed| {
                let feature = words(needed.feature);
                let picture = self.picture(Part::Features);
                let msg = format!("No worker of this app reads {feature} for a picture of {picture}");
                self.feature_errors(needed, &msg)
            }));
        }
        errors
    }

    /// Whether a worker offers all parts but this one.
    fn met_by(&self, each: &Each, but: Part) -> bool {
        let knows = |name: &str| each.schedulers.iter().any(|known| known == name);
        (but == Part::Size || self.pixels <= each.max_pixels)
            && (but == Part::Scheduler || self.spec.scheduler().is_none_or(knows))
            && (but == Part::Features || self.features.iter().all(|needed| each.has(needed.feature)))
    }

    /// `512x256 with DDIMScheduler`: the size and the parts that need a worker of their own, but for this one.
    fn picture(&self, but: Part) -> String {
        let others = self.others(but);
        let with = if others.is_empty() { String::new() } else { format!(" with {}", others.join(" and ")) };
        let (width, height) = self.spec.largest();
        format!("{width}x{height}{with}")
    }

    fn others(&self, but: Part) -> Vec<String> {
        let scheduler = self.spec.scheduler().filter(|_| but != Part::Scheduler).map(str::to_owned);
        let features = self.features.iter().filter(|_| but != Part::Features);
        scheduler.into_iter().chain(features.map(|needed| words(needed.feature))).collect()
    }

    fn size_error(&self, most: u64) -> FieldError {
        let ((width, height), pixels) = (self.spec.largest(), self.pixels);
        let (field, side) = if width >= height { ("width", width) } else { ("height", height) };
        let msg = format!(
            "With {} a picture should have at most {most} pixels, {width}x{height} has {pixels}",
            self.others(Part::Size).join(" and ")
        );
        FieldError::body(field, "less_than_equal", msg, &side.into()).with_ctx(json!({ "le": most }))
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

/// What is loaded and from where, if a feature is that of a source of embeddings or ControlNets.
fn source_of(feature: &str) -> Option<(&'static str, LoraSource)> {
    LoraSource::ALL.into_iter().find_map(|from| match feature {
        _ if feature == from.feature_of_embeddings() => Some(("embeddings", from)),
        _ if feature == from.feature_of_controlnets() => Some(("ControlNets", from)),
        _ => None,
    })
}

/// A feature's name as words.
fn words(feature: &str) -> String {
    feature.replace('_', " ")
}
