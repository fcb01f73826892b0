//! A kubelet as small as can be: pulls, runs pods and their containers by CRI (runtime.v1). In: a containerd that serves it.
//! Out: ids, outputs, or what CRI said. Pods share the host's network, as there is no CNI plugin here.

use std::time::Duration;

use anyhow::{Context, Result};
use prost::Message;
use tokio::runtime::Runtime;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use crate::containerd::Containerd;

const LIMIT: Duration = Duration::from_secs(60);
/// `NamespaceMode` NODE and CONTAINER.
const NODE: i32 = 2;
const CONTAINER: i32 = 1;
/// Below which control group pods are made.
const CGROUP: &str = "/assay-test";

/// The client.
#[derive(Debug)]
pub struct Cri {
    runtime: Runtime,
    channel: Channel,
}

/// A pod that runs.
#[derive(Debug, Clone)]
pub struct Pod {
    /// The id of its sandbox.
    pub id: String,
    config: PodSandboxConfig,
}

impl Cri {
    /// A client of that containerd.
    pub fn of(containerd: &Containerd) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let entered = runtime.enter();
        let channel = assay_proto::connector_to(&containerd.socket(), &[0]);
        drop(entered);
        Ok(Self { runtime, channel })
    }

    /// Pulls an image; its id.
    pub fn pull(&self, reference: &str) -> Result<String, Status> {
        let image = Some(ImageSpec { image: reference.to_owned(), ..ImageSpec::default() });
        Ok(self.call::<_, Id>("ImageService/PullImage", Pull { image })?.id)
    }

    /// Runs a pod. `name` has to be unique among the pods of this machine.
    pub fn run_pod(&self, name: &str) -> Result<Pod, Status> {
        let namespace_options = Some(host_network());
        let config = PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.to_owned(),
                uid: name.to_owned(),
                namespace: "default".to_owned(),
                attempt: 0,
            }),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: CGROUP.to_owned(),
                security_context: Some(SandboxSecurity { namespace_options }),
            }),
        };
        let request = RunPod { config: Some(config.clone()) };
        Ok(Pod { id: self.call::<_, Id>("RuntimeService/RunPodSandbox", request)?.id, config })
    }

    /// Makes a container of the image with this id, which was asked for as `reference`; its id.
    pub fn create(&self, pod: &Pod, image: &str, reference: &str, command: &[&str]) -> Result<String, Status> {
        let config = ContainerConfig {
            metadata: Some(ContainerMetadata {
                name: crate::sha256(format!("{image}{command:?}").as_bytes()),
                attempt: 0,
            }),
            image: Some(ImageSpec { image: image.to_owned(), user_specified_image: reference.to_owned() }),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            linux: Some(LinuxContainerConfig {
                security_context: Some(ContainerSecurity { namespace_options: Some(host_network()) }),
            }),
        };
        let request = CreateContainer {
            pod_sandbox_id: pod.id.clone(),
            config: Some(config),
            sandbox_config: Some(pod.config.clone()),
        };
        Ok(self.call::<_, Id>("RuntimeService/CreateContainer", request)?.id)
    }

    /// Starts a container.
    pub fn start(&self, container: &str) -> Result<(), Status> {
        self.call::<_, Nothing>("RuntimeService/StartContainer", Id { id: container.to_owned() }).map(drop)
    }

    /// Runs a command in a container that runs; what it wrote to its standard output.
    pub fn exec(&self, container: &str, command: &[&str]) -> Result<String> {
        let cmd = command.iter().map(|word| (*word).to_owned()).collect();
        let request = Exec { container_id: container.to_owned(), cmd, timeout: 20 };
        let done: Executed = self.call("RuntimeService/ExecSync", request)?;
        String::from_utf8(done.stdout).context("the output is text")
    }

    /// Stops a container at once, and removes it.
    pub fn remove(&self, container: &str) -> Result<(), Status> {
        let id = Id { id: container.to_owned() };
        self.call::<_, Nothing>("RuntimeService/StopContainer", id.clone())?;
        self.call::<_, Nothing>("RuntimeService/RemoveContainer", id).map(drop)
    }

    /// Stops a pod with its containers, and removes it.
    pub fn remove_pod(&self, pod: &Pod) -> Result<(), Status> {
        let id = Id { id: pod.id.clone() };
        self.call::<_, Nothing>("RuntimeService/StopPodSandbox", id.clone())?;
        self.call::<_, Nothing>("RuntimeService/RemovePodSandbox", id).map(drop)
    }

    fn call<Q, A>(&self, method: &str, request: Q) -> Result<A, Status>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let path = format!("/runtime.v1.{method}").parse::<PathAndQuery>();
        let path = path.map_err(|error| Status::internal(error.to_string()))?;
        let mut client = Grpc::new(self.channel.clone());
        self.runtime.block_on(async {
            let call = async {
                client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
                client.unary(Request::new(request), path, ProstCodec::<Q, A>::default()).await
            };
            match tokio::time::timeout(LIMIT, call).await {
                Ok(answer) => answer.map(tonic::Response::into_inner),
                Err(_) => Err(Status::deadline_exceeded(format!("{method}: no answer within {LIMIT:?}"))),
            }
        })
    }
}

fn host_network() -> NamespaceOption {
    NamespaceOption { network: NODE, pid: CONTAINER }
}

// The messages of CRI (kubernetes/cri-api, runtime/v1/api.proto), with the fields that are wanted here.

/// Every message whose only field that is wanted is an id, or a reference, with the number 1.
#[derive(Clone, PartialEq, Message)]
struct Id {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Nothing {}

#[derive(Clone, PartialEq, Message)]
struct ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
    #[prost(string, tag = "18")]
    user_specified_image: String,
}

#[derive(Clone, PartialEq, Message)]
struct Pull {
    #[prost(message, optional, tag = "1")]
    image: Option<ImageSpec>,
}

#[derive(Clone, PartialEq, Message)]
struct RunPod {
    #[prost(message, optional, tag = "1")]
    config: Option<PodSandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct PodSandboxConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<PodSandboxMetadata>,
    #[prost(message, optional, tag = "8")]
    linux: Option<LinuxPodSandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct PodSandboxMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(uint32, tag = "4")]
    attempt: u32,
}

#[derive(Clone, PartialEq, Message)]
struct LinuxPodSandboxConfig {
    #[prost(string, tag = "1")]
    cgroup_parent: String,
    #[prost(message, optional, tag = "2")]
    security_context: Option<SandboxSecurity>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct SandboxSecurity {
    #[prost(message, optional, tag = "1")]
    namespace_options: Option<NamespaceOption>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct NamespaceOption {
    #[prost(int32, tag = "1")]
    network: i32,
    #[prost(int32, tag = "2")]
    pid: i32,
}

#[derive(Clone, PartialEq, Message)]
struct CreateContainer {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
    #[prost(message, optional, tag = "2")]
    config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    sandbox_config: Option<PodSandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "2")]
    image: Option<ImageSpec>,
    #[prost(string, repeated, tag = "3")]
    command: Vec<String>,
    #[prost(message, optional, tag = "15")]
    linux: Option<LinuxContainerConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint32, tag = "2")]
    attempt: u32,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct LinuxContainerConfig {
    #[prost(message, optional, tag = "2")]
    security_context: Option<ContainerSecurity>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct ContainerSecurity {
    #[prost(message, optional, tag = "3")]
    namespace_options: Option<NamespaceOption>,
}

#[derive(Clone, PartialEq, Message)]
struct Exec {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(string, repeated, tag = "2")]
    cmd: Vec<String>,
    #[prost(int64, tag = "3")]
    timeout: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Executed {
    #[prost(bytes = "vec", tag = "1")]
    stdout: Vec<u8>,
}
