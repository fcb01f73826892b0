//! Certificates that were revoked, or may have been: what the fetcher brings, what is kept and what a person imports, over restarts.

use std::sync::OnceLock;

use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint, CustomExtension,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber, SigningKey as _,
};
use time::{Duration as Span, OffsetDateTime};

use assay_admission::UnixTime;

use super::*;

const LIST: &str = "http://ca.example/ca.crl";
const RESPONDER: &str = "http://ca.example/ocsp";

/// A root, a leaf that names the root's list, and one of the same key that names its OCSP responder.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: Vec<u8>,
    root_pem: String,
    leaf: Vec<u8>,
    answered_leaf: Vec<u8>,
    leaf_key: KeyPair,
}

impl Authority {
    fn new() -> Self {
        let root_key = KeyPair::generate().unwrap();
        let mut root = named("Root");
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = root.self_signed(&root_key).unwrap();
        let issuer = Issuer::new(root, root_key);
        let leaf_key = KeyPair::generate().unwrap();
        let mut leaf = named("Ann");
        leaf.serial_number = Some(SerialNumber::from(77_u64));
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        leaf.use_authority_key_identifier_extension = true;
        let mut answered = leaf.clone();
        // RFC 5280 §4.2.2.1: authorityInfoAccess with id-ad-ocsp.
        let access = tlv(0x30, &tlv(0x30, &[OCSP, &tlv(0x86, RESPONDER.as_bytes())].concat()));
        answered.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], access)];
        leaf.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![LIST.to_owned()] }];
        let [leaf, answered_leaf] =
            [leaf, answered].map(|leaf| leaf.signed_by(&leaf_key, &issuer).unwrap().der().to_vec());
        Self { issuer, root: certificate.der().to_vec(), root_pem: certificate.pem(), leaf, answered_leaf, leaf_key }
    }

    /// The authority of the policy: one for all tests of a process.
    fn acme() -> &'static Self {
        static ACME: OnceLock<Authority> = OnceLock::new();
        ACME.get_or_init(Self::new)
    }

    /// A list that was made so many hours ago and ends in a day.
    fn list(&self, hours: i64, revokes_leaf: bool) -> Vec<u8> {
        let made = OffsetDateTime::now_utc() - Span::hours(hours);
        let entry = RevokedCertParams {
            serial_number: SerialNumber::from(77_u64),
            revocation_time: made,
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: made,
            next_update: made + Span::days(1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: if revokes_leaf { vec![entry] } else { vec![] },
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().der().to_vec()
    }

    /// The root's own OCSP answer to `request`, made so many hours ago, which ends in a day.
    fn answer(&self, request: &[u8], hours: i64, is_revoked: bool) -> Vec<u8> {
        const ECDSA_SHA256: &[u8] = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
        let time = |seconds: i64| {
            let text = UnixTime::from_seconds(now().seconds() + seconds).to_string().replace(['-', ':', 'T'], "");
            tlv(0x18, text.as_bytes())
        };
        let sequence = |parts: &[&[u8]]| tlv(0x30, &parts.concat());
        // OCSPRequest, TBSRequest, requestList and Request have one member each, and heads of two bytes.
        let (id, made) = (&request[8..], time(-3_600 * hours));
        // Its third part is the hash of the issuer's key, which names the responder too.
        let responder = tlv(0xa2, &id[35..57]);
        let status = if is_revoked { tlv(0xa1, &made) } else { tlv(0x80, &[]) };
        let single = sequence(&[id, &status, &made, &tlv(0xa0, &time(86_400))]);
        let tbs = sequence(&[&responder, &made, &sequence(&[&single])]);
        let signature = [vec![0], self.issuer.key().sign(&tbs).unwrap()].concat();
        let basic = sequence(&[&tbs, ECDSA_SHA256, &tlv(0x03, &signature)]);
        let bytes = sequence(&[b"\x06\x09\x2b\x06\x01\x05\x05\x07\x30\x01\x01", &tlv(0x04, &basic)]);
        sequence(&[b"\x0a\x01\x00", &tlv(0xa0, &bytes)])
    }

    /// A Notary Project JWS over the image's manifest.
    fn sign(&self, image: &Image) -> Artifact {
        self.sign_as(&self.leaf, image)
    }

    fn sign_as(&self, leaf: &[u8], image: &Image) -> Artifact {
        let descriptor = |document: &Document| {
            serde_json::json!({
                "mediaType": document.media_type().as_str(),
                "digest": document.digest().to_string(),
                "size": document.bytes().len(),
            })
        };
        let encode = |value: &serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let protected = encode(&serde_json::json!({
            "alg": "ES256",
            "cty": "application/vnd.cncf.notary.payload.v1+json",
            "crit": ["io.cncf.notary.signingScheme"],
            "io.cncf.notary.signingScheme": "notary.x509",
            "io.cncf.notary.signingTime": "2026-11-01T00:00:00Z",
        }));
        let payload = encode(&serde_json::json!({ "targetArtifact": descriptor(&image.manifest) }));
        let pair = EcdsaKeyPair::from_pkcs8(
            &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            self.leaf_key.serialized_der(),
        );
        let signature = pair.unwrap().sign(&SystemRandom::new(), format!("{protected}.{payload}").as_bytes()).unwrap();
        let chain = [leaf, &self.root].map(|der| BASE64_STANDARD.encode(der));
        let envelope = serde_json::json!({
            "payload": payload, "protected": protected,
            "signature": BASE64_URL_SAFE_NO_PAD.encode(signature.as_ref()), "header": { "x5c": chain },
        });
        let envelope = document("application/jose+json", envelope.to_string().into_bytes());
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST,
            "artifactType": "application/vnd.cncf.notary.signature",
            "config": descriptor(&document("application/vnd.oci.empty.v1+json", b"{}".to_vec())),
            "layers": [descriptor(&envelope)], "subject": descriptor(&image.manifest),
        });
        Artifact {
            subject: *image.manifest.digest(),
            found_by: FoundBy::ReferrersApi,
            manifest: document(MediaType::OCI_MANIFEST, manifest.to_string().into_bytes()),
            blobs: vec![envelope],
        }
    }
}

const OCSP: &[u8] = b"\x06\x08\x2b\x06\x01\x05\x05\x07\x30\x01";

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let head = match length {
        0..0x80 => vec![tag, length.try_into().unwrap()],
        _ => {
            let [high, low] = u16::try_from(length).unwrap().to_be_bytes();
            vec![tag, 0x82, high, low]
        }
    };
    let minimal = if head.len() == 4 && head[2] == 0 { vec![tag, 0x81, head[3]] } else { head };
    [minimal.as_slice(), content].concat()
}

fn named(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    for (kind, value) in [
        (DnType::CountryName, "DE"),
        (DnType::StateOrProvinceName, "Berlin"),
        (DnType::OrganizationName, "Acme"),
        (DnType::CommonName, common_name),
    ] {
        params.distinguished_name.push(kind, value);
    }
    params
}

/// A scene whose policy wants a certificate of Acme, and an image that one signed.
async fn scene(revocation: &str) -> (Scene, Image) {
    let image = Image::new("a");
    let scene = Scene::new(Fetcher::Brings(vec![Authority::acme().sign(&image)])).await;
    std::fs::write(scene.folder.path().join("acme.pem"), &Authority::acme().root_pem).unwrap();
    let text = format!(
        "version = 2\nmode = \"enforce\"\n[certificates.acme]\nanchors = [\"acme.pem\"]\nrevocation = \"{revocation}\"\n\
         [signers.acme]\ncertificates = \"acme\"\nsubject = \"C=DE, ST=Berlin, O=Acme\"\n\
         [[rules]]\nname = \"r\"\nimages = [\"r.example/**\"]\nrequire = [{{ signatures = 1, of = [\"acme\"] }}]\n"
    );
    std::fs::write(scene.folder.path().join("policy.toml"), text).unwrap();
    let keys = KeyWorker::start(scene.folder.path().join("key.sock"), 0).unwrap();
    scene.policy.reload(&keys, now()).await.unwrap();
    (scene, image)
}

impl Scene {
    fn lists(&self, list: Option<Vec<u8>>) {
        *self.fetcher.list.lock().unwrap() = list;
    }

    async fn ask(&self, judge: &Arc<Judge>, image: &Image) -> Option<DenyCode> {
        code(&judge.admit(image.request(), Some(Duration::from_secs(30))).await)
    }
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_and_one_of_unknown_status_too() {
    let (scene, image) = scene("enforce").await;
    assert_eq!(scene.ask(&scene.judge, &image).await, Some(DenyCode::EvidenceUnavailable));
    assert_eq!(*scene.fetcher.urls.lock().unwrap(), [LIST]);
    scene.lists(Some(Authority::new().list(1, false)));
    assert_eq!(scene.ask(&scene.judge, &image).await, Some(DenyCode::NotSatisfied));
    scene.lists(Some(Authority::acme().list(1, false)));
    assert_eq!(scene.ask(&scene.judge, &image).await, None);
    let (scene, image) = self::scene("enforce").await;
    scene.lists(Some(Authority::acme().list(1, true)));
    assert_eq!(scene.ask(&scene.judge, &image).await, Some(DenyCode::NotSatisfied));
    let (scene, image) = self::scene("skip").await;
    assert_eq!((scene.ask(&scene.judge, &image).await, scene.fetcher.urls.lock().unwrap().len()), (None, 0));
    let (scene, image) = self::scene("log").await;
    assert_eq!(scene.ask(&scene.judge, &image).await, None);
}

#[tokio::test]
async fn a_certificate_is_told_to_be_revoked_although_it_counts_for_a_store_that_does_not_look() {
    let (scene, image) = scene("enforce").await;
    scene.lists(Some(Authority::acme().list(1, true)));
    let path = scene.folder.path().join("policy.toml");
    let text = std::fs::read_to_string(&path).unwrap().replace("version = 2", "version = 3");
    let lax = "[certificates.lax]\nanchors = [\"acme.pem\"]\n[signers.lax]\ncertificates = \"lax\"\nsubject = \"C=DE, ST=Berlin, O=Acme\"\n";
    std::fs::write(&path, text.replace("[[rules]]", &format!("{lax}[[rules]]"))).unwrap();
    let keys = KeyWorker::start(scene.folder.path().join("key.sock"), 0).unwrap();
    scene.policy.reload(&keys, now()).await.unwrap();
    let verdict = scene.judge.admit(image.request(), Some(Duration::from_secs(30))).await;
    assert_eq!(code(&verdict), Some(DenyCode::NotSatisfied));
    let because = verdict.because().join("\n");
    assert!(because.contains("(certificates acme) does not count") && because.contains("was revoked"), "{because}");
    assert!(because.contains("it does not count: the rule asks for other signers"), "{because}");
}

#[tokio::test]
async fn an_older_list_does_not_bring_back_a_revoked_certificate() {
    let (old, new) = (Authority::acme().list(2, false), Authority::acme().list(1, true));
    let (fresh, image) = scene("enforce").await;
    fresh.lists(Some(old.clone()));
    assert_eq!(fresh.ask(&fresh.judge, &image).await, None);

    let (scene, image) = scene("enforce").await;
    scene.lists(Some(new));
    assert_eq!(scene.ask(&scene.judge, &image).await, Some(DenyCode::NotSatisfied));
    scene.lists(Some(old));
    assert_eq!(scene.ask(&scene.judge, &image).await, Some(DenyCode::NotSatisfied));
    // Not after a restart, and not if what was kept is taken away.
    let folder = scene.folder.path().join("evidence/revocation/lists");
    for kept in std::fs::read_dir(&folder).unwrap() {
        std::fs::remove_file(kept.unwrap().path()).unwrap();
    }
    assert_eq!(scene.ask(&scene.restarted(), &image).await, Some(DenyCode::NotSatisfied));
}

#[tokio::test]
async fn an_older_answer_does_not_bring_back_a_revoked_certificate() {
    let authority = Authority::acme();
    let answered = async || {
        let (scene, image) = scene("enforce").await;
        scene.plays(Fetcher::Brings(vec![authority.sign_as(&authority.answered_leaf, &image)]));
        assert_eq!(scene.ask(&scene.judge, &image).await, Some(DenyCode::EvidenceUnavailable));
        assert_eq!(*scene.fetcher.urls.lock().unwrap(), [RESPONDER]);
        let request = scene.fetcher.questions.lock().unwrap()[0].clone();
        (scene, image, request)
    };
    let (fresh, image, request) = answered().await;
    let (old, new) = (authority.answer(&request, 2, false), authority.answer(&request, 1, true));
    fresh.lists(Some(old.clone()));
    assert_eq!(fresh.ask(&fresh.judge, &image).await, None);

    let (scene, image, _) = answered().await;
    scene.lists(Some(new));
    assert_eq!(scene.ask(&scene.judge, &image).await, Some(DenyCode::NotSatisfied));
    scene.lists(Some(old.clone()));
    assert_eq!(scene.ask(&scene.judge, &image).await, Some(DenyCode::NotSatisfied));
    // Not after a restart, not if what was kept is taken away, and not if somebody imports it.
    let folder = scene.folder.path().join("evidence/revocation/answers");
    for kept in std::fs::read_dir(&folder).unwrap() {
        std::fs::remove_file(kept.unwrap().path()).unwrap();
    }
    let restarted = scene.restarted();
    assert!(scene.ask(&restarted, &image).await.is_some());
    restarted.evidence.revocation().import_answer(&old).unwrap();
    assert!(scene.ask(&restarted, &image).await.is_some());
    // One that is newer than the revocation counts.
    scene.lists(Some(authority.answer(&request, 0, false)));
    assert_eq!(scene.ask(&restarted, &image).await, None);
}

#[tokio::test]
async fn an_answer_from_the_future_counts_for_nothing_and_holds_none_of_today_back() {
    let authority = Authority::acme();
    let (scene, image) = scene("enforce").await;
    scene.plays(Fetcher::Brings(vec![authority.sign_as(&authority.answered_leaf, &image)]));
    scene.ask(&scene.judge, &image).await;
    let request = scene.fetcher.questions.lock().unwrap()[0].clone();
    scene.lists(Some(authority.answer(&request, -2, false)));
    assert!(scene.ask(&scene.judge, &image).await.is_some());
    scene.lists(Some(authority.answer(&request, 1, false)));
    assert_eq!(scene.ask(&scene.judge, &image).await, None);
}

#[tokio::test]
async fn a_list_from_the_future_counts_for_nothing_and_holds_none_of_today_back() {
    let (scene, image) = scene("enforce").await;
    scene.lists(Some(Authority::acme().list(-2, false)));
    assert!(scene.ask(&scene.judge, &image).await.is_some());
    scene.lists(Some(Authority::acme().list(1, false)));
    assert_eq!(scene.ask(&scene.judge, &image).await, None);
}

#[tokio::test]
async fn a_list_that_was_fetched_serves_after_a_restart_without_network() {
    let (scene, image) = scene("enforce").await;
    scene.lists(Some(Authority::acme().list(1, false)));
    assert_eq!(scene.ask(&scene.judge, &image).await, None);
    scene.lists(None);
    scene.plays(Fetcher::Fails(DenyCode::EvidenceUnavailable));
    let asked = scene.asked();
    // What admitted it is written behind the answer.
    while scene.judge.evidence.artifacts(image.manifest.digest()).is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let restarted = scene.restarted();
    assert_eq!((scene.ask(&restarted, &image).await, scene.asked()), (None, asked));
}

#[tokio::test]
async fn an_imported_list_admits_where_nothing_is_fetched_and_one_that_revokes_ends_what_was_remembered() {
    let (scene, image) = scene("enforce").await;
    assert_eq!(scene.ask(&scene.judge, &image).await, Some(DenyCode::EvidenceUnavailable));
    let import = |list: Vec<u8>| scene.judge.evidence.revocation().import_list(LIST, &list).unwrap();
    import(Authority::new().list(1, false));
    assert!(scene.ask(&scene.judge, &image).await.is_some());
    import(Authority::acme().list(2, false));
    for _ in 0..3 {
        assert_eq!(scene.ask(&scene.judge, &image).await, None);
    }
    import(Authority::acme().list(1, true));
    assert_eq!(scene.ask(&scene.judge, &image).await, Some(DenyCode::NotSatisfied));
}

#[tokio::test]
async fn nobody_is_asked_about_a_certificate_that_no_anchor_vouches_for() {
    let (scene, image) = scene("enforce").await;
    scene.plays(Fetcher::Brings(vec![Authority::new().sign(&image)]));
    assert_eq!(scene.ask(&scene.judge, &image).await, Some(DenyCode::NotSatisfied));
    assert_eq!(*scene.fetcher.urls.lock().unwrap(), Vec::<String>::new());
}
