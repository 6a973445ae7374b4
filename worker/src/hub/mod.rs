//! Models by their name on the Hugging Face Hub. A model is downloaded once, into the cache of the `huggingface_hub`
//! library. After that it is loaded like any folder.
//!
//! `resolve -> {id, options, wanted, cache, download}`, `{lora, controlnet} -> repository -> {id, options, cache,
//! download}`, `download -> {client, cache, progress}`, `cache -> lock`. docs/decisions/0006 says why the `hf-hub` crate is not used.

mod cache;
mod client;
mod controlnet;
mod download;
mod error;
mod id;
mod lock;
mod lora;
mod options;
mod progress;
mod repository;
mod wanted;

use std::path::{Path, PathBuf};

pub use controlnet::controlnet;
pub use download::Demands;
pub use error::{HubError, Problem};
pub use id::HubId;
pub use lock::lock;
pub use lora::lora;
pub use options::{HubOptions, Token};
pub use repository::Found;
pub use wanted::ModelKind;

use crate::sdxl::Precision;
use cache::ModelCache;
use client::Client;
use download::RetryBudget;

/// The path of a named model. A path that exists is returned unchanged. For `owner/name` or `owner/name@revision` it is
/// the model's folder in the cache; the model is downloaded if necessary.
///
/// Blocks until the download ends: do not call it from async tasks.
///
/// # Errors
/// If the model cannot be downloaded. The message says what to do.
pub fn resolve(
    named: &Path,
    component: ModelKind,
    precision: Precision,
    options: &HubOptions,
) -> Result<PathBuf, HubError> {
    match HubId::parse(named).filter(|_| !named.exists()) {
        None => Ok(named.to_owned()),
        Some(id) => {
            tracing::info!(
                "there is no folder or file {}: it is taken as a name on the Hugging Face Hub",
                named.display()
            );
            snapshot(&id, component, precision, options)
                .map_err(|problem| HubError { model: id.to_string(), problem })
        }
    }
}

fn snapshot(
    id: &HubId,
    component: ModelKind,
    precision: Precision,
    options: &HubOptions,
) -> Result<PathBuf, Problem> {
    let cache = ModelCache::new(&options.cache, id);
    // The snapshot in the cache, if it has every file that a load reads.
    let commit = cache.commit_of(&id.revision).unwrap_or_default();
    let kept = wanted::wanted(&cache.files(&commit), component, precision).map(|_| cache.snapshot(&commit));
    match kept {
        Ok(folder) if options.offline || id.is_pinned() => return Ok(folder),
        Err(file) if options.offline => {
            return Err(Problem::Offline { file, folder: options.cache.clone() });
        }
        _ => {}
    }
    let kept = kept.ok();
    let client = Client::new(id, options)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Problem::cache("a runtime for the download"))?;
    runtime.block_on(async {
        let mut budget = RetryBudget::new(options);
        let listing = loop {
            match (client.listing().await, &kept) {
                (Ok(listing), _) => break listing,
                (Err(problem), Some(folder)) if problem.is_transient() => {
                    tracing::warn!(model = %id, %problem, "the Hub is unreachable; using the copy in the cache");
                    return Ok(folder.clone());
                }
                (Err(problem), _) => budget.after(problem).await?,
            }
        };
        let files = wanted::wanted(&listing.files, component, precision)
            .map_err(|file| Problem::Missing { hub: client.hub(), file })?;
        for file in files.iter().filter(|file| !cache.has(&listing.commit, file)) {
            let demands = Demands { most: u64::MAX, look: &mut download::any_file };
            download::fetch(&client, &cache, &listing.commit, file, demands, options).await?;
        }
        // Recorded after the downloads, so that an offline start finds no commit with missing files.
        cache.remember(&id.revision, &listing.commit)?;
        let folder = cache.snapshot(&listing.commit);
        tracing::info!(model = %id, folder = %folder.display(), "the model is in the cache");
        Ok(folder)
    })
}
