//! The keys file: TOML, one `[[key]]` for each key.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Read,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use glimpse_shared::weight::Weight;
use serde::Deserialize;

use super::key::{Key, KeyHash, KeyName, Limits, Scope};

/// The largest file, in bytes: tens of thousands of keys.
const LARGEST_FILE: u64 = 16 << 20;

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read.
    #[error("cannot read the keys file {} (--keys-file): {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: std::io::Error,
    },
    /// The file is not one of keys.
    #[error("the keys file {} (--keys-file) cannot be used: {why}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        why: String,
    },
    /// The system does not tell this process about SIGHUP.
    #[error("cannot wait for SIGHUP, which reads the keys again: {0}")]
    Signal(std::io::Error),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entries {
    #[serde(default)]
    key: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    hash: String,
    scopes: Option<BTreeSet<Scope>>,
    max_concurrent: Option<NonZeroU32>,
    weight: Option<f64>,
    requests_per_minute: Option<NonZeroU32>,
}

/// How many keys a file has: checks it as a start of the programs does.
///
/// # Errors
/// See [`KeysError`].
pub fn count_keys(path: &Path) -> Result<usize, KeysError> {
    read(path).map(|keys| keys.len())
}

/// Reads the keys of a file.
///
/// # Errors
/// See [`KeysError`]. An error never shows a line of the file, which may have a key by mistake.
pub(super) fn read(path: &Path) -> Result<Vec<Key>, KeysError> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST_FILE + 1).read_to_string(&mut text))
        .map_err(|why| KeysError::Unreadable { path: path.to_owned(), why })?;
    let wrong = |why| KeysError::Wrong { path: path.to_owned(), why };
    if text.len() as u64 > LARGEST_FILE {
        return Err(wrong(format!("it has more than {LARGEST_FILE} bytes")));
    }
    parse(&text).map_err(wrong)
}

fn parse(text: &str) -> Result<Vec<Key>, String> {
    let entries: Entries = toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        format!("line {}: {}", before.matches('\n').count() + 1, error.message())
    })?;
    let keys = entries.key.into_iter().enumerate().map(|(index, entry)| key(index, entry));
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    let mut limits: BTreeMap<&KeyName, &Limits> = BTreeMap::new();
    let mut hashes = BTreeSet::new();
    for key in &keys {
        if !hashes.insert(key.hash) {
            return Err(format!("the hash of the key {:?} is there twice", key.tenant()));
        }
        if *limits.entry(&key.name).or_insert(&key.limits) != &key.limits {
            return Err(format!(
                "the keys {:?} have different limits: keys of one name are one tenant, which has one max_concurrent, \
                 weight and requests_per_minute",
                key.tenant()
            ));
        }
    }
    Ok(keys)
}

fn key(index: usize, entry: Entry) -> Result<Key, String> {
    let name: KeyName = entry
        .name
        .parse()
        .map_err(|why: String| format!("the name of [[key]] number {}: {why}", index + 1))?;
    let of = |what: &str, why: &str| format!("the {what} of the key {:?} {why}", name.as_str());
    let hash = entry.hash.parse::<KeyHash>().map_err(|why| of("hash", why))?;
    let weight = entry.weight.map_or(Ok(Weight::ONE), Weight::try_from);
    let weight = weight.map_err(|_| of("weight", "should be a number from 0.001 to 1000"))?;
    let scopes = entry.scopes.unwrap_or_else(|| BTreeSet::from([Scope::Jobs]));
    let limits = Limits {
        max_concurrent: entry.max_concurrent,
        requests_per_minute: entry.requests_per_minute,
        weight,
    };
    Ok(Key { name, hash, scopes, limits })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "sha256:9F86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn entry(more: &str) -> String {
        format!("[[key]]\nname = \"a team\"\nhash = \"{HASH}\"\n{more}\n")
    }

    #[test]
    fn a_key_has_what_its_entry_says() {
        let whole = entry(
            "scopes = [\"jobs\", \"admin\"]\nmax_concurrent = 4\nweight = 2\nrequests_per_minute = 600",
        );
        let key = parse(&whole).unwrap().remove(0);
        assert_eq!(key.tenant(), "a team");
        assert!(key.may(Scope::Jobs) && key.may(Scope::Admin));
        assert_eq!(key.max_concurrent().map(NonZeroU32::get), Some(4));
        assert_eq!(key.requests_per_minute().map(NonZeroU32::get), Some(600));
        assert_eq!(key.limits.weight, Weight::try_from(2.0).unwrap());
        assert!(bool::from(key.hash.is(&KeyHash::of(b"test"))));

        let plain = parse(&entry("")).unwrap().remove(0);
        assert!(plain.may(Scope::Jobs) && !plain.may(Scope::Admin));
        assert_eq!((plain.max_concurrent(), plain.requests_per_minute()), (None, None));
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_named_without_a_line_of_the_file() {
        for (text, said) in [
            (entry("max_concurrent = 0"), "line 4"),
            (entry("max_concurrency = 1"), "max_concurrency"),
            (entry("scopes = [\"job\"]"), "job"),
            (entry("weight = 0.0"), "the weight of the key \"a team\""),
            (entry("weight = nan"), "the weight of the key \"a team\""),
            (entry("").replace("sha256", "md5"), "the hash of the key \"a team\" should be sha256:"),
            (entry("").replace("00a08", "00a0"), "64 hexadecimal digits"),
            (entry("").replace("00a08", "00a0g"), "64 hexadecimal digits"),
            (entry("").replace("a team", "anonymous"), "number 1: anonymous is the tenant"),
            (entry("").replace("a team", " "), "1 to 64 characters"),
            (entry("") + &entry(""), "is there twice"),
            (entry("") + &entry("weight = 2").replace("00a08", "00a09"), "have different limits"),
            ("[key]\nname = \"x\"".to_owned(), "line 1"),
            ("[[key]]\nname = \"x\"".to_owned(), "hash"),
            ("[[key]]\nname = \"x\nhash".to_owned(), "line "),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(said) && !error.contains("81884c7d"), "{text}: {error}");
        }
    }

    #[test]
    fn two_keys_of_one_name_are_one_tenant() {
        let both = entry("") + &entry("scopes = [\"admin\"]").replace("00a08", "00a09");
        assert_eq!(parse(&both).unwrap().len(), 2);
    }
}
