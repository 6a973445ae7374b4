//! What no worker offers together: each need of a request is met by some worker, but not all by one.

use std::collections::BTreeSet;

use glimpse_shared::{
    job::WorkerRecord,
    needs::{Capabilities, Needs},
    request::{FieldError, ImageSpec, Loc, LoraSource},
};
use serde_json::json;

/// The offer of one worker.
pub(crate) struct Each {
    max_pixels: u64,
    schedulers: Vec<String>,
    lora_sources: BTreeSet<LoraSource>,
    capabilities: Capabilities,
}

impl Each {
    pub(crate) fn of(record: &WorkerRecord) -> Self {
        Self {
            max_pixels: record.max_pixels,
            schedulers: record.schedulers.clone(),
            lora_sources: record.lora_sources(),
            capabilities: record.capabilities(),
        }
    }

    pub(crate) fn meets(&self, needs: &Needs) -> bool {
        needs.met_by(&self.capabilities)
    }
}

/// One entry per field that no worker offers together with the other fields.
pub(crate) fn errors(each: &[Each], spec: &ImageSpec) -> Vec<FieldError> {
    let asked = Asked::of(spec);
    let able = |but: Part| -> Vec<&Each> { each.iter().filter(|each| asked.met_by(each, but)).collect() };
    let mut errors = Vec::new();
    let large = able(Part::Size).iter().map(|each| each.max_pixels).max();
    if let Some(most) = large.filter(|_| asked.scheduler.is_some() || !asked.sources.is_empty()) {
        errors.push(asked.size_error(most));
    }
    let others = able(Part::Scheduler);
    if let Some(scheduler) = asked.scheduler.filter(|_| !others.is_empty()) {
        let names: BTreeSet<_> = others.iter().flat_map(|each| &each.schedulers).collect();
        let loras = asked.loras().map(|loras| format!(" with {loras}")).unwrap_or_default();
        let msg = format!("No worker of this app offers this scheduler for {}{loras}", asked.picture());
        let ctx = json!({ "expected": names });
        errors.push(FieldError::body("scheduler", "one_of", msg, &scheduler.into()).with_ctx(ctx));
    }
    // If no change of one field alone helps, a request without its LoRAs comes nearest.
    if !able(Part::Loras).is_empty() || errors.is_empty() {
        errors.extend(asked.lora_errors());
    }
    errors
}

/// A part of a request that a worker may not offer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Size,
    Scheduler,
    Loras,
}

struct Asked<'a> {
    spec: &'a ImageSpec,
    pixels: u64,
    scheduler: Option<&'a str>,
    sources: BTreeSet<LoraSource>,
}

impl<'a> Asked<'a> {
    fn of(spec: &'a ImageSpec) -> Self {
        Self {
            spec,
            pixels: u64::from(spec.width()) * u64::from(spec.height()),
            scheduler: spec.scheduler(),
            sources: spec.loras().iter().filter_map(|lora| lora.path().source()).collect(),
        }
    }

    /// Whether a worker offers all parts but this one.
    fn met_by(&self, each: &Each, but: Part) -> bool {
        let knows = |name: &str| each.schedulers.iter().any(|known| known == name);
        (but == Part::Size || self.pixels <= each.max_pixels)
            && (but == Part::Scheduler || self.scheduler.is_none_or(knows))
            && (but == Part::Loras || self.sources.is_subset(&each.lora_sources))
    }

    /// `LoRAs from URLs`.
    fn loras(&self) -> Option<String> {
        let names: Vec<_> = self.sources.iter().map(ToString::to_string).collect();
        (!names.is_empty()).then(|| format!("LoRAs from {}", names.join(" and ")))
    }

    fn picture(&self) -> String {
        format!("a picture of {}x{}", self.spec.width(), self.spec.height())
    }

    fn size_error(&self, most: u64) -> FieldError {
        let (width, height, pixels) = (self.spec.width(), self.spec.height(), self.pixels);
        let (field, side) = if width >= height { ("width", width) } else { ("height", height) };
        let with: Vec<_> = self.scheduler.map(str::to_owned).into_iter().chain(self.loras()).collect();
        let msg = format!(
            "With {} a picture should have at most {most} pixels, {width}x{height} has {pixels}",
            with.join(" and ")
        );
        FieldError::body(field, "less_than_equal", msg, &side.into()).with_ctx(json!({ "le": most }))
    }

    fn lora_errors(&self) -> Vec<FieldError> {
        let scheduler = self.scheduler.map(|name| format!(" with {name}")).unwrap_or_default();
        let loras = self.loras().unwrap_or_default();
        let msg = format!("No worker of this app loads {loras} for {}{scheduler}", self.picture());
        let from_elsewhere = self.spec.loras().iter().enumerate().filter_map(|(index, lora)| {
            lora.path().source()?;
            let at = [Loc::Name("loras".to_owned()), Loc::Index(index), Loc::Name("path".to_owned())];
            let input = lora.path().full_text().into();
            Some(FieldError::within_body(at, "feature_not_supported", &*msg, &input))
        });
        from_elsewhere.collect()
    }
}
