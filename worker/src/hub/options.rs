//! The options of the Hub client, and the environment variables that set them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The options of the Hub client. The variables have the names of the `huggingface_hub` library.
#[derive(Debug, Clone)]
pub struct HubOptions {
    /// `HF_ENDPOINT`: the Hub, or a mirror of it.
    pub endpoint: String,
    /// `HF_HUB_CACHE`, or `hub` in `HF_HOME`: the folder of the cache.
    pub cache: PathBuf,
    /// `HF_TOKEN`, or the token that `hf auth login` has written to `HF_HOME`: for gated and private models.
    pub token: Option<Token>,
    /// `HF_HUB_OFFLINE`: use the cache only.
    pub offline: bool,
    /// Number of network failures in a row after which a download fails.
    pub tries: u32,
    /// The longest wait after the first failure. It doubles with each failure, up to 8 times.
    pub pause: Duration,
    /// The longest time until a connection is open.
    pub connect: Duration,
    /// The longest time without data on a connection.
    pub silence: Duration,
}

impl HubOptions {
    /// An endpoint and a cache, without a token.
    pub fn new(endpoint: impl Into<String>, cache: impl Into<PathBuf>) -> Self {
        Self {
            endpoint: endpoint.into(),
            cache: cache.into(),
            token: None,
            offline: false,
            tries: 5,
            pause: Duration::from_secs(1),
            connect: Duration::from_secs(30),
            silence: Duration::from_secs(30),
        }
    }

    /// Reads the environment of this process.
    pub fn from_env() -> Self {
        let home = std::env::home_dir().unwrap_or_default();
        Self::read(&home, |name| std::env::var(name).ok())
    }

    fn read(home: &Path, variable: impl Fn(&str) -> Option<String>) -> Self {
        // An empty variable counts as not set: compose files set variables to the empty string.
        let text = |name: &str| variable(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let path = |name: &str| text(name).map(PathBuf::from);
        let caches = || path("XDG_CACHE_HOME").unwrap_or_else(|| home.join(".cache"));
        let hf_home = path("HF_HOME").unwrap_or_else(|| caches().join("huggingface"));
        let cache = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE"));
        let token = text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN")).or_else(|| {
            let named = path("HF_TOKEN_PATH");
            let read = std::fs::read_to_string(named.clone().unwrap_or_else(|| hf_home.join("token")));
            if let (Some(path), Err(error)) = (named, &read) {
                tracing::warn!(path = %path.display(), %error, "the file of HF_TOKEN_PATH cannot be read; continuing without a token");
            }
            read.ok()
        });
        let offline = text("HF_HUB_OFFLINE")
            .is_some_and(|v| ["1", "on", "yes", "true"].contains(&v.to_ascii_lowercase().as_str()));
        Self {
            token: token.and_then(|token| Token::new(&token)),
            offline,
            ..Self::new(
                text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into()),
                cache.unwrap_or_else(|| hf_home.join("hub")),
            )
        }
    }
}

/// A token. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// `None` for an empty or blank text.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    pub(super) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> HubOptions {
        HubOptions::read(Path::new("/home/me"), |name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_cache_folder_is_that_of_huggingface_hub() {
        for (variables, cache) in [
            (&[][..], "/home/me/.cache/huggingface/hub"),
            (&[("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
            (&[("HF_HOME", "/h"), ("XDG_CACHE_HOME", "/x")], "/h/hub"),
            (&[("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HOME", "/h")], "/old"),
            (&[("HF_HUB_CACHE", "/new"), ("HUGGINGFACE_HUB_CACHE", "/old")], "/new"),
            (&[("HF_HUB_CACHE", "")], "/home/me/.cache/huggingface/hub"),
        ] {
            assert_eq!(read(variables).cache, Path::new(cache), "{variables:?}");
        }
    }

    #[test]
    fn the_token_comes_from_the_variable_or_the_file_and_is_not_shown() {
        let home = tempfile::tempdir().expect("a folder");
        std::fs::write(home.path().join("token"), "hf_file\n").expect("written");
        let hf_home = ("HF_HOME", home.path().to_str().expect("a name"));
        assert_eq!(read(&[hf_home]).token, Token::new("hf_file"));
        let options = read(&[hf_home, ("HF_TOKEN", "hf_variable")]);
        assert_eq!(options.token, Token::new("hf_variable"));
        assert!(!format!("{options:?}").contains("hf_variable"));
        assert_eq!(read(&[]).token, None);
    }

    #[test]
    fn endpoint_and_offline() {
        let options = read(&[("HF_ENDPOINT", "https://mirror"), ("HF_HUB_OFFLINE", "1")]);
        assert!(options.offline && options.endpoint == "https://mirror");
        let options = read(&[("HF_HUB_OFFLINE", "0")]);
        assert!(!options.offline && options.endpoint == "https://huggingface.co");
    }
}
