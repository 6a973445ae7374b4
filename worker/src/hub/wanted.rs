//! Which of a model's files the loader reads. A repository may have the same weights in several formats.

use std::collections::BTreeSet;

use crate::sdxl::Precision;

/// What kind of model an id names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelKind {
    /// A whole SDXL model in the diffusers layout.
    Pipeline,
    /// A refiner in the diffusers layout. Its autoencoder is not read.
    Refiner,
    /// A VAE or a TAESD, with its files at the root.
    Autoencoder,
    /// The text encoders of an SDXL model in the diffusers layout.
    TextEncoders,
}

/// The files that a load reads: configurations, vocabularies, and the weights in one precision.
///
/// # Errors
/// The first file that is missing.
pub fn wanted(
    files: &BTreeSet<String>,
    component: ModelKind,
    precision: Precision,
) -> Result<BTreeSet<String>, String> {
    let mut choice = Choice { files, precision, wanted: BTreeSet::new() };
    match component {
        ModelKind::Autoencoder => choice.part("", "diffusion_pytorch_model")?,
        ModelKind::Refiner => {
            for name in ["model_index.json", "scheduler/scheduler_config.json"] {
                choice.file(name)?;
            }
            for name in ["vocab.json", "merges.txt", "tokenizer_config.json"] {
                choice.file(&format!("tokenizer_2/{name}"))?;
            }
            let _ = choice.file("tokenizer_2/special_tokens_map.json");
            choice.part("text_encoder_2/", "model")?;
            choice.part("unet/", "diffusion_pytorch_model")?;
        }
        ModelKind::TextEncoders => choice.text_encoders()?,
        ModelKind::Pipeline => {
            choice.file("model_index.json")?;
            choice.file("scheduler/scheduler_config.json")?;
            for folder in ["tokenizer", "tokenizer_2"] {
                for name in ["vocab.json", "merges.txt", "tokenizer_config.json"] {
                    choice.file(&format!("{folder}/{name}"))?;
                }
                // This file is optional.
                let _ = choice.file(&format!("{folder}/special_tokens_map.json"));
            }
            choice.text_encoders()?;
            for folder in ["unet/", "vae/"] {
                choice.part(folder, "diffusion_pytorch_model")?;
            }
            // Most models have no TAESD. The loader reports an error if `--taesd` is not set either.
            let _ = choice.part("taesd/", "diffusion_pytorch_model");
        }
    }
    Ok(choice.wanted)
}

struct Choice<'a> {
    files: &'a BTreeSet<String>,
    precision: Precision,
    wanted: BTreeSet<String>,
}

impl Choice<'_> {
    fn file(&mut self, name: &str) -> Result<(), String> {
        if !self.files.contains(name) {
            return Err(name.to_owned());
        }
        self.wanted.insert(name.to_owned());
        Ok(())
    }

    fn text_encoders(&mut self) -> Result<(), String> {
        ["text_encoder/", "text_encoder_2/"].iter().try_for_each(|folder| self.part(folder, "model"))
    }

    fn part(&mut self, folder: &str, stem: &str) -> Result<(), String> {
        self.file(&format!("{folder}config.json"))?;
        self.weights(folder, stem)
    }

    /// The files that `Shards::find` opens, in its order.
    fn weights(&mut self, folder: &str, stem: &str) -> Result<(), String> {
        let mut kinds = ["", ".fp16"];
        if self.precision == Precision::Half {
            kinds.reverse();
        }
        for kind in kinds {
            if self.file(&format!("{folder}{stem}{kind}.safetensors")).is_ok() {
                return Ok(());
            }
            if self.file(&format!("{folder}{stem}.safetensors.index{kind}.json")).is_ok() {
                return self.shards(&format!("{folder}{stem}{kind}-"));
            }
        }
        Err(format!("{folder}{stem}.safetensors"))
    }

    /// All shards: `PREFIX00001-of-00003.safetensors` and so on.
    fn shards(&mut self, prefix: &str) -> Result<(), String> {
        let shards = self.files.range(prefix.to_owned()..).take_while(|name| name.starts_with(prefix));
        let count = shards.filter_map(|name| {
            let (_, count) = name.strip_prefix(prefix)?.strip_suffix(".safetensors")?.split_once("-of-")?;
            count.parse::<u16>().ok()
        });
        let count = count.max().unwrap_or(1);
        (1..=count).try_for_each(|n| self.file(&format!("{prefix}{n:05}-of-{count:05}.safetensors")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(more: &[&str]) -> BTreeSet<String> {
        let mut files: BTreeSet<String> = [
            "README.md",
            "model_index.json",
            "sd_xl_base_1.0.safetensors",
            "scheduler/scheduler_config.json",
            "vae_1_0/config.json",
            "vae_1_0/diffusion_pytorch_model.safetensors",
        ]
        .map(str::to_owned)
        .into();
        for folder in ["tokenizer", "tokenizer_2"] {
            for name in ["vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"] {
                files.insert(format!("{folder}/{name}"));
            }
        }
        for (folder, stem) in [
            ("text_encoder", "model"),
            ("text_encoder_2", "model"),
            ("unet", "diffusion_pytorch_model"),
            ("vae", "diffusion_pytorch_model"),
        ] {
            for name in ["safetensors", "fp16.safetensors", "bin", "onnx", "msgpack"] {
                files.insert(format!("{folder}/{stem}.{name}"));
            }
            for name in ["config.json", "model.onnx_data", "openvino_model.xml"] {
                files.insert(format!("{folder}/{name}"));
            }
        }
        files.extend(more.iter().map(|name| (*name).to_owned()));
        files
    }

    fn weights(files: &BTreeSet<String>, precision: Precision) -> Vec<String> {
        let wanted = wanted(files, ModelKind::Pipeline, precision).expect("a model");
        let mut rest = wanted.into_iter();
        let weights: Vec<_> = rest.by_ref().filter(|n| !n.ends_with("json") && !n.ends_with("txt")).collect();
        weights
    }

    #[test]
    fn one_precision_and_no_other_format() {
        let files = repository(&[]);
        let expect = |kind: &str| {
            let stems =
                ["text_encoder/model", "text_encoder_2/model", "unet/diffusion_pytorch_model"].into_iter();
            let stems = stems.chain(["vae/diffusion_pytorch_model"]);
            stems.map(|stem| format!("{stem}{kind}.safetensors")).collect::<Vec<_>>()
        };
        assert_eq!(weights(&files, Precision::Full), expect(""));
        assert_eq!(weights(&files, Precision::Half), expect(".fp16"));
        let all = wanted(&files, ModelKind::Pipeline, Precision::Full).expect("a model");
        assert_eq!(
            all.len(),
            4 + 4 + 8 + 2,
            "weights, configurations, tokenizers, index and scheduler: {all:?}"
        );
    }

    #[test]
    fn all_shards_and_their_index_are_wanted() {
        let index = "unet/diffusion_pytorch_model.safetensors.index.json";
        let [one, two] =
            ["1", "2"].map(|n| format!("unet/diffusion_pytorch_model-0000{n}-of-00002.safetensors"));
        let mut files = repository(&[index, &one, &two]);
        files.remove("unet/diffusion_pytorch_model.safetensors");
        let full = wanted(&files, ModelKind::Pipeline, Precision::Full).expect("a model");
        assert!([index, &one, &two].iter().all(|name| full.contains(*name)), "{full:?}");
        files.remove(&two);
        assert_eq!(wanted(&files, ModelKind::Pipeline, Precision::Full), Err(two));
    }

    #[test]
    fn a_missing_file_is_named() {
        for name in ["model_index.json", "tokenizer_2/merges.txt", "vae/config.json"] {
            let mut files = repository(&[]);
            files.remove(name);
            assert_eq!(wanted(&files, ModelKind::Pipeline, Precision::Full), Err(name.to_owned()));
        }
        let pickled = ["config.json", "diffusion_pytorch_model.bin"].map(str::to_owned).into();
        let missing = wanted(&pickled, ModelKind::Autoencoder, Precision::Full);
        assert_eq!(missing, Err("diffusion_pytorch_model.safetensors".to_owned()));
    }

    #[test]
    fn an_autoencoder_is_two_files_and_a_models_taesd_is_wanted() {
        let files = ["config.json", "diffusion_pytorch_model.safetensors", "taesdxl_encoder.safetensors"];
        let choice = wanted(&files.map(str::to_owned).into(), ModelKind::Autoencoder, Precision::Half);
        assert_eq!(choice.expect("a TAESD"), files[..2].iter().map(|n| (*n).to_owned()).collect());
        let taesd = ["taesd/config.json", "taesd/diffusion_pytorch_model.safetensors"];
        let all = wanted(&repository(&taesd), ModelKind::Pipeline, Precision::Full).expect("a model");
        assert!(taesd.iter().all(|name| all.contains(*name)));
    }
}
