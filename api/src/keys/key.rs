//! One key.

use std::{collections::BTreeSet, fmt, num::NonZeroU32, str::FromStr};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use glimpse_shared::{job::ANONYMOUS, weight::Weight};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// The most characters of a name.
const LONGEST_NAME: usize = 64;
/// What a new key begins with, so that a reader knows what it is.
const BEGINNING: &str = "glimpse-";
/// What a hash in the file begins with.
const ALGORITHM: &str = "sha256:";

/// The name of a key: 1 to 64 characters. Jobs of the key belong to the tenant of this name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

impl KeyName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == ANONYMOUS {
            return Err(format!("{ANONYMOUS} is the tenant of jobs without a key: choose another name"));
        }
        let length = text.chars().count();
        if !(1..=LONGEST_NAME).contains(&length) || text.chars().any(char::is_control) || text.trim() != text
        {
            return Err(format!(
                "a name should have 1 to {LONGEST_NAME} characters, without control characters and without spaces at \
                 its ends"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The SHA-256 of a key. Keys are random, so a fast hash is enough.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyHash([u8; 32]);

impl KeyHash {
    pub(super) fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// Whether two hashes are equal. The time does not depend on where they differ.
    pub(super) fn is(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }

    /// The first bytes: they name a key of the file without telling the hash.
    pub(super) fn beginning(&self) -> [u8; 8] {
        let mut beginning = [0; 8];
        beginning.copy_from_slice(&self.0[..8]);
        beginning
    }
}

impl FromStr for KeyHash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let wrong = "should be sha256: and the 64 hexadecimal digits of the key's SHA-256, as `glimpse key NAME` prints \
                     them";
        let digits = text.strip_prefix(ALGORITHM).ok_or(wrong)?;
        let digits: Option<Vec<u8>> =
            digits.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect();
        let (pairs, rest) = digits.as_deref().ok_or(wrong)?.as_chunks::<2>();
        let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
        bytes.try_into().ok().filter(|_| rest.is_empty()).map(Self).ok_or(wrong)
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ALGORITHM)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(..)")
    }
}

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scope {
    /// Submits jobs, and reads and cancels those of its tenant.
    Jobs,
    /// Reads the workers, and reads and retries the dead jobs of all tenants.
    Admin,
}

impl Scope {
    /// The word in the file.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::Admin => "admin",
        }
    }
}

/// What a tenant may use: the same for all its keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Limits {
    /// The most unfinished jobs.
    pub(super) max_concurrent: Option<NonZeroU32>,
    /// The most requests within a minute.
    pub(super) requests_per_minute: Option<NonZeroU32>,
    /// The tenant's share of a busy fleet, compared with those of others.
    pub(super) weight: Weight,
}

/// A key of the file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    pub(super) name: KeyName,
    pub(super) hash: KeyHash,
    pub(super) scopes: BTreeSet<Scope>,
    pub(super) limits: Limits,
}

impl Key {
    /// The tenant of its jobs.
    pub(crate) fn tenant(&self) -> &str {
        self.name.as_str()
    }

    /// Whether it is for this.
    pub(crate) fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// The most requests of its tenant within a minute.
    pub(crate) fn requests_per_minute(&self) -> Option<NonZeroU32> {
        self.limits.requests_per_minute
    }

    /// The most unfinished jobs of its tenant.
    pub(crate) fn max_concurrent(&self) -> Option<NonZeroU32> {
        self.limits.max_concurrent
    }

    /// Its tenant's share of a busy fleet.
    pub(crate) fn weight(&self) -> Weight {
        self.limits.weight
    }
}

/// A new key. It is known only here: the file has its hash.
pub struct NewKey {
    name: KeyName,
    key: String,
}

impl NewKey {
    /// A key of 32 random bytes.
    pub fn random(name: KeyName) -> Self {
        let bytes: [u8; 32] = rand::random();
        Self { name, key: format!("{BEGINNING}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes)) }
    }

    /// The key itself: a client sends it, and nothing keeps it.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Its entry in the keys file, in TOML.
    pub fn entry(&self) -> String {
        // A name has no control characters.
        let name = self.name.as_str().replace('\\', r"\\").replace('"', r#"\""#);
        let hash = KeyHash::of(self.key.as_bytes());
        format!("[[key]]\nname = \"{name}\"\nhash = \"{hash}\"\nscopes = [\"jobs\"]\n")
    }
}
