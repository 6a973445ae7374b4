//! A component's JSON file. It is read key by key, so that every error names the file and the key.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::error::LoadError;
use super::foreign;

/// The largest number of channels, tokens and similar sizes. It is far above that of any model, and the number of
/// elements of a tensor cannot overflow.
pub const MAX_SIZE: usize = 1 << 20;
/// The largest number of layers of a component or of one of its levels.
pub const MAX_LAYERS: usize = 128;
/// The largest number of levels of a component. Each level halves the picture.
pub const MAX_LEVELS: usize = 16;

/// The settings of one JSON file.
///
/// A key that is absent or `null` has its default, as in diffusers. [`Settings::warn_unread`] reports keys that were
/// never read, as diffusers does.
#[derive(Debug, Clone)]
pub struct Settings {
    path: PathBuf,
    values: Map<String, Value>,
    read: Arc<Mutex<BTreeSet<&'static str>>>,
}

impl Settings {
    /// Parses JSON text; errors name `path`.
    ///
    /// # Errors
    /// If the text is not a JSON object.
    pub fn parse(text: &str, path: &Path) -> Result<Self, LoadError> {
        let text = foreign::without_mark(text);
        let values = serde_json::from_str(&quote_non_finite(text)).map_err(|e| {
            let first = &text.as_bytes()[..text.len().min(foreign::ENOUGH)];
            let message = match foreign::known(first, path) {
                Some(what) => what.to_owned(),
                None if text.trim_start().starts_with('{') => format!("not a JSON object: {e}"),
                None => match foreign::opening(first) {
                    Some(opening) => format!("not a JSON object: it begins with {opening}"),
                    None => format!("not a JSON object: {e}"),
                },
            };
            LoadError::Malformed { path: path.into(), message }
        })?;
        Ok(Self { path: path.into(), values, read: Arc::default() })
    }

    /// The file of the settings.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All values.
    pub fn members(&self) -> &Map<String, Value> {
        &self.values
    }

    /// A copy with `changes` instead of the values of the same keys.
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

    /// The value of `key`, from 1 to `most`, or `default` if it is absent or null.
    ///
    /// # Errors
    /// If the value is not a number in that range.
    pub fn size(&self, key: &'static str, default: usize, most: usize) -> Result<usize, LoadError> {
        let size = self.or(key, default)?;
        self.within(key, &[size], 1..=most)?;
        Ok(size)
    }

    /// A list of sizes from 1 to `most`, for at most `MAX_LEVELS` levels.
    ///
    /// # Errors
    /// If the value is absent or not such a list.
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

    /// One number in `range` per block, from a list or from one number for all blocks.
    ///
    /// # Errors
    /// If the value is absent, out of range, or a list of another length.
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
    /// If it has another value. A silent default would give another picture.
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

    /// Marks keys that have no effect on the picture as read.
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

/// Whether two JSON values are equal; 1 equals 1.0.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

/// Puts `Infinity`, `-Infinity` and `NaN` in quotes. Python writes them as bare words, which is not JSON; diffusers'
/// DPM-Solver configurations have one.
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
    fn bare_infinities_are_quoted_only_outside_of_strings() {
        let text = r#"{"a": -Infinity, "b": "NaN \" Infinity", "c": [Infinity, NaN]}"#;
        let quoted = r#"{"a": "-Infinity", "b": "NaN \" Infinity", "c": ["Infinity", "NaN"]}"#;
        assert_eq!(quote_non_finite(text), quoted);
    }

    #[test]
    fn text_that_is_not_json_is_named() {
        let parse = |text: &str| Settings::parse(text, Path::new("config.json")).map_err(|e| e.to_string());
        assert!(parse("\u{feff}{}").is_ok(), "a byte order mark");
        for (text, part) in [
            ("version https://git-lfs.github.com/spec/v1\noid", "Git LFS"),
            ("\u{feff}\n<html>", "web page"),
            ("", "empty"),
            ("Entry not found", "begins with the text \"Entry not found\""),
            ("\0\0\0", "zeroes"),
            ("{,}", "line 1 column 2"),
        ] {
            let error = parse(text).expect_err("not JSON");
            assert!(error.starts_with("config.json: ") && error.contains(part), "{error}");
        }
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
