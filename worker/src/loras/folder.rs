//! A folder of files that requests may name: of LoRAs, or of embeddings.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use glimpse_shared::{job::MAX_LISTED_LORAS, request::LoraName};

use crate::inside::{self, NotInside};

/// The ending of a LoRA's file.
const ENDING: &str = ".safetensors";

/// The endings of pickles.
const PICKLES: [&str; 4] = [".pt", ".bin", ".ckpt", ".pth"];

/// Why a pickle is not read.
const PICKLE: &str =
    "a PyTorch pickle, which is not read, because it can run programs: convert it to .safetensors";

/// The folder of the LoRA files that requests may name.
#[derive(Debug, Clone)]
pub struct LoraDir(PathBuf);

impl LoraDir {
    /// Opens a folder.
    ///
    /// # Errors
    /// If it does not exist or is not a folder.
    pub fn open(folder: &Path) -> std::io::Result<Self> {
        let error = |kind, message: String| std::io::Error::new(kind, message);
        let real = folder.canonicalize().map_err(|e| {
            let todo = "create the folder, or name the one with your files";
            let reason = if e.kind() == ErrorKind::NotFound { "not found".to_owned() } else { e.to_string() };
            error(e.kind(), format!("{reason}: {todo}"))
        })?;
        if !real.is_dir() {
            let message = "is a file: name the folder that it is in, and the file in a request";
            return Err(error(ErrorKind::NotADirectory, message.to_owned()));
        }
        Ok(Self(real))
    }

    /// The names of the files in the folder itself, at most [`MAX_LISTED_LORAS`]: for forms. Files in its folders can be
    /// named too, but are not listed.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
        let name =
            |entry: std::fs::DirEntry| Some(entry.file_name().to_str()?.strip_suffix(ENDING)?.to_owned());
        let mut names: Vec<_> = entries.filter_map(name).filter(|name| !name.starts_with('.')).collect();
        names.sort();
        names.truncate(MAX_LISTED_LORAS);
        names
    }

    /// The file of a name; `.safetensors` is added if it is missing.
    ///
    /// # Errors
    /// Why there is no such file in the folder.
    pub fn file(&self, name: &LoraName) -> Result<PathBuf, &'static str> {
        const FOLDER: &str = "a folder and not a file: name a .safetensors file in it";
        let name = name.as_str();
        let named = if name.ends_with(ENDING) { name.to_owned() } else { format!("{name}{ENDING}") };
        let real = inside::find(&self.0, &named).map_err(|why| match why {
            NotInside::LeadsOut => "a link that leads out of its folder, which is not allowed",
            NotInside::LeadsNowhere => "a link that leads nowhere: remove it or correct it",
            NotInside::Absent if self.0.join(name).is_dir() => FOLDER,
            NotInside::Absent if self.has_pickle(name) => PICKLE,
            NotInside::Absent => "not found",
        })?;
        match std::fs::metadata(&real) {
            Ok(status) if status.is_file() => Ok(real),
            Ok(status) if status.is_dir() => Err(FOLDER),
            _ => Err("neither a file nor a folder"),
        }
    }

    /// Whether there is a file of this name that is a pickle, by its ending.
    fn has_pickle(&self, name: &str) -> bool {
        let is_named = PICKLES.iter().any(|ending| name.ends_with(ending));
        let is_file = |name: &str| inside::find(&self.0, name).is_ok_and(|file| file.is_file());
        (is_named && is_file(name)) || PICKLES.iter().any(|ending| is_file(&format!("{name}{ending}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_a_file_outside_of_the_folder_is_not_followed() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("secret.safetensors"), "x").unwrap();
        std::fs::write(inside.path().join("own.safetensors"), "x").unwrap();
        std::os::unix::fs::symlink(outside.path(), inside.path().join("out")).unwrap();
        std::os::unix::fs::symlink("own.safetensors", inside.path().join("alias.safetensors")).unwrap();
        let folder = LoraDir::open(inside.path()).unwrap();
        let file = |name: &str| folder.file(&LoraName::parse(name.to_owned()).unwrap());
        assert!(file("own").is_ok() && file("own.safetensors").is_ok() && file("alias").is_ok());
        for name in ["out/secret", "out/other"] {
            assert!(file(name).unwrap_err().contains("leads out"), "{name}");
        }
        assert_eq!(file("other").unwrap_err(), "not found");
        assert_eq!(file("own/other").unwrap_err(), "not found");
        std::fs::write(inside.path().join("old.pt"), "x").unwrap();
        std::fs::write(outside.path().join("secret.bin"), "x").unwrap();
        for (name, part) in [("old", "pickle"), ("old.pt", "pickle"), ("old.bin", "not found")] {
            assert!(file(name).unwrap_err().contains(part), "{name}");
        }
        assert!(!file("out/secret.bin").unwrap_err().contains("pickle"));
        std::fs::create_dir_all(inside.path().join("styles.safetensors")).unwrap();
        std::fs::create_dir_all(inside.path().join("more")).unwrap();
        std::os::unix::fs::symlink("loop.safetensors", inside.path().join("loop.safetensors")).unwrap();
        for (name, part) in [("styles", "folder"), ("more", "folder"), ("loop", "leads nowhere")] {
            assert!(file(name).unwrap_err().contains(part), "{name}");
        }
    }

    #[test]
    fn a_wrong_folder_of_loras_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let error = |path: &Path| LoraDir::open(path).unwrap_err().to_string();
        assert!(error(&folder.path().join("none")).starts_with("not found: create the folder"));
        let file = folder.path().join("x.safetensors");
        std::fs::write(&file, "x").unwrap();
        assert!(error(&file).contains("name the folder that it is in"));
    }
}
