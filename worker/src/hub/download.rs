//! Downloads one file from the Hub into the cache. A download resumes where the last one ended, and the file gets its
//! final name after its size and hash are checked.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use glimpse_shared::retry::Waits;
use sha2::{Digest, Sha256};

use super::cache::ModelCache;
use super::client::{Client, Remote};
use super::error::Problem;
use super::options::HubOptions;
use super::progress::DownloadProgress;

/// What a file must be, besides what the Hub announces.
pub struct Demands<'a> {
    /// The most bytes.
    pub most: u64,
    /// Called with the incomplete file and its size whenever it has grown. An error refuses the file.
    pub look: &'a mut dyn FnMut(&Path, u64) -> Result<(), String>,
}

/// Demands nothing.
pub fn any_file(_: &Path, _: u64) -> Result<(), String> {
    Ok(())
}

/// Downloads a commit's file and links it into the snapshot. Contents that the cache already has are only linked.
pub async fn fetch(
    client: &Client,
    cache: &ModelCache,
    commit: &str,
    file: &str,
    demands: Demands<'_>,
    options: &HubOptions,
) -> Result<(), Problem> {
    let mut budget = RetryBudget::new(options);
    let remote = loop {
        match client.describe(commit, file).await {
            Ok(remote) => break remote,
            Err(problem) => budget.after(problem).await?,
        }
    };
    let (size, most) = (remote.size, demands.most);
    if size > most {
        return Err(Problem::TooLarge { file: file.to_owned(), size, most });
    }
    cache.prepare()?;
    let _lock = cache.lock(&remote.etag).await?;
    if !cache.blob(&remote.etag).is_file() {
        let partial = cache.partial(&remote.etag);
        let mut filling = Filling { partial: &partial, client, commit, file, remote: &remote, demands };
        filling.run(options).await?;
        check(&partial, file, &remote)?;
        fs::rename(&partial, cache.blob(&remote.etag)).map_err(Problem::cache(&partial))?;
    }
    cache.link(commit, file, &remote.etag)
}

/// The download of one file's contents.
struct Filling<'a, 'd> {
    partial: &'a Path,
    client: &'a Client,
    commit: &'a str,
    file: &'a str,
    remote: &'a Remote,
    demands: Demands<'d>,
}

impl Filling<'_, '_> {
    /// Appends to the incomplete file until it has the remote size.
    async fn run(&mut self, options: &HubOptions) -> Result<(), Problem> {
        let partial = self.partial;
        let io = || Problem::cache(partial);
        let mut out = File::options().create(true).append(true).open(partial).map_err(io())?;
        let length = |out: &File| out.metadata().map(|data| data.len()).map_err(io());
        if length(&out)? > self.remote.size {
            out.set_len(0).map_err(io())?;
        }
        let mut progress = DownloadProgress::begin(self.file, self.remote.size, length(&out)?);
        let mut budget = RetryBudget::new(options);
        loop {
            let before = length(&out)?;
            self.look(before)?;
            if before == self.remote.size {
                return out.sync_all().map_err(io());
            }
            let appended = self.append_body(&mut out, &mut progress).await;
            // Any progress restores the retry budget.
            if length(&out)? > before {
                budget = RetryBudget::new(options);
            }
            if let Err(problem) = appended {
                budget.after(problem).await?;
            }
        }
    }

    /// Appends the body of one response.
    async fn append_body(&mut self, out: &mut File, progress: &mut DownloadProgress) -> Result<(), Problem> {
        let partial = self.partial;
        let io = || Problem::cache(partial);
        let have = out.metadata().map_err(io())?.len();
        let (mut body, mut at) = self.client.open(self.commit, self.file, have).await?;
        if at != have {
            out.set_len(at).map_err(io())?;
        }
        let host = body.url().clone();
        loop {
            match body.chunk().await.map_err(|error| Client::unreachable(&host, error))? {
                Some(chunk) if at + chunk.len() as u64 <= self.remote.size => {
                    out.write_all(&chunk).map_err(io())?;
                    at += chunk.len() as u64;
                    self.look(at)?;
                    progress.at(at);
                }
                Some(_) => {
                    // Not the announced contents, and the first wrong byte is unknown: start again.
                    fs::remove_file(partial).map_err(io())?;
                    let message = format!("more than {} bytes", self.remote.size);
                    return Err(Problem::Damaged { file: self.file.to_owned(), message });
                }
                None if at == self.remote.size => return Ok(()),
                None => return Err(Client::closed_early(&host)),
            }
        }
    }

    /// Checks what there is of the file. A refused file is deleted.
    fn look(&mut self, have: u64) -> Result<(), Problem> {
        let Err(message) = (self.demands.look)(self.partial, have) else { return Ok(()) };
        fs::remove_file(self.partial).map_err(Problem::cache(self.partial))?;
        Err(Problem::Unfit { file: self.file.to_owned(), message })
    }
}

/// Checks the SHA-256 of a large file. Small files have git's hash, and only their size is checked.
fn check(partial: &Path, file: &str, remote: &Remote) -> Result<(), Problem> {
    if !is_sha256(&remote.etag) {
        return Ok(());
    }
    let hash = sha256(partial).map_err(Problem::cache(partial))?;
    if hash.eq_ignore_ascii_case(&remote.etag) {
        return Ok(());
    }
    fs::remove_file(partial).map_err(Problem::cache(partial))?;
    let message = format!("its SHA-256 is {hash}, not {}", remote.etag);
    Err(Problem::Damaged { file: file.to_owned(), message })
}

/// Whether contents of this name are named by their SHA-256.
fn is_sha256(etag: &str) -> bool {
    etag.len() == 64 && etag.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The SHA-256 of a file, in hexadecimal digits.
fn sha256(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// Counts the failures in a row that a download may have.
pub struct RetryBudget {
    tries: u32,
    failed: u32,
    waits: Waits,
}

impl RetryBudget {
    /// A budget without failures.
    pub fn new(options: &HubOptions) -> Self {
        Self { tries: options.tries, failed: 0, waits: Waits::new(options.pause, options.pause * 8) }
    }

    /// Waits before a retry.
    ///
    /// # Errors
    /// The problem, if no retry can help or the budget is used up.
    pub async fn after(&mut self, problem: Problem) -> Result<(), Problem> {
        self.failed += 1;
        if !problem.is_transient() || self.failed >= self.tries {
            return Err(problem);
        }
        tracing::warn!(%problem, "the download failed; retrying");
        tokio::time::sleep(self.waits.next()).await;
        Ok(())
    }
}
