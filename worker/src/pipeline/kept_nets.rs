//! What is kept on the device after the jobs that asked for it.

use std::cell::RefCell;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::SystemTime;

use super::error::PipelineError;

/// One state of a file: inode, time of its last change, length.
type FileState = (u64, Option<SystemTime>, u64);

/// Identifies one state of a model's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp(Vec<(PathBuf, FileState)>);

impl Stamp {
    /// The state of a file, or of a folder's configuration and weights.
    pub(super) fn of(path: &Path) -> std::io::Result<Self> {
        let state = |path: PathBuf| -> std::io::Result<(PathBuf, FileState)> {
            let file = std::fs::metadata(&path)?;
            Ok((path, (file.ino(), file.modified().ok(), file.len())))
        };
        let mut files = vec![state(path.into())?];
        if path.is_dir() {
            for entry in std::fs::read_dir(path)? {
                let file = entry?.path();
                if file.extension().is_some_and(|ending| ending == "json" || ending == "safetensors") {
                    files.push(state(file)?);
                }
            }
            files[1..].sort();
        }
        Ok(Self(files))
    }

    fn path(&self) -> Option<&Path> {
        self.0.first().map(|(path, _)| &**path)
    }
}

/// Loaded models, the least recently used first.
#[derive(Debug)]
pub(super) struct Kept<T> {
    /// The most of them that stay.
    most: usize,
    loaded: RefCell<Vec<(Stamp, Rc<T>)>>,
}

impl<T> Kept<T> {
    /// None yet.
    pub(super) fn new(most: usize) -> Self {
        Self { most: most.max(1), loaded: RefCell::default() }
    }

    /// The model of these files, if it is loaded. One of files that were replaced is dropped.
    pub(super) fn find(&self, stamp: &Stamp) -> Option<Rc<T>> {
        let mut loaded = self.loaded.borrow_mut();
        loaded.retain(|(kept, _)| kept.path() != stamp.path() || kept == stamp);
        let at = loaded.iter().position(|(kept, _)| kept == stamp)?;
        let newest = loaded.remove(at);
        let found = newest.1.clone();
        loaded.push(newest);
        Some(found)
    }

    /// Loads another model. The least recently used is dropped before, so that there is never one more on the device; if
    /// the device has too little memory, all go that the job does not use (`in_use`).
    ///
    /// # Errors
    /// Those of `load`.
    pub(super) fn add(
        &self,
        stamp: Stamp,
        name: &str,
        in_use: &[Rc<T>],
        load: impl Fn() -> Result<T, PipelineError>,
    ) -> Result<Rc<T>, PipelineError> {
        let mut loaded = self.loaded.borrow_mut();
        let is_used = |net: &Rc<T>| in_use.iter().any(|used| Rc::ptr_eq(used, net));
        while loaded.len() >= self.most
            && let Some(at) = loaded.iter().position(|(_, net)| !is_used(net))
        {
            loaded.remove(at);
        }
        let net = match load() {
            Err(PipelineError::OutOfMemory { message }) if loaded.iter().any(|(_, net)| !is_used(net)) => {
                tracing::warn!("the device has too little memory for {name} and those before it: {message}");
                loaded.retain(|(_, net)| is_used(net));
                load()?
            }
            net => net?,
        };
        let net = Rc::new(net);
        loaded.push((stamp, net.clone()));
        Ok(net)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn stamp(name: &str) -> Stamp {
        Stamp(vec![(name.into(), (1, None, 1))])
    }

    fn full() -> PipelineError {
        PipelineError::OutOfMemory { message: "full".to_owned() }
    }

    #[test]
    fn the_least_recently_used_goes_first_and_never_one_in_use() {
        let kept = Kept::new(2);
        let add = |name: &str, in_use: &[Rc<String>]| {
            kept.add(stamp(name), name, in_use, || Ok(name.to_owned())).expect("loaded")
        };
        add("a", &[]);
        let b = add("b", &[]);
        assert_eq!(kept.find(&stamp("a")).as_deref().map(String::as_str), Some("a"));
        add("c", &[]);
        assert!(kept.find(&stamp("b")).is_none() && kept.find(&stamp("a")).is_some());
        // More than are kept, because a job uses them.
        let (a, c) = (kept.find(&stamp("a")).expect("a"), kept.find(&stamp("c")).expect("c"));
        add("d", &[a, c]);
        assert!(["a", "c", "d"].iter().all(|name| kept.find(&stamp(name)).is_some()));
        add("e", &[b]);
        assert!(["a", "c"].iter().all(|name| kept.find(&stamp(name)).is_none()));
    }

    #[test]
    fn all_that_the_job_does_not_use_go_when_memory_runs_out() {
        let kept: Kept<&str> = Kept::new(4);
        let put = |name: &'static str| kept.add(stamp(name), name, &[], || Ok(name)).expect("loaded");
        let (used, tries) = (put("used"), Cell::new(0));
        put("old");
        put("older");
        let loads = || match tries.replace(tries.get() + 1) {
            0 => Err(full()),
            _ => Ok("new"),
        };
        kept.add(stamp("new"), "new", std::slice::from_ref(&used), loads).expect("the second time");
        assert_eq!(tries.get(), 2);
        assert!(kept.find(&stamp("used")).is_some() && kept.find(&stamp("new")).is_some());
        assert!(kept.find(&stamp("old")).is_none() && kept.find(&stamp("older")).is_none());
        // With nothing to drop there is no second try.
        let new = kept.find(&stamp("new")).expect("kept");
        let tries = Cell::new(0);
        let never = || {
            tries.set(tries.get() + 1);
            Err(full())
        };
        assert_eq!(kept.add(stamp("x"), "x", &[used, new], never), Err(full()));
        assert_eq!(tries.get(), 1);
        // Another error drops nothing.
        let fault = || Err(PipelineError::Fault { message: "x".to_owned() });
        assert!(kept.add(stamp("x"), "x", &[], fault).is_err());
        assert!(kept.find(&stamp("used")).is_some());
    }

    #[test]
    fn one_of_replaced_files_is_dropped() {
        let kept = Kept::new(2);
        kept.add(stamp("a"), "a", &[], || Ok(1)).expect("loaded");
        let other = Stamp(vec![("a".into(), (2, None, 1))]);
        assert_eq!(kept.find(&other), None);
        assert_eq!(kept.find(&stamp("a")), None);
    }
}
