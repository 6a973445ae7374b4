//! The features of workers in messages: their names, and what to do where no worker has one.

use glimpse_shared::{
    needs::{CONTROLNETS, LORAS, NeededFeature},
    request::{EMBEDDINGS, LoraSource},
};

/// The name of a feature: what a request with it asks for.
pub(crate) fn name(feature: &str) -> String {
    let from = |name: fn(LoraSource) -> &'static str| {
        LoraSource::ALL.into_iter().find(|source| name(*source) == feature)
    };
    if let Some(source) = from(LoraSource::feature) {
        return format!("LoRAs from {source}");
    }
    if let Some(source) = from(LoraSource::feature_of_embeddings) {
        return format!("embeddings from {source}");
    }
    if let Some(source) = from(LoraSource::feature_of_controlnets) {
        return format!("ControlNets from {source}");
    }
    match feature {
        CONTROLNETS => "ControlNets",
        LORAS => "LoRAs",
        "refiner" => "a refiner",
        "aesthetic_score" => "aesthetic scores",
        "controlnet_modes" => "modes of ControlNets",
        "lora_scales" => "scales of a LoRA's parts",
        // It has the name of its field.
        field => field,
    }
    .to_owned()
}

/// Why no worker reads a field, and what to do. `need_pictures`: the model of each worker needs an input picture.
pub(crate) fn advice(needed: &NeededFeature, need_pictures: bool) -> String {
    let no_worker = |has: &str, advice: &str| format!("No worker of this app {has}: {advice}");
    match needed.feature {
        CONTROLNETS => {
            no_worker("has ControlNets", "leave them out, or start a worker with --controlnet-dir")
        }
        LORAS => no_worker("has LoRAs", "leave them out, or start a worker with --lora-dir"),
        EMBEDDINGS => no_worker("has embeddings", "leave them out, or start a worker with --embedding-dir"),
        "refiner" => no_worker("has a refiner", "leave it out, or start a worker with --refiner"),
        "aesthetic_score" => {
            no_worker("has a model that reads it", "leave it out, or start a worker with --refiner")
        }
        "hires" if need_pictures => "Every worker of this app has a model that needs an image, and such a model \
                                     makes no second pass: leave it out, or start a worker with a text-to-image model"
            .to_owned(),
        feature => {
            let of = |name: fn(LoraSource) -> &'static str| {
                LoraSource::ALL.into_iter().find(|source| name(*source) == feature)
            };
            let embeddings = of(LoraSource::feature_of_embeddings).map(|from| ("embeddings", from));
            let controlnets = of(LoraSource::feature_of_controlnets).map(|from| ("ControlNets", from));
            match embeddings.or(controlnets) {
                Some((what, from)) => {
                    let allowed = format!("an operator allows it with {}", from.flag());
                    no_worker(&format!("loads {what} from {from}"), &allowed)
                }
                None => {
                    let has = format!("reads {}", name(feature));
                    no_worker(&has, "leave it out, or update the workers")
                }
            }
        }
    }
}
