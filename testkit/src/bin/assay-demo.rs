//! `make demo`: the real programs, in folders of their own, from a fresh token to a checked log. In: CONTAINERD=2 or 1.6.
//! Out: what each program was asked and what it said. Ends everything it started, also when interrupted.

use std::fs;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use assay_testkit::{
    Cosign, Finished, Host, ImageBuilder, KeyUse, PolicyText, PullBy, PushedImage, Registry, Token, TokenKey, Version,
    sha256,
};
use tokio::signal::unix::{SignalKind, signal};

/// `println!` that does not mind a closed pipe (`make demo | head`): everything is still cleared away.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        None => {}
        Some("--help" | "-h") => {
            say!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Some(other) => {
            eprintln!("demo: {other} is no option\n\n{HELP}");
            return ExitCode::from(2);
        }
    }
    if let Err(error) = notice_interruption() {
        eprintln!("demo: {error}");
        return ExitCode::FAILURE;
    }
    match demonstrate() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\ndemo: stopped: {error:#}");
            ExitCode::FAILURE
        }
    }
}

const HELP: &str = "\
assay-demo: shows Assay with the real programs, in temporary folders, and stops whatever it started

Usage: make demo, or as root after `make build`: assay-demo

Environment: CONTAINERD=2 (default) or 1.6, which containerd pulls and runs";

/// Whether someone wants the demonstration to end; it does so at the next step, by the ordinary way out.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Interrupting reaches the programs as well; they end, the step that waits for them fails, and all is cleared away. The
/// signals are handled, not blocked: a blocked signal would stay blocked in every program that is started here.
fn notice_interruption() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        INTERRUPTED.store(true, Ordering::Relaxed);
    });
    Ok(())
}

fn demonstrate() -> Result<()> {
    let version = containerd_version()?;

    chapter("A token, a key that never leaves it, and a node");
    let mut demo = Demo::start(version)?;
    demo.say(&["keys", "list"])?;

    chapter("An image, built and pushed to a local registry, signed through the agent with the key in the token");
    let image = demo.push("signed")?;
    demo.say(&["sign", &image.by_tag(), "--key", &demo.key])?;
    demo.cosign_agrees(&image)?;

    chapter("containerd pulls it and runs it");
    demo.pull(&image)?.success()?;
    demo.run(&image)?.success()?;

    chapter("Nobody signed this one");
    let unsigned = demo.push("unsigned")?;
    demo.refused(&unsigned, "NO_SIGNATURE")?;
    demo.count_layers(&unsigned)?;

    chapter("This one was signed, and then one byte of the signature was changed");
    let tampered = demo.push("tampered")?;
    demo.say(&["sign", &tampered.by_tag(), "--key", &demo.key])?;
    change_signature(&tampered)?;
    demo.refused(&tampered, "NOT_SATISFIED")?;

    chapter("The policy is switched to observe: the unsigned image is admitted, and recorded");
    demo.observe()?;
    demo.pull(&unsigned)?.success()?;
    demo.run(&unsigned)?.success()?;

    chapter("The log, read back and checked without the agent's help");
    demo.say(&["audit", "show", "--last", "6"])?;
    demo.say(&["audit", "head"])?;
    demo.say(&["audit", "verify"])?;
    demo.stop()?;
    say!("{END}");
    Ok(())
}

const END: &str = "
Shown: a key in a PKCS#11 token signed an image through the agent, and cosign agrees; containerd pulled and ran it; an
unsigned image and a tampered signature were refused with a reason; observing, the same image was admitted and recorded;
the log verifies. Everything that was started is stopped, and the host's own containerd was not touched.

Next: README.md, \"The first five minutes with your own containerd\"; policy-examples/ for policies to start from;
docs/design.md for how it works.";

/// What the demonstration plays with.
struct Demo {
    host: Host,
    key: String,
    policy: PolicyText,
}

impl Demo {
    fn start(version: Version) -> Result<Self> {
        let token = Token::create("assay")?;
        token.generate("log", TokenKey::P256)?;
        token.generate("ci-release", TokenKey::P256)?;
        say!("  a SoftHSM token `assay` with the keys `log` and `ci-release`");
        let registry = Registry::start()?;
        say!("  a registry on {}", registry.host());
        let (key, public) = (token.uri("ci-release"), token.uri("ci-release").replace("type=private", "type=public"));
        let pin = sha256(&token.public_key("ci-release")?);
        let policy = PolicyText::enforcing().token_key("ci-release", &public, pin.trim_start_matches("sha256:")).rule(
            "production",
            &[&format!("{}/prod/**", registry.host())],
            1,
            &["ci-release"],
        );
        say!("  this policy:\n");
        policy.document().lines().for_each(|line| say!("    {line}"));
        let uses = [KeyUse { label: "ci-release", purpose: "image", peers: &[0] }];
        let host = Host::reserve(version, registry)?.with_token(token, &uses)?.with_pull_gate()?.up(&policy)?;
        say!("\n  assayd, assay-keyd, assay-fetch and containerd-assay-grpc, each under its own uid");
        match version {
            Version::V2 => say!("  containerd asks assay-image-verifier before it fetches anything"),
            Version::V1_6 => {}
        }
        say!("  {}", host.containerd.program_version()?);
        Ok(Self { host, key, policy })
    }

    fn push(&self, name: &str) -> Result<PushedImage> {
        let image = ImageBuilder::busybox(name)?.push(&self.host.repository("prod/app"), name)?;
        say!("  pushed {}\n         {}", image.by_tag(), image.digest);
        Ok(image)
    }

    /// Runs `assay` and shows what it says; fails if it fails.
    fn say(&self, words: &[&str]) -> Result<()> {
        show(self.host.node.assay(words)?)?.success().map(drop)
    }

    fn cosign_agrees(&self, image: &PushedImage) -> Result<()> {
        let token = self.host.token.as_ref().context("the demonstration has a token")?;
        let public = self.host.node.root().join("ci-release.pub");
        fs::write(&public, token.public_key_pem("ci-release")?)?;
        show(Cosign::new()?.verify(&public, &image.by_digest())?)?.success().map(drop)
    }

    fn pull(&self, image: &PushedImage) -> Result<Finished> {
        show(self.host.containerd.pull(&image.by_tag(), PullBy::Default)?)
    }

    fn run(&self, image: &PushedImage) -> Result<Finished> {
        show(self.host.containerd.run(&image.by_tag(), &[])?)
    }

    fn refused(&self, image: &PushedImage, code: &str) -> Result<()> {
        let answer = self.pull(image)?.failure()?;
        ensure!(answer.said(code), "it was to be refused with {code}");
        ensure!(!self.run(image)?.status.success(), "a refused image ran");
        Ok(())
    }

    /// What the registry was asked for says whether a layer was downloaded.
    fn count_layers(&self, image: &PushedImage) -> Result<()> {
        let requests = self.host.registry.requests();
        let own: Vec<_> = image.manifest().layers.iter().skip(1).collect();
        let fetched =
            own.iter().filter(|layer| requests.iter().any(|line| line.starts_with("GET") && line.contains(**layer)));
        let fetched = fetched.count();
        say!("\n  layers of this image alone: {}; downloaded by containerd: {fetched}", own.len());
        match self.host.containerd.version() {
            Version::V2 => ensure!(fetched == 0, "a layer was downloaded before the verdict"),
            Version::V1_6 => say!("  (containerd 1.6 downloads before it unpacks; nothing was unpacked)"),
        }
        Ok(())
    }

    fn observe(&mut self) -> Result<()> {
        self.policy = self.policy.in_mode("observe");
        self.host.node.write_policy(&self.policy)?;
        self.say(&["node", "reload"])
    }

    fn stop(mut self) -> Result<()> {
        self.host.containerd.stop()?;
        self.host.node.stop()
    }
}

/// Changes one byte of the envelope that is attached to the image, and every digest that depends on it.
fn change_signature(image: &PushedImage) -> Result<()> {
    image.change_referrers(|envelope| {
        let at = envelope.windows(5).rposition(|window| window == b"\"sig\"").map_or(0, |at| at + 40);
        if let Some(byte) = envelope.get_mut(at) {
            *byte = if *byte == b'A' { b'B' } else { b'A' };
        }
    })?;
    say!("  one byte of its signature is changed in the registry");
    Ok(())
}

fn containerd_version() -> Result<Version> {
    match std::env::var("CONTAINERD").as_deref() {
        Err(_) | Ok("2") => Ok(Version::V2),
        Ok("1.6") => Ok(Version::V1_6),
        Ok(other) => bail!("CONTAINERD is {other:?}; it can be 2 or 1.6"),
    }
}

fn chapter(title: &str) {
    say!("\n== {title}\n");
}

/// Prints the command and its words, without the progress that a terminal would have overwritten.
fn show(finished: Finished) -> Result<Finished> {
    const LINES: usize = 14;
    say!("  $ {}", short(finished.command_line()));
    let said: Vec<_> =
        finished.stdout.lines().chain(finished.stderr.lines()).filter(|line| !is_progress(line)).collect();
    for line in said.iter().skip(said.len().saturating_sub(LINES)) {
        say!("    {line}");
    }
    say!("    -> {} in {} ms\n", finished.status, finished.took.as_millis());
    ensure!(!INTERRUPTED.load(Ordering::Relaxed), "interrupted");
    Ok(finished)
}

fn is_progress(line: &str) -> bool {
    let ends = ["fetching image content", "saved"];
    let starts = ["application/vnd.", "manifest-sha256", "layer-sha256", "config-sha256", "index-sha256"];
    let (start, end) = (line.trim_start(), line.trim_end());
    end.is_empty()
        || line.contains("elapsed:")
        || line.contains("──")
        || ends.iter().any(|word| end.ends_with(word))
        || starts.iter().any(|word| start.starts_with(word))
}

/// A program's path is where it happens to lie; only its name matters to a reader.
fn short(line: &str) -> String {
    let (program, rest) = line.split_once(' ').unwrap_or((line, ""));
    format!("{} {rest}", program.rsplit('/').next().unwrap_or(program))
}
