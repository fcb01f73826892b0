//! A node in a temporary folder: the snapshotter itself, an agent that does as it is told, and containerd's two read services.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use assay_admission::Digest;
use assay_proto::{
    assay::{
        AdmitRequest, AdmitResponse, ChainSubject, ReportRequest, ReportResponse, admit_request,
        gate_server::{Gate, GateServer},
        refusals_server::{Refusals, RefusalsServer},
    },
    containerd::{
        content::{
            Info, InfoRequest, InfoResponse, ListContentRequest, ListContentResponse, ReadContentRequest,
            ReadContentResponse,
            content_server::{Content, ContentServer},
        },
        images::{
            GetImageRequest, GetImageResponse, Image as ImageRecord, ListImagesRequest, ListImagesResponse,
            images_server::{Images, ImagesServer},
        },
        snapshots::snapshots_client::SnapshotsClient,
        types::Descriptor,
    },
};
use tempfile::TempDir;
use tokio_stream::Iter;
use tonic::{
    Request, Response, Status,
    transport::{Channel, Server},
};

use crate::{Config, serve_on};

#[derive(Clone, Debug)]
pub(super) enum Behaviour {
    Answer(AdmitResponse),
    /// It answers by the number of images in the question.
    Judge(fn(usize) -> AdmitResponse),
    /// It says nothing to a question about so many images, and this to others.
    HangOn(usize, AdmitResponse),
    Hang,
    /// Nothing listens.
    Absent,
    /// It answers, from a uid that is not the agent's.
    Foreign(AdmitResponse),
    /// It admits if this manifest is among the images that are examined, and otherwise denies.
    AdmitsFor(Digest, AdmitResponse, AdmitResponse),
}

/// An image with one index, as containerd stores it.
#[derive(Clone)]
pub(super) struct Image {
    diff_ids: Vec<Digest>,
    /// What its blobs are made of besides the layers themselves.
    layers: String,
    /// From which layer on.
    foreign_from: usize,
    /// What stands in its config before and behind the layers.
    around: (String, usize),
}

impl Image {
    pub(super) fn new(layers: &[&str]) -> Self {
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::sha256(layer.as_bytes())).collect();
        Self { layers: String::new(), foreign_from: 0, diff_ids, around: Default::default() }
    }

    pub(super) fn use_foreign_layers(&mut self) {
        self.layers = "foreign".into();
    }

    pub(super) fn use_foreign_layers_above(&mut self, place: usize) {
        self.use_foreign_layers();
        self.foreign_from = place;
    }

    /// Writes `members` into the config before the layers, and white space behind it.
    pub(super) fn rewrite_config(&mut self, members: &str, space: usize) {
        self.around = (members.to_owned(), space);
    }

    pub(super) fn chain(&self, at: usize) -> Digest {
        let (first, rest) = self.diff_ids.split_first().unwrap();
        rest.iter().take(at).fold(*first, |below, diff_id| Digest::sha256(format!("{below} {diff_id}").as_bytes()))
    }

    fn config_bytes(&self) -> Vec<u8> {
        let ids: Vec<String> = self.diff_ids.iter().map(|id| format!("\"{id}\"")).collect();
        let (members, space) = &self.around;
        let text = format!("{{{members}\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[{}]}}}}", ids.join(","));
        let mut bytes = text.into_bytes();
        bytes.resize(bytes.len() + space, b'\n');
        bytes
    }

    pub(super) fn config(&self) -> Digest {
        Digest::sha256(&self.config_bytes())
    }

    fn manifest_bytes(&self) -> Vec<u8> {
        let layer = |(place, id): (usize, &Digest)| {
            let made_of = if place < self.foreign_from { "" } else { self.layers.as_str() };
            let blob = Digest::sha256(format!("{made_of}{id}").as_bytes());
            format!("{{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+gzip\",\"digest\":\"{blob}\"}}")
        };
        let layers: Vec<String> = self.diff_ids.iter().enumerate().map(layer).collect();
        let config = self.config();
        format!("{{\"config\":{{\"digest\":\"{config}\"}},\"layers\":[{}]}}", layers.join(",")).into_bytes()
    }

    pub(super) fn manifest(&self) -> Digest {
        Digest::sha256(&self.manifest_bytes())
    }

    fn index_bytes(&self) -> Vec<u8> {
        format!("{{\"manifests\":[{{\"digest\":\"{}\"}}]}}", self.manifest()).into_bytes()
    }

    pub(super) fn index(&self) -> Digest {
        Digest::sha256(&self.index_bytes())
    }
}

#[derive(Default)]
struct Store {
    /// What was changed last.
    touched: Option<Digest>,
    blobs: HashMap<String, (Vec<u8>, HashMap<String, String>)>,
    records: Vec<(String, Digest)>,
    is_stopped: bool,
    reads: usize,
}

#[derive(Clone, Default)]
struct Containerd(Arc<Mutex<Store>>);

#[derive(Clone)]
struct Agent {
    behaviour: Arc<Mutex<Behaviour>>,
    asked: Arc<Mutex<Vec<AdmitRequest>>>,
    told: Arc<Mutex<Vec<ReportRequest>>>,
}

pub(super) struct Node {
    folder: TempDir,
    containerd: Containerd,
    agent: Agent,
    channel: Channel,
}

impl Node {
    pub(super) async fn new(images: &[&Image], behaviour: Behaviour) -> Self {
        Self::with_patience(images, behaviour, Duration::from_millis(1000)).await
    }

    pub(super) async fn with_patience(images: &[&Image], behaviour: Behaviour, verdict_timeout: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let containerd = Containerd::default();
        let served = ContentServer::new(containerd.clone());
        let server = Server::builder().add_service(served).add_service(ImagesServer::new(containerd.clone()));
        let listener = assay_proto::bind(&path("c.sock"), 0o600).unwrap();
        tokio::spawn(server.serve_with_incoming(assay_proto::accept(listener, |_| true)));
        let agent =
            Agent { behaviour: Arc::new(Mutex::new(behaviour.clone())), asked: Arc::default(), told: Arc::default() };
        if !matches!(behaviour, Behaviour::Absent) {
            agent.listen(&path("gate.sock"));
        }
        let config = Config {
            containerd: path("c.sock"),
            gate: path("gate.sock"),
            agent_uid: None,
            socket: path("s.sock"),
            snapshots: path("s"),
            verdict_timeout,
        };
        let listener = assay_proto::bind(&config.socket, 0o600).unwrap();
        let channel = assay_proto::connector_to(&config.socket, &[0]);
        if let Behaviour::Foreign(_) = behaviour {
            // Tests run as root, and so does the agent here: it is foreign to a snapshotter that knows another uid only.
            let overlay = Arc::new(crate::Overlay::open(folder.path().join("s").as_path()).unwrap());
            let gate = crate::UnpackGate::new(
                crate::Images::of(&config.containerd),
                crate::Agent::at(&config.gate, &[4711]),
                config.verdict_timeout,
            );
            let service = crate::Snapshotter::new(overlay, gate);
            let server = Server::builder()
                .add_service(assay_proto::containerd::snapshots::snapshots_server::SnapshotsServer::new(service));
            tokio::spawn(server.serve_with_incoming(assay_proto::accept(listener, |_| true)));
        } else {
            tokio::spawn(async move { serve_on(listener, &config, || (), std::future::pending()).await });
        }
        let node = Self { folder, containerd, agent, channel };
        images.iter().for_each(|image| node.add(image));
        node
    }

    pub(super) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn containerd_socket(&self) -> PathBuf {
        self.folder.path().join("c.sock")
    }

    pub(super) fn snapshots(&self) -> SnapshotsClient<Channel> {
        SnapshotsClient::new(self.channel.clone())
    }

    pub(super) fn behave(&self, behaviour: Behaviour) {
        *self.agent.behaviour.lock().unwrap() = behaviour;
    }

    /// Begins to listen, where it was absent.
    pub(super) fn start_agent(&self) {
        self.agent.listen(&self.root().join("gate.sock"));
    }

    pub(super) fn stop_containerd(&self) {
        self.containerd.0.lock().unwrap().is_stopped = true;
    }

    /// Stores an image, its record and its labels as containerd does.
    pub(super) fn add(&self, image: &Image) {
        let mut store = self.containerd.0.lock().unwrap();
        let mut put = |bytes: Vec<u8>, labels: &[(&str, String)]| {
            let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
            store.blobs.insert(Digest::sha256(&bytes).to_string(), (bytes, labels));
        };
        let source = ("containerd.io/distribution.source.r.example", "app".to_owned());
        put(image.config_bytes(), std::slice::from_ref(&source));
        let config = ("containerd.io/gc.ref.content.config", image.config().to_string());
        put(image.manifest_bytes(), &[config, source.clone()]);
        put(image.index_bytes(), &[("containerd.io/gc.ref.content.m.0", image.manifest().to_string()), source]);
        store.records.push(("r.example/team/app:1".into(), image.index()));
        store.records.push((image.config().to_string(), image.index()));
    }

    /// Adds an image record.
    pub(super) fn name(&self, name: &str, image: &Image) {
        self.containerd.0.lock().unwrap().records.push((name.to_owned(), image.index()));
    }

    /// How many blobs were read so far.
    pub(super) fn reads(&self) -> usize {
        self.containerd.0.lock().unwrap().reads
    }

    /// Removes an image's config, as a garbage collection does.
    pub(super) fn remove_config(&self, image: &Image) {
        self.containerd.0.lock().unwrap().blobs.remove(&image.config().to_string());
    }

    /// Notes that this image was pulled last.
    pub(super) fn touch(&self, image: &Image) {
        self.containerd.0.lock().unwrap().touched = Some(image.manifest());
    }

    /// Removes an image's manifest, as `ctr content rm` does.
    pub(super) fn remove_manifest(&self, image: &Image) {
        self.containerd.0.lock().unwrap().blobs.remove(&image.manifest().to_string());
    }

    /// The manifests of the last question, by their digests, and whether the document of each one's config was with it.
    pub(super) fn last_claims(&self) -> Vec<(String, bool)> {
        let question = self.last_question().unwrap();
        let Some(admit_request::Subject::Chain(chain)) = question.subject else { panic!("no chain") };
        let has =
            |digest: &str| question.documents.iter().any(|held| Digest::sha256(&held.content).to_string() == digest);
        let mut claims: Vec<_> =
            chain.images.iter().map(|claim| (claim.manifest.clone(), has(&claim.config))).collect();
        claims.sort_unstable();
        claims
    }

    /// The chains the agent was asked about.
    pub(super) fn asked(&self) -> Vec<Digest> {
        let chain = |request: &AdmitRequest| match request.subject.clone().unwrap() {
            admit_request::Subject::Chain(chain) => chain.chain.parse().unwrap(),
            admit_request::Subject::Image(_) => panic!("asked about an image"),
        };
        self.agent.asked.lock().unwrap().iter().map(chain).collect()
    }

    /// Every question, in order.
    pub(super) fn questions(&self) -> Vec<ChainSubject> {
        let chain = |request: &AdmitRequest| match request.subject.clone().unwrap() {
            admit_request::Subject::Chain(chain) => chain,
            admit_request::Subject::Image(_) => panic!("asked about an image"),
        };
        self.agent.asked.lock().unwrap().iter().map(chain).collect()
    }

    /// What the agent was told that the gate refused by itself, once it was told so often.
    pub(super) async fn told(&self, times: usize) -> Vec<ReportRequest> {
        for _ in 0..400 {
            if self.agent.told.lock().unwrap().len() >= times {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.agent.told.lock().unwrap().clone()
    }

    pub(super) fn last_question(&self) -> Option<AdmitRequest> {
        self.agent.asked.lock().unwrap().last().cloned()
    }
}

impl Agent {
    fn listen(&self, socket: &Path) {
        let listener = assay_proto::bind(socket, 0o600).unwrap();
        let gate = GateServer::new(self.clone()).max_decoding_message_size(assay_proto::MAX_MESSAGE_BYTES);
        let server = Server::builder().add_service(gate).add_service(RefusalsServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(assay_proto::accept(listener, |_| true)));
    }
}

#[tonic::async_trait]
impl Gate for Agent {
    async fn admit(&self, request: Request<AdmitRequest>) -> Result<Response<AdmitResponse>, Status> {
        let question = request.into_inner();
        let claims = match &question.subject {
            Some(admit_request::Subject::Chain(chain)) => chain.images.len(),
            _ => 0,
        };
        self.asked.lock().unwrap().push(question);
        let behaviour = self.behaviour.lock().unwrap().clone();
        match behaviour {
            Behaviour::Answer(answer) | Behaviour::Foreign(answer) => Ok(Response::new(answer)),
            Behaviour::Judge(answer) => Ok(Response::new(answer(claims))),
            Behaviour::HangOn(many, answer) if many != claims => Ok(Response::new(answer)),
            Behaviour::AdmitsFor(manifest, allow, deny) => {
                let asked = self.asked.lock().unwrap().last().and_then(|request| request.subject.clone());
                let Some(admit_request::Subject::Chain(chain)) = asked else { panic!("no chain") };
                let is_there = chain.images.iter().any(|image| image.manifest == manifest.to_string());
                Ok(Response::new(if is_there { allow } else { deny }))
            }
            Behaviour::Hang | Behaviour::HangOn(..) | Behaviour::Absent => std::future::pending().await,
        }
    }
}

#[tonic::async_trait]
impl Refusals for Agent {
    async fn report(&self, request: Request<ReportRequest>) -> Result<Response<ReportResponse>, Status> {
        self.told.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ReportResponse {}))
    }
}

type Answers<T> = Iter<std::vec::IntoIter<Result<T, Status>>>;

#[tonic::async_trait]
impl Content for Containerd {
    type ListStream = Answers<ListContentResponse>;
    type ReadStream = Answers<ReadContentResponse>;

    async fn info(&self, _: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        Err(Status::unimplemented("not used"))
    }

    async fn list(&self, request: Request<ListContentRequest>) -> Result<Response<Self::ListStream>, Status> {
        let store = self.0.lock().unwrap();
        if store.is_stopped {
            return Err(Status::unavailable("stopped"));
        }
        assert_eq!(request.metadata().get("containerd-namespace").unwrap(), "default");
        let wanted: Vec<String> = request.into_inner().filters;
        let passes = |digest: &str, labels: &HashMap<String, String>| {
            labels.keys().any(|label| wanted.contains(&format!("labels.\"{label}\"")))
                || wanted.contains(&format!("digest=={digest}"))
        };
        let infos = store.blobs.iter().filter(|(digest, (_, labels))| passes(digest, labels));
        let infos = infos.map(|(digest, (bytes, labels))| Info {
            digest: digest.clone(),
            size: i64::try_from(bytes.len()).unwrap(),
            labels: labels.clone(),
            updated_at: Some(prost_types::Timestamp {
                seconds: i64::from(store.touched.is_some_and(|touched| touched.to_string() == *digest)),
                nanos: 0,
            }),
            ..Info::default()
        });
        let answers: Vec<_> = infos.map(|info| Ok(ListContentResponse { info: vec![info] })).collect();
        Ok(Response::new(tokio_stream::iter(answers)))
    }

    async fn read(&self, request: Request<ReadContentRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let mut store = self.0.lock().unwrap();
        store.reads += 1;
        let (bytes, _) = store.blobs.get(&request.into_inner().digest).ok_or_else(|| Status::not_found("blob"))?;
        let chunks = bytes.chunks(1 << 20).map(|chunk| Ok(ReadContentResponse { offset: 0, data: chunk.to_vec() }));
        let answers: Vec<_> = chunks.collect();
        Ok(Response::new(tokio_stream::iter(answers)))
    }
}

#[tonic::async_trait]
impl Images for Containerd {
    async fn get(&self, _: Request<GetImageRequest>) -> Result<Response<GetImageResponse>, Status> {
        Err(Status::unimplemented("not used"))
    }

    async fn list(&self, request: Request<ListImagesRequest>) -> Result<Response<ListImagesResponse>, Status> {
        let filters = request.into_inner().filters;
        let store = self.0.lock().unwrap();
        let is_wanted = |target: &Digest| filters.is_empty() || filters.contains(&format!("target.digest=={target}"));
        let wanted = store.records.iter().filter(|(_, target)| is_wanted(target));
        let images = wanted.map(|(name, target)| ImageRecord {
            name: name.clone(),
            target: Some(Descriptor { digest: target.to_string(), ..Descriptor::default() }),
            ..ImageRecord::default()
        });
        Ok(Response::new(ListImagesResponse { images: images.collect() }))
    }
}
