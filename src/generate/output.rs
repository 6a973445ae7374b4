//! The output files of `glimpse generate`.

use std::{
    ffi::OsString,
    fmt::Display,
    fs,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
};

use glimpse_shared::request::{MAX_IMAGES, OutputFormat};

use super::failure::Failure;

/// In the place of a file: write to standard output.
pub const STANDARD_OUTPUT: &str = "-";

/// The destination of the pictures. Nothing appears there until all of them are complete.
pub struct Output {
    place: Place,
    format: OutputFormat,
}

enum Place {
    StandardOutput,
    File(PathBuf),
    /// The name before pictures are numbered.
    Files(PathBuf),
}

impl Output {
    /// The destination of `count` pictures and their format, from the file's extension or the given one. Checks that
    /// they can be written.
    ///
    /// # Errors
    /// For an extension that is unknown or contradicts the given format, a folder that does not exist, and standard
    /// output if it is a terminal or there are several pictures.
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
                return Err(wrong(format!("the extension says {ending} and --output-format says {given}")));
            }
            (Some(format), _) | (None, Some(format)) => format,
            (None, None) => {
                let advice = "the extension should be .jpg, .png or .webp; for another name, give the format with \
                              --output-format";
                return Err(wrong(advice.to_owned()));
            }
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            return Err(wrong(format!("the folder {} does not exist", folder.display())));
        }
        let place = if several { Place::Files(path.clone()) } else { Place::File(path.clone()) };
        let most = i64::try_from(MAX_IMAGES).unwrap_or(i64::MAX);
        // A larger number is refused with the other fields.
        let paths = place.paths(num_images.map(|images| images.min(most)));
        if let Some(folder) = paths.iter().find(|path| path.is_dir()) {
            return Err(wrong(format!("{} is a folder", folder.display())));
        }
        Ok(Self { place, format })
    }

    /// The destination of pictures that a job makes in its own format, if that is known.
    ///
    /// # Errors
    /// As [`Output::new`], and if the file's extension names another format.
    pub fn of_finished(path: &Path, content_type: Option<&str>, count: usize) -> Result<Self, Failure> {
        if let (Some(ending), Some(content_type)) = (of_ending(path), content_type)
            && ending.content_type() != content_type
        {
            return Err(Failure::BadInput(format!(
                "--output {}: the picture is {content_type}; run this again with another extension, while the server \
                 has the job",
                path.display()
            )));
        }
        // The pictures are encoded already.
        let any = of_ending(path).unwrap_or(OutputFormat::Jpeg);
        Self::new(path.to_owned(), Some(any), i64::try_from(count).ok())
    }

    /// The pictures' format.
    pub fn format(&self) -> OutputFormat {
        self.format
    }

    /// Writes all pictures or none, and returns their places.
    ///
    /// # Errors
    /// The system's error.
    pub fn write(&self, pictures: &[Vec<u8>]) -> Result<Vec<String>, Failure> {
        if matches!(self.place, Place::StandardOutput)
            && let [picture] = pictures
        {
            return to_standard_output(picture);
        }
        let paths = self.place.paths(i64::try_from(pictures.len()).ok());
        if paths.len() != pictures.len() {
            let count = pictures.len();
            return Err(Failure::Unforeseen(format!(
                "one picture was requested, and {count} were generated"
            )));
        }
        let targets: Vec<Target> = paths.iter().map(|path| Target::of(path)).collect();
        let written = write_all(&paths, &targets, pictures);
        if written.is_err() {
            for target in &targets {
                if let Target::Replaced { part, .. } = target {
                    // The first error is reported; a part that cannot be removed stays.
                    let _ = fs::remove_file(part);
                }
            }
        }
        written?;
        Ok(paths.iter().map(|path| path.display().to_string()).collect())
    }
}

impl Place {
    /// The files of `count` pictures.
    fn paths(&self, pictures: Option<i64>) -> Vec<PathBuf> {
        match self {
            Self::StandardOutput => Vec::new(),
            Self::File(path) => vec![path.clone()],
            Self::Files(path) => (1..=pictures.unwrap_or(1)).map(|number| numbered(path, number)).collect(),
        }
    }
}

/// The format for a file's extension.
fn of_ending(path: &Path) -> Option<OutputFormat> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "jpg" | "jpeg" => Some(OutputFormat::Jpeg),
        "png" => Some(OutputFormat::Png),
        "webp" => Some(OutputFormat::Webp),
        _ => None,
    }
}

/// `fox.png` becomes `fox-1.png`.
pub fn numbered(path: &Path, number: impl Display) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{number}"));
    if let Some(ending) = path.extension() {
        name.push(".");
        name.push(ending);
    }
    path.with_file_name(name)
}

/// How a file is written.
enum Target {
    /// Into a part beside the file, which then takes the file's name.
    Replaced { file: PathBuf, part: PathBuf },
    /// Directly: a pipe or a device cannot be replaced, and a link may lead to a file that does not exist yet.
    Opened(PathBuf),
}

impl Target {
    fn of(path: &Path) -> Self {
        let replaced = |file: PathBuf| Self::Replaced { part: part(&file), file };
        match (fs::metadata(path), fs::canonicalize(path)) {
            // The file that a link leads to.
            (Ok(metadata), Ok(file)) if metadata.is_file() => replaced(file),
            (Err(_), _) if !path.is_symlink() => replaced(path.to_owned()),
            _ => Self::Opened(path.to_owned()),
        }
    }
}

/// The name of an incomplete file.
fn part(path: &Path) -> PathBuf {
    let mut name: OsString = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}

/// Renames the files once all are written.
fn write_all(paths: &[PathBuf], targets: &[Target], pictures: &[Vec<u8>]) -> Result<(), Failure> {
    let failed = |path: &Path, error: io::Error| {
        Failure::Unforeseen(format!("cannot write {}: {error}", path.display()))
    };
    for ((path, target), picture) in paths.iter().zip(targets).zip(pictures) {
        let (Target::Replaced { part: place, .. } | Target::Opened(place)) = target;
        fs::write(place, picture).map_err(|error| failed(path, error))?;
    }
    for (path, target) in paths.iter().zip(targets) {
        if let Target::Replaced { file, part } = target {
            fs::rename(part, file).map_err(|error| failed(path, error))?;
        }
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

/// The folder for previews.
pub struct PreviewDir(PathBuf);

impl PreviewDir {
    /// Creates the folder if it does not exist.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn new(path: PathBuf) -> Result<Self, Failure> {
        fs::create_dir_all(&path)
            .map_err(|error| Failure::BadInput(format!("--preview-dir {}: {error}", path.display())))?;
        Ok(Self(path))
    }

    /// Writes the preview after a 0-based step, and returns its place.
    ///
    /// # Errors
    /// The file system's error.
    pub fn write(&self, step: u32, jpeg: &[u8]) -> Result<String, Failure> {
        let path = self.0.join(format!("preview-{step:02}.jpg"));
        fs::write(&path, jpeg)
            .map_err(|error| Failure::Unforeseen(format!("cannot write {}: {error}", path.display())))?;
        Ok(path.display().to_string())
    }
}
