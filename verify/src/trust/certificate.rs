//! X.509 certificates of the policy's stores and of signatures: DER or PEM comes in, a certificate whose fields can be read comes out.
//! Whether it may sign anything is not judged here.

use std::fmt;

use assay_admission::UnixTime;
use x509_parser::{certificate::X509Certificate, pem::Pem, prelude::FromDer};

use crate::{limits::MAX_STORE_CERTIFICATES, name::Name};

/// An X.509 certificate that was parsed.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    name: Name,
    not_before: UnixTime,
    not_after: UnixTime,
}

/// Certificates that are trusted as anchors for Notary Project chains: a `ca` trust store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateStore {
    anchors: Vec<Certificate>,
}

/// Why a certificate or a store cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A store without certificates trusts nobody, which is never what was meant.
    #[error("there is no certificate")]
    Empty,
    /// More certificates than a store may have.
    #[error("there are {0} certificates, at most {MAX_STORE_CERTIFICATES} are accepted")]
    TooMany(usize),
    /// The text is not PEM.
    #[error("PEM block {number}: {problem}")]
    Pem {
        /// Which block, from 1.
        number: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// The bytes are no certificate, or something follows it.
    #[error("the certificate is not X.509 in DER: {0}")]
    Der(String),
}

impl Certificate {
    /// Reads one certificate in DER.
    ///
    /// # Errors
    /// [`StoreError::Der`] if it is none, or if bytes follow it.
    pub fn from_der(der: Vec<u8>) -> Result<Self, StoreError> {
        let parsed = parse(&der)?;
        let name = Name::of(parsed.subject());
        let validity = parsed.validity();
        let (not_before, not_after) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        Ok(Self {
            name,
            not_before: UnixTime::from_seconds(not_before),
            not_after: UnixTime::from_seconds(not_after),
            der,
        })
    }

    /// Reads every `CERTIFICATE` block of a PEM file; another kind of block is an error.
    ///
    /// # Errors
    /// [`StoreError`] naming the block; [`StoreError::Empty`] if there is none.
    pub fn all_from_pem(pem: &[u8]) -> Result<Vec<Self>, StoreError> {
        let mut certificates = Vec::new();
        for (block, number) in Pem::iter_from_buffer(pem).zip(1..) {
            let problem = |problem: String| StoreError::Pem { number, problem };
            let block = block.map_err(|error| problem(error.to_string()))?;
            if block.label != "CERTIFICATE" {
                return Err(problem(format!("it is a {:?}, not a \"CERTIFICATE\"", block.label)));
            }
            certificates.push(Self::from_der(block.contents).map_err(|error| problem(error.to_string()))?);
            if certificates.len() > MAX_STORE_CERTIFICATES {
                return Err(StoreError::TooMany(certificates.len()));
            }
        }
        if certificates.is_empty() { Err(StoreError::Empty) } else { Ok(certificates) }
    }

    /// The subject, RFC 4514 text in the certificate's order: `C=DE,ST=Berlin,O=Acme,CN=Release`.
    #[must_use]
    pub fn subject(&self) -> String {
        self.name.to_string()
    }

    /// The certificate in DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The public key as a SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        self.parsed().public_key().raw.to_vec()
    }

    /// The first second of validity.
    #[must_use]
    pub const fn not_before(&self) -> UnixTime {
        self.not_before
    }

    /// The last second of validity.
    #[must_use]
    pub const fn not_after(&self) -> UnixTime {
        self.not_after
    }

    pub(crate) const fn name(&self) -> &Name {
        &self.name
    }

    /// The fields, for those who judge them.
    pub(crate) fn parsed(&self) -> X509Certificate<'_> {
        parse(&self.der).expect("the constructor parsed the same bytes")
    }
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, StoreError> {
    let (rest, parsed) = X509Certificate::from_der(der).map_err(|error| StoreError::Der(error.to_string()))?;
    if rest.is_empty() { Ok(parsed) } else { Err(StoreError::Der("bytes follow it".to_owned())) }
}

impl CertificateStore {
    /// A store with these anchors.
    ///
    /// # Errors
    /// [`StoreError::Empty`] or [`StoreError::TooMany`].
    pub fn new(anchors: Vec<Certificate>) -> Result<Self, StoreError> {
        match anchors.len() {
            0 => Err(StoreError::Empty),
            1..=MAX_STORE_CERTIFICATES => Ok(Self { anchors }),
            more => Err(StoreError::TooMany(more)),
        }
    }

    /// The certificates.
    #[must_use]
    pub fn anchors(&self) -> &[Certificate] {
        &self.anchors
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({} until {})", self.name, self.not_after)
    }
}
