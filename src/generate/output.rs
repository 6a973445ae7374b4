//! The files that `glimpse generate` writes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use glimpse_shared::request::OutputFormat;

use super::Failure;

/// Where the picture goes. Nothing is there until it is whole.
pub struct Output {
    path: PathBuf,
    format: OutputFormat,
}

impl Output {
    /// Reads the format off the ending and looks whether the file can be written there.
    ///
    /// # Errors
    /// For an ending of no known format, and for a folder that does not exist.
    pub fn new(path: PathBuf) -> Result<Self, Failure> {
        let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
        let format = match ending.as_deref() {
            Some("jpg" | "jpeg") => OutputFormat::Jpeg,
            Some("png") => OutputFormat::Png,
            Some("webp") => OutputFormat::Webp,
            _ => {
                let path = path.display();
                return Err(Failure::BadInput(format!(
                    "--output {path}: the ending must be .jpg, .png or .webp"
                )));
            }
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            return Err(Failure::BadInput(format!("--output: there is no folder {}", folder.display())));
        }
        if path.is_dir() {
            return Err(Failure::BadInput(format!("--output: {} is a folder", path.display())));
        }
        Ok(Self { path, format })
    }

    /// The file's name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The format that the ending asks for.
    pub fn format(&self) -> OutputFormat {
        self.format
    }

    /// Writes the whole picture, or nothing.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, encoded: &[u8]) -> Result<(), Failure> {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let part = self.path.with_file_name(name);
        let written = fs::write(&part, encoded).and_then(|()| fs::rename(&part, &self.path));
        written.map_err(|error| {
            // The error below is what matters; a part that cannot be removed either is left.
            let _ = fs::remove_file(&part);
            Failure::Unforeseen(format!("cannot write {}: {error}", self.path.display()))
        })
    }
}

/// Where previews go.
pub struct PreviewDir(PathBuf);

impl PreviewDir {
    /// Makes the folder if it is not there.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new(path: PathBuf) -> Result<Self, Failure> {
        fs::create_dir_all(&path)
            .map_err(|error| Failure::BadInput(format!("--preview-dir {}: {error}", path.display())))?;
        Ok(Self(path))
    }

    /// Writes the preview after a 0-based step.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, step: u32, jpeg: &[u8]) -> Result<(), Failure> {
        let path = self.0.join(format!("preview-{step:02}.jpg"));
        fs::write(&path, jpeg)
            .map_err(|error| Failure::Unforeseen(format!("cannot write {}: {error}", path.display())))
    }
}
