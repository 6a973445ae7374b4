//! Requests that the tests send themselves.

use std::time::Duration;

/// Longer than every script of a test.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A client without a proxy between it and the server.
pub fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build().unwrap()
}
