//! The short-lived tokens of fal's realtime clients: a browser cannot send headers with a WebSocket, and an address may be
//! logged, so its key should not be in it.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use glimpse_shared::id::KeySecret;
use ring::hmac;

use super::{key::Key, ring::KeyRing};

/// What is signed begins with this, so that no other use of the secret gives the same bytes.
const USE: &[u8] = b"glimpse realtime token\0";

/// How long a token opens connections, in seconds: fal's clients ask for a new one before.
const SECONDS: u64 = 120;

/// Gives and reads tokens. They are signed with the fleet's secret, so that any API of the fleet reads them, and a reader
/// of the keys file cannot make one.
pub(crate) struct Pass(hmac::Key);

impl Pass {
    pub(crate) fn new(secret: &KeySecret) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.bytes()))
    }

    /// A token for the holder of a key, at the time `now` in seconds.
    pub(crate) fn token(&self, key: &Key, now: u64) -> String {
        let mut bytes = (now + SECONDS).to_be_bytes().to_vec();
        bytes.extend(key.hash.beginning());
        let signed = hmac::sign(&self.0, &[USE, &bytes].concat());
        bytes.extend(signed.as_ref());
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The key whose holder got this token, if it is still one and the token has not expired.
    pub(crate) fn key(&self, token: &str, keys: &KeyRing, now: u64) -> Option<Arc<Key>> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
        let (said, signature) = bytes.split_at_checked(16)?;
        hmac::verify(&self.0, &[USE, said].concat(), signature).ok()?;
        let (until, beginning) = said.split_first_chunk::<8>()?;
        let beginning = beginning.try_into().ok()?;
        keys.that_begins(beginning).filter(|_| now < u64::from_be_bytes(*until))
    }
}
