//! What a job needs, and what a worker is capable of.
//!
//! Both are a number of pixels and a set of words; a new feature only adds words. Both are stored as
//! `<pixels> <word> <word> …`, and the scripts compare that text.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use crate::request::CONTROLNETS;
use crate::request::{Branch, EMBEDDINGS, ImageSpec, Lora, LoraSource};

/// The feature of a worker with a folder of LoRAs.
pub const LORAS: &str = "loras";

/// The feature of a worker that reads `scheduler_config`.
pub const SCHEDULER_CONFIG: &str = "scheduler_config";

/// The feature of a worker that reads the `mode` of a ControlNet.
pub const CONTROLNET_MODES: &str = "controlnet_modes";

/// The feature of a worker that gives each picture its own seed.
pub const SEEDS: &str = "seeds";

/// The feature of a worker that goes on from another request.
pub const FROM: &str = "from";

/// The feature of a worker that finishes a job early at the step that its request names.
pub const FINISH_AT_STEP: &str = "finish_at_step";

/// The feature of a worker that takes requests without an image, and of one that takes those without a mask. A job needs
/// them only in an app where some worker requires an image or a mask.
pub const WITHOUT: [&str; 2] = ["no_image", "no_mask"];
/// The feature of a worker that requires an image, and of one that requires an image and a mask.
pub const REQUIRED: [&str; 2] = ["image_required", "mask_required"];

/// One thing that a job can need, as `kind:value`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word(String);

impl Word {
    /// A scheduler by its class name.
    pub fn scheduler(name: &str) -> Self {
        Self::new("scheduler", name)
    }

    /// A feature of requests, by the name in a worker's record.
    pub fn feature(name: &str) -> Self {
        Self::new("feature", name)
    }

    /// Percent-encodes `%` and all characters that are not printable ASCII.
    fn new(kind: &str, value: &str) -> Self {
        let mut word = format!("{kind}:");
        for byte in value.bytes() {
            match byte {
                b'%' => word.push_str("%25"),
                byte if byte.is_ascii_graphic() => word.push(byte.into()),
                byte => word.push_str(&format!("%{byte:02X}")),
            }
        }
        Self(word)
    }
}

/// A feature that a request needs, and the field that needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeededFeature {
    /// Its name in a worker's record.
    pub feature: &'static str,
    /// The field of the request.
    pub field: &'static str,
}

/// The features that a request needs and that workers of the release before do not have: they would ignore the field.
pub fn features_of(spec: &ImageSpec) -> impl Iterator<Item = NeededFeature> {
    let embeds = |feature| spec.embeddings().iter().any(|embedding| embedding.feature() == feature);
    let controls = |feature| spec.controlnets().iter().any(|controlnet| controlnet.feature() == feature);
    let from = |source| spec.loras().iter().any(|lora| lora.path().source() == Some(source));
    [
        (SCHEDULER_CONFIG, "scheduler_config", !spec.scheduler_config().is_empty()),
        ("prompt_syntax", "prompt_syntax", !spec.prompt_syntax().is_plain()),
        ("long_prompt", "long_prompt", spec.long_prompt()),
        ("refiner", "denoising_end", spec.denoising_end().is_some()),
        ("aesthetic_score", "aesthetic_score", spec.aesthetic_score().is_some()),
        ("aesthetic_score", "negative_aesthetic_score", spec.negative_aesthetic_score().is_some()),
        ("padding_mask_crop", "padding_mask_crop", spec.padding_mask_crop().is_some()),
        ("hires", "hires", spec.hires().is_some()),
        (LORAS, LORAS, spec.loras().iter().any(|lora| lora.path().source().is_none())),
        ("lora_scales", "loras", spec.loras().iter().any(Lora::has_scales_of_parts)),
        (LoraSource::Hub.feature(), "loras", from(LoraSource::Hub)),
        (LoraSource::Urls.feature(), "loras", from(LoraSource::Urls)),
        (CONTROLNETS, CONTROLNETS, controls(CONTROLNETS)),
        (
            LoraSource::Hub.feature_of_controlnets(),
            CONTROLNETS,
            controls(LoraSource::Hub.feature_of_controlnets()),
        ),
        (
            LoraSource::Urls.feature_of_controlnets(),
            CONTROLNETS,
            controls(LoraSource::Urls.feature_of_controlnets()),
        ),
        (CONTROLNET_MODES, CONTROLNETS, spec.controlnets().iter().any(|net| net.mode().is_some())),
        (EMBEDDINGS, EMBEDDINGS, embeds(EMBEDDINGS)),
        (
            LoraSource::Hub.feature_of_embeddings(),
            EMBEDDINGS,
            embeds(LoraSource::Hub.feature_of_embeddings()),
        ),
        (
            LoraSource::Urls.feature_of_embeddings(),
            EMBEDDINGS,
            embeds(LoraSource::Urls.feature_of_embeddings()),
        ),
        (SEEDS, SEEDS, !spec.seeds().is_empty()),
        (FROM, FROM, spec.branch().is_some()),
        (FINISH_AT_STEP, FINISH_AT_STEP, spec.finish_at_step().is_some()),
    ]
    .into_iter()
    .filter(|(.., needed)| *needed)
    .map(|(feature, field, _)| NeededFeature { feature, field })
}

/// What a worker must be capable of to run a job; by default nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Needs {
    pixels: u64,
    words: BTreeSet<Word>,
}

impl Needs {
    /// Needs a picture of this many pixels, and everything that the words name.
    pub fn new(pixels: u64, words: impl IntoIterator<Item = Word>) -> Self {
        Self { pixels, words: words.into_iter().collect() }
    }

    /// The needs of a request: its size, its scheduler if it names one, and the fields that workers of the release
    /// before would ignore.
    pub fn of(spec: &ImageSpec) -> Self {
        // The same worker makes all steps.
        let all = || std::iter::once(spec).chain(spec.branches().map(Branch::request));
        let schedulers = all().filter_map(ImageSpec::scheduler).map(Word::scheduler);
        let features = all().flat_map(features_of).map(|needed| Word::feature(needed.feature));
        let (width, height) = spec.largest();
        Self::new(u64::from(width) * u64::from(height), schedulers.chain(features))
    }

    /// The same needs and a word.
    #[must_use]
    pub fn and(mut self, word: Word) -> Self {
        self.words.insert(word);
        self
    }

    /// The size of the picture, in pixels.
    pub fn pixels(&self) -> u64 {
        self.pixels
    }

    /// Everything else that is needed.
    pub fn words(&self) -> impl Iterator<Item = &Word> {
        self.words.iter()
    }

    /// Whether every worker can run the job.
    pub fn is_nothing(&self) -> bool {
        self.pixels == 0 && self.words.is_empty()
    }

    /// Whether a worker with these capabilities can run the job.
    pub fn met_by(&self, capabilities: &Capabilities) -> bool {
        self.pixels <= capabilities.max_pixels && self.words.is_subset(&capabilities.words)
    }
}

/// `<pixels> <word> <word> …`; the empty text for nothing.
impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_nothing() { Ok(()) } else { write(f, self.pixels, &self.words) }
    }
}

/// A text that is not a valid form of needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the needs of a job should be a number of pixels and words, not {0:?}")]
pub struct InvalidNeeds(String);

impl FromStr for Needs {
    type Err = InvalidNeeds;

    fn from_str(text: &str) -> Result<Self, InvalidNeeds> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let invalid = || InvalidNeeds(text.to_owned());
        let mut parts = text.split(' ');
        let pixels = parts.next().and_then(|pixels| pixels.parse().ok()).ok_or_else(invalid)?;
        let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic());
        let words = parts.map(|word| is_word(word).then(|| Word(word.to_owned())));
        Ok(Self { pixels, words: words.collect::<Option<_>>().ok_or_else(invalid)? })
    }
}

impl TryFrom<String> for Needs {
    type Error = InvalidNeeds;

    fn try_from(text: String) -> Result<Self, InvalidNeeds> {
        text.parse()
    }
}

impl From<Needs> for String {
    fn from(needs: Needs) -> Self {
        needs.to_string()
    }
}

/// What a worker is capable of; by default only jobs that need nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capabilities {
    max_pixels: u64,
    words: BTreeSet<Word>,
}

impl Capabilities {
    /// Pictures of up to this many pixels, and everything that the words name.
    pub fn new(max_pixels: u64, words: impl IntoIterator<Item = Word>) -> Self {
        Self { max_pixels, words: words.into_iter().collect() }
    }

    /// A short name of these capabilities, the same in every process: 16 hex digits.
    pub fn name(&self) -> String {
        let digest = Sha256::digest(self.to_string());
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// `<pixels> <word> <word> …`.
impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.max_pixels, &self.words)
    }
}

fn write(f: &mut fmt::Formatter<'_>, pixels: u64, words: &BTreeSet<Word>) -> fmt::Result {
    write!(f, "{pixels}")?;
    words.iter().try_for_each(|word| write!(f, " {}", word.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ddim() -> Word {
        Word::scheduler("DDIMScheduler")
    }

    #[test]
    fn a_worker_must_be_capable_of_all_that_a_job_needs() {
        let euler = Word::scheduler("EulerDiscreteScheduler");
        let capable = Capabilities::new(1 << 20, [ddim(), euler.clone()]);
        for (needs, met) in [
            (Needs::default(), true),
            (Needs::new(1 << 20, []), true),
            (Needs::new((1 << 20) + 1, []), false),
            (Needs::new(64, [ddim(), euler]), true),
            (Needs::new(64, [Word::scheduler("LCMScheduler")]), false),
            (Needs::new(64, [ddim(), Word::scheduler("LCMScheduler")]), false),
        ] {
            assert_eq!(needs.met_by(&capable), met, "{needs}");
        }
        assert!(Needs::default().met_by(&Capabilities::default()));
    }

    #[test]
    fn needs_round_trip_through_text() {
        let strange = Word::scheduler("100 % 🪁");
        for needs in [Needs::default(), Needs::new(4096, []), Needs::new(u64::MAX, [ddim(), strange])] {
            assert_eq!(needs.to_string().parse(), Ok(needs));
        }
        assert_eq!(Needs::new(64, [ddim()]).to_string(), "64 scheduler:DDIMScheduler");
        for wrong in ["x", "-1", "64  two", "64 ", " 64", "64 a\tb", "64 naïve"] {
            assert!(wrong.parse::<Needs>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_same_capabilities_have_the_same_name() {
        let both = [ddim(), Word::scheduler("LCMScheduler")];
        let turned = both.clone().into_iter().rev();
        assert_eq!(Capabilities::new(64, both.clone()).name(), Capabilities::new(64, turned).name());
        assert_ne!(Capabilities::new(64, both.clone()).name(), Capabilities::new(65, both).name());
    }
}
