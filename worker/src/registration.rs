//! The worker's registration and heartbeats: `/v1/workers` shows them.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use glimpse_shared::{
    id::{App, WorkerId},
    job::{WorkerRecord, WorkerState},
    needs::{
        CONTROLNET_MODES, CONTROLNETS, FINISH_AT_STEP, FROM, LORAS, REQUIRED, SCHEDULER_CONFIG, SEEDS,
        WITHOUT,
    },
    request::EMBEDDINGS,
    results::Results,
    store::SharedStore,
};

use crate::{
    controlnet_dir::ControlNetDir,
    engine::Engine,
    in_hand::{InHand, State},
    lease::Backoff,
    loras::{LoraDir, Loras},
    pipeline::{Description, RequiredInput},
    recipes::Recipes,
    steps_done::StepsDone,
};

/// The interval of heartbeats.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);

/// The worker's record before its first job. `results`: where it keeps finished pictures.
pub fn record(
    id: WorkerId,
    app: App,
    offers: &Description,
    loras: &Loras,
    controlnets: Option<&ControlNetDir>,
    results: Option<&Results>,
) -> WorkerRecord {
    let mut features = [
        "image",
        "mask",
        SCHEDULER_CONFIG,
        "prompt_syntax",
        "long_prompt",
        "lora_scales",
        SEEDS,
        FROM,
        FINISH_AT_STEP,
    ]
    .map(str::to_owned)
    .to_vec();
    features.extend(of_parts(offers).map(str::to_owned));
    features.extend(loras.folder.as_ref().map(|_| LORAS.to_owned()));
    features.extend(loras.embeddings.as_ref().map(|_| EMBEDDINGS.to_owned()));
    features.extend(
        loras
            .sources()
            .into_iter()
            .flat_map(|source| {
                let controlnets = offers.takes_controlnets().then(|| source.feature_of_controlnets());
                [source.feature(), source.feature_of_embeddings()].into_iter().chain(controlnets)
            })
            .map(str::to_owned),
    );
    if offers.takes_controlnets() {
        features.extend(controlnets.map(|_| CONTROLNETS.to_owned()));
        if controlnets.is_some() || loras.downloader.is_some() {
            features.push(CONTROLNET_MODES.to_owned());
        }
    } else if controlnets.is_some() {
        tracing::warn!(
            "--controlnet-dir has no effect: the model is a refiner, for which there are no ControlNets"
        );
    }
    WorkerRecord {
        id,
        app,
        native_width: offers.native_width,
        native_height: offers.native_height,
        max_pixels: offers.max_pixels,
        schedulers: offers.schedulers.clone(),
        features,
        loras: loras.folder.as_ref().map(LoraDir::names).unwrap_or_default(),
        device: offers.device.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        state: WorkerState::Idle,
        progress: None,
        results: results.map(|results| results.place().kind()),
        model: None,
    }
}

/// The features of jobs in parts, and those that say which pictures a request has to have.
fn of_parts(offers: &Description) -> impl Iterator<Item = &'static str> {
    let ([no_image, no_mask], [image_required, mask_required]) = (WITHOUT, REQUIRED);
    let pictures: &[&str] = match offers.required {
        RequiredInput::Nothing => &[no_image, no_mask, "hires"],
        RequiredInput::Image => &[no_mask, image_required, "aesthetic_score"],
        RequiredInput::Mask => &[mask_required],
    };
    let refiner: &[&str] = if offers.refines { &["refiner", "aesthetic_score"] } else { &[] };
    pictures.iter().chain(refiner).chain(&["padding_mask_crop"]).copied().collect::<BTreeSet<_>>().into_iter()
}

/// Lowers the record's largest picture to what the pipeline can still make. Returns whether it was lowered.
pub fn limit(record: &mut WorkerRecord, engine: &Engine) -> bool {
    let lowered = engine.max_pixels() < record.max_pixels;
    record.max_pixels = record.max_pixels.min(engine.max_pixels());
    lowered
}

/// Registers the worker, and retries until the store responds: only then may it claim.
pub async fn first(store: &SharedStore, record: &WorkerRecord) {
    let mut backoff = Backoff::new("registration");
    while let Err(error) = store.heartbeat(record).await {
        backoff.pause(&error).await;
    }
}

/// Sends a heartbeat whenever the worker's activity changes and every few seconds, until the worker has ended.
pub async fn send_heartbeats(
    store: SharedStore,
    engine: Engine,
    mut record: WorkerRecord,
    in_hand: InHand,
    recipes: Option<Arc<Recipes>>,
) {
    let mut said = (WorkerState::Idle, None);
    loop {
        tokio::select! {
            biased;
            () = in_hand.until(|state| state.is_closed() || state.activity() != said) => {}
            () = tokio::time::sleep(HEARTBEAT_INTERVAL) => {}
        }
        limit(&mut record, &engine);
        // Its digest may have become known.
        record.model = recipes.as_deref().map(Recipes::model);
        let closed = in_hand.read(State::is_closed);
        said = in_hand.read(State::activity);
        (record.state, record.progress) = (said.0, said.1.as_ref().and_then(StepsDone::progress));
        if closed {
            // The record stays, as that of a worker that takes no more jobs.
            (record.state, record.progress) = (WorkerState::Draining, None);
        }
        if let Err(error) = store.heartbeat(&record).await {
            tracing::debug!(%error, "a heartbeat failed");
        }
        if closed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refiner_offers_no_controlnets() {
        let folder = tempfile::tempdir().unwrap();
        let controlnets = ControlNetDir::open(folder.path()).unwrap();
        let features = |required| {
            let offers = Description {
                native_width: 1024,
                native_height: 1024,
                multiple: 8,
                max_pixels: 1 << 20,
                schedulers: Vec::new(),
                required,
                refines: false,
                device: "cpu".to_owned(),
                identity: Default::default(),
            };
            let id = "w".parse().unwrap();
            let app = "glimpse/demo".parse().unwrap();
            record(id, app, &offers, &Loras::default(), Some(&controlnets), None).features
        };
        for (required, offered) in
            [(RequiredInput::Nothing, true), (RequiredInput::Mask, true), (RequiredInput::Image, false)]
        {
            assert_eq!(features(required).iter().any(|name| name == CONTROLNETS), offered, "{required:?}");
        }
    }
}
