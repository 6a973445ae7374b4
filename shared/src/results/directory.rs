//! Pictures in a directory.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    name::{Name, folder_begins},
    swept::Swept,
    term::Term,
};
use crate::id::Micros;

/// Where a picture is.
pub(super) fn path(root: &Path, name: &Name) -> PathBuf {
    root.join(name.folder()).join(name.as_str())
}

/// Deletes at most `most` expired pictures, the oldest first, and the folders that are empty then. A file that was not
/// written completely, because its worker died, has the same name with `#` and a number behind it. Other files are left
/// alone.
pub(super) fn sweep(root: &Path, term: Term, now: Micros, most: usize) -> Swept {
    let mut swept = Swept::default();
    let mut folders: Vec<String> = match names(root) {
        Ok(names) => names,
        Err(error) => {
            swept.fail(format!("{}: {error}", root.display()));
            return swept;
        }
    };
    folders.retain(|folder| folder_begins(folder).is_some_and(|begins| term.ends_if_written(begins) <= now));
    folders.sort_unstable();
    // What a process has left that was killed while it checked the directory.
    sweep_folder(root, term, now, most, &mut swept);
    for folder in folders {
        if swept.more {
            break;
        }
        sweep_folder(&root.join(&folder), term, now, most, &mut swept);
        // Only an empty folder can be removed. A worker that writes into it at this moment creates it again.
        let _ = fs::remove_dir(root.join(folder));
    }
    swept
}

fn sweep_folder(folder: &Path, term: Term, now: Micros, most: usize, swept: &mut Swept) {
    let files = match names(folder) {
        Ok(files) => files,
        // Another API has removed it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => return swept.fail(format!("{}: {error}", folder.display())),
    };
    for file in files {
        let name = file.split_once('#').map_or(&*file, |(name, _)| name).parse::<Name>();
        if name.is_err() || name.is_ok_and(|name| term.ends(&name) > now) {
            continue;
        }
        if swept.deleted >= most {
            swept.more = true;
            return;
        }
        let path = folder.join(&file);
        match fs::remove_file(&path) {
            Ok(()) => swept.deleted += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => swept.fail(format!("{}: {error}", path.display())),
        }
    }
}

/// The names in a folder. One that is not UTF-8 is not ours.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.extend(entry?.file_name().into_string().ok());
    }
    Ok(names)
}
