//! X.509 certificates of the policy's stores and of signatures: DER or PEM comes in, a certificate whose fields can be read comes out.
//! Whether it may sign anything is not judged here.

use std::fmt;

use assay_admission::UnixTime;
use x509_parser::{certificate::X509Certificate, pem::Pem, prelude::FromDer};

use crate::{
    limits::MAX_STORE_CERTIFICATES,
    name::{DistinguishedNamePattern, Name},
    notation::VerificationLevel,
};

/// An X.509 certificate that was parsed.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    name: Name,
    not_before: UnixTime,
    not_after: UnixTime,
}

/// Certificates that are trusted as anchors for Notary Project chains, and what is asked of signatures that chain to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateStore {
    anchors: Anchors,
    level: VerificationLevel,
    timestamps: TimestampRule,
    identities: TrustedIdentities,
    revocation_age: Option<u32>,
}

/// Anchors by the type of trust store that they stand in (trust-store-trust-policy.md, "Trust Store").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Anchors {
    /// Type `ca`: for signatures of the scheme `notary.x509`.
    pub ca: Vec<Certificate>,
    /// Type `signingAuthority`: for signatures of the scheme `notary.x509.signingAuthority`.
    pub signing_authority: Vec<Certificate>,
    /// Type `tsa`: roots of time-stamping authorities. If there is one, signatures of `notary.x509` need a time-stamp.
    pub tsa: Vec<Certificate>,
}

/// When a signature of `notary.x509` needs a time-stamp, if there is a trusted authority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TimestampRule {
    /// Always.
    #[default]
    Always,
    /// Once a certificate of its chain has expired.
    AfterCertificateExpiry,
}

/// Whose signatures count, among those whose chains are anchored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TrustedIdentities {
    /// Everyone's: whoever asks looks at the signer.
    #[default]
    Any,
    /// Those whose subject one of these matches. An empty list matches nobody.
    Subjects(Vec<DistinguishedNamePattern>),
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

    /// Whether its basicConstraints say that it is a CA.
    #[must_use]
    pub fn is_ca(&self) -> bool {
        self.parsed().is_ca()
    }

    /// Whether it names itself as its issuer, as roots do.
    #[must_use]
    pub fn is_self_issued(&self) -> bool {
        let parsed = self.parsed();
        parsed.issuer().as_raw() == parsed.subject().as_raw()
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
    /// A store of type `ca` with these anchors; every check but revocation is enforced, and no time-stamp is needed.
    ///
    /// # Errors
    /// [`StoreError::Empty`] or [`StoreError::TooMany`].
    pub fn new(anchors: Vec<Certificate>) -> Result<Self, StoreError> {
        Self::of(Anchors { ca: anchors, ..Anchors::default() }, VerificationLevel::strict_without_revocation())
    }

    /// A store with anchors of every type, judging at `level`.
    ///
    /// # Errors
    /// [`StoreError::Empty`] if no signature could be anchored, [`StoreError::TooMany`].
    pub fn of(anchors: Anchors, level: VerificationLevel) -> Result<Self, StoreError> {
        let Anchors { ca, signing_authority, tsa } = &anchors;
        if ca.is_empty() && signing_authority.is_empty() {
            return Err(StoreError::Empty);
        }
        match ca.len() + signing_authority.len() + tsa.len() {
            0..=MAX_STORE_CERTIFICATES => Ok(Self {
                anchors,
                level,
                timestamps: TimestampRule::default(),
                identities: TrustedIdentities::default(),
                revocation_age: None,
            }),
            more => Err(StoreError::TooMany(more)),
        }
    }

    /// The same store with another rule for time-stamps.
    #[must_use]
    pub fn with_timestamps(self, timestamps: TimestampRule) -> Self {
        Self { timestamps, ..self }
    }

    /// The same store for these identities alone.
    #[must_use]
    pub fn with_identities(self, identities: TrustedIdentities) -> Self {
        Self { identities, ..self }
    }

    /// The same store with revocation lists and answers believed for at most `seconds` after they were made.
    #[must_use]
    pub fn with_revocation_age(self, seconds: u32) -> Self {
        Self { revocation_age: Some(seconds), ..self }
    }

    /// The certificates of type `ca`.
    #[must_use]
    pub fn anchors(&self) -> &[Certificate] {
        &self.anchors.ca
    }

    /// The certificates of type `signingAuthority`.
    #[must_use]
    pub fn signing_authorities(&self) -> &[Certificate] {
        &self.anchors.signing_authority
    }

    /// The certificates of type `tsa`.
    #[must_use]
    pub fn timestamping(&self) -> &[Certificate] {
        &self.anchors.tsa
    }

    /// The level that signatures are judged at.
    #[must_use]
    pub const fn level(&self) -> &VerificationLevel {
        &self.level
    }

    pub(crate) const fn timestamps(&self) -> TimestampRule {
        self.timestamps
    }

    pub(crate) const fn identities(&self) -> &TrustedIdentities {
        &self.identities
    }

    /// The greatest age of revocation evidence in seconds, if the caller has one.
    pub(crate) const fn revocation_age(&self) -> Option<u32> {
        self.revocation_age
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({} until {})", self.name, self.not_after)
    }
}
