//! The LoRAs of requests: files of a folder, and where the operator allows it files of the Hugging Face Hub and of URLs,
//! which are downloaded and kept.
//!
//! `downloader -> {url, shelf, header, hub}`, `url -> {shelf, header}`, `shelf -> entries`. docs/decisions/0023 says why
//! the worker downloads them, and why the cache is its own.

mod downloader;
mod entries;
mod error;
mod folder;
mod header;
mod shelf;
mod url;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::BoxFuture;
use glimpse_shared::request::{ImageSpec, LoraPath, LoraSource};

pub use downloader::{Downloaded, Downloader};
pub use error::LoraError;
pub use folder::LoraDir;
pub use shelf::Shelf;
pub use url::{UrlLimits, UrlLoader};

/// From where a worker loads LoRAs.
#[derive(Debug, Clone, Default)]
pub struct Loras {
    /// The folder of LoRA files, if any.
    pub folder: Option<LoraDir>,
    /// The downloads, if any are allowed.
    pub downloader: Option<Arc<Downloader>>,
}

impl Loras {
    /// From where it loads LoRAs besides its folder.
    pub fn sources(&self) -> BTreeSet<LoraSource> {
        self.downloader.iter().flat_map(|downloader| downloader.sources()).collect()
    }

    /// The download of a request's LoRAs; `None` if all of them are files of the folder. It ends early if the future is
    /// dropped.
    pub fn download(&self, spec: &ImageSpec) -> Option<BoxFuture<'static, Result<Downloaded, LoraError>>> {
        let paths = spec.loras().iter().map(|lora| lora.path());
        let paths: Vec<LoraPath> = paths.filter(|path| path.source().is_some()).cloned().collect();
        if paths.is_empty() {
            return None;
        }
        let downloader = self.downloader.clone();
        Some(Box::pin(async move {
            match downloader {
                Some(downloader) => downloader.download(paths).await,
                None => Err(LoraError::Bad("this worker loads LoRAs of its --lora-dir only".to_owned())),
            }
        }))
    }
}
