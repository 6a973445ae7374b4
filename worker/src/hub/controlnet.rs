//! The ControlNet of a repository.

use std::collections::BTreeSet;

use super::download::Demands;
use super::error::Problem;
use super::id::HubId;
use super::options::HubOptions;
use super::repository::{self, Chosen, Found};
use super::wanted::{ModelKind, wanted};
use crate::sdxl::Precision;

/// diffusers' name of a ControlNet's weights.
const USUAL: &str = "diffusion_pytorch_model.safetensors";

/// A ControlNet in the cache; it is downloaded if necessary. Without `file` it is the folder of diffusers' layout with the
/// weights of this precision, or the only file with weights in the repository. If the Hub does not answer, the copy in
/// the cache is used.
///
/// # Errors
/// If the ControlNet cannot be downloaded, or does not meet the demands.
pub async fn controlnet(
    id: &HubId,
    file: Option<&str>,
    precision: Precision,
    demands: Demands<'_>,
    options: &HubOptions,
) -> Result<Found, Problem> {
    let choose = |files: &BTreeSet<String>| choose(files, file, precision);
    repository::load(id, choose, file.unwrap_or(USUAL), demands, options).await
}

fn choose(files: &BTreeSet<String>, file: Option<&str>, precision: Precision) -> Result<Chosen, Problem> {
    if let Some(file) = file {
        return repository::named(files, file);
    }
    match wanted(files, ModelKind::Autoencoder, precision) {
        // In the cache another precision alone may be there.
        Ok(files) => {
            let is_settled =
                (precision == Precision::Half) == files.iter().any(|name| name.contains(".fp16"));
            Ok(Chosen { files, is_folder: true, is_settled })
        }
        Err(_) => repository::only(files, Problem::NoControlNet),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(files: &[&str], named: Option<&str>, precision: Precision) -> Result<Chosen, String> {
        let files = files.iter().map(|name| (*name).to_owned()).collect();
        choose(&files, named, precision).map_err(|problem| problem.to_string())
    }

    #[test]
    fn diffusers_layout_wins_and_else_there_must_be_one_file() {
        let half = "diffusion_pytorch_model.fp16.safetensors";
        let both = ["README.md", "config.json", USUAL, half, "diffusion_pytorch_model.bin"];
        for (files, precision, weights, is_settled) in [
            (&both[..], Precision::Full, USUAL, true),
            (&both, Precision::Half, half, true),
            (&both[..3], Precision::Half, USUAL, false),
        ] {
            let found = chosen(files, None, precision).unwrap();
            assert_eq!(found.files, ["config.json", weights].map(str::to_owned).into());
            assert_eq!((found.is_folder, found.is_settled), (true, is_settled));
        }
        let one = chosen(&[USUAL, "x.bin"], None, Precision::Half).unwrap();
        assert_eq!(one, Chosen::one(USUAL.to_owned(), false));
        let named = chosen(&both, Some(half), Precision::Full).unwrap();
        assert_eq!(named, Chosen::one(half.to_owned(), true));
        for (files, part) in [
            (&["a.safetensors", "b.safetensors"][..], "/NAME/FILE"),
            (&["config.json", "x.bin"], "no ControlNet"),
        ] {
            assert!(chosen(files, None, Precision::Full).unwrap_err().contains(part));
        }
    }
}
