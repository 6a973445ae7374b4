//! Each error names the model and says what to do.

use glimpse_worker::{
    hub::{HubError, Token},
    sdxl::Precision,
};

use super::props::{Story, UNET};

#[track_caller]
fn assert_says(error: &HubError, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}

#[test]
fn gated_and_private_models() {
    for (status, code) in [(401, "RepoNotFound"), (403, "GatedRepo"), (401, "")] {
        let mut story = Story::new();
        story.server.refuse(status, code);
        let hub = story.server.endpoint();
        let parts = ["glimpse/demo", &hub, &status.to_string(), "set HF_TOKEN", "licence"];
        assert_says(&story.resolve().unwrap_err(), &parts);
        story.options.token = Token::new("hf_secret");
        let error = story.resolve().unwrap_err();
        assert_says(&error, &["glimpse/demo", &hub, "licence", "account"]);
        assert!(!format!("{error} {error:?}").contains("hf_secret"));
    }
}

#[test]
fn models_and_revisions_that_do_not_exist() {
    let story = Story::new();
    let error = story.resolve_as("glimpse/dmeo", Precision::Full).unwrap_err();
    assert_says(
        &error,
        &["glimpse/dmeo", "no model of this name", "no folder of this name", &story.server.endpoint()],
    );
    let error = story.resolve_as("glimpse/demo@v2", Precision::Full).unwrap_err();
    assert_says(&error, &["glimpse/demo@v2", "no revision \"v2\""]);
}

#[test]
fn a_model_of_another_layout_is_refused_before_a_download() {
    let story = Story::new();
    story.server.remove(UNET);
    story.server.put("unet/diffusion_pytorch_model.bin", b"pickled");
    assert_says(&story.resolve().unwrap_err(), &["glimpse/demo", UNET, "safetensors", "diffusers"]);
    assert_eq!(story.server.downloads(), Vec::<String>::new());
}

#[test]
fn wrong_endpoints() {
    let mut story = Story::new();
    story.options.endpoint = "ftp://somewhere".into();
    assert_says(&story.resolve().unwrap_err(), &["HF_ENDPOINT"]);
    // A web server that is not a Hub: every path is missing, without the Hub's error code.
    story.options.endpoint = format!("{}/mirror", story.server.endpoint());
    assert_says(&story.resolve().unwrap_err(), &["no model of this name"]);
}

#[test]
fn an_endpoint_with_a_query_or_two_logins_is_refused() {
    let mut story = Story::new();
    let hub = story.server.endpoint();
    for part in ["?mirror=1", "/#mirror"] {
        story.options.endpoint = format!("{hub}{part}");
        assert_says(&story.resolve().unwrap_err(), &["HF_ENDPOINT", "would not be used"]);
    }
    story.options.endpoint = hub.replace("://", "://me:secret@");
    story.options.token = Token::new("hf_token");
    let error = story.resolve().unwrap_err();
    assert_says(&error, &["HF_ENDPOINT", "HF_TOKEN"]);
    assert!(!error.to_string().contains("secret"));
}

#[test]
fn wrong_tokens() {
    let mut story = Story::new();
    story.options.token = Token::new("hf_\u{1}secret");
    let error = story.resolve().unwrap_err();
    assert_says(&error, &["HF_TOKEN"]);
    assert!(!format!("{error:?}").contains("secret"));
}
