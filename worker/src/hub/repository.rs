//! Some files of a repository: chosen by its listing, and downloaded if the cache does not have them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::cache::ModelCache;
use super::client::Client;
use super::download::{self, Demands, RetryBudget};
use super::error::Problem;
use super::id::HubId;
use super::options::HubOptions;

/// Words in the names of files that are not what a repository is for; diffusers leaves the same out.
const OTHERS: [&str; 3] = ["optimizer", "scheduler", "checkpoint"];
/// The ending of a file with weights.
const ENDING: &str = ".safetensors";
/// The most bytes of another file, such as a configuration: 16 MiB.
const MOST_OTHER: u64 = 16 << 20;

/// The files that are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chosen {
    /// Their names.
    pub(super) files: BTreeSet<String>,
    /// Whether they are a folder together; else there is one.
    pub(super) is_folder: bool,
    /// Whether more files in the repository would not change the choice.
    pub(super) is_settled: bool,
}

impl Chosen {
    /// One file.
    pub(super) fn one(file: String, is_settled: bool) -> Self {
        Self { files: [file].into(), is_folder: false, is_settled }
    }
}

/// Files in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The file, or the folder of the files.
    pub path: PathBuf,
    /// All of them.
    pub files: Vec<PathBuf>,
}

/// The files of a repository that `choose` chooses by the names of all. If the Hub does not answer, the copy in the
/// cache is used. `usual` is the file that is missing in an error if nothing is known of the repository.
///
/// # Errors
/// If the files cannot be downloaded, or do not meet the demands.
pub(super) async fn load(
    id: &HubId,
    choose: impl Fn(&BTreeSet<String>) -> Result<Chosen, Problem>,
    usual: &str,
    demands: Demands<'_>,
    options: &HubOptions,
) -> Result<Found, Problem> {
    let cache = ModelCache::new(&options.cache, id);
    let found = |commit: &str, chosen: Chosen| {
        let folder = cache.snapshot(commit);
        let files: Vec<PathBuf> = chosen.files.iter().map(|file| folder.join(file)).collect();
        let path = if chosen.is_folder { folder } else { files.first().cloned().unwrap_or(folder) };
        Found { path, files }
    };
    let kept = cache.commit_of(&id.revision).and_then(|commit| {
        let chosen = choose(&cache.files(&commit)).ok()?;
        let is_settled = chosen.is_settled;
        Some((found(&commit, chosen), is_settled))
    });
    match &kept {
        Some((kept, _)) if options.offline => return Ok(kept.clone()),
        None if options.offline => {
            return Err(Problem::Offline { file: usual.to_owned(), folder: options.cache.clone() });
        }
        // The cache may not have all files of the repository.
        Some((kept, true)) if id.is_pinned() => return Ok(kept.clone()),
        _ => {}
    }
    let client = Client::new(id, options)?;
    let mut budget = RetryBudget::new(options);
    let listing = loop {
        match client.listing().await {
            Ok(listing) => break listing,
            Err(problem) => match (budget.after(problem).await, &kept) {
                (Ok(()), _) => {}
                (Err(problem), Some((kept, _))) if problem.is_transient() => {
                    tracing::warn!(repository = %id, %problem, "the Hub is unreachable; using the copy in the cache");
                    return Ok(kept.clone());
                }
                (Err(problem), _) => return Err(problem),
            },
        }
    };
    let chosen = choose(&listing.files)?;
    for file in chosen.files.iter().filter(|file| !cache.has(&listing.commit, file)) {
        let mut any = download::any_file;
        let demands = match file.ends_with(ENDING) {
            true => Demands { most: demands.most, look: &mut *demands.look },
            false => Demands { most: MOST_OTHER, look: &mut any },
        };
        download::fetch(&client, &cache, &listing.commit, file, demands, options).await?;
    }
    cache.remember(&id.revision, &listing.commit)?;
    Ok(found(&listing.commit, chosen))
}

/// The file of this name.
pub(super) fn named(files: &BTreeSet<String>, file: &str) -> Result<Chosen, Problem> {
    match files.contains(file) {
        true => Ok(Chosen::one(file.to_owned(), true)),
        false => Err(Problem::NoFile { file: file.to_owned() }),
    }
}

/// The only file with weights.
pub(super) fn only(files: &BTreeSet<String>, none: Problem) -> Result<Chosen, Problem> {
    let is_meant = |name: &&String| name.ends_with(ENDING) && !OTHERS.iter().any(|word| name.contains(word));
    let files: Vec<_> = files.iter().filter(is_meant).cloned().collect();
    match <[String; 1]>::try_from(files) {
        Ok([file]) => Ok(Chosen::one(file, false)),
        Err(files) if files.is_empty() => Err(none),
        Err(files) => Err(Problem::Several { files }),
    }
}
