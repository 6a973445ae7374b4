//! The JSON files and tokenizers of a checkpoint: a folder in the diffusers layout, or the built-in files of SDXL base
//! 1.0 for a single weight file.

use std::path::{Path, PathBuf};

use super::error::LoadError;
use super::foreign;
use super::settings::Settings;

/// The source of a checkpoint's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigFiles {
    /// A folder in the diffusers layout, or one component of it.
    Folder(PathBuf),
    /// SDXL base 1.0 (<https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0>), or one component of it.
    SdxlBase(&'static str),
    /// SDXL refiner 1.0 (<https://huggingface.co/stabilityai/stable-diffusion-xl-refiner-1.0>), or one component of it.
    SdxlRefiner(&'static str),
}

/// The paths of built-in files in error messages.
const BUILT_IN: [&str; 2] = ["(built-in SDXL base 1.0)", "(built-in SDXL refiner 1.0)"];

macro_rules! built_in {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("base/", $name)))),*]
    };
}

/// Path and text of each built-in file.
const FILES: &[(&str, &str)] = built_in! {
    "model_index.json"
    "scheduler/scheduler_config.json"
    "text_encoder/config.json"
    "text_encoder_2/config.json"
    "tokenizer/merges.txt"
    "tokenizer/special_tokens_map.json"
    "tokenizer/tokenizer_config.json"
    "tokenizer/vocab.json"
    "tokenizer_2/special_tokens_map.json"
    "tokenizer_2/tokenizer_config.json"
    "unet/config.json"
    "vae/config.json"
};

/// Path and text of each built-in file of the refiner that the base does not have.
const OF_REFINER: &[(&str, &str)] = &[
    ("model_index.json", include_str!("refiner/model_index.json")),
    ("unet/config.json", include_str!("refiner/unet/config.json")),
];

impl ConfigFiles {
    /// Whether the files are built in, and not those of a folder.
    pub fn are_built_in(&self) -> bool {
        !matches!(self, Self::Folder(_))
    }

    /// The files of one component.
    #[must_use]
    pub fn component(&self, name: &'static str) -> Self {
        match self {
            Self::Folder(folder) => Self::Folder(folder.join(name)),
            Self::SdxlBase(_) => Self::SdxlBase(name),
            Self::SdxlRefiner(_) => Self::SdxlRefiner(name),
        }
    }

    /// A file's path, for error messages.
    pub fn path(&self, name: &str) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.join(name),
            Self::SdxlBase(component) => Path::new(BUILT_IN[0]).join(component).join(name),
            Self::SdxlRefiner(component) => Path::new(BUILT_IN[1]).join(component).join(name),
        }
    }

    /// The text of a file. `what` says in the error what the file is needed for.
    ///
    /// # Errors
    /// If the file is missing or cannot be read.
    pub fn text(&self, name: &str, what: &'static str) -> Result<String, LoadError> {
        self.find(name)?.ok_or_else(|| LoadError::Missing { path: self.path(name), what })
    }

    /// The text of a file that may be absent.
    ///
    /// # Errors
    /// If it cannot be read or is not a text.
    pub fn find(&self, name: &str) -> Result<Option<String>, LoadError> {
        match self {
            Self::Folder(folder) => foreign::read_text(&folder.join(name)),
            Self::SdxlBase(component) | Self::SdxlRefiner(component) => {
                let own = if matches!(self, Self::SdxlRefiner(_)) { OF_REFINER } else { &[] };
                let built_in = |component: &str| {
                    let path = Path::new(component).join(name);
                    let mut files = own.iter().chain(FILES);
                    files.find(|(file, _)| Path::new(file) == path).map(|(_, text)| (*text).to_owned())
                };
                // Both tokenizers have CLIP's vocabulary.
                Ok(built_in(component)
                    .or_else(|| if *component == "tokenizer_2" { built_in("tokenizer") } else { None }))
            }
        }
    }

    /// The settings of a JSON file. `what` says in the error what the file is needed for.
    ///
    /// # Errors
    /// If the file is missing, cannot be read, or is not a JSON object.
    pub fn settings(&self, name: &str, what: &'static str) -> Result<Settings, LoadError> {
        Settings::parse(&self.text(name, what)?, &self.path(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_files_are_complete() {
        let base = ConfigFiles::SdxlBase("");
        assert!(base.settings("model_index.json", "a test").is_ok());
        for (component, file) in [("unet", "config.json"), ("tokenizer_2", "tokenizer_config.json")] {
            assert!(base.component(component).settings(file, "a test").is_ok(), "{component}");
        }
        let merges = |component| base.component(component).text("merges.txt", "a test").expect("there");
        assert_eq!(merges("tokenizer"), merges("tokenizer_2"));
        let refiner = ConfigFiles::SdxlRefiner("");
        let width = |files: &ConfigFiles| {
            let unet = files.component("unet").settings("config.json", "a test").expect("there");
            unet.required::<usize>("cross_attention_dim").expect("a number")
        };
        assert_eq!([width(&base), width(&refiner)], [2048, 1280]);
        let missing = base.component("vae").text("vocab.json", "a test").expect_err("not there").to_string();
        assert!(missing.contains("built-in SDXL base 1.0)/vae/vocab.json"), "{missing}");
    }
}
