//! Certificate authorities after the Notary Project's profile, and certificates that break it. In: names, key kinds, the
//! profile. Out: PEM chains and keys. Writes no files.

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519,
    PKCS_RSA_SHA256, PublicKeyData, RsaKeySize, SanType, SubjectPublicKeyInfo, string::Ia5String,
};
use time::{Duration, OffsetDateTime};

/// The kinds of keys a certificate can have here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
    /// NIST P-521.
    P521,
    /// RSA with 2048 bits.
    Rsa2048,
    /// RSA with 3072 bits.
    Rsa3072,
    /// RSA with 4096 bits.
    Rsa4096,
    /// Ed25519.
    Ed25519,
}

impl KeyKind {
    /// A fresh private key as PKCS#8 in PEM.
    pub fn generate_pem(self) -> Result<String> {
        Ok(self.generate()?.serialize_pem())
    }

    fn generate(self) -> Result<KeyPair> {
        Ok(match self {
            Self::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
            Self::P384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?,
            Self::P521 => KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512)?,
            Self::Ed25519 => KeyPair::generate_for(&PKCS_ED25519)?,
            Self::Rsa4096 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096)?,
            Self::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?,
            Self::Rsa3072 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_3072)?,
        })
    }
}

/// What a leaf certificate says. The default follows the Notary Project's profile; change a field to break it.
#[derive(Debug, Clone)]
pub struct LeafProfile {
    /// Countries, states, organisations and the common name, in this order.
    pub subject: Vec<(SubjectField, String)>,
    /// The key usages; none leaves the extension out.
    pub key_usages: Vec<KeyUsagePurpose>,
    /// The extended key usages; none leaves the extension out.
    pub extended_key_usages: Vec<ExtendedKeyUsagePurpose>,
    /// From when it holds.
    pub not_before: OffsetDateTime,
    /// Until when it holds.
    pub not_after: OffsetDateTime,
    /// Whether it claims to be an authority.
    pub is_ca: bool,
    /// An identity, as a URI, and the issuer that vouches for it, in the way of Sigstore's certificates.
    pub sigstore: Option<(String, String)>,
}

/// The fields of a subject that these certificates use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectField {
    /// C
    Country,
    /// ST
    State,
    /// O
    Organization,
    /// CN
    CommonName,
}

impl LeafProfile {
    /// `C=DE, ST=Berlin, O=Acme, CN=<common_name>`, for code signing, from yesterday for a year.
    pub fn code_signing(common_name: &str) -> Self {
        let now = OffsetDateTime::now_utc();
        Self {
            subject: acme(common_name),
            key_usages: vec![KeyUsagePurpose::DigitalSignature],
            extended_key_usages: vec![ExtendedKeyUsagePurpose::CodeSigning],
            not_before: now - Duration::days(1),
            not_after: now + Duration::days(365),
            is_ca: false,
            sigstore: None,
        }
    }

    /// The same for an identity of Sigstore's kind.
    pub fn keyless(identity: &str, issuer: &str) -> Self {
        Self { sigstore: Some((identity.to_owned(), issuer.to_owned())), ..Self::code_signing("signer") }
    }

    /// The same, but ended yesterday.
    pub fn expired(common_name: &str) -> Self {
        let now = OffsetDateTime::now_utc();
        let (not_before, not_after) = (now - Duration::days(30), now - Duration::days(1));
        Self { not_before, not_after, ..Self::code_signing(common_name) }
    }

    fn parameters(&self) -> Result<CertificateParams> {
        let mut parameters = named(&self.subject);
        parameters.key_usages = self.key_usages.clone();
        parameters.extended_key_usages = self.extended_key_usages.clone();
        parameters.not_before = self.not_before;
        parameters.not_after = self.not_after;
        parameters.use_authority_key_identifier_extension = true;
        if self.is_ca {
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        if let Some((identity, issuer)) = &self.sigstore {
            parameters.subject_alt_names = vec![SanType::URI(Ia5String::try_from(identity.as_str())?)];
            // Fulcio's extension for the issuer: a DER UTF8String, which is short here.
            let text = [&[0x0c, u8::try_from(issuer.len())?], issuer.as_bytes()].concat();
            parameters
                .custom_extensions
                .push(CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 57264, 1, 8], text));
        }
        Ok(parameters)
    }
}

/// A private key with its certificate chain.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The leaf, then every authority up to and with the root.
    pub chain_pem: String,
    /// The private key as PKCS#8.
    pub key_pem: String,
}

/// A root or an intermediate authority.
#[derive(Debug)]
pub struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
    /// This authority's certificate first, the root last.
    chain: Vec<String>,
}

impl CertificateAuthority {
    /// A root with a P-256 key, `C=DE, ST=Berlin, O=Acme, CN=<common_name>`, for ten years.
    pub fn root(common_name: &str) -> Result<Self> {
        let key = KeyKind::P256.generate()?;
        let parameters = authority(common_name, BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key)?;
        Ok(Self { chain: vec![certificate.pem()], issuer: Issuer::new(parameters, key) })
    }

    /// An authority below this one that may issue leaves only.
    pub fn intermediate(&self, common_name: &str) -> Result<Self> {
        let key = KeyKind::P256.generate()?;
        let parameters = authority(common_name, BasicConstraints::Constrained(0));
        let certificate = parameters.signed_by(&key, &self.issuer)?;
        let chain = [certificate.pem()].into_iter().chain(self.chain.iter().cloned()).collect();
        Ok(Self { chain, issuer: Issuer::new(parameters, key) })
    }

    /// This authority's own certificate.
    pub fn certificate_pem(&self) -> &str {
        self.chain.first().expect("a chain starts with its own certificate")
    }

    /// The root's certificate.
    pub fn root_pem(&self) -> &str {
        self.chain.last().expect("a chain ends with a root")
    }

    /// A code signing key with its chain.
    pub fn code_signing(&self, common_name: &str, kind: KeyKind) -> Result<Identity> {
        self.issue(&LeafProfile::code_signing(common_name), kind)
    }

    /// A key with its chain, after any profile.
    pub fn issue(&self, profile: &LeafProfile, kind: KeyKind) -> Result<Identity> {
        let key = kind.generate()?;
        Ok(Identity { chain_pem: self.certify(profile, &key)?, key_pem: key.serialize_pem() })
    }

    /// A key for time-stamping with its chain: RFC 3161 §2.3 wants its extended key usage alone, and critical.
    pub fn time_stamping(&self, common_name: &str, kind: KeyKind) -> Result<Identity> {
        let profile = LeafProfile { extended_key_usages: Vec::new(), ..LeafProfile::code_signing(common_name) };
        let mut parameters = profile.parameters()?;
        let content = b"\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x08".to_vec();
        let mut usage = CustomExtension::from_oid_content(&[2, 5, 29, 37], content);
        usage.set_criticality(true);
        parameters.custom_extensions.push(usage);
        let key = kind.generate()?;
        let leaf = parameters.signed_by(&key, &self.issuer)?.pem();
        let chain_pem = [leaf].into_iter().chain(self.chain.iter().cloned()).collect();
        Ok(Identity { chain_pem, key_pem: key.serialize_pem() })
    }

    /// A chain for a public key whose private key is elsewhere, in a token say. In: a DER SubjectPublicKeyInfo.
    pub fn issue_for(&self, profile: &LeafProfile, public_key: &[u8]) -> Result<String> {
        self.certify(profile, &SubjectPublicKeyInfo::from_der(public_key)?)
    }

    fn certify(&self, profile: &LeafProfile, key: &impl PublicKeyData) -> Result<String> {
        let leaf = profile.parameters()?.signed_by(key, &self.issuer)?.pem();
        Ok([leaf].into_iter().chain(self.chain.iter().cloned()).collect())
    }
}

fn authority(common_name: &str, constraints: BasicConstraints) -> CertificateParams {
    let now = OffsetDateTime::now_utc();
    let mut parameters = named(&acme(common_name));
    parameters.is_ca = IsCa::Ca(constraints);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters.not_before = now - Duration::days(2);
    parameters.not_after = now + Duration::days(3650);
    parameters.use_authority_key_identifier_extension = true;
    parameters
}

fn acme(common_name: &str) -> Vec<(SubjectField, String)> {
    vec![
        (SubjectField::Country, "DE".to_owned()),
        (SubjectField::State, "Berlin".to_owned()),
        (SubjectField::Organization, "Acme".to_owned()),
        (SubjectField::CommonName, common_name.to_owned()),
    ]
}

fn named(subject: &[(SubjectField, String)]) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    for (field, value) in subject {
        let kind = match field {
            SubjectField::Country => DnType::CountryName,
            SubjectField::State => DnType::StateOrProvinceName,
            SubjectField::Organization => DnType::OrganizationName,
            SubjectField::CommonName => DnType::CommonName,
        };
        parameters.distinguished_name.push(kind, value.as_str());
    }
    parameters
}
