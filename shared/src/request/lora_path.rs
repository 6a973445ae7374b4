//! Where a LoRA is: a file of the workers, a file on the Hugging Face Hub, or a URL.

use std::fmt;

use reqwest::Url;
use serde::{Deserialize, Serialize};

/// The longest name of a LoRA's file, in characters.
pub const MAX_LORA_NAME_CHARS: usize = 255;
/// The longest URL of a LoRA, and the longest `hf://…`, in bytes.
pub const MAX_LORA_URL_BYTES: usize = 2048;
/// The longest part of a name on the Hub, in characters.
const MAX_PART_CHARS: usize = 128;
/// The ending of a LoRA's file.
const ENDING: &str = ".safetensors";
/// What begins a name on the Hub.
const HUB: &str = "hf://";

/// Where a LoRA is. It is stored as one text, [`LoraPath::full_text`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum LoraPath {
    /// A file in the workers' LoRA folder.
    File(LoraName),
    /// A file on the Hugging Face Hub.
    Hub(HubLora),
    /// A URL.
    Url(LoraUrl),
}

/// From where a worker may load LoRAs besides its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LoraSource {
    /// The Hugging Face Hub.
    Hub,
    /// URLs.
    Urls,
}

impl LoraSource {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Hub, Self::Urls];

    /// The word for it among the features of a worker.
    pub fn feature(self) -> &'static str {
        match self {
            Self::Hub => "lora_hub",
            Self::Urls => "lora_urls",
        }
    }

    /// The worker's flag that allows it.
    pub fn flag(self) -> &'static str {
        match self {
            Self::Hub => "--allow-lora-hub",
            Self::Urls => "--allow-lora-urls",
        }
    }
}

/// Its name in messages.
impl fmt::Display for LoraSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hub => "the Hugging Face Hub",
            Self::Urls => "URLs",
        })
    }
}

/// The text is not a path of a LoRA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoLoraPath {
    /// Not the name of a file.
    #[error(
        "Input should name a file under the workers' LoRA folder: at most {MAX_LORA_NAME_CHARS} characters, parts \
         divided by /, without empty parts, . and .., and without \\, :, control characters and a leading ~. Or it \
         should be an http or https URL, or hf://OWNER/NAME[@REVISION][/FILE.safetensors]"
    )]
    File,
    /// Not a name on the Hub.
    #[error(
        "Input should be hf://OWNER/NAME[@REVISION][/FILE.safetensors], of at most {MAX_LORA_URL_BYTES} bytes: owner, \
         name and revision with letters, digits and ._- only, and a file without empty parts, . and .."
    )]
    Hub,
    /// Not a URL that a worker can load.
    #[error(
        "Input should be an http or https URL of at most {MAX_LORA_URL_BYTES} bytes, with a host, and without a user, a \
         password and control characters"
    )]
    Url,
}

impl LoraPath {
    /// Where else than in its folder a worker finds the file; `None` for a file of the folder.
    pub fn source(&self) -> Option<LoraSource> {
        match self {
            Self::File(_) => None,
            Self::Hub(_) => Some(LoraSource::Hub),
            Self::Url(_) => Some(LoraSource::Urls),
        }
    }

    /// The whole path. A URL may contain a secret: use the `Display` form in messages.
    pub fn full_text(&self) -> String {
        match self {
            Self::File(name) => name.as_str().to_owned(),
            Self::Hub(hub) => hub.to_string(),
            Self::Url(url) => url.secret().to_owned(),
        }
    }
}

impl TryFrom<String> for LoraPath {
    type Error = NoLoraPath;

    fn try_from(text: String) -> Result<Self, NoLoraPath> {
        if let Some(rest) = text.strip_prefix(HUB) {
            let right = text.len() <= MAX_LORA_URL_BYTES;
            return HubLora::parse(rest).filter(|_| right).map(Self::Hub).ok_or(NoLoraPath::Hub);
        }
        let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            Some("http" | "https") => LoraUrl::parse(text).map(Self::Url).ok_or(NoLoraPath::Url),
            _ => LoraName::parse(text).map(Self::File).ok_or(NoLoraPath::File),
        }
    }
}

impl From<LoraPath> for String {
    fn from(path: LoraPath) -> Self {
        path.full_text()
    }
}

/// Without the parts of a URL that may be a secret.
impl fmt::Display for LoraPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name) => name.fmt(f),
            Self::Hub(hub) => hub.fmt(f),
            Self::Url(url) => url.fmt(f),
        }
    }
}

/// The name of a file in the worker's LoRA folder: parts separated by `/`. It cannot name a file outside the folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LoraName(String);

impl LoraName {
    /// `None` if the text could name a file outside of a folder.
    pub fn parse(name: String) -> Option<Self> {
        // `:` would make the name a drive or a URL.
        let chars = !name.contains(':') && !name.starts_with('~');
        let right = chars && is_inside(&name) && name.chars().count() <= MAX_LORA_NAME_CHARS;
        right.then_some(Self(name))
    }

    /// The name, relative to the folder.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LoraName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A LoRA on the Hugging Face Hub: a repository, and a file of it or none, if it has only one. Each part is safe as a
/// file name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HubLora {
    owner: String,
    name: String,
    revision: Option<String>,
    file: Option<String>,
}

impl HubLora {
    /// `OWNER/NAME[@REVISION][/FILE.safetensors]`. A revision with `/` is `refs/KIND/NAME`, as in `huggingface_hub`.
    fn parse(text: &str) -> Option<Self> {
        let (owner, rest) = text.split_once('/')?;
        let name_end = rest.find(['@', '/']).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(name_end);
        let (revision, rest) = match rest.strip_prefix('@') {
            None => (None, rest),
            Some(rest) => {
                let parts = if rest.starts_with("refs/") { 3 } else { 1 };
                let end = rest.match_indices('/').nth(parts - 1).map_or(rest.len(), |(at, _)| at);
                let (revision, rest) = rest.split_at(end);
                (Some(revision), rest)
            }
        };
        let file = if rest.is_empty() { None } else { Some(rest.strip_prefix('/')?) };
        let right = is_part(owner)
            && is_part(name)
            && revision.is_none_or(|revision| revision.split('/').all(is_part))
            && file.is_none_or(|file| {
                is_inside(file) && !file.starts_with('.') && file.ends_with(ENDING) && file != ENDING
            });
        right.then(|| Self {
            owner: owner.to_owned(),
            name: name.to_owned(),
            revision: revision.map(str::to_owned),
            file: file.map(str::to_owned),
        })
    }

    /// The user or organisation.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The repository's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A branch, a tag or a commit; `None` for `main`.
    pub fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }

    /// The file in the repository, which ends in `.safetensors`.
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }
}

/// `hf://OWNER/NAME[@REVISION][/FILE.safetensors]`.
impl fmt::Display for HubLora {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{HUB}{}/{}", self.owner, self.name)?;
        self.revision.iter().try_for_each(|revision| write!(f, "@{revision}"))?;
        self.file.iter().try_for_each(|file| write!(f, "/{file}"))
    }
}

/// The URL of a LoRA: http or https, with a host, and without a user or a password. Its query may be a secret.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LoraUrl(String);

impl LoraUrl {
    fn parse(text: String) -> Option<Self> {
        let plain = text.len() <= MAX_LORA_URL_BYTES && !text.chars().any(char::is_control);
        let url = Url::parse(&text).ok().filter(|_| plain)?;
        let anonymous = url.username().is_empty() && url.password().is_none();
        (url.has_host() && anonymous).then_some(Self(text))
    }

    /// The whole URL, with what may be a secret. It must not be logged.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

/// Scheme, host and path.
impl fmt::Display for LoraUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.find(['?', '#']).unwrap_or(self.0.len());
        f.write_str(&self.0[..end])
    }
}

/// As `Display`.
impl fmt::Debug for LoraUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoraUrl({self})")
    }
}

/// Whether a path stays below its folder. A leading `/` gives an empty part.
fn is_inside(path: &str) -> bool {
    path.split('/').all(|part| !matches!(part, "" | "." | ".."))
        && !path.chars().any(|c| c == '\\' || c.is_control())
}

/// Whether a text has only letters, digits and `._-`, and is not `.`, `..` or a hidden file.
fn is_part(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    !text.is_empty()
        && text.len() <= MAX_PART_CHARS
        && !text.starts_with(['.', '-'])
        && text.bytes().all(plain)
}

/// `OWNER/NAME` as `hf://OWNER/NAME`, which fal's clients mean by it. `None` for all other texts.
pub(super) fn hub_id(text: &str) -> Option<String> {
    let part = |part: &str| part.starts_with(|c: char| c.is_ascii_alphanumeric()) && is_part(part);
    let is_id = text.split_once('/').is_some_and(|(owner, name)| part(owner) && part(name));
    (is_id && !text.ends_with(ENDING)).then(|| format!("{HUB}{text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<LoraPath, NoLoraPath> {
        LoraPath::try_from(text.to_owned())
    }

    #[test]
    fn a_name_on_the_hub_has_a_revision_and_a_file_if_it_says_so() {
        for (text, revision, file) in [
            ("hf://a/b", None, None),
            ("hf://a/b@v1.0", Some("v1.0"), None),
            ("hf://a/b/x.safetensors", None, Some("x.safetensors")),
            ("hf://a/b/in/my x@2.safetensors", None, Some("in/my x@2.safetensors")),
            ("hf://a/b@v1/in/x.safetensors", Some("v1"), Some("in/x.safetensors")),
            ("hf://a/b@refs/pr/1", Some("refs/pr/1"), None),
            ("hf://a/b@refs/pr/1/in/x.safetensors", Some("refs/pr/1"), Some("in/x.safetensors")),
        ] {
            let Ok(LoraPath::Hub(hub)) = parse(text) else { panic!("{text}") };
            assert_eq!((hub.owner(), hub.name()), ("a", "b"), "{text}");
            assert_eq!((hub.revision(), hub.file()), (revision, file), "{text}");
            assert_eq!(
                (hub.to_string(), parse(text).unwrap().full_text()),
                (text.to_owned(), text.to_owned())
            );
        }
        for text in [
            "hf://",
            "hf://a",
            "hf://a/",
            "hf:///b",
            "hf://../b",
            "hf://a/..",
            "hf://a/b/",
            "hf://a/b/x",
            "hf://a/b/x.bin",
            "hf://a/b/.safetensors",
            "hf://a/b/../x.safetensors",
            "hf://a/b//x.safetensors",
            "hf://a/b/.x/y.safetensors",
            "hf://a/b/x\\y.safetensors",
            "hf://a/b/x\ny.safetensors",
            "hf://a/b@",
            "hf://a/b@/x.safetensors",
            "hf://a/b@refs/x.safetensors/..",
            "hf://a/b c",
            "hf://a/b?x",
        ] {
            assert_eq!(parse(text), Err(NoLoraPath::Hub), "{text:?}");
        }
        assert_eq!(parse(&format!("hf://a/b/{}.safetensors", "x".repeat(2048))), Err(NoLoraPath::Hub));
    }

    #[test]
    fn a_url_is_shown_without_its_secret() {
        for (text, shown) in [
            ("https://example.com/a.safetensors?token=swordfish#top", "https://example.com/a.safetensors"),
            ("HTTP://Example.com:81/a b#swordfish", "HTTP://Example.com:81/a b"),
            ("http://[::1]/?swordfish", "http://[::1]/"),
        ] {
            let path = parse(text).unwrap();
            assert_eq!((path.to_string(), path.full_text()), (shown.to_owned(), text.to_owned()));
            assert!(!format!("{path:?}").contains("swordfish"), "{path:?}");
            let stored = serde_json::to_string(&path).unwrap();
            assert_eq!(serde_json::from_str::<LoraPath>(&stored).unwrap(), path);
        }
        let long = |bytes| format!("http://a/{}", "x".repeat(bytes - "http://a/".len()));
        assert!(parse(&long(2048)).is_ok());
        for text in [
            "http://",
            "https://?x",
            "http://me@a/",
            "http://:pw@a/",
            "http://a/\n",
            "http://a b/",
            &long(2049),
        ] {
            assert_eq!(parse(text), Err(NoLoraPath::Url), "{text:?}");
        }
        for text in ["ftp://a/b", "file:///a", "HF://a/b", "http:/a", "http:a"] {
            assert_eq!(parse(text), Err(NoLoraPath::File), "{text:?}");
        }
    }

    #[test]
    fn only_a_plain_pair_is_an_id_for_fal() {
        assert_eq!(hub_id("owner/pixel-art.v2").as_deref(), Some("hf://owner/pixel-art.v2"));
        for text in ["a", "a/b/c", "a/b.safetensors", "_a/b", "a/b c", "a/b@c", "hf://a/b"] {
            assert_eq!(hub_id(text), None, "{text}");
        }
    }
}
