//! A component's JSON file, read key by key so that every error names the file and the key.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::error::LoadError;

/// The largest number of channels, tokens and similar sizes. It is far above any model's, and small enough that the
/// number of elements of a tensor does not overflow.
pub const MAX_SIZE: usize = 1 << 20;
/// The largest number of layers of a component, or of one level of it.
pub const MAX_LAYERS: usize = 128;
/// The largest number of levels of a component: each halves the picture.
pub const MAX_LEVELS: usize = 16;

/// The settings of one JSON file.
///
/// A key that is absent or `null` has its default, as in diffusers. Keys that were never read are
/// reported by [`Settings::warn_unread`]; diffusers ignores and reports them too.
#[derive(Debug, Clone)]
pub struct Settings {
    path: PathBuf,
    values: Map<String, Value>,
    read: Arc<Mutex<BTreeSet<&'static str>>>,
}

impl Settings {
    /// Settings from JSON text; `path` is named in error messages.
    ///
    /// # Errors
    /// If the text is not a JSON object.
    pub fn parse(text: &str, path: &Path) -> Result<Self, LoadError> {
        let values = serde_json::from_str(&quote_non_finite(text)).map_err(|e| LoadError::Malformed {
            path: path.into(),
            message: format!("not a JSON object: {e}"),
        })?;
        Ok(Self { path: path.into(), values, read: Arc::default() })
    }

    /// The file the settings came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A copy in which each of `changes` replaces the key of the same name.
    pub fn with(&self, changes: &Map<String, Value>) -> Self {
        let mut values = self.values.clone();
        values.extend(changes.iter().map(|(k, v)| (k.clone(), v.clone())));
        Self { path: self.path.clone(), values, read: Arc::default() }
    }

    /// The value of `key`, or `None` if it is absent or null.
    ///
    /// # Errors
    /// If the value is of another type.
    pub fn get<T: DeserializeOwned>(&self, key: &'static str) -> Result<Option<T>, LoadError> {
        self.read().insert(key);
        match self.values.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match T::deserialize(value) {
                Ok(value) => Ok(Some(value)),
                Err(e) => Err(self.wrong(key, format!("is {value}: {e}"))),
            },
        }
    }

    /// The value of `key`, or `default` if it is absent or null.
    ///
    /// # Errors
    /// If the value is of another type.
    pub fn or<T: DeserializeOwned>(&self, key: &'static str, default: T) -> Result<T, LoadError> {
        Ok(self.get(key)?.unwrap_or(default))
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// If it is absent, null or of another type.
    pub fn required<T: DeserializeOwned>(&self, key: &'static str) -> Result<T, LoadError> {
        self.get(key)?.ok_or_else(|| self.wrong(key, "is missing"))
    }

    /// The value of `key`, or `default` if it is absent or null: 1 to `most`.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn size(&self, key: &'static str, default: usize, most: usize) -> Result<usize, LoadError> {
        let size = self.or(key, default)?;
        self.within(key, &[size], 1..=most)?;
        Ok(size)
    }

    /// A list of sizes, 1 to `most` each, for each of at most `MAX_LEVELS` levels.
    ///
    /// # Errors
    /// If it is absent, empty, longer or anything else.
    pub fn sizes(&self, key: &'static str, most: usize) -> Result<Vec<usize>, LoadError> {
        let sizes: Vec<usize> = self.required(key)?;
        if !(1..=MAX_LEVELS).contains(&sizes.len()) {
            return Err(self.wrong(key, format!("has {} entries, not 1 to {MAX_LEVELS}", sizes.len())));
        }
        self.within(key, &sizes, 1..=most)?;
        Ok(sizes)
    }

    fn within(&self, key: &str, sizes: &[usize], range: RangeInclusive<usize>) -> Result<(), LoadError> {
        match sizes.iter().find(|size| !range.contains(size)) {
            Some(size) => {
                Err(self.wrong(key, format!("is {size}, not {} to {}", range.start(), range.end())))
            }
            None => Ok(()),
        }
    }

    /// One number per block, from a list or from one number for all, each in `range`.
    ///
    /// # Errors
    /// If it is absent, beyond the range, or a list of another length.
    pub fn per_block(
        &self,
        key: &'static str,
        blocks: usize,
        default: Option<usize>,
        range: RangeInclusive<usize>,
    ) -> Result<Vec<usize>, LoadError> {
        let value = match (self.get::<Value>(key)?, default) {
            (Some(value), _) => value,
            (None, Some(default)) => Value::from(default),
            (None, None) => return Err(self.wrong(key, "is missing")),
        };
        let list = match &value {
            Value::Number(_) => vec![value.clone(); blocks],
            Value::Array(list) => list.clone(),
            _ => Vec::new(),
        };
        let numbers: Option<Vec<usize>> =
            list.iter().map(|n| n.as_u64().and_then(|n| usize::try_from(n).ok())).collect();
        match numbers {
            Some(numbers) if numbers.len() == blocks => {
                self.within(key, &numbers, range)?;
                Ok(numbers)
            }
            _ => Err(self.wrong(key, format!("is {value}, not a number or {blocks} of them"))),
        }
    }

    /// Checks that `key` is absent, null or one of `supported`.
    ///
    /// # Errors
    /// If it is anything else: a silent default would give another picture.
    pub fn only(&self, key: &'static str, supported: &[Value]) -> Result<(), LoadError> {
        match self.get::<Value>(key)? {
            None => Ok(()),
            Some(value) if supported.iter().any(|s| same(s, &value)) => Ok(()),
            Some(value) => Err(self.unsupported(key, value)),
        }
    }

    /// The error for a value of `key` that is not implemented.
    pub fn unsupported(&self, key: &str, value: impl std::fmt::Display) -> LoadError {
        self.wrong(key, format!("is {value}, which is not supported"))
    }

    /// An error about `key`.
    pub fn wrong(&self, key: &str, message: impl Into<String>) -> LoadError {
        LoadError::Setting { path: self.path.clone(), key: key.into(), message: message.into() }
    }

    /// Marks keys as known and without effect on the picture.
    pub fn ignore(&self, keys: &[&'static str]) {
        self.read().extend(keys);
    }

    fn read(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs the keys that were never read.
    pub fn warn_unread(&self) {
        let read = self.read();
        for key in self.values.keys().filter(|k| !k.starts_with('_') && !read.contains(k.as_str())) {
            tracing::warn!(file = %self.path.display(), key, "unknown setting ignored");
        }
    }
}

/// JSON values that mean the same: 1 and 1.0 do.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

/// Python writes infinities as bare words, which is not JSON; diffusers' DPM-Solver configurations have
/// one. Returns the text with such words in quotes.
pub fn quote_non_finite(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut quoted, mut escaped) = (false, false);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let word = ["-Infinity", "Infinity", "NaN"].into_iter().find(|w| !quoted && rest.starts_with(w));
        if let Some(word) = word {
            out.push_str(&format!("\"{word}\""));
            rest = &rest[word.len()..];
            continue;
        }
        quoted ^= c == '"' && !escaped;
        escaped = quoted && c == '\\' && !escaped;
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_infinities_are_read_as_words_outside_strings_only() {
        let text = r#"{"a": -Infinity, "b": "NaN \" Infinity", "c": [Infinity, NaN]}"#;
        let quoted = r#"{"a": "-Infinity", "b": "NaN \" Infinity", "c": ["Infinity", "NaN"]}"#;
        assert_eq!(quote_non_finite(text), quoted);
    }

    #[test]
    fn an_unsupported_value_is_named_with_its_file_and_key() {
        let settings =
            Settings::parse(r#"{"kind": "new", "n": 1.0}"#, Path::new("unet/config.json")).expect("JSON");
        assert!(settings.only("n", &[1.into()]).is_ok());
        let error = settings.only("kind", &["old".into()]).expect_err("unsupported").to_string();
        assert_eq!(error, r#"unet/config.json: "kind" is "new", which is not supported"#);
    }
}
