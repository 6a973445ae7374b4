//! A downloader with an empty folder.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use glimpse_shared::{
    outbound::{AddressPolicy, TrustedHost},
    request::LoraPath,
};
use glimpse_worker::{
    hub::HubOptions,
    loras::{Downloaded, Downloader, LoraError, Shelf, UrlLimits, UrlLoader},
};
use tempfile::TempDir;

/// What every secret in a test contains.
pub const SECRET: &str = "swordfish";
/// The most bytes of a URL's file.
pub const MOST: u64 = 1 << 20;

pub fn limits() -> UrlLimits {
    UrlLimits {
        bytes: MOST,
        pause: Duration::ZERO,
        silence: Duration::from_millis(500),
        ..UrlLimits::default()
    }
}

/// The policy that allows only this host.
pub fn only(host: &str) -> AddressPolicy {
    AddressPolicy::of_hosts(&[host.parse::<TrustedHost>().unwrap()])
}

/// A downloader with this folder, of URLs and of the Hub.
pub fn downloader(folder: &Path, policy: AddressPolicy, hub: Option<HubOptions>) -> Arc<Downloader> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let shelf = Shelf::open(folder, 10 << 20).unwrap();
    Arc::new(Downloader::new(shelf, hub, Some(UrlLoader::new(policy, limits()))))
}

/// A downloader of the local server's URLs.
pub struct Story {
    pub folder: TempDir,
    pub downloader: Arc<Downloader>,
}

impl Story {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let downloader = downloader(folder.path(), only("127.0.0.1"), None);
        Self { folder, downloader }
    }

    /// The contents of one LoRA.
    pub async fn load(&self, path: &str) -> Result<Vec<u8>, LoraError> {
        let downloaded = self.hold(path).await?;
        Ok(std::fs::read(downloaded.file(&parse(path)).unwrap()).unwrap())
    }

    /// The same, and its file is in use.
    pub async fn hold(&self, path: &str) -> Result<Downloaded, LoraError> {
        let downloaded = self.downloader.clone().download(vec![parse(path)]).await;
        if let Err(error) = &downloaded {
            assert!(!format!("{error} {error:?}").contains(SECRET), "{error}");
        }
        downloaded
    }

    /// Why a LoRA is refused: the request is at fault.
    pub async fn refusal(&self, path: &str) -> String {
        match self.load(path).await {
            Err(LoraError::Bad(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    /// The names of the files in `urls`.
    pub fn files(&self) -> BTreeSet<String> {
        let entries = std::fs::read_dir(self.folder.path().join("urls")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

pub fn parse(path: &str) -> LoraPath {
    LoraPath::try_from(path.to_owned()).unwrap()
}
