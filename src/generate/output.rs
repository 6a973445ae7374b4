//! Where `glimpse generate` writes.

use std::{
    ffi::OsString,
    fs,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
};

use glimpse_shared::request::OutputFormat;

use super::failure::Failure;

/// The name that stands for standard output.
const STANDARD_OUTPUT: &str = "-";

/// Where the pictures go. Nothing is there until all of them are whole.
pub struct Output {
    place: Place,
    format: OutputFormat,
}

enum Place {
    StandardOutput,
    File(PathBuf),
    /// The name without the number that each picture gets.
    Files(PathBuf),
}

impl Output {
    /// Where so many pictures of a format go, and which format that is: what the ending says, or what is given. Looks
    /// whether they can be written there.
    ///
    /// # Errors
    /// For an ending of no known format, one that contradicts the given one, a folder that does not exist, and
    /// standard output if it is a terminal or there are several pictures.
    pub fn new(path: PathBuf, given: Option<OutputFormat>, num_images: Option<i64>) -> Result<Self, Failure> {
        let several = num_images.is_some_and(|images| images > 1);
        if path.as_os_str() == STANDARD_OUTPUT {
            let wrong = |error: &str| Err(Failure::BadInput(format!("--output -: {error}")));
            if several {
                return wrong("standard output takes one picture: name a file, or leave --num-images out");
            }
            if io::stdout().is_terminal() {
                return wrong("standard output is a terminal: send it to a file or to a program");
            }
            return Ok(Self { place: Place::StandardOutput, format: given.unwrap_or(OutputFormat::Jpeg) });
        }
        let wrong = |error: String| Failure::BadInput(format!("--output {}: {error}", path.display()));
        let format = match (of_ending(&path), given) {
            (Some(ending), Some(given)) if ending != given => {
                let [ending, given] = [ending, given].map(OutputFormat::content_type);
                return Err(wrong(format!("the ending says {ending} and --output-format says {given}")));
            }
            (Some(format), _) | (None, Some(format)) => format,
            (None, None) => return Err(wrong("the ending must be .jpg, .png or .webp".to_owned())),
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            return Err(wrong(format!("there is no folder {}", folder.display())));
        }
        let place = if several { Place::Files(path.clone()) } else { Place::File(path.clone()) };
        if let Some(folder) = place.paths(num_images).iter().find(|path| path.is_dir()) {
            return Err(wrong(format!("{} is a folder", folder.display())));
        }
        Ok(Self { place, format })
    }

    /// How pictures are to be encoded.
    pub fn format(&self) -> OutputFormat {
        self.format
    }

    /// Writes all of the pictures, or none, and says where.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, pictures: &[Vec<u8>]) -> Result<Vec<String>, Failure> {
        if matches!(self.place, Place::StandardOutput)
            && let [picture] = pictures
        {
            return to_standard_output(picture);
        }
        let paths = self.place.paths(i64::try_from(pictures.len()).ok());
        if paths.len() != pictures.len() {
            return Err(Failure::Unforeseen(format!("{} pictures came of one", pictures.len())));
        }
        let parts: Vec<PathBuf> = paths.iter().map(|path| part(path)).collect();
        let written = write_all(&paths, &parts, pictures);
        if written.is_err() {
            for part in &parts {
                // The error matters; a part that cannot be removed either is left.
                let _ = fs::remove_file(part);
            }
        }
        written?;
        Ok(paths.iter().map(|path| path.display().to_string()).collect())
    }
}

impl Place {
    /// The files of so many pictures.
    fn paths(&self, pictures: Option<i64>) -> Vec<PathBuf> {
        match self {
            Self::StandardOutput => Vec::new(),
            Self::File(path) => vec![path.clone()],
            Self::Files(path) => (1..=pictures.unwrap_or(1)).map(|number| numbered(path, number)).collect(),
        }
    }
}

/// The format that a file's ending names.
fn of_ending(path: &Path) -> Option<OutputFormat> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "jpg" | "jpeg" => Some(OutputFormat::Jpeg),
        "png" => Some(OutputFormat::Png),
        "webp" => Some(OutputFormat::Webp),
        _ => None,
    }
}

/// `fox.png` becomes `fox-1.png`.
fn numbered(path: &Path, number: i64) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{number}"));
    if let Some(ending) = path.extension() {
        name.push(".");
        name.push(ending);
    }
    path.with_file_name(name)
}

/// The name of a file that is not whole.
fn part(path: &Path) -> PathBuf {
    let mut name: OsString = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}

/// Each file gets its name once all are written.
fn write_all(paths: &[PathBuf], parts: &[PathBuf], pictures: &[Vec<u8>]) -> Result<(), Failure> {
    let failed = |path: &Path, error: io::Error| {
        Failure::Unforeseen(format!("cannot write {}: {error}", path.display()))
    };
    for ((path, part), picture) in paths.iter().zip(parts).zip(pictures) {
        fs::write(part, picture).map_err(|error| failed(path, error))?;
    }
    for (path, part) in paths.iter().zip(parts) {
        fs::rename(part, path).map_err(|error| failed(path, error))?;
    }
    Ok(())
}

fn to_standard_output(picture: &[u8]) -> Result<Vec<String>, Failure> {
    let mut out = io::stdout().lock();
    out.write_all(picture)
        .and_then(|()| out.flush())
        .map_err(|error| Failure::Unforeseen(format!("cannot write to standard output: {error}")))?;
    Ok(vec!["standard output".to_owned()])
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
