//! One LoRA file of a repository.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::cache::ModelCache;
use super::client::Client;
use super::download::{self, Demands, RetryBudget};
use super::error::Problem;
use super::id::HubId;
use super::options::HubOptions;

/// diffusers' name of a LoRA's file.
const USUAL: &str = "pytorch_lora_weights.safetensors";
/// Words in the names of files that are not LoRAs; diffusers leaves the same out.
const OTHERS: [&str; 3] = ["optimizer", "scheduler", "checkpoint"];
const ENDING: &str = ".safetensors";

/// The path of a LoRA in the cache; it is downloaded if necessary. Without `file` it is the one with diffusers' name, or
/// the only one of the repository. If the Hub does not answer, the copy in the cache is used.
///
/// # Errors
/// If the LoRA cannot be downloaded, or does not meet the demands.
pub async fn lora(
    id: &HubId,
    file: Option<&str>,
    demands: Demands<'_>,
    options: &HubOptions,
) -> Result<PathBuf, Problem> {
    let cache = ModelCache::new(&options.cache, id);
    let kept = cache.commit_of(&id.revision).and_then(|commit| {
        let file = choose(&cache.files(&commit), file).ok()?;
        Some((cache.snapshot(&commit).join(&file), file))
    });
    match &kept {
        Some((path, _)) if options.offline => return Ok(path.clone()),
        None if options.offline => {
            let file = file.unwrap_or(USUAL).to_owned();
            return Err(Problem::Offline { file, folder: options.cache.clone() });
        }
        // The cache may not have all files of the repository: only these two names are the same in both.
        Some((path, chosen)) if id.is_pinned() && (file.is_some() || chosen == USUAL) => {
            return Ok(path.clone());
        }
        _ => {}
    }
    let client = Client::new(id, options)?;
    let mut budget = RetryBudget::new(options);
    let listing = loop {
        match client.listing().await {
            Ok(listing) => break listing,
            Err(problem) => match (budget.after(problem).await, &kept) {
                (Ok(()), _) => {}
                (Err(problem), Some((path, _))) if problem.is_transient() => {
                    tracing::warn!(repository = %id, %problem, "the Hub is unreachable; using the copy in the cache");
                    return Ok(path.clone());
                }
                (Err(problem), _) => return Err(problem),
            },
        }
    };
    let file = choose(&listing.files, file)?;
    if !cache.has(&listing.commit, &file) {
        download::fetch(&client, &cache, &listing.commit, &file, demands, options).await?;
    }
    cache.remember(&id.revision, &listing.commit)?;
    Ok(cache.snapshot(&listing.commit).join(file))
}

/// The file that is meant.
fn choose(files: &BTreeSet<String>, named: Option<&str>) -> Result<String, Problem> {
    if let Some(named) = named {
        return match files.contains(named) {
            true => Ok(named.to_owned()),
            false => Err(Problem::NoFile { file: named.to_owned() }),
        };
    }
    if files.contains(USUAL) {
        return Ok(USUAL.to_owned());
    }
    let is_lora = |name: &&String| name.ends_with(ENDING) && !OTHERS.iter().any(|word| name.contains(word));
    let files: Vec<_> = files.iter().filter(is_lora).cloned().collect();
    match <[String; 1]>::try_from(files) {
        Ok([file]) => Ok(file),
        Err(files) if files.is_empty() => Err(Problem::NoLora),
        Err(files) => Err(Problem::Several { files }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(files: &[&str], named: Option<&str>) -> Result<String, String> {
        let files = files.iter().map(|name| (*name).to_owned()).collect();
        choose(&files, named).map_err(|problem| problem.to_string())
    }

    #[test]
    fn diffusers_name_wins_and_else_there_must_be_one_file() {
        let only = ["README.md", "x.safetensors", "optimizer.safetensors", "checkpoint-5/x.safetensors"];
        assert_eq!(chosen(&only, None).as_deref(), Ok("x.safetensors"));
        assert_eq!(chosen(&["a.safetensors", USUAL], None).as_deref(), Ok(USUAL));
        assert_eq!(chosen(&["a.safetensors", USUAL], Some("a.safetensors")).as_deref(), Ok("a.safetensors"));
        let error = chosen(&["a.safetensors", "b/c.safetensors"], None).unwrap_err();
        assert!(
            error.contains("(a.safetensors, b/c.safetensors)") && error.contains("/NAME/FILE"),
            "{error}"
        );
        assert!(chosen(&["x.bin"], None).unwrap_err().contains("no LoRA"));
        assert!(chosen(&["x.safetensors"], Some("y.safetensors")).unwrap_err().contains("y.safetensors"));
        let many: Vec<String> = (0..20).map(|n| format!("{n}.safetensors")).collect();
        let error = chosen(&many.iter().map(|name| &**name).collect::<Vec<_>>(), None).unwrap_err();
        assert!(error.contains("…") && !error.contains("9.safetensors)"), "{error}");
    }
}
