//! A request's fields become a picture's specification: at once, or, where there are pictures to fetch and to
//! decode, on threads that may take their time.

use std::{collections::BTreeSet, sync::Arc};

use glimpse_shared::request::{
    Defaults, Fetched, FieldError, ImageSpec, Offer, PictureSource, picture_sources,
};
use serde_json::{Map, Value};

use crate::{error::ApiError, state::Api};

/// What is right or wrong with the fields.
pub(crate) type Checked = Result<ImageSpec, Vec<FieldError>>;

/// Checks the fields of a request, with the pictures that they name.
///
/// # Errors
/// When this process has too much to fetch.
pub(crate) async fn checked(
    api: &Api,
    fields: Map<String, Value>,
    offer: Offer,
    defaults: Defaults,
) -> Result<Checked, ApiError> {
    let sources = picture_sources(&fields, defaults.unknown);
    if sources.is_empty() {
        return Ok(ImageSpec::check(fields, &offer, defaults));
    }
    let urls: BTreeSet<_> = sources
        .into_iter()
        .filter_map(|source| match source {
            PictureSource::Url(url) => Some(url.to_owned()),
            PictureSource::Inline => None,
        })
        .collect();
    let fetched = match &api.fetcher {
        Some(fetcher) => fetcher.fetch(urls).await?,
        None => Fetched::default(),
    };
    // Decoding takes memory, and more of it at once than there are processors is of no use.
    let place = Arc::clone(&api.decoding).acquire_owned().await.map_err(|_| ApiError::Ending)?;
    let check = move || {
        let _place = place;
        ImageSpec::check_with(fields, &offer, defaults, &fetched)
    };
    tokio::task::spawn_blocking(check).await.map_err(|error| {
        tracing::error!(%error, "a picture could not be checked");
        ApiError::Defect
    })
}
