//! The name of a model on the Hub.

use std::fmt;
use std::path::Path;

/// `owner/name` or `owner/name@revision`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubId {
    /// The user or organisation.
    pub owner: String,
    /// The model's name.
    pub name: String,
    /// A branch, a tag or a commit.
    pub revision: String,
}

impl HubId {
    /// Parses `owner/name` or `owner/name@revision`. `None` if `named` looks like a path. Each part is safe as a file
    /// name.
    pub fn parse(named: &Path) -> Option<Self> {
        let text = named.to_str()?;
        let (id, revision) = text.split_once('@').unwrap_or((text, "main"));
        let (owner, name) = id.split_once('/')?;
        let is_file = Path::new(name).extension().is_some_and(|ending| ending == "safetensors");
        let fits = is_part(owner) && is_part(name) && revision.split('/').all(is_part) && !is_file;
        fits.then(|| Self { owner: owner.into(), name: name.into(), revision: revision.into() })
    }

    /// Whether the revision is a commit. A commit never changes.
    pub fn is_pinned(&self) -> bool {
        is_commit(&self.revision)
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)?;
        if self.revision == "main" { Ok(()) } else { write!(f, "@{}", self.revision) }
    }
}

/// Whether `text` is the full hash of a commit: 40 hexadecimal digits.
pub fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Whether `text` has only letters, digits and `._-`, and is not `.`, `..` or a hidden file.
fn is_part(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    !text.is_empty() && text.len() <= 128 && !text.starts_with(['.', '-']) && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_paths_are_distinguished() {
        for (named, revision) in [
            ("stabilityai/stable-diffusion-xl-base-1.0", "main"),
            ("a/b@fp16", "fp16"),
            ("a/b@refs/pr/1", "refs/pr/1"),
        ] {
            let id = HubId::parse(Path::new(named)).expect(named);
            assert_eq!((id.to_string(), &*id.revision), (named.to_owned(), revision));
        }
        for path in [
            "model",
            "./a/b",
            "../b",
            "/a/b",
            "~/b",
            "a/b/c",
            "a/..",
            "a/",
            "a/b@",
            "a/b@../c",
            "a/b@refs//pr",
            "a/b c",
            "models/sdxl.safetensors",
        ] {
            assert_eq!(HubId::parse(Path::new(path)), None, "{path}");
        }
    }
}
