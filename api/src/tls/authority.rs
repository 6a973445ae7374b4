//! A certificate authority for the names of one server.
//!
//! Its certificate says that it may sign for these names alone. So whoever trusts it trusts it for this server and for
//! nothing else, also if its key is stolen.

use std::{fmt::Write as _, net::IpAddr};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PublicKeyData, SanType,
};
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};

use super::names::{Kind, Names, kind};

/// How long a certificate of a server is valid: the longest time that Apple's systems accept is 825 days.
const LEAF: Duration = Duration::days(820);
/// How long the authority is valid.
const AUTHORITY: Duration = Duration::days(30 * 365);
/// How much later a client's clock may be.
const SKEW: Duration = Duration::days(1);

/// An authority's key.
pub(super) struct Authority(KeyPair);

/// A certificate and its key in PEM.
pub(super) struct Signed {
    pub(super) cert: String,
    pub(super) key: String,
}

impl Authority {
    /// A new authority.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub(super) fn new() -> Result<Self, rcgen::Error> {
        Ok(Self(KeyPair::generate()?))
    }

    /// The authority of a key in PEM; `None` if it is not one.
    pub(super) fn of_key(key: &str) -> Option<Self> {
        KeyPair::from_pem(key).ok().map(Self)
    }

    /// Its certificate and its key. It may sign for `names` and for no other.
    ///
    /// # Errors
    /// When a name cannot be written in a certificate.
    pub(super) fn certificate(&self, names: &Names) -> Result<Signed, rcgen::Error> {
        let mut params = self.params();
        let permitted_subtrees = names.iter().filter_map(kind).map(|kind| match kind {
            Kind::Dns(name) => GeneralSubtree::DnsName(name.to_owned()),
            Kind::Ip(address) => GeneralSubtree::IpAddress(only(address)),
        });
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: permitted_subtrees.collect(),
            excluded_subtrees: Vec::new(),
        });
        Ok(Signed { cert: params.self_signed(&self.0)?.pem(), key: self.0.serialize_pem() })
    }

    /// A new certificate for a server of these names, and its key.
    ///
    /// # Errors
    /// When a name cannot be written in a certificate.
    pub(super) fn sign(&self, names: &Names) -> Result<Signed, rcgen::Error> {
        let key = KeyPair::generate()?;
        let now = OffsetDateTime::now_utc();
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = (now - SKEW, now + LEAF);
        params.distinguished_name = named("Glimpse server".to_owned());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        for kind in names.iter().filter_map(kind) {
            params.subject_alt_names.push(match kind {
                Kind::Dns(name) => SanType::DnsName(name.try_into()?),
                Kind::Ip(address) => SanType::IpAddress(address),
            });
        }
        let issuer = Issuer::new(self.params(), &self.0);
        Ok(Signed { cert: params.signed_by(&key, &issuer)?.pem(), key: key.serialize_pem() })
    }

    /// What is the same in its own certificate and in its signatures.
    fn params(&self) -> CertificateParams {
        let now = OffsetDateTime::now_utc();
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = (now - SKEW, now + AUTHORITY);
        // Two servers' authorities can be in one file of trusted certificates: each has its own name.
        let mut name = "Glimpse authority ".to_owned();
        for byte in &Sha256::digest(self.0.subject_public_key_info())[..4] {
            // Writing to a string cannot fail.
            let _ = write!(name, "{byte:02x}");
        }
        params.distinguished_name = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    }
}

fn named(name: String) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// The network of one address.
fn only(address: IpAddr) -> CidrSubnet {
    CidrSubnet::from_addr_prefix(address, if address.is_ipv4() { 32 } else { 128 })
}
