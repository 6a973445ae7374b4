//! An interrupted download resumes, and a damaged file is deleted.

use std::fs;

use glimpse_worker::hub::Problem;

use super::props::{Story, UNET, demo};

/// The first bytes of the requests for the file.
fn begins(story: &Story) -> Vec<usize> {
    let path = format!("/{UNET}?Signature=secret");
    let asked =
        story.server.requests().into_iter().filter(|asked| asked.path == path && asked.method == "GET");
    asked.map(|asked| asked.from.unwrap_or(0)).collect()
}

fn assert_whole(story: &Story) {
    let folder = story.resolve().unwrap();
    assert!(fs::read(folder.join(UNET)).unwrap() == fs::read(demo().join(UNET)).unwrap());
}

#[test]
fn a_cut_connection_is_resumed() {
    let story = Story::new();
    // More failures in total than the allowed failures in a row.
    story.server.cut(UNET, &[1_000_000, 2_000_000, 500_000, 1]);
    assert_whole(&story);
    assert_eq!(begins(&story), [0, 1_000_000, 3_000_000, 3_500_000, 3_500_001]);
}

#[test]
fn a_later_start_goes_on_where_the_last_one_gave_up() {
    let story = Story::new();
    story.server.cut(UNET, &[1_000_000, 0]);
    let error = story.resolve().unwrap_err();
    assert!(matches!(error.problem, Problem::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&story.server.cdn()), "{error}");
    assert!(!error.to_string().contains("secret"), "the address is a key: {error}");
    assert_eq!(begins(&story), [0, 1_000_000]);
    assert!(story.kept("refs").is_empty(), "an incomplete model is not recorded");
    assert_whole(&story);
    assert_eq!(begins(&story), [1_000_000]);
}

#[test]
fn a_file_that_was_changed_on_the_way_is_refused() {
    let story = Story::new();
    story.server.damage(UNET);
    let error = story.resolve().unwrap_err();
    assert!(matches!(error.problem, Problem::Damaged { .. }), "{error}");
    assert!(error.to_string().contains(UNET) && error.to_string().contains("SHA-256"), "{error}");
    assert!(!story.kept("snapshots").iter().any(|name| name.contains("unet/diff")));
    assert!(story.kept("blobs").iter().all(|name| !name.ends_with("incomplete")), "it is not resumed");
}

#[test]
fn an_incomplete_file_with_other_contents_is_detected() {
    let story = Story::new();
    story.server.cut(UNET, &[1_000_000, 0]);
    story.resolve().unwrap_err();
    let blobs = story.cache.path().join("models--glimpse--demo/blobs");
    let partial = story.kept("blobs").into_iter().find(|name| name.ends_with("incomplete")).unwrap();
    fs::write(blobs.join(&partial), [0; 1000]).unwrap();
    let error = story.resolve().unwrap_err();
    assert!(matches!(error.problem, Problem::Damaged { .. }), "{error}");
    // Longer than the file.
    fs::write(blobs.join(&partial), vec![0; 20_000_000]).unwrap();
    story.server.requests();
    assert_whole(&story);
    assert_eq!(begins(&story), [0]);
}
