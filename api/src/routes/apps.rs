//! `GET /v1/apps`: what each app offers, for pages and clients that show a form.

use std::collections::BTreeSet;

use axum::{extract::State, http::StatusCode, response::Response};
use glimpse_shared::{id::App, recipe::ModelRecipe, store::Waiting};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    admission::Offered,
    error::ApiError,
    json::json_response,
    state::{Api, in_time},
};

/// The apps that are served, by name.
#[derive(Serialize, ToSchema)]
pub(crate) struct AppList {
    apps: Vec<ListedApp>,
}

/// What an app offers.
#[derive(Serialize, ToSchema)]
#[schema(as = AppOffer)]
struct ListedApp {
    app: App,
    /// The model's own width in pixels.
    native_width: u32,
    /// The model's own height in pixels.
    native_height: u32,
    /// The largest picture, width times height.
    max_pixels: u64,
    #[schema(value_type = Vec<String>)]
    schedulers: BTreeSet<String>,
    /// What requests may have: `image`, `mask`, `loras`, `lora_scales`, `embeddings`, `controlnets`, `seeds`,
    /// `scheduler_config`, `prompt_syntax`, `long_prompt`, `refiner`, `aesthetic_score`, `padding_mask_crop`, `hires`,
    /// `from`, `finish_at_step`;
    /// and what the models need (`mask_required`, `image_required`) or do not need (`no_mask`, `no_image`).
    #[schema(value_type = Vec<String>)]
    features: BTreeSet<String>,
    /// Names of LoRAs.
    #[schema(value_type = Vec<String>)]
    loras: BTreeSet<String>,
    /// The models that its workers have loaded; more than one while they are replaced.
    models: Vec<ModelRecipe>,
    /// How many live workers take jobs.
    workers: usize,
    /// How many jobs wait.
    waiting: u64,
    /// Seconds until a job that is submitted now is claimed; absent if no job was completed recently or no worker takes
    /// jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0)]
    expected_wait: Option<f64>,
}

/// The apps, by name.
pub(crate) async fn list(State(api): State<Api>) -> Result<Response, ApiError> {
    let apps = in_time(async {
        let offered = api.admission.offered().await?;
        let waiting = offered.iter().map(|each| api.store.waiting(&each.app));
        let waiting = futures::future::try_join_all(waiting).await?;
        Ok(offered.into_iter().zip(waiting).map(|(offered, waiting)| listed(offered, waiting)).collect())
    });
    Ok(json_response(StatusCode::OK, &AppList { apps: apps.await? }))
}

fn listed(offered: Offered, waiting: Waiting) -> ListedApp {
    ListedApp {
        native_width: offered.offer.native_width,
        native_height: offered.offer.native_height,
        max_pixels: offered.offer.max_pixels,
        schedulers: offered.offer.schedulers,
        features: offered.features,
        loras: offered.loras,
        models: offered.models,
        workers: offered.workers,
        waiting: waiting.jobs,
        expected_wait: expected_wait(&waiting, offered.workers, offered.idle),
        app: offered.app,
    }
}

/// Each worker takes one of the waiting jobs per `pace`. An idle worker takes a job at once.
pub(super) fn expected_wait(waiting: &Waiting, workers: usize, idle: usize) -> Option<f64> {
    let pace = waiting.pace?.as_secs_f64();
    let ahead = (waiting.jobs + 1).saturating_sub(idle as u64) as f64;
    (workers > 0).then(|| pace * ahead / workers as f64)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_wait_is_expected_only_where_it_can_be_known() {
        let waiting = |jobs| Waiting { jobs, pace: Some(Duration::from_secs(4)), oldest: None };
        assert_eq!(expected_wait(&waiting(0), 2, 1), Some(0.0));
        assert_eq!(expected_wait(&waiting(0), 2, 0), Some(2.0));
        assert_eq!(expected_wait(&waiting(5), 2, 0), Some(12.0));
        assert_eq!(expected_wait(&waiting(5), 0, 0), None);
        assert_eq!(expected_wait(&Waiting { jobs: 5, pace: None, oldest: None }, 2, 0), None);
    }
}
