//! The folder of ControlNets that requests may name.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use glimpse_shared::request::{LoraName, LoraPath};

use crate::inside::{self, NotInside};

/// The ending of a file.
const ENDING: &str = ".safetensors";

/// A folder with ControlNets: folders in the diffusers layout, and files.
#[derive(Debug, Clone)]
pub struct ControlNetDir(PathBuf);

impl ControlNetDir {
    /// Opens a folder.
    ///
    /// # Errors
    /// If it does not exist or is not a folder.
    pub fn open(folder: &Path) -> Result<Self, String> {
        let real = folder
            .canonicalize()
            .map_err(|error| format!("{error}: create the folder, or name the one with your ControlNets"))?;
        if !real.is_dir() {
            return Err("is a file: name the folder that it is in, and the file in a request".to_owned());
        }
        // diffusers' layout of one model.
        let is_weights = |name: &OsStr| name.to_string_lossy().starts_with("diffusion_pytorch_model");
        let mut entries = std::fs::read_dir(&real).into_iter().flatten().flatten();
        if real.join("config.json").is_file() && entries.any(|entry| is_weights(&entry.file_name())) {
            return Err(
                "is a ControlNet itself: name the folder that it is in, and it in a request".to_owned()
            );
        }
        Ok(Self(real))
    }

    /// The folder or the file of a name; `.safetensors` is added to that of a file if it is missing.
    ///
    /// # Errors
    /// Why there is none.
    pub fn find(&self, name: &LoraName) -> Result<PathBuf, &'static str> {
        let name = name.as_str();
        let found = match inside::find(&self.0, name) {
            Err(NotInside::Absent) => inside::find(&self.0, &format!("{name}{ENDING}")),
            found => found,
        };
        found.map_err(|why| match why {
            NotInside::LeadsOut => "a link that leads out of the folder of ControlNets, which is not allowed",
            NotInside::LeadsNowhere => "a link that leads nowhere: remove it or correct it",
            NotInside::Absent => "not found",
        })
    }
}

impl ControlNetDir {
    /// `OWNER/NAME` in the folder for a repository on the Hub, if it is there: then it is not downloaded.
    pub fn of_hub(&self, path: &LoraPath) -> Option<PathBuf> {
        let LoraPath::Hub(hub) = path else { return None };
        let is_plain = hub.revision().is_none() && hub.file().is_none();
        let name = is_plain.then(|| LoraName::parse(format!("{}/{}", hub.owner(), hub.name())))??;
        self.find(&name).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_files_inside_are_found_and_nothing_outside() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir_all(inside.path().join("xinsir/canny")).unwrap();
        std::fs::write(inside.path().join("depth.safetensors"), "x").unwrap();
        std::os::unix::fs::symlink(outside.path(), inside.path().join("out")).unwrap();
        let folder = ControlNetDir::open(inside.path()).unwrap();
        let find = |name: &str| folder.find(&LoraName::parse(name.to_owned()).unwrap());
        for name in ["xinsir/canny", "depth", "depth.safetensors"] {
            assert!(find(name).is_ok(), "{name}");
        }
        for (name, part) in [("out", "leads out"), ("out/x", "leads out"), ("none", "not found")] {
            assert!(find(name).unwrap_err().contains(part), "{name}");
        }
        for (path, is_there) in [
            ("hf://xinsir/canny", true),
            ("hf://xinsir/canny@main", false),
            ("hf://xinsir/canny/x.safetensors", false),
            ("hf://xinsir/depth", false),
            ("xinsir/canny", false),
        ] {
            let path = LoraPath::try_from(path.to_owned()).unwrap();
            assert_eq!(folder.of_hub(&path).is_some(), is_there, "{path}");
        }
        let file = inside.path().join("depth.safetensors");
        assert!(ControlNetDir::open(&file).unwrap_err().contains("is a file"));
        assert!(ControlNetDir::open(&inside.path().join("none")).is_err());
        for file in ["config.json", "diffusion_pytorch_model.fp16.safetensors"] {
            std::fs::write(inside.path().join("xinsir/canny").join(file), "{}").unwrap();
        }
        let itself = ControlNetDir::open(&inside.path().join("xinsir/canny")).unwrap_err();
        assert!(itself.contains("is a ControlNet itself"), "{itself}");
    }
}
