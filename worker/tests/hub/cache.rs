//! Files in the cache are not downloaded again, and are used without a network.

use std::{fs, thread};

use glimpse_test_support::COMMIT;

use super::props::{Story, UNET};

#[test]
fn the_layout_is_that_of_huggingface_hub() {
    let story = Story::new();
    let folder = story.resolve().unwrap();
    let model = story.cache.path().join("models--glimpse--demo");
    assert_eq!(folder, model.join("snapshots").join(COMMIT));
    assert_eq!(fs::read_to_string(model.join("refs/main")).unwrap(), COMMIT);
    let link = fs::read_link(folder.join(UNET)).unwrap();
    let blob = link.strip_prefix("../../../blobs").unwrap();
    assert_eq!(blob.as_os_str().len(), 64, "named by its SHA-256");
    assert!(story.kept("blobs").iter().all(|name| !name.contains('.')), "no incomplete file is left");
}

#[test]
fn a_cached_model_is_not_downloaded_again() {
    let story = Story::new();
    let folder = story.resolve().unwrap();
    story.server.requests();
    assert_eq!(story.resolve().unwrap(), folder);
    let asked: Vec<_> = story.server.requests().into_iter().map(|asked| asked.path).collect();
    assert_eq!(asked, ["/api/models/glimpse/demo/revision/main"], "only the list of files is requested");
}

#[test]
fn offline_only_the_cache_is_used() {
    let mut story = Story::new();
    story.options.offline = true;
    let complaint = story.complaint();
    for part in ["glimpse/demo", "HF_HUB_OFFLINE", "model_index.json", &story.cache.path().to_string_lossy()]
    {
        assert!(complaint.contains(part), "{part:?} in {complaint}");
    }
    story.options.offline = false;
    let folder = story.resolve().unwrap();
    story.options.offline = true;
    story.server.requests();
    assert_eq!(story.resolve().unwrap(), folder);
    fs::remove_file(fs::canonicalize(folder.join(UNET)).unwrap()).unwrap();
    let complaint = story.complaint();
    assert!(complaint.contains("HF_HUB_OFFLINE") && complaint.contains(UNET), "{complaint}");
    assert_eq!(story.server.requests(), []);
}

#[test]
fn without_a_network_the_cache_is_used() {
    let story = Story::new();
    let folder = story.resolve().unwrap();
    story.server.refuse(503, "");
    assert_eq!(story.resolve().unwrap(), folder, "a Hub that answers errors");
    let Story { server, cache, options } = story;
    drop(server);
    let story = Story { cache, options, ..Story::new() };
    assert_eq!(story.resolve().unwrap(), folder, "no server at the Hub's address");
    fs::remove_dir_all(&folder).unwrap();
    let complaint = story.complaint();
    for part in [story.options.endpoint.as_str(), "HF_ENDPOINT", "HF_HUB_OFFLINE", "folder"] {
        assert!(complaint.contains(part), "{part:?} in {complaint}");
    }
}

#[test]
fn two_processes_download_a_file_once() {
    let story = Story::new();
    let (one, other) = thread::scope(|scope| {
        let one = scope.spawn(|| story.resolve());
        let other = scope.spawn(|| story.resolve());
        (one.join().unwrap().unwrap(), other.join().unwrap().unwrap())
    });
    assert_eq!(one, other);
    let mut downloads = story.server.downloads();
    downloads.sort_unstable();
    let all = downloads.len();
    downloads.dedup();
    assert_eq!((all, downloads.len()), (story.kept("blobs").len(), all), "each content once");
}
