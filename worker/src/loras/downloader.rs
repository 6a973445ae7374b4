//! The download of a request's LoRAs, embeddings and ControlNets, into the folder of downloaded LoRAs.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use glimpse_shared::request::{HubLora, LoraPath, LoraSource};
use tokio::sync::oneshot;
use tracing::Span;

use super::entries::WHOLE;
use super::error::LoraError;
use super::header::{Content, HeaderCheck};
use super::shelf::{Pin, Shelf};
use super::url::UrlLoader;
use crate::hub::{self, Demands, Found, HubId, HubOptions};
use crate::sdxl::Precision;

/// How often a file is loaded again that was deleted or is damaged when it is to be used.
const TRIES: usize = 3;

/// Downloads LoRAs, and keeps them.
#[derive(Debug)]
pub struct Downloader {
    shelf: Shelf,
    hub: Option<HubOptions>,
    urls: Option<UrlLoader>,
    /// Of the weights of ControlNets, where a repository has several.
    precision: Precision,
}

/// The downloaded files of a request. They stay until it is dropped.
#[derive(Debug, Default)]
pub struct Downloaded(HashMap<(Content, LoraPath), Kept>);

/// A file or a folder, and what keeps its files.
#[derive(Debug)]
struct Kept {
    path: PathBuf,
    _pins: Vec<Pin>,
}

impl Downloaded {
    /// These files and others.
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// The LoRA or embedding of a path.
    pub fn file(&self, path: &LoraPath) -> Option<&Path> {
        self.0.get(&(Content::Lora, path.clone())).map(|kept| &*kept.path)
    }

    /// The ControlNet of a path: a file or a folder.
    pub fn controlnet(&self, path: &LoraPath) -> Option<&Path> {
        self.0.get(&(Content::ControlNet, path.clone())).map(|kept| &*kept.path)
    }
}

impl Downloader {
    /// Downloads from the Hub and from URLs, each only if it is given. Of `hub` the cache is not used: the files are on
    /// the shelf.
    pub fn new(shelf: Shelf, hub: Option<HubOptions>, urls: Option<UrlLoader>) -> Self {
        let hub = hub.map(|options| HubOptions { cache: shelf.hub(), ..options });
        Self { shelf, hub, urls, precision: Precision::Full }
    }

    /// The same, with the weights of ControlNets in this precision, where a repository has several.
    #[must_use]
    pub fn of_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// From where it downloads.
    pub fn sources(&self) -> BTreeSet<LoraSource> {
        let hub = self.hub.iter().map(|_| LoraSource::Hub);
        hub.chain(self.urls.iter().map(|_| LoraSource::Urls)).collect()
    }

    /// Downloads these LoRAs or embeddings on a thread of its own, because it writes files. The thread ends soon after the
    /// future is dropped.
    ///
    /// # Errors
    /// The first one that cannot be loaded, with its name.
    pub async fn download(self: Arc<Self>, paths: Vec<LoraPath>) -> Result<Downloaded, LoraError> {
        self.apart(Content::Lora, paths).await
    }

    /// The same with ControlNets.
    ///
    /// # Errors
    /// As [`Downloader::download`].
    pub async fn controlnets(self: Arc<Self>, paths: Vec<LoraPath>) -> Result<Downloaded, LoraError> {
        self.apart(Content::ControlNet, paths).await
    }

    async fn apart(self: Arc<Self>, content: Content, paths: Vec<LoraPath>) -> Result<Downloaded, LoraError> {
        if paths.is_empty() {
            return Ok(Downloaded::default());
        }
        // Dropped with this future.
        let (_wanted, mut unwanted) = oneshot::channel::<()>();
        let current = Span::current();
        let work = tokio::task::spawn_blocking(move || {
            // The lines of the log name the job.
            let _current = current.entered();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(LoraError::cache)?.block_on(async {
                tokio::select! {
                    biased;
                    _ = &mut unwanted => Err(LoraError::Fault("the download was stopped".to_owned())),
                    downloaded = self.all(content, paths) => downloaded,
                }
            })
        });
        work.await.unwrap_or_else(|error| {
            tracing::error!(%error, "the download of a {content} panicked");
            Err(LoraError::Fault(format!("the download of a {content} failed")))
        })
    }

    async fn all(&self, content: Content, paths: Vec<LoraPath>) -> Result<Downloaded, LoraError> {
        let mut downloaded = Downloaded::default();
        for path in paths {
            let kept = self.one(content, &path).await.map_err(|error| error.of(&path))?;
            downloaded.0.extend(kept.map(|kept| ((content, path), kept)));
        }
        self.shelf.make_room();
        Ok(downloaded)
    }

    /// `None` for a file of the folder.
    async fn one(&self, content: Content, path: &LoraPath) -> Result<Option<Kept>, LoraError> {
        let refused = |source: LoraSource| {
            LoraError::Bad(format!("this worker loads no files from {source} ({})", source.flag()))
        };
        match path {
            LoraPath::File(_) => Ok(None),
            LoraPath::Url(url) => {
                let urls = self.urls.as_ref().ok_or_else(|| refused(LoraSource::Urls))?;
                let (path, pin) = urls.load(url, content, &self.shelf).await?;
                Ok(Some(Kept { path, _pins: vec![pin] }))
            }
            LoraPath::Hub(lora) => {
                let options = self.hub.as_ref().ok_or_else(|| refused(LoraSource::Hub))?;
                self.of_hub(content, lora, options).await.map(Some)
            }
        }
    }

    async fn of_hub(
        &self,
        content: Content,
        lora: &HubLora,
        options: &HubOptions,
    ) -> Result<Kept, LoraError> {
        let id = HubId {
            owner: lora.owner().to_owned(),
            name: lora.name().to_owned(),
            revision: lora.revision().unwrap_or("main").to_owned(),
        };
        let most = content.most_bytes();
        for _ in 0..TRIES {
            let mut checks: HashMap<PathBuf, HeaderCheck> = HashMap::new();
            let mut look = |file: &Path, have| {
                let new = || HeaderCheck::new(content, most);
                checks.entry(file.to_owned()).or_insert_with(new).look(file, have)
            };
            let demands = Demands { most, look: &mut look };
            let found = match content {
                Content::Lora => hub::lora(&id, lora.file(), demands, options).await?,
                Content::ControlNet => {
                    hub::controlnet(&id, lora.file(), self.precision, demands, options).await?
                }
            };
            if let Some(kept) = self.kept(content, found)? {
                return Ok(kept);
            }
        }
        Err(LoraError::Fault("the file disappears or is damaged again and again".to_owned()))
    }

    /// Keeps the files; `None` if another process deleted one to make room, or one is damaged. A damaged file is deleted.
    fn kept(&self, content: Content, found: Found) -> Result<Option<Kept>, LoraError> {
        let mut pins = Vec::with_capacity(found.files.len());
        for file in &found.files {
            let Some(pin) = self.shelf.pin(file).map_err(LoraError::cache)? else { return Ok(None) };
            pins.push(pin);
            if file.extension().is_none_or(|ending| ending != WHOLE) {
                continue;
            }
            if let Err(why) = HeaderCheck::check_whole(content, content.most_bytes(), file) {
                tracing::warn!(file = %file.display(), why, "a kept {content} is damaged: it is downloaded again");
                // Another process that has it open goes on with what it read.
                let blob = file.canonicalize().map_err(LoraError::cache)?;
                fs::remove_file(file).and_then(|()| fs::remove_file(blob)).map_err(LoraError::cache)?;
                return Ok(None);
            }
        }
        Ok(Some(Kept { path: found.path, _pins: pins }))
    }
}
