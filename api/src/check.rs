//! Checks a request's fields and converts them to an `ImageSpec`. Large requests, and requests with pictures, are
//! checked on blocking threads.

use std::collections::BTreeSet;

use glimpse_shared::request::{
    Dialect, Fetched, FieldError, ImageSpec, Offer, PictureSource, picture_sources,
};
use serde_json::{Map, Value};

use crate::{error::ApiError, state::Api};

/// The specification, or the invalid fields.
pub(crate) type Checked = Result<ImageSpec, Vec<FieldError>>;

/// Checks the fields of a request of `size` bytes, with the pictures that they name.
///
/// # Errors
/// When this process is already fetching its maximum of pictures.
pub(crate) async fn checked(
    api: &Api,
    fields: Map<String, Value>,
    size: usize,
    offer: Offer,
    dialect: Dialect,
) -> Result<Checked, ApiError> {
    let sources = picture_sources(&fields, dialect.names);
    // The request that another one goes on from may have pictures too.
    if sources.is_empty() && !fields.contains_key("from") {
        return api.requests.run_if_large(size, move || ImageSpec::check(fields, &offer, dialect)).await;
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
    // Decoding needs much memory, so it runs at most once per processor.
    api.requests.run(move || ImageSpec::check_with(fields, &offer, dialect, &fetched)).await
}
