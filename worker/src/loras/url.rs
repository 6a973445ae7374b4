//! LoRAs of URLs.
//!
//! The client chooses the URL, and this machine may reach networks that the client cannot. So the policy of
//! `shared/src/outbound` checks the address of every hop, also when the name is resolved, and bytes and time are
//! limited.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use glimpse_shared::{
    outbound::{AddressPolicy, Forbidden},
    request::LoraUrl,
    retry::Waits,
};
use reqwest::{Client, Response, StatusCode, Url, header, redirect};

use super::entries::{PART, WHOLE};
use super::error::LoraError;
use super::header::{Content, HeaderCheck};
use super::shelf::{Pin, Shelf, key};
use crate::hub;

/// Limits of a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UrlLimits {
    /// The most bytes of a LoRA.
    pub bytes: u64,
    /// The most bytes of a ControlNet.
    pub controlnet_bytes: u64,
    /// Redirects to follow.
    pub redirects: usize,
    /// How often the download is tried.
    pub tries: u32,
    /// The longest wait after the first failure. It doubles with each failure.
    pub pause: Duration,
    /// The longest time until a connection is open.
    pub connect: Duration,
    /// The longest time without data on a connection.
    pub silence: Duration,
    /// The longest time of everything, because a server may send very slowly.
    pub timeout: Duration,
}

impl Default for UrlLimits {
    fn default() -> Self {
        Self {
            bytes: Content::Lora.most_bytes(),
            controlnet_bytes: Content::ControlNet.most_bytes(),
            redirects: 5,
            tries: 3,
            pause: Duration::from_secs(1),
            connect: Duration::from_secs(5),
            silence: Duration::from_secs(30),
            timeout: Duration::from_secs(30 * 60),
        }
    }
}

/// Loads LoRAs of URLs.
pub struct UrlLoader {
    policy: Arc<AddressPolicy>,
    limits: UrlLimits,
}

impl std::fmt::Debug for UrlLoader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UrlLoader").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Why one try failed.
enum Failed {
    /// Another try may succeed. The text is what to say of the server.
    Transient(String),
    /// No other try can help.
    Final(LoraError),
}

impl UrlLimits {
    fn bytes_of(&self, content: Content) -> u64 {
        match content {
            Content::Lora => self.bytes,
            Content::ControlNet => self.controlnet_bytes,
        }
    }
}

impl UrlLoader {
    /// Loads from the addresses that the policy allows.
    pub fn new(policy: AddressPolicy, limits: UrlLimits) -> Self {
        Self { policy: Arc::new(policy), limits }
    }

    /// The file of a URL, from the shelf or from its server.
    ///
    /// # Errors
    /// If the address is not allowed, the server does not send the file, or the file is another one.
    pub async fn load(
        &self,
        url: &LoraUrl,
        content: Content,
        shelf: &Shelf,
    ) -> Result<(PathBuf, Pin), LoraError> {
        let start = Url::parse(url.secret()).map_err(|_| bad("is not a URL"))?;
        // Before the look into the cache: the operator may allow less than before.
        self.policy.check(&start).map_err(forbidden)?;
        let key = match content {
            Content::Lora => key(url.secret().as_bytes()),
            // A file of its own: a LoRA of the same URL is checked in another way.
            Content::ControlNet => key(format!("ControlNet {}", url.secret()).as_bytes()),
        };
        let file = shelf.urls().join(&key).with_extension(WHOLE);
        let waits = || tracing::info!(%url, "another process is downloading this file; waiting for it");
        // Nobody deletes the file while this is locked.
        let _lock = hub::lock(&shelf.lock_of(&key), waits).await.map_err(LoraError::cache)?;
        if file.is_file() {
            match HeaderCheck::check_whole(content, self.limits.bytes_of(content), &file) {
                Ok(()) => return pinned(shelf, file),
                Err(why) => {
                    tracing::warn!(%url, why, "a kept {content} is damaged: it is downloaded again");
                    fs::remove_file(&file).map_err(LoraError::cache)?;
                }
            }
        }
        let part = Part(shelf.urls().join(&key).with_extension(PART));
        tracing::info!(%url, "downloading a {content}");
        let loading = tokio::time::timeout(self.limits.timeout, self.fill(&part.0, &start, content));
        loading.await.unwrap_or_else(|_| Err(bad("cannot be loaded: the server is too slow")))?;
        fs::rename(&part.0, &file).map_err(LoraError::cache)?;
        pinned(shelf, file)
    }

    /// Downloads the whole file.
    async fn fill(&self, part: &Path, url: &Url, content: Content) -> Result<(), LoraError> {
        let client = self.client().map_err(|error| {
            tracing::error!(%error, "there is no client for LoRAs of URLs");
            LoraError::Fault("this worker cannot load URLs".to_owned())
        })?;
        let mut waits = Waits::new(self.limits.pause, self.limits.pause * 8);
        let mut tries = 1;
        loop {
            match self.attempt(&client, part, url, content).await {
                Ok(()) => return Ok(()),
                Err(Failed::Final(error)) => return Err(error),
                Err(Failed::Transient(why)) if tries >= self.limits.tries => {
                    return Err(LoraError::Bad(format!("cannot be loaded: {why}, also after {tries} tries")));
                }
                Err(Failed::Transient(why)) => {
                    tracing::warn!(
                        host = url.host_str(),
                        why,
                        "the download of a {content} failed; retrying"
                    );
                    tries += 1;
                    tokio::time::sleep(waits.next()).await;
                }
            }
        }
    }

    fn client(&self) -> reqwest::Result<Client> {
        Client::builder()
            .dns_resolver(self.policy.clone())
            // A proxy from the environment would resolve names again, without the policy.
            .no_proxy()
            // The policy checks each hop.
            .redirect(redirect::Policy::none())
            .referer(false)
            .pool_max_idle_per_host(0)
            .connect_timeout(self.limits.connect)
            .read_timeout(self.limits.silence)
            .user_agent(concat!("glimpse/", env!("CARGO_PKG_VERSION")))
            .build()
    }

    async fn attempt(&self, client: &Client, part: &Path, url: &Url, content: Content) -> Result<(), Failed> {
        let response = self.follow(client, url.clone()).await?;
        self.body(response, part, content).await
    }

    async fn follow(&self, client: &Client, mut url: Url) -> Result<Response, Failed> {
        for _ in 0..=self.limits.redirects {
            self.policy.check(&url).map_err(|error| Failed::Final(forbidden(error)))?;
            let response = client.get(url.clone()).send().await.map_err(|error| reason(&error))?;
            match response.status() {
                StatusCode::OK => return Ok(response),
                status if status.is_redirection() => url = target(&url, &response)?,
                status @ (StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) => {
                    return Err(answers(status));
                }
                status if status.is_server_error() => return Err(answers(status)),
                status => {
                    let why = format!("cannot be loaded: the server answers {}", status.as_u16());
                    return Err(Failed::Final(LoraError::Bad(why)));
                }
            }
        }
        let why = format!("cannot be loaded: more than {} redirects", self.limits.redirects);
        Err(Failed::Final(LoraError::Bad(why)))
    }

    async fn body(&self, mut response: Response, part: &Path, content: Content) -> Result<(), Failed> {
        let most = self.limits.bytes_of(content);
        if let Some(size) = response.content_length().filter(|size| *size > most) {
            let why = format!("has {size} bytes, and at most {most} are allowed");
            return Err(Failed::Final(LoraError::Bad(why)));
        }
        let cache = |error: io::Error| Failed::Final(LoraError::cache(error));
        let mut out = File::create(part).map_err(cache)?;
        let mut check = HeaderCheck::new(content, most);
        let mut have = 0;
        while let Some(chunk) = response.chunk().await.map_err(|error| reason(&error))? {
            out.write_all(&chunk).map_err(cache)?;
            have += chunk.len() as u64;
            // The header tells the file's size, which is at most the limit: so no file is longer.
            check.look(part, have).map_err(|why| Failed::Final(LoraError::Bad(why)))?;
        }
        match check.whole() {
            Some(whole) if whole == have => out.sync_all().map_err(cache),
            Some(_) => Err(Failed::Transient("the server closes the connection early".to_owned())),
            None => Err(Failed::Final(bad(&check.not("it is not a safetensors file")))),
        }
    }
}

/// An incomplete file. Deleted when dropped; a complete one has another name then.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(file = %self.0.display(), %error, "an incomplete LoRA could not be deleted");
        }
    }
}

fn pinned(shelf: &Shelf, file: PathBuf) -> Result<(PathBuf, Pin), LoraError> {
    let pin = shelf.pin(&file).map_err(LoraError::cache)?;
    pin.map(|pin| (file, pin)).ok_or_else(|| LoraError::Fault("the file was deleted".to_owned()))
}

/// The target of a redirect.
fn target(from: &Url, response: &Response) -> Result<Url, Failed> {
    let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    location
        .and_then(|location| from.join(location).ok())
        .ok_or_else(|| Failed::Final(bad("cannot be loaded: the server redirects to nowhere")))
}

fn answers(status: StatusCode) -> Failed {
    Failed::Transient(format!("the server answers {}", status.as_u16()))
}

fn bad(why: &str) -> LoraError {
    LoraError::Bad(why.to_owned())
}

fn forbidden(_: Forbidden) -> LoraError {
    bad(
        "the address is not allowed: this worker loads files from public addresses, or with --allow-lora-hosts from \
         these hosts only",
    )
}

/// Whether the policy's resolver refused the name, or what else failed. The error's own text has the URL.
fn reason(error: &reqwest::Error) -> Failed {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<Forbidden>() {
            return Failed::Final(forbidden(Forbidden));
        }
        cause = error.source();
    }
    let why = if error.is_connect() {
        "there is no connection to the server"
    } else if error.is_timeout() {
        "the server does not answer in time"
    } else {
        "the connection to the server fails"
    };
    Failed::Transient(why.to_owned())
}
