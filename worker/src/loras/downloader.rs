//! The download of a request's LoRAs and embeddings, into the folder of downloaded LoRAs.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use glimpse_shared::request::{HubLora, LoraPath, LoraSource};
use tokio::sync::oneshot;

use super::error::LoraError;
use super::header::{HeaderCheck, MOST_BYTES};
use super::shelf::{Pin, Shelf};
use super::url::UrlLoader;
use crate::hub::{self, Demands, HubId, HubOptions};

/// How often a file is loaded again that was deleted or is damaged when it is to be used.
const TRIES: usize = 3;

/// Downloads LoRAs, and keeps them.
#[derive(Debug)]
pub struct Downloader {
    shelf: Shelf,
    hub: Option<HubOptions>,
    urls: Option<UrlLoader>,
}

/// The downloaded LoRAs of a request. Their files stay until it is dropped.
#[derive(Debug, Default)]
pub struct Downloaded(HashMap<LoraPath, (PathBuf, Pin)>);

impl Downloaded {
    /// These files and others.
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// The file of a path.
    pub fn file(&self, path: &LoraPath) -> Option<&Path> {
        self.0.get(path).map(|(file, _)| &**file)
    }
}

impl Downloader {
    /// Downloads from the Hub and from URLs, each only if it is given. Of `hub` the cache is not used: the files are on
    /// the shelf.
    pub fn new(shelf: Shelf, hub: Option<HubOptions>, urls: Option<UrlLoader>) -> Self {
        let hub = hub.map(|options| HubOptions { cache: shelf.hub(), ..options });
        Self { shelf, hub, urls }
    }

    /// From where it downloads.
    pub fn sources(&self) -> BTreeSet<LoraSource> {
        let hub = self.hub.iter().map(|_| LoraSource::Hub);
        hub.chain(self.urls.iter().map(|_| LoraSource::Urls)).collect()
    }

    /// Downloads these LoRAs on a thread of its own, because it writes files. The thread ends soon after the future is
    /// dropped.
    ///
    /// # Errors
    /// The first LoRA that cannot be loaded, with its name.
    pub async fn download(self: Arc<Self>, paths: Vec<LoraPath>) -> Result<Downloaded, LoraError> {
        // Dropped with this future.
        let (_wanted, mut unwanted) = oneshot::channel::<()>();
        let work = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(LoraError::cache)?.block_on(async {
                tokio::select! {
                    biased;
                    _ = &mut unwanted => Err(LoraError::Fault("the download was stopped".to_owned())),
                    downloaded = self.all(paths) => downloaded,
                }
            })
        });
        work.await.unwrap_or_else(|error| {
            tracing::error!(%error, "the download of a LoRA panicked");
            Err(LoraError::Fault("the download of a LoRA failed".to_owned()))
        })
    }

    async fn all(&self, paths: Vec<LoraPath>) -> Result<Downloaded, LoraError> {
        let mut downloaded = Downloaded::default();
        for path in paths {
            let loaded = self.one(&path).await.map_err(|error| error.of(&path))?;
            downloaded.0.extend(loaded.map(|loaded| (path, loaded)));
        }
        self.shelf.make_room();
        Ok(downloaded)
    }

    /// `None` for a file of the folder.
    async fn one(&self, path: &LoraPath) -> Result<Option<(PathBuf, Pin)>, LoraError> {
        let refused = |source: LoraSource| {
            LoraError::Bad(format!("this worker loads no files from {source} ({})", source.flag()))
        };
        match path {
            LoraPath::File(_) => Ok(None),
            LoraPath::Url(url) => {
                let urls = self.urls.as_ref().ok_or_else(|| refused(LoraSource::Urls))?;
                urls.load(url, &self.shelf).await.map(Some)
            }
            LoraPath::Hub(lora) => {
                let options = self.hub.as_ref().ok_or_else(|| refused(LoraSource::Hub))?;
                self.of_hub(lora, options).await.map(Some)
            }
        }
    }

    async fn of_hub(&self, lora: &HubLora, options: &HubOptions) -> Result<(PathBuf, Pin), LoraError> {
        let id = HubId {
            owner: lora.owner().to_owned(),
            name: lora.name().to_owned(),
            revision: lora.revision().unwrap_or("main").to_owned(),
        };
        for _ in 0..TRIES {
            let mut check = HeaderCheck::new(MOST_BYTES);
            let mut look = |file: &Path, have| check.look(file, have);
            let demands = Demands { most: MOST_BYTES, look: &mut look };
            let file = hub::lora(&id, lora.file(), demands, options).await?;
            // Another process may have deleted it to make room.
            let Some(pin) = self.shelf.pin(&file).map_err(LoraError::cache)? else { continue };
            let Err(why) = HeaderCheck::check_whole(MOST_BYTES, &file) else { return Ok((file, pin)) };
            tracing::warn!(file = %file.display(), why, "a kept LoRA is damaged: it is downloaded again");
            // Another process that has it open goes on with what it read.
            let blob = file.canonicalize().map_err(LoraError::cache)?;
            fs::remove_file(&file).and_then(|()| fs::remove_file(blob)).map_err(LoraError::cache)?;
        }
        Err(LoraError::Fault("the file disappears or is damaged again and again".to_owned()))
    }
}
