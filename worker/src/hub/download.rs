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

/// Downloads a commit's file and links it into the snapshot. Contents that the cache already has are only linked.
pub async fn fetch(
    client: &Client,
    cache: &ModelCache,
    commit: &str,
    file: &str,
    options: &HubOptions,
) -> Result<(), Problem> {
    let mut budget = RetryBudget::new(options);
    let remote = loop {
        match client.describe(commit, file).await {
            Ok(remote) => break remote,
            Err(problem) => budget.after(problem).await?,
        }
    };
    cache.prepare()?;
    let _lock = cache.lock(&remote.etag)?;
    if !cache.blob(&remote.etag).is_file() {
        let partial = cache.partial(&remote.etag);
        fill(&partial, client, commit, file, &remote, options).await?;
        check(&partial, file, &remote)?;
        fs::rename(&partial, cache.blob(&remote.etag)).map_err(Problem::cache(partial))?;
    }
    cache.link(commit, file, &remote.etag)
}

/// Appends to `partial` until it has the remote size.
async fn fill(
    partial: &Path,
    client: &Client,
    commit: &str,
    file: &str,
    remote: &Remote,
    options: &HubOptions,
) -> Result<(), Problem> {
    let io = || Problem::cache(partial);
    let mut out = File::options().create(true).append(true).open(partial).map_err(io())?;
    let length = |out: &File| out.metadata().map(|data| data.len()).map_err(io());
    if length(&out)? > remote.size {
        out.set_len(0).map_err(io())?;
    }
    let mut progress = DownloadProgress::begin(file, remote.size, length(&out)?);
    let mut budget = RetryBudget::new(options);
    loop {
        let before = length(&out)?;
        if before == remote.size {
            return out.sync_all().map_err(io());
        }
        let appended = append_body(&mut out, partial, client, commit, file, remote, &mut progress).await;
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
async fn append_body(
    out: &mut File,
    partial: &Path,
    client: &Client,
    commit: &str,
    file: &str,
    remote: &Remote,
    progress: &mut DownloadProgress,
) -> Result<(), Problem> {
    let io = || Problem::cache(partial);
    let have = out.metadata().map_err(io())?.len();
    let (mut body, mut at) = client.open(commit, file, have).await?;
    if at != have {
        out.set_len(at).map_err(io())?;
    }
    let host = body.url().clone();
    loop {
        match body.chunk().await.map_err(|error| Client::unreachable(&host, error))? {
            Some(chunk) if at + chunk.len() as u64 <= remote.size => {
                out.write_all(&chunk).map_err(io())?;
                at += chunk.len() as u64;
                progress.at(at);
            }
            Some(_) => {
                // Not the announced contents, and the first wrong byte is unknown: start again.
                fs::remove_file(partial).map_err(io())?;
                let message = format!("more than {} bytes", remote.size);
                return Err(Problem::Damaged { file: file.to_owned(), message });
            }
            None if at == remote.size => return Ok(()),
            None => return Err(Client::closed_early(&host)),
        }
    }
}

/// Checks the SHA-256 of a large file. Small files have git's hash, and only their size is checked.
fn check(partial: &Path, file: &str, remote: &Remote) -> Result<(), Problem> {
    let is_sha256 = remote.etag.len() == 64 && remote.etag.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_sha256 {
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
