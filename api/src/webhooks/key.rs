//! The Ed25519 key that signs webhooks.

use std::{fmt, fs::File, io::Read, sync::Arc};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use glimpse_shared::id::KeySecret;
use ring::signature::{Ed25519KeyPair, KeyPair};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject};

/// The largest key file, in bytes. A key has about 120.
const LARGEST_FILE: u64 = 64 << 10;

/// A private Ed25519 key.
#[derive(Clone)]
pub struct WebhookKey(Arc<Ed25519KeyPair>);

impl WebhookKey {
    /// Reads a PEM file with a PKCS#8 key, as `openssl genpkey -algorithm ed25519` writes it.
    ///
    /// # Errors
    /// One sentence that names the file and says what to do.
    pub fn read(path: &str) -> Result<Self, String> {
        let mut pem = Vec::new();
        File::open(path)
            .and_then(|file| file.take(LARGEST_FILE).read_to_end(&mut pem))
            .map_err(|error| format!("cannot read the key file {path}: {error}"))?;
        let pair = PrivatePkcs8KeyDer::from_pem_slice(&pem)
            .ok()
            // A file of OpenSSL does not repeat the public key, so there is nothing to compare.
            .and_then(|der| Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).ok());
        pair.map(|pair| Self(Arc::new(pair))).ok_or_else(|| {
            format!(
                "{path} is not a private Ed25519 key in PEM (PKCS#8); create one with \
                 openssl genpkey -algorithm ed25519 -out {path}"
            )
        })
    }

    /// The key of a seed; every seed has one.
    pub(super) fn of_seed(seed: &KeySecret) -> Option<Self> {
        Ed25519KeyPair::from_seed_unchecked(seed.bytes()).ok().map(|pair| Self(Arc::new(pair)))
    }

    /// The 32 bytes of the public key.
    pub(crate) fn public(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    /// The 64 bytes of a signature.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

impl fmt::Debug for WebhookKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookKey(public {})", BASE64_URL_SAFE_NO_PAD.encode(self.public()))
    }
}
