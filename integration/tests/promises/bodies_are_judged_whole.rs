//! What the agent is given is judged whole or not at all: nothing empty, nothing cut, nothing over a limit is admitted, and
//! the agent that was given it goes on.

use anyhow::{Context, Result, ensure};
use assay_proto::assay::gate_client::GateClient;
use assay_proto::assay::{
    AdmitRequest, AdmitResponse, Decision, Document, GateKind, ImageSubject, Name, NameSource, admit_request,
};
use assay_proto::{MAX_MESSAGE_BYTES, connect};
use assay_testkit::{ImageBuilder, Program, PullBy, PushedImage, Version};
use tonic::{Code, Status};

use crate::peer::here;
use crate::scene::{Scene, refused_cleanly};

/// The largest document of an image (`assay-admission`).
const MAX_DOCUMENT_BYTES: usize = 4 << 20;

fn ask(scene: &Scene, request: AdmitRequest) -> Result<Result<AdmitResponse, Status>> {
    let socket = scene.host.node.socket("gate");
    here(async {
        let mut gate = GateClient::new(connect(&socket, &[0]).await?);
        Ok(gate.admit(request).await.map(tonic::Response::into_inner))
    })
}

/// Fails unless the answer is a recorded refusal with that code.
fn denied(answer: Result<AdmitResponse, Status>, code: &str) -> Result<()> {
    let answer = answer.context("the agent answers")?;
    let codes: Vec<_> = answer.reasons.iter().map(|reason| reason.code.as_str()).collect();
    ensure!((answer.decision(), codes.as_slice()) == (Decision::Deny, &[code]), "{answer:?}");
    ensure!(answer.record.is_some(), "the refusal is on record: {answer:?}");
    Ok(())
}

/// A request with one document that makes the whole message that many bytes long.
fn request_of(bytes: usize) -> AdmitRequest {
    let with = |content: Vec<u8>| AdmitRequest {
        gate: GateKind::Pull.into(),
        namespace: "default".to_owned(),
        platform: "linux/amd64".to_owned(),
        subject: Some(admit_request::Subject::Image(ImageSubject {
            name: Some(Name { reference: "r.example/app:1".to_owned(), source: NameSource::Requested.into() }),
            top: String::new(),
        })),
        documents: vec![Document { media_type: "application/vnd.oci.image.config.v1+json".to_owned(), content }],
    };
    let length = |request: &AdmitRequest| prost::Message::encoded_len(request);
    let start = with(vec![b' '; bytes]);
    let surplus = length(&start) - bytes;
    with(vec![b' '; bytes - surplus])
}

#[test]
fn empty_request_and_empty_body_are_refused() -> Result<()> {
    let scene = Scene::observing(Version::V2)?;
    denied(ask(&scene, AdmitRequest::default())?, "MALFORMED")?;

    let socket = scene.host.node.socket("gate");
    let without_a_message = here(async {
        let mut grpc = tonic::client::Grpc::new(connect(&socket, &[0]).await?);
        grpc.ready().await?;
        let codec = tonic_prost::ProstCodec::<AdmitRequest, AdmitResponse>::default();
        let path = tonic::codegen::http::uri::PathAndQuery::from_static("/assay.v1.Gate/Admit");
        Ok(grpc.client_streaming(tonic::Request::new(tokio_stream::empty()), path, codec).await)
    })?;
    let status = without_a_message.err().context("a call without a message was answered")?;
    assert_eq!(status.code(), Code::Internal, "{status}");
    Ok(())
}

#[test]
fn request_over_the_limit_is_refused_and_the_agent_goes_on() -> Result<()> {
    let scene = Scene::observing(Version::V2)?;
    let agent = scene.host.node.pid(Program::Agent)?;
    // At the limit of a message it is read, judged and refused for the document in it; one byte more is not even read.
    denied(ask(&scene, request_of(MAX_MESSAGE_BYTES))?, "LIMIT")?;
    let status = ask(&scene, request_of(MAX_MESSAGE_BYTES + 1))?.err().context("it was answered")?;
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    denied(ask(&scene, AdmitRequest::default())?, "MALFORMED")?;
    assert_eq!(scene.host.node.pid(Program::Agent)?, agent, "the agent lives");
    Ok(())
}

#[test]
fn config_one_byte_over_the_limit_is_refused_though_it_is_signed() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    let containerd = &scene.host.containerd;
    let over = signed_with_config_of(&scene, MAX_DOCUMENT_BYTES + 1, "over")?;
    // It is not judged in part, and the refusal says what is too large, how large it may be and what to do.
    let limit = format!("has {} bytes, at most {MAX_DOCUMENT_BYTES} are looked at: build", MAX_DOCUMENT_BYTES + 1);
    for told in ["LIMIT", limit.as_str()] {
        refused_cleanly(&scene.host, containerd.pull(&over.by_tag(), PullBy::Default)?, told)?;
    }
    let at = signed_with_config_of(&scene, MAX_DOCUMENT_BYTES, "at")?;
    containerd.pull(&at.by_tag(), PullBy::Default)?.success()?;
    Ok(())
}

fn signed_with_config_of(scene: &Scene, bytes: usize, tag: &str) -> Result<PushedImage> {
    let builder = ImageBuilder::busybox(tag)?;
    let small = builder.push(&scene.production(), tag)?;
    let mut config = small.manifest().config.clone();
    // White space behind the document is part of its bytes and of its digest.
    config.resize(bytes, b'\n');
    let image = builder.foreign_config(&config).push(&scene.production(), tag)?;
    scene.cosign.sign(&scene.ci, &image.by_digest())?;
    Ok(image)
}
