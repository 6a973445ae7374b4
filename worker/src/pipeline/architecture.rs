//! `modelspec.architecture`: what a checkpoint's metadata says that it is.

/// What the user can do about a model that is not supported.
pub(super) const INSTEAD: &str = "use a checkpoint of SDXL base with epsilon or v prediction";

/// What an architecture's name says about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Architecture {
    /// SDXL base, its refiner, a model for inpainting, or an unknown name: the tensors decide.
    Open,
    /// SDXL with v prediction.
    VPrediction,
    /// Another model, with the reason that follows the name in an error message.
    NotSupported(String),
}

/// Families that are not SDXL, by the beginning of their names.
const OTHERS: [&str; 29] = [
    "stable-diffusion-v",
    "stable-diffusion-1",
    "stable-diffusion-2",
    "stable-diffusion-3",
    "sd1",
    "sd2",
    "sd3",
    "sd_v",
    "stable-cascade",
    "stable-video",
    "flux",
    "chroma",
    "lumina",
    "hunyuan",
    "pixart",
    "auraflow",
    "kandinsky",
    "qwen",
    "sana",
    "wan",
    "hidream",
    "z-image",
    "ltx",
    "cosmos",
    "omnigen",
    "deepfloyd",
    "segmind-ssd",
    "ssd-1b",
    "anima-",
];

/// Relatives of SDXL base, by a word of the name.
const RELATIVES: [(&str, &str); 8] = [
    ("edit", "an editing model"),
    ("ip2p", "an editing model"),
    ("pix2pix", "an editing model"),
    ("instructpix2pix", "an editing model"),
    ("kolors", "a model with another text encoder"),
    ("cosxl", "a model of EDM with v prediction"),
    ("edm", "a model of EDM"),
    ("flow", "a model of flow matching"),
];

/// Files that are no checkpoint, by a word after the `/` of ModelSpec's names.
const ADAPTERS: [&str; 11] = [
    "lora",
    "loha",
    "lokr",
    "lycoris",
    "dora",
    "textual",
    "embedding",
    "hypernetwork",
    "controlnet",
    "control",
    "adapter",
];

impl Architecture {
    /// Reads a name in lower case, such as `stable-diffusion-xl-v1-base/lora`.
    pub(super) fn of(name: &str) -> Self {
        if let Some((_, kind)) = name.split_once('/')
            && words(kind).any(|word| ADAPTERS.contains(&word))
        {
            let message = format!("which is not a checkpoint but a file of the kind {kind}");
            let has = |part: &str| kind.contains(part);
            let flag = match (has("lora"), has("control"), has("textual") || has("embedding")) {
                (true, false, _) => Some("--lora-dir"),
                (false, true, _) => Some("--controlnet-dir"),
                (false, false, true) => Some("--embedding-dir"),
                _ => None,
            };
            return Self::NotSupported(match flag {
                Some(flag) => format!("{message}: put it into the folder of {flag} and name it in a request"),
                None => format!("{message}: {INSTEAD}"),
            });
        }
        let relative = RELATIVES.iter().find(|(relative, _)| words(name).any(|word| word == *relative));
        // Playground v2 is SDXL with epsilon prediction, v2.5 is not.
        let playground = name.contains("playground") && (name.contains("2.5") || name.contains("2-5"));
        let what = relative.map(|(_, what)| *what);
        if let Some(what) = what.or(playground.then_some("a model of EDM with normalised latents")) {
            return Self::NotSupported(format!("{what}, which is not supported: {INSTEAD}"));
        }
        if OTHERS.iter().any(|start| name.starts_with(start)) {
            return Self::NotSupported(format!("which is not supported: {INSTEAD}"));
        }
        let joined = words(name).collect::<Vec<_>>().join("-");
        let v = ["v-pred", "vpred", "v-parameterization"].iter().any(|mark| {
            joined.split_once(mark).is_some_and(|(before, _)| before.is_empty() || before.ends_with('-'))
        });
        if v || joined.ends_with("-v") { Self::VPrediction } else { Self::Open }
    }
}

fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(|c: char| !c.is_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_sdxl_base_are_left_to_the_tensors() {
        for name in [
            "stable-diffusion-xl-v1-base",
            "stabilityai/stable-diffusion-xl-base-1.0",
            "sdxl/illustrious",
            "stable-diffusion-xl-v1-base/checkpoint",
            "illustrious special edition",
            "playground-v2-1024px-aesthetic",
            "stable-diffusion-xl-v1-inpainting",
            "stable-diffusion-xl-v1-refiner",
        ] {
            assert_eq!(Architecture::of(name), Architecture::Open, "{name}");
        }
    }

    #[test]
    fn a_name_with_v_prediction_means_v_prediction() {
        for name in [
            "sdxl-v-pred",
            "noobai-xl-vpred-1.0",
            "stable-diffusion-xl-v1-base-v",
            "sdxl-base/v-prediction",
            "vpred",
        ] {
            assert_eq!(Architecture::of(name), Architecture::VPrediction, "{name}");
        }
    }

    #[test]
    fn other_models_and_adapters_are_not_supported() {
        for (name, part) in [
            ("cosxl", "EDM"),
            ("stable-diffusion-xl-v1-cosxl", "EDM"),
            ("playground-v2.5", "normalised latents"),
            ("ltx-video", "not supported"),
            ("stable-diffusion-v2-768-v", "not supported"),
            ("stable-diffusion-xl-v1-base/lora", "--lora-dir"),
            ("stable-diffusion-xl-v1-base/control-lora", "not a checkpoint"),
            ("stable-diffusion-xl-v1-base/textual-inversion", "--embedding-dir"),
            ("stable-diffusion-xl-v1-base/controlnet", "--controlnet-dir"),
        ] {
            match Architecture::of(name) {
                Architecture::NotSupported(why) => assert!(why.contains(part), "{name}: {why}"),
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}
