//! The LoRAs, embeddings and ControlNets of requests: files of a folder, and where the operator allows it files of the Hugging Face Hub and of URLs,
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
use glimpse_shared::request::{ControlNet, ImageSpec, LoraPath, LoraSource};

use crate::controlnet_dir::ControlNetDir;

pub use downloader::{Downloaded, Downloader};
pub use error::LoraError;
pub use folder::LoraDir;
pub use shelf::Shelf;
pub use url::{UrlLimits, UrlLoader};

/// From where a worker loads LoRAs and embeddings.
#[derive(Debug, Clone, Default)]
pub struct Loras {
    /// The folder of LoRA files, if any.
    pub folder: Option<LoraDir>,
    /// The folder of embeddings, if any.
    pub embeddings: Option<LoraDir>,
    /// The downloads, if any are allowed.
    pub downloader: Option<Arc<Downloader>>,
}

impl Loras {
    /// From where it loads them besides its folders.
    pub fn sources(&self) -> BTreeSet<LoraSource> {
        self.downloader.iter().flat_map(|downloader| downloader.sources()).collect()
    }

    /// The download of a request's LoRAs, embeddings and ControlNets; `None` if all of them are in the folders, of which
    /// `controlnets` is that of ControlNets. It ends early if the future is dropped.
    pub fn download(
        &self,
        spec: &ImageSpec,
        controlnets: Option<&ControlNetDir>,
    ) -> Option<BoxFuture<'static, Result<Downloaded, LoraError>>> {
        let elsewhere = |paths: Vec<&LoraPath>| -> Vec<LoraPath> {
            paths.into_iter().filter(|path| path.source().is_some()).cloned().collect()
        };
        let loras = elsewhere(spec.loras().iter().map(|lora| lora.path()).collect());
        let embeddings = elsewhere(spec.embeddings().iter().map(|embedding| embedding.path()).collect());
        let is_kept = |path: &LoraPath| controlnets.is_some_and(|folder| folder.of_hub(path).is_some());
        let nets = spec.controlnets().iter().map(ControlNet::path).filter(|path| !is_kept(path));
        let nets = elsewhere(nets.collect());
        if loras.is_empty() && embeddings.is_empty() && nets.is_empty() {
            return None;
        }
        let downloader = self.downloader.clone();
        Some(Box::pin(async move {
            let Some(downloader) = downloader else {
                return Err(match loras.is_empty() {
                    true => LoraError::BadEmbedding(
                        "this worker loads embeddings of its --embedding-dir only".to_owned(),
                    ),
                    false => LoraError::Bad("this worker loads LoRAs of its --lora-dir only".to_owned()),
                });
            };
            let of_loras = downloader.clone().download(loras).await?;
            let of_embeddings = downloader.clone().download(embeddings).await;
            let of_nets = downloader.controlnets(nets);
            Ok(of_loras
                .and(of_embeddings.map_err(LoraError::of_embedding)?)
                .and(of_nets.await.map_err(LoraError::of_controlnet)?))
        }))
    }
}
