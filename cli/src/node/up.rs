//! `assay node up`: a whole node in the foreground, for trial. Lays out folders, sockets and missing configuration below
//! the root, starts each program under its own uid, keeps them running, and stops them all at the end. It judges nothing.

mod child;
pub(super) mod config;
mod containerd;
mod gates;
mod layout;
mod supervise;

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::{
    Context,
    failure::{Exit, Failure},
};

use self::{child::Program, layout::Layout, supervise::Node};

/// Run agent, key worker, fetcher and snapshotter in the foreground, each under its own uid, and print the configuration
/// that containerd needs. For trial; stops with Ctrl-C or SIGTERM.
#[derive(Args, Debug)]
pub(crate) struct UpArgs {
    /// containerd's socket
    #[arg(long, value_name = "SOCKET", default_value = "/run/containerd/containerd.sock")]
    containerd_address: PathBuf,
    /// A registry that is reached over plain HTTP (may be repeated); goes into a new fetch.toml
    #[arg(long, value_name = "HOST:PORT")]
    plain_http: Vec<String>,
    /// The agent's uid and gid
    #[arg(long, value_name = "UID", default_value_t = 61901, value_parser = clap::value_parser!(u32).range(1..))]
    uid_agent: u32,
    /// The key worker's uid and gid
    #[arg(long, value_name = "UID", default_value_t = 61902, value_parser = clap::value_parser!(u32).range(1..))]
    uid_keyd: u32,
    /// The fetcher's uid and gid
    #[arg(long, value_name = "UID", default_value_t = 61903, value_parser = clap::value_parser!(u32).range(1..))]
    uid_fetch: u32,
    /// Where assayd, assay-keyd, assay-fetch, containerd-assay-grpc, assay-runc and assay-image-verifier are [default: the folder of assay itself]
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// Write each program's log to DIR/PROGRAM.log instead of standard error
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
    /// Run no key worker: the agent verifies, and cannot sign
    #[arg(long)]
    no_keyd: bool,
    /// Run no snapshotter and install no gate: nothing is enforced
    #[arg(long)]
    no_snapshotter: bool,
    #[command(flatten)]
    token: TokenArgs,
}

/// What goes into new configuration files.
#[derive(Args, Debug)]
#[command(next_help_heading = "Token and keys (for configuration files that do not exist yet)")]
struct TokenArgs {
    /// The PKCS#11 module
    #[arg(long, value_name = "FILE", default_value = "/usr/lib/softhsm/libsofthsm2.so")]
    token_module: PathBuf,
    /// The token's label
    #[arg(long, value_name = "LABEL", default_value = "assay")]
    token_label: String,
    /// A file with the PIN; it is copied to /etc/assay/keyd.pin below the root, for the key worker's uid alone
    #[arg(long, value_name = "FILE")]
    token_pin_file: Option<PathBuf>,
    /// What the module needs in its environment, such as SOFTHSM2_CONF=/path (may be repeated)
    #[arg(long, value_name = "NAME=VALUE", value_parser = config::variable)]
    token_env: Vec<(String, String)>,
    /// The key that signs the log's heads, as a pkcs11: URI
    #[arg(long, value_name = "URI")]
    log_key: Option<String>,
    /// A key with which images may be signed, as a pkcs11: URI (may be repeated)
    #[arg(long, value_name = "URI")]
    image_key: Vec<String>,
}

pub(super) async fn run(context: &Context, arguments: &UpArgs) -> Result<Exit, Failure> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Failure::new(
            "NOT_ROOT",
            "`assay node up` gives each program a uid of its own, and only root can do that",
            "run it as root, with --root DIR for a folder that may be thrown away",
        ));
    }
    let mut programs = Program::wanted(arguments)?;
    let layout = Layout::create(&context.root, &programs)?;
    config::write_missing(&layout, arguments, context.console)?;
    if !arguments.no_snapshotter {
        gates::install(&context.root, arguments)?;
    }
    let access = config::signing_access(&layout.etc("assayd.toml"))?;
    programs.iter_mut().for_each(|program| program.open_signing(access));
    if let Some(folder) = &arguments.logs {
        std::fs::create_dir_all(folder).map_err(|error| Failure::io("make the folder", folder, &error))?;
    }

    let mut node = Node::start(layout, programs, arguments.logs.clone())?;
    if let Some(stopped) = node.wait_until_ready(context.timeout).await? {
        return Ok(stopped);
    }
    let configuration = containerd::configuration(&context.root);
    let ready = json!({
        "ready": true,
        "root": context.root,
        "pids": node.pids(),
        "containerd": { "2.x": configuration.version_3, "1.6": configuration.version_2 },
    });
    context.console.print(&format!("{configuration}\nready"), &ready)?;
    node.run().await
}
