//! One LoRA file of a repository.

use std::collections::BTreeSet;

use super::download::Demands;
use super::error::Problem;
use super::id::HubId;
use super::options::HubOptions;
use super::repository::{self, Chosen, Found};

/// diffusers' name of a LoRA's file.
const USUAL: &str = "pytorch_lora_weights.safetensors";

/// A LoRA in the cache; it is downloaded if necessary. Without `file` it is the one with diffusers' name, or the only one
/// of the repository. If the Hub does not answer, the copy in the cache is used.
///
/// # Errors
/// If the LoRA cannot be downloaded, or does not meet the demands.
pub async fn lora(
    id: &HubId,
    file: Option<&str>,
    demands: Demands<'_>,
    options: &HubOptions,
) -> Result<Found, Problem> {
    let choose = |files: &BTreeSet<String>| choose(files, file);
    repository::load(id, choose, file.unwrap_or(USUAL), demands, options).await
}

/// The file that is meant.
fn choose(files: &BTreeSet<String>, named: Option<&str>) -> Result<Chosen, Problem> {
    match named {
        Some(named) => repository::named(files, named),
        None if files.contains(USUAL) => repository::named(files, USUAL),
        None => repository::only(files, Problem::NoLora),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(files: &[&str], named: Option<&str>) -> Result<String, String> {
        let files = files.iter().map(|name| (*name).to_owned()).collect();
        let chosen = choose(&files, named).map_err(|problem| problem.to_string())?;
        Ok(chosen.files.into_iter().collect())
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
