//! Accepts TLS connections.

use std::{fmt, io, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::ring,
    server::NoServerSessionStorage,
    sign::SingleCertAndKey,
    version::{TLS12, TLS13},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{error::TlsError, pair::Pair};

/// The protocol's name for HTTP/2 in a handshake.
const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// The most bytes of a connection that wait in TLS. More wait where a newer preview can replace them.
const UNSENT_IN_TLS: usize = 16 * 1024;

/// A certificate, ready for connections.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// # Errors
    /// When the library refuses its own defaults, which is a bug.
    pub(super) fn new(pair: &Pair) -> Result<Self, TlsError> {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(TlsError::Library)?;
        let mut config = builder
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair.certified.clone())));
        config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
        // fal's Python client, which writes and reads with two threads, can lose its first write if tickets arrive.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// The handshake of a connection. The second value says whether the client wants HTTP/2.
    ///
    /// # Errors
    /// When the client ends it, or cannot speak this server's TLS.
    pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<(TlsStream<S>, bool)> {
        let limited = |tls: &mut rustls::ServerConnection| tls.set_buffer_limit(Some(UNSENT_IN_TLS));
        let stream = self.0.accept_with(stream, limited).await?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
        Ok((stream, is_http2))
    }
}
