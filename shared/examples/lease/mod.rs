//! A job in a worker's hand, for the benches.

use std::time::Duration;

use glimpse_shared::{
    id::{App, JobId, WorkerId},
    job::{Class, Job},
    needs::{Capabilities, Needs},
    request::{Defaults, ImageSpec, Offer, PreviewSource, Unknown},
    store::{Claim, Lease, Store, redis::RedisStore},
};
use serde_json::json;

pub type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Submits a job of the app `bench/NAME` and claims it.
///
/// # Errors
/// If Redis does not respond, or the app has other jobs.
pub async fn lease(store: &RedisStore, name: &str) -> Result<Lease, Failed> {
    let app: App = format!("bench/{name}").parse()?;
    let offer = Offer {
        native_width: 1024,
        native_height: 1024,
        max_pixels: 1 << 21,
        schedulers: Default::default(),
        lora_sources: Default::default(),
        controlnet_hub: false,
    };
    let defaults = Defaults { unknown: Unknown::Refused, preview_source: PreviewSource::Latents };
    let body = json!({ "prompt": "a heart" }).as_object().cloned().unwrap_or_default();
    let spec = ImageSpec::check(body, &offer, defaults).map_err(|errors| format!("{errors:?}"))?;
    let hour = Duration::from_secs(3600);
    let job = Job {
        id: JobId::new(&app),
        app: app.clone(),
        tenant: glimpse_shared::job::ANONYMOUS.to_owned(),
        weight: Default::default(),
        class: Class::Normal,
        affinity: spec.affinity(),
        needs: Needs::default(),
        spec,
        digest: String::new(),
        start_timeout: hour,
        run_timeout: hour,
        retry_of: None,
        webhook: None,
        traceparent: None,
    };
    store.submit(&job).await?;
    let claim = Claim {
        worker: WorkerId::new("bench"),
        app,
        affinity: None,
        capabilities: Capabilities::default(),
        number: 0,
    };
    Ok(store.try_claim(&claim).await?.ok_or("no job to claim")?)
}
