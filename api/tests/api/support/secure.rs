//! What clients need to speak https with a server that has a certificate of its own.

use std::sync::Arc;

use glimpse_api::Config;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
    version::TLS12,
};
use tempfile::TempDir;

pub(crate) struct Secure {
    pub(crate) folder: TempDir,
}

impl Secure {
    /// Gives a server a new folder for its certificate.
    pub(crate) fn new(config: &mut Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        config.tls.tls_dir = Some(folder.path().to_owned());
        config.listen = "127.0.0.1:0".to_owned();
        Self { folder }
    }

    fn roots(&self) -> RootCertStore {
        let ca = CertificateDer::from_pem_file(self.folder.path().join("ca.pem")).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(ca).unwrap();
        roots
    }

    /// A client that trusts the server, and offers these protocols.
    pub(crate) fn client(&self, protocols: &[&str]) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(self.roots()).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// As [`Secure::client`], with TLS 1.2 alone.
    pub(crate) fn old_client(&self) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_protocol_versions(&[&TLS12]).unwrap();
        Arc::new(builder.with_root_certificates(self.roots()).with_no_client_auth())
    }
}
