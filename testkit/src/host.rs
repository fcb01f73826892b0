//! One host as a test sees it: a registry, an Assay node and a containerd, wired to each other. In: the version of
//! containerd, a policy, a token if keys are wanted. Out: its parts. Takes all of it away when dropped.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::Result;

use crate::containerd::{Containerd, Snapshotter, Verifiers, Version};
use crate::node::Node;
use crate::policy::PolicyText;
use crate::registry::Registry;
use crate::repository::Repository;
use crate::token::Token;
use crate::tools::Tools;
use crate::tuf::TufRepository;

/// The uids that `assay node up` gives to its programs by default.
pub const AGENT_UID: u32 = 61901;
/// The key worker's.
pub const KEY_WORKER_UID: u32 = 61902;
/// The fetcher's.
pub const FETCHER_UID: u32 = 61903;

/// A key in the token and what it may sign.
#[derive(Debug, Clone, Copy)]
pub struct KeyUse<'a> {
    /// The key's label in the token.
    pub label: &'a str,
    /// `image` or `policy`.
    pub purpose: &'a str,
    /// Who may use it through sign.sock.
    pub peers: &'a [u32],
}

/// A host.
#[derive(Debug)]
pub struct Host {
    // In the order in which they have to end.
    /// containerd, whose snapshotter is Assay's.
    pub containerd: Containerd,
    /// The node.
    pub node: Node,
    /// The registry, which the node may use over plain HTTP.
    pub registry: Registry,
    /// The token, once there is one.
    pub token: Option<Token>,
}

impl Host {
    /// Starts everything, with that policy in force and without a token.
    pub fn start(version: Version, policy: &PolicyText) -> Result<Self> {
        Self::reserve(version, Registry::start()?)?.up(policy)
    }

    /// Starts nothing but takes the registry, so that a policy can name its port and images can be pushed first.
    pub fn reserve(version: Version, registry: Registry) -> Result<Self> {
        let node = Node::reserve()?;
        let containerd = Containerd::reserve(version, Snapshotter::Assay(node.socket("snapshotter")))?;
        node.write("fetch.toml", &format!("agent-uid = {AGENT_UID}\nplain-http = [\"{}\"]\n", registry.host()))?;
        node.write(
            "snapshotter.toml",
            &format!("agent-uid = {AGENT_UID}\ncontainerd-address = {:?}\n", containerd.socket()),
        )?;
        node.write("image-verifier.toml", &format!("agent-uid = {AGENT_UID}\n"))?;
        node.write("assayd.toml", &agent_configuration(None, &[]))?;
        Ok(Self { containerd, node, registry, token: None })
    }

    /// Gives the node a token: its log key has the label `log`, and the keys named may sign.
    pub fn with_token(mut self, token: Token, keys: &[KeyUse<'_>]) -> Result<Self> {
        self.node.write("assayd.toml", &agent_configuration(Some(&token), keys))?;
        self.node.write(
            "keyd.toml",
            &format!(
                "module = {:?}\ntoken = \"{}\"\nagent-uid = {AGENT_UID}\npin-file = {:?}\n\
                 [environment]\nSOFTHSM2_CONF = {:?}\n",
                token.module(),
                token.label(),
                token.pin_file(),
                token.configuration(),
            ),
        )?;
        token.give_to(KEY_WORKER_UID, KEY_WORKER_UID)?;
        self.token = Some(token);
        Ok(self)
    }

    /// Has containerd ask the pull gate from its next start on. Without this it is the unpack gate that answers first.
    pub fn with_pull_gate(mut self) -> Result<Self> {
        self.containerd.ask_verifiers(Verifiers { folder: self.node.verifiers(), most: -1 })?;
        Ok(self)
    }

    /// Gives the fetcher the registry's credentials; it reads them at its next start.
    pub fn with_credentials(self) -> Result<Self> {
        self.node.write("docker.json", &self.registry.docker_config())?;
        let file = self.node.configuration_file("docker.json");
        std::os::unix::fs::chown(&file, Some(FETCHER_UID), Some(FETCHER_UID))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o400))?;
        let known = fs::read_to_string(self.node.configuration_file("fetch.toml"))?;
        self.node.write("fetch.toml", &format!("{known}docker-config = {file:?}\n"))?;
        Ok(self)
    }

    /// Puts the run gate in front of runc, for containers that are started after containerd's next start.
    pub fn with_run_gate(mut self) -> Result<Self> {
        let runc = Tools::find()?.program("runc");
        self.node.write(
            "runtime.toml",
            &format!(
                "agent-uid = {AGENT_UID}\ncontainerd-address = {:?}\nruntime = {runc:?}\n",
                self.containerd.socket()
            ),
        )?;
        self.containerd.prefer_runtimes_of(&self.node.run_gate_folder())?;
        Ok(self)
    }

    /// Lets the fetcher ask a host on this machine about revocation; it reads so at its next start.
    pub fn with_revocation_host(self, host: &str) -> Result<Self> {
        let known = fs::read_to_string(self.node.configuration_file("fetch.toml"))?;
        self.node.write("fetch.toml", &format!("{known}revocation-hosts = [\"{host}\"]\n"))?;
        Ok(self)
    }

    /// Has the agent keep a root of trust of that name by a repository, which is asked only when a test says so.
    pub fn with_trust_root(self, name: &str, repository: &TufRepository) -> Result<Self> {
        let node = &self.node;
        let known = fs::read_to_string(node.configuration_file("fetch.toml"))?;
        let host = format!("plain-http = [{:?}, ", repository.server.host());
        node.write("fetch.toml", &known.replacen("plain-http = [", &host, 1))?;
        node.write(&format!("{name}-tuf-root.json"), std::str::from_utf8(&repository.first_root()?)?)?;
        let known = fs::read_to_string(node.configuration_file("assayd.toml"))?;
        node.write(
            "assayd.toml",
            &format!(
                "{known}[trust-roots.{name}]\nroot = \"{name}-tuf-root.json\"\nrepositories = [{:?}]\nrefresh = \"365d\"\n",
                repository.address()
            ),
        )?;
        Ok(self)
    }

    /// Starts the node and then containerd, with that policy in force.
    pub fn up(mut self, policy: &PolicyText) -> Result<Self> {
        self.node.write_policy(policy)?;
        self.start_node()?;
        self.containerd.resume()?;
        Ok(self)
    }

    /// Starts the node again after its [`Node::stop`].
    pub fn start_node(&mut self) -> Result<()> {
        let containerd = self.containerd.socket();
        let more: &[&str] = if self.token.is_some() { &[] } else { &["--no-keyd"] };
        self.node.start(&containerd, more)
    }

    /// A repository of the host's registry.
    pub fn repository(&self, name: &str) -> Repository {
        self.registry.repository(name)
    }
}

fn agent_configuration(token: Option<&Token>, keys: &[KeyUse<'_>]) -> String {
    let mut text = format!("key-worker-uid = {KEY_WORKER_UID}\nfetcher-uid = {FETCHER_UID}\nadmin-uids = [0]\n");
    if let Some(token) = token {
        text.push_str(&format!("log-key = \"{}\"\ncheckpoint-interval-seconds = 1\n", token.uri("log")));
        for key in keys {
            text.push_str(&format!(
                "[[keys]]\nuri = \"{}\"\npurpose = \"{}\"\npeers = {:?}\n",
                token.uri(key.label),
                key.purpose,
                key.peers
            ));
        }
    }
    text
}
