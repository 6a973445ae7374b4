//! Pictures that are kept in a directory.

use std::{fs, path::Path, time::Duration};

use bytes::Bytes;
use glimpse_shared::{
    id::Micros,
    request::OutputFormat,
    results::{Located, Name, Place, Results, Swept},
};

const TTL: Duration = Duration::from_secs(60);

#[cfg(test)]
async fn open(folder: &Path) -> Results {
    Results::open(Place::Directory(folder.to_owned()), TTL).await.unwrap()
}

/// A name of a picture that was written this long ago.
#[cfg(test)]
fn written(ago: Duration) -> Name {
    Name::new(Micros(Micros::system().0 - ago.as_micros() as u64), OutputFormat::Png)
}

#[cfg(test)]
fn write(folder: &Path, name: &Name, suffix: &str) {
    let hour = folder.join(&name.as_str()[..11]);
    fs::create_dir_all(&hour).unwrap();
    fs::write(hour.join(format!("{name}{suffix}")), b"old").unwrap();
}

/// All files and folders below a folder.
#[cfg(test)]
fn everything(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        found.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        if path.is_dir() {
            found.extend(everything(&path));
        }
    }
    found
}

#[tokio::test]
async fn a_picture_is_there_until_it_expires() {
    let folder = tempfile::tempdir().unwrap();
    // The directory is created.
    let place = folder.path().join("a/b");
    let results = open(&place).await;
    assert_eq!(everything(&place), Vec::<String>::new(), "the check leaves nothing");

    let name = results.put(OutputFormat::Png, Bytes::from_static(b"a picture")).await.unwrap();
    assert_eq!(results.read(&name).await.unwrap().as_deref(), Some(&b"a picture"[..]));
    let Some(Located::File(path)) = results.located(&name).await.unwrap() else { panic!("not a file") };
    assert_eq!(fs::read(path).unwrap(), b"a picture");
    assert!(results.is_fresh(&name));
    assert!(results.left(&name).unwrap() > TTL);
    assert_eq!(results.sweep(10).await, Swept::default());

    let other = open(&place).await;
    assert!(other.read(&name).await.unwrap().is_some(), "every process of the fleet reads it");
    let unknown = Name::new(Micros::system(), OutputFormat::Png);
    assert_eq!(results.read(&unknown).await.unwrap(), None);
    let old = written(Duration::from_secs(100));
    write(&place, &old, "");
    assert_eq!((results.read(&old).await.unwrap(), results.left(&old)), (None, None), "it has expired");
    assert!(!results.is_fresh(&written(Duration::from_secs(30))));
}

#[tokio::test]
async fn only_expired_pictures_are_deleted_and_nothing_is_left_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let results = open(folder.path()).await;
    let fresh = results.put(OutputFormat::Jpeg, Bytes::from_static(b"new")).await.unwrap();
    let old: Vec<_> = [2, 3, 400].map(|hours| written(Duration::from_secs(hours * 3600))).into();
    for name in &old {
        write(folder.path(), name, "");
    }
    // What a worker leaves that is killed while it writes.
    write(folder.path(), &old[0], "#1");
    // What a process leaves that is killed while it checks the directory.
    fs::write(folder.path().join(old[2].as_str()), b"check").unwrap();
    let strange = folder.path().join("notes.txt");
    fs::write(&strange, b"mine").unwrap();
    let hour = &old[1].as_str()[..11];
    fs::write(folder.path().join(hour).join("mine.png"), b"mine").unwrap();

    assert_eq!(results.sweep(10).await, Swept { deleted: 5, ..Swept::default() });
    let mut left = everything(folder.path());
    left.sort_unstable();
    let mut expected = [&fresh.as_str()[..11], fresh.as_str(), "notes.txt", hour, "mine.png"];
    expected.sort_unstable();
    assert_eq!(left, expected, "files of others stay, and empty folders are removed");
    assert!(results.read(&fresh).await.unwrap().is_some());
}

#[tokio::test]
async fn a_pass_is_bounded_and_many_processes_may_delete() {
    let folder = tempfile::tempdir().unwrap();
    let results = open(folder.path()).await;
    let names: Vec<_> = (0..50).map(|hour| written(Duration::from_secs(7200 + 60 * hour))).collect();
    names.iter().for_each(|name| write(folder.path(), name, ""));
    let first = results.sweep(20).await;
    assert_eq!(first, Swept { deleted: 20, more: true, failed: None });

    let others = [open(folder.path()).await, open(folder.path()).await, results];
    let passes = others.iter().map(|results| results.sweep(1000));
    let swept = futures::future::join_all(passes).await;
    assert_eq!(swept.iter().map(|swept| swept.deleted).sum::<usize>(), 30, "{swept:?}");
    assert!(swept.iter().all(|swept| swept.failed.is_none()), "{swept:?}");
    assert_eq!(everything(folder.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_place_that_cannot_be_used_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, b"").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = Results::open(Place::Directory(path.clone()), TTL).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("--results {}: cannot ", path.display())), "{error}");
        assert!(error.contains("create the directory, give"), "{error}");
    }
}

#[tokio::test]
async fn a_failed_pass_says_why_and_a_later_one_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("results");
    let results = open(&place).await;
    fs::remove_dir(&place).unwrap();
    let failed = results.sweep(10).await.failed.expect("an error");
    assert!(failed.contains("results"), "{failed}");
    write(&place, &written(Duration::from_secs(7200)), "");
    assert_eq!(results.sweep(10).await, Swept { deleted: 1, ..Swept::default() });
}
