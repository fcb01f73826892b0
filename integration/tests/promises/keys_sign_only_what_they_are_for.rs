//! A key signs for its purpose and for the uids on its list; every refusal stands in the log, and raw bytes are signed for
//! nobody.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use assay_proto::assay::keys_client::KeysClient;
use assay_proto::assay::{
    GenerateKeyRequest, KeyPurpose, ListKeysRequest, PublicKeyRequest, SignRequest, SignResponse, SignatureFormat,
};
use assay_proto::connect;
use assay_testkit::{Host, ImageBuilder, KeyUse, PolicyText, Registry, Token, TokenKey, Version};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::peer::{STRANGER, as_user, here};

/// Someone who may reach sign.sock by its group, and whom `ci` and `policies` list.
const SIGNER: u32 = STRANGER;
/// Someone whom no key lists.
const NOBODY: u32 = STRANGER + 1;

fn host() -> Result<Host> {
    let token = Token::create("assay")?;
    for label in ["log", "ci", "mine", "policies"] {
        token.generate(label, TokenKey::P256)?;
    }
    let uses = [
        KeyUse { label: "ci", purpose: "image", peers: &[SIGNER] },
        KeyUse { label: "mine", purpose: "image", peers: &[0] },
        KeyUse { label: "policies", purpose: "policy", peers: &[SIGNER] },
    ];
    Host::reserve(Version::V2, Registry::start()?)?.with_token(token, &uses)?.up(&PolicyText::observing())
}

/// Calls the key service on that socket under that uid, in root's group, to which the socket is open.
fn call<T: Send>(
    socket: &Path,
    uid: u32,
    calls: impl AsyncFnOnce(KeysClient<Channel>) -> Result<T> + Send,
) -> Result<T> {
    as_user(uid, 0, || here(async { calls(KeysClient::new(connect(socket, &[0]).await?)).await }))
}

fn request(key: &str) -> SignRequest {
    SignRequest {
        key: key.to_owned(),
        format: SignatureFormat::CosignBundle.into(),
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        digest: assay_testkit::sha256(b"the root of a log, perhaps"),
        size: 1,
        ..SignRequest::default()
    }
}

fn sign(host: &Host, role: &str, uid: u32, request: SignRequest) -> Result<Result<SignResponse, Status>> {
    call(&host.node.socket(role), uid, async |mut keys| Ok(keys.sign(request).await.map(tonic::Response::into_inner)))
}

#[test]
fn wrong_purpose_and_foreign_peer_are_refused_and_recorded() -> Result<()> {
    let host = host()?;
    let token = host.token.as_ref().context("there is a token")?;
    for (role, uid, label, why) in [
        ("sign", SIGNER, "mine", "may not use"),
        ("sign", SIGNER, "policies", "is for signing the policy"),
        ("sign", SIGNER, "log", "is for signing the log"),
        // No socket leads to the log's key, not even root's own.
        ("admin", 0, "log", "is for signing the log"),
        ("sign", 0, "log", "is for signing the log"),
    ] {
        let status = sign(&host, role, uid, request(&token.uri(label)))?.err().context(label)?;
        ensure!(status.code() == Code::PermissionDenied && status.message().contains(why), "{label}: {status}");
        let shown = host.node.assay(&["audit", "show", "-o", "json", "--last", "1"])?.success()?;
        for text in [format!("object={label}"), format!("\"peer_uid\":{uid}"), "refused".to_owned()] {
            let compact: String = shown.stdout.split_whitespace().collect();
            ensure!(compact.contains(&text), "{text} is not on record: {shown}");
        }
    }
    sign(&host, "sign", SIGNER, request(&token.uri("ci")))?.context("its own key signs")?;
    Ok(())
}

#[test]
fn other_keys_are_neither_shown_nor_made_nor_reached_by_another_spelling() -> Result<()> {
    let host = host()?;
    let token = host.token.as_ref().context("there is a token")?;
    let log_by_id = format!("pkcs11:token=assay;id={};type=private", "%6c%6f%67");
    let spellings = ["pkcs11:object=log".to_owned(), log_by_id, format!("{};id=%6c%6f%67", token.uri("ci"))];
    call(&host.node.socket("sign"), SIGNER, async |mut keys| {
        let listed = keys.list(ListKeysRequest {}).await?.into_inner().keys;
        let uris: Vec<_> = listed.iter().map(|key| key.uri.as_str()).collect();
        ensure!(matches!(uris.as_slice(), [one] if one.contains("object=ci")), "{uris:?}");
        for label in ["log", "mine", "policies"] {
            let status = keys.public(PublicKeyRequest { uri: token.uri(label) }).await.err().context(label)?;
            assert_eq!(status.code(), Code::PermissionDenied, "{label}");
        }
        let new =
            GenerateKeyRequest { label: "new".to_owned(), kind: "p256".to_owned(), purpose: KeyPurpose::Image.into() };
        let status = keys.generate(new).await.err().context("a signer made a key")?;
        assert_eq!(status.code(), Code::PermissionDenied);
        for spelling in &spellings {
            let status = keys.sign(request(spelling)).await.err().with_context(|| spelling.clone())?;
            ensure!(matches!(status.code(), Code::PermissionDenied | Code::NotFound), "{spelling}: {status}");
        }
        Ok(())
    })
}

#[test]
fn nothing_but_image_descriptors_is_signed() -> Result<()> {
    let host = host()?;
    let token = host.token.as_ref().context("there is a token")?;
    let wrong: [fn(&mut SignRequest); 7] = [
        |request| request.media_type = "text/plain; charset=utf-8".to_owned(),
        |request| request.media_type = "application/vnd.in-toto+json".to_owned(),
        |request| request.media_type = String::new(),
        |request| request.digest = "assay.local/node\n17\nAAAA\n".to_owned(),
        |request| request.digest = String::new(),
        |request| request.size = 0,
        |request| request.format = SignatureFormat::Unspecified.into(),
    ];
    for (number, change) in wrong.into_iter().enumerate() {
        let mut changed = request(&token.uri("ci"));
        change(&mut changed);
        let status = sign(&host, "sign", SIGNER, changed)?.err().with_context(|| format!("request {number}"))?;
        assert_eq!(status.code(), Code::InvalidArgument, "request {number}: {status}");
    }
    let signed = sign(&host, "sign", SIGNER, request(&token.uri("ci")))?.context("its unchanged twin")?;
    // What is signed is a statement about an image (DSSE's pre-authentication encoding of it): no log head begins so.
    let bundle: serde_json::Value = serde_json::from_slice(&signed.envelope)?;
    let payload_type = bundle.pointer("/dsseEnvelope/payloadType").and_then(serde_json::Value::as_str);
    assert_eq!(payload_type, Some("application/vnd.in-toto+json"), "{bundle}");
    Ok(())
}

#[test]
fn group_of_the_configuration_may_sign_and_others_are_told_what_to_edit() -> Result<()> {
    const GROUP: u32 = 61_950;
    let token = Token::create("assay")?;
    token.generate("log", TokenKey::P256)?;
    token.generate("ci", TokenKey::P256)?;
    let uses = [KeyUse { label: "ci", purpose: "image", peers: &[SIGNER] }];
    let host = Host::reserve(Version::V2, Registry::start()?)?.with_token(token, &uses)?;
    let written = std::fs::read_to_string(host.node.configuration_file("assayd.toml"))?;
    host.node.write("assayd.toml", &format!("sign-socket-group = \"{GROUP}\"\n{written}"))?;
    let host = host.up(&PolicyText::observing())?;
    let image = ImageBuilder::busybox("app")?.push(&host.repository("prod/app"), "1")?.by_tag();
    let key = host.token.as_ref().context("there is a token")?.uri("ci");
    let words = ["sign", image.as_str(), "--key", key.as_str()];
    for (uid, gid, told) in
        [(SIGNER, GROUP + 1, "sign-socket-group"), (NOBODY, GROUP, &format!("add {NOBODY} to `peers`"))]
    {
        let refused = host.node.assay_as(uid, gid, &words)?.failure()?;
        ensure!(refused.status.code() == Some(4) && refused.said(told), "{refused}");
        let file = host.node.configuration_file("assayd.toml");
        ensure!(refused.said(&file.display().to_string()), "{refused}");
    }
    host.node.assay_as(SIGNER, GROUP, &words)?.success()?;
    Ok(())
}

#[test]
fn peer_whom_no_key_lists_is_not_served() -> Result<()> {
    let host = host()?;
    let token = host.token.as_ref().context("there is a token")?;
    let image = ImageBuilder::busybox("app")?.push(&host.repository("prod/app"), "1")?;
    let status = sign(&host, "sign", NOBODY, request(&token.uri("ci")))?.err().context("it was answered")?;
    ensure!(matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled), "{status}");
    let mut other = request(&token.uri("ci"));
    other.digest.clone_from(&image.digest);
    sign(&host, "sign", SIGNER, other)?.context("who is listed is served")?;
    Ok(())
}
