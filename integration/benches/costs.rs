//! `make bench`: what Assay costs, beside its peers in the same run. In: the programs built in release. Out: a table in
//! Markdown, with what the design demands; `cargo bench -p assay-integration -- pull` runs one part of it. Fails where something does not work, never because it is slow.

use std::env;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use assay_proto::assay::{
    AdmitRequest, ChainPurpose, ChainSubject, Decision, Document, GateKind, ImageClaim, Name, NameSource,
    admit_request::Subject, gate_client::GateClient,
};
use assay_testkit::{
    AGENT_UID, CertificateAuthority, Containerd, Cosign, CosignKey, EnvelopeFormat, Host, ImageBuilder, KeyKind,
    KeyUse, Notation, PolicyText, Program, PullBy, PushedImage, Registry, Snapshotter, Token, TokenKey, Tools, Version,
    sha256,
};
use serde_json::json;
use tonic::transport::Channel;

const WARM: usize = 5_000;
const COLD: usize = 20;
const PAIRS: usize = 30;
const PROCESSES: usize = 20;
const CALLS: usize = 100;

fn main() -> Result<()> {
    // `cargo bench` itself adds options; what is left names the parts that are wanted.
    let wanted: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let bench = Bench::start()?;
    println!("| Work | Must | Measured |\n|---|---|---|");
    let is_wanted = |part: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == part);
    if is_wanted("memory") {
        bench.memory()?;
    }
    if is_wanted("admit") {
        bench.admit()?;
    }
    if is_wanted("verifier") {
        bench.verifier()?;
    }
    if is_wanted("verify") {
        bench.verify()?;
    }
    if is_wanted("pull") {
        bench.pull()?;
    }
    if is_wanted("run") {
        bench.run()?;
    }
    Ok(())
}

struct Bench {
    host: Host,
    cosign: Cosign,
    key: CosignKey,
}

impl Bench {
    fn start() -> Result<Self> {
        let registry = Registry::start()?;
        let cosign = Cosign::new()?;
        let key = cosign.generate_key("ci")?;
        let policy = PolicyText::enforcing().key("ci", &key.public_pem()?).rule(
            "production",
            &[&format!("{}/prod/**", registry.host())],
            1,
            &["ci"],
        );
        let token = Token::create("assay")?;
        token.generate("log", TokenKey::P256)?;
        token.generate("ci", TokenKey::P256)?;
        let uses = [KeyUse { label: "ci", purpose: "image", peers: &[0] }];
        let host = Host::reserve(Version::V2, registry)?.with_token(token, &uses)?.with_run_gate()?.up(&policy)?;
        Ok(Self { host, cosign, key })
    }

    fn signed(&self, builder: ImageBuilder, tag: &str) -> Result<PushedImage> {
        let image = builder.push(&self.host.repository("prod/app"), tag)?;
        self.cosign.sign(&self.key, &image.by_digest())?;
        Ok(image)
    }

    /// Resident memory of each program before anything was asked of it.
    fn memory(&self) -> Result<()> {
        let must = [(Program::Agent, 15), (Program::Fetcher, 12), (Program::Snapshotter, 12), (Program::KeyWorker, 6)];
        for (program, limit) in must {
            let status = fs::read_to_string(format!("/proc/{}/status", self.host.node.pid(program)?))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS is there")?;
            let note = if program == Program::KeyWorker { " (with SoftHSM's module)" } else { "" };
            println!("| memory at rest: {}{note} | {limit} MiB | {} |", program.name(), line.trim());
        }
        Ok(())
    }

    /// `Gate.Admit` as the unpack gate asks it, from call to answer.
    fn admit(&self) -> Result<()> {
        let images: Vec<_> = (0..COLD)
            .map(|number| self.signed(ImageBuilder::busybox(&format!("cold-{number}"))?, &format!("cold-{number}")))
            .collect::<Result<_>>()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let channel = assay_proto::connect(&self.host.node.socket("gate"), &[0, AGENT_UID]).await?;
            let mut gate = GateClient::new(channel);
            let mut cold = Vec::new();
            for image in &images {
                cold.push(admit_once(&mut gate, question(image)?).await?);
            }
            println!("| cold `Gate.Admit`, evidence fetched | | {} |", spread(&mut cold));
            let asked = question(images.first().context("there are images")?)?;
            let mut warm = Vec::new();
            for _ in 0..WARM {
                warm.push(admit_once(&mut gate, asked.clone()).await?);
            }
            println!("| warm `Gate.Admit`, client to client | 150 us p50 | {} |", spread(&mut warm));
            Ok(())
        })
    }

    /// The pull gate as containerd starts it, for an image that was admitted before, in turns with a program that does nothing.
    fn verifier(&self) -> Result<()> {
        let image = self.signed(ImageBuilder::busybox("verifier")?, "verifier")?;
        let stored = image.repository.manifest(&image.digest)?.context("the image is there")?;
        let descriptor = json!({ "mediaType": stored.media_type, "digest": image.digest, "size": stored.bytes.len() });
        let program = self.host.node.verifiers().join("assay-image-verifier");
        let judge = || {
            let mut command = Command::new(&program);
            command.args(["-name", &image.by_tag(), "-digest", &image.digest]);
            command.args(["-stdin-media-type", "application/vnd.oci.descriptor.v1+json"]);
            whole(&mut command, &descriptor.to_string())
        };
        judge()?;
        let (mut ours, mut nothing) = (Vec::new(), Vec::new());
        for _ in 0..CALLS {
            ours.push(judge()?);
            nothing.push(whole(&mut Command::new("/bin/true"), "")?);
        }
        println!("| image verifier program, warm, whole process | 4 ms | {} |", spread_finely(&mut ours));
        println!("| `/bin/true`, whole process | | {} |", spread_finely(&mut nothing));
        Ok(())
    }

    /// One keyed signature, whole processes, interleaved.
    fn verify(&self) -> Result<()> {
        let image = self.signed(ImageBuilder::busybox("verify")?, "verify")?;
        let root = CertificateAuthority::root("Acme Root")?;
        let notation = Notation::new()?;
        notation.add_key("release", &root.code_signing("Release Managers", KeyKind::P256)?)?;
        notation.trust(root.root_pem(), &["*"])?;
        let other = ImageBuilder::busybox("notation")?.push(&self.host.repository("prod/app"), "notation")?;
        notation.sign("release", EnvelopeFormat::Jws, &other.by_digest())?;

        let key = self.key.public.to_string_lossy().into_owned();
        let (mut ours, mut cosigns, mut notations, mut agents) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..PROCESSES {
            ours.push(self.host.node.assay(&["verify", &image.by_digest(), "--key", &key])?.success()?.took);
            agents.push(self.host.node.assay(&["verify", &image.by_digest()])?.success()?.took);
            cosigns.push(self.cosign.verify(&self.key.public, &image.by_digest())?.success()?.took);
            notations.push(notation.verify(&other.by_digest())?.success()?.took);
        }
        println!("| `cosign verify --key` | | {} |", spread(&mut cosigns));
        println!("| `notation verify` | | {} |", spread(&mut notations));
        println!("| `assay verify` through the agent | | {} |", spread(&mut agents));
        println!("| `assay verify --key` | 1/4 of notation's | {} |", spread(&mut ours));
        Ok(())
    }

    /// A signed image of 20 layers, through Assay and through stock overlayfs, in turns.
    fn pull(&self) -> Result<()> {
        let image = self.signed(ImageBuilder::busybox("deep")?.layers(18, 200_000), "deep")?;
        let stock = Containerd::start(Version::V2, Snapshotter::Stock)?;
        let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for pair in 0..PAIRS {
            let order: [&Containerd; 2] =
                if pair % 2 == 0 { [&self.host.containerd, &stock] } else { [&stock, &self.host.containerd] };
            let mut took = [Duration::ZERO; 2];
            for (containerd, took) in order.iter().zip(&mut took) {
                *took = containerd.pull(&image.by_tag(), PullBy::Default)?.success()?.took;
                containerd.remove_image(&image.by_tag())?;
            }
            let [first, second] = took;
            let (assay, overlayfs) = if pair % 2 == 0 { (first, second) } else { (second, first) };
            ours.push(assay);
            theirs.push(overlayfs);
            ratios.push(assay.as_secs_f64() / overlayfs.as_secs_f64());
        }
        ratios.sort_by(f64::total_cmp);
        println!("| pull of 20 layers, stock overlayfs | | {} |", spread(&mut theirs));
        println!("| pull of 20 layers, Assay | | {} |", spread(&mut ours));
        // The 21st of 30 ordered ratios is the upper 95 % bound of their median (binomial order statistic).
        let (median, bound) = (ratios.get(PAIRS / 2), ratios.get(PAIRS * 7 / 10 - 1));
        let (median, bound) = (median.context("there are pairs")?, bound.context("there are pairs")?);
        println!("| paired ratio | upper 95 % bound 1.05 | median {median:.3}, bound {bound:.3} |");
        Ok(())
    }
}

impl Bench {
    /// A container of a signed image from start to end, with runc and with the run gate in front of it, in turns.
    fn run(&self) -> Result<()> {
        let image = self.signed(ImageBuilder::busybox("run")?, "run")?;
        let containerd = &self.host.containerd;
        containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
        let runtimes = [Tools::find()?.program("runc"), self.host.node.run_gate_folder().join("bin/runc")];
        let mut took = [Vec::new(), Vec::new()];
        for round in 0..PAIRS * 2 {
            for which in [round % 2, 1 - round % 2] {
                let (runtime, times) = (runtimes.get(which), took.get_mut(which));
                let runtime = runtime.context("there are two")?.to_string_lossy();
                let id = format!("bench-{}-{round}-{which}", std::process::id());
                let words = ["run", "--rm", "--runc-binary", &runtime, "--snapshotter", "assay", &image.by_tag(), &id];
                let finished = containerd.ctr(&[&words[..], &["/bin/true"]].concat())?.success()?;
                times.context("there are two")?.push(finished.took);
            }
        }
        let [mut alone, mut gated] = took;
        let pairs = alone.iter().zip(&gated);
        let mut more: Vec<f64> =
            pairs.map(|(alone, gated)| (gated.as_secs_f64() - alone.as_secs_f64()) * 1e3).collect();
        more.sort_by(f64::total_cmp);
        println!("| `ctr run`, runc alone | | {} |", spread(&mut alone));
        println!("| `ctr run` through `assay-runc` | | {} |", spread(&mut gated));
        println!("| paired difference | +5 ms | median {:+.1} ms |", more.get(PAIRS).context("there are pairs")?);
        Ok(())
    }
}

async fn admit_once(gate: &mut GateClient<Channel>, question: AdmitRequest) -> Result<Duration> {
    let started = Instant::now();
    let answer = gate.admit(question).await?.into_inner();
    let took = started.elapsed();
    ensure!(answer.decision() == Decision::Allow, "not admitted: {answer:?}");
    Ok(took)
}

/// How long a program takes from its start to its end, fed from a pipe as containerd does.
fn whole(command: &mut Command, stdin: &str) -> Result<Duration> {
    let started = Instant::now();
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    // A program that reads nothing may be gone already.
    let _ = child.stdin.take().context("its input is a pipe")?.write_all(stdin.as_bytes());
    let output = child.wait_with_output()?;
    let took = started.elapsed();
    ensure!(output.status.success(), "it said {}", String::from_utf8_lossy(&output.stdout));
    Ok(took)
}

/// What the unpack gate sends for the top chain of an image.
fn question(image: &PushedImage) -> Result<AdmitRequest> {
    let manifest = image.manifest();
    let stored = image.repository.manifest(&manifest.digest)?.context("the image is there")?;
    let mut chain = String::new();
    for diff_id in &manifest.diff_ids {
        // OCI image specification, "Layer ChainID".
        chain = if chain.is_empty() { diff_id.clone() } else { sha256(format!("{chain} {diff_id}").as_bytes()) };
    }
    let name = Name { reference: image.by_tag(), source: NameSource::ImageRecord.into() };
    let claim = ImageClaim {
        manifest: manifest.digest.clone(),
        config: sha256(&manifest.config),
        indexes: Vec::new(),
        names: vec![name],
    };
    let config = "application/vnd.oci.image.config.v1+json".to_owned();
    Ok(AdmitRequest {
        gate: GateKind::Unpack.into(),
        namespace: "default".to_owned(),
        platform: format!("linux/{}", manifest.architecture),
        subject: Some(Subject::Chain(ChainSubject {
            chain,
            images: vec![claim],
            purpose: ChainPurpose::Use.into(),
            ..ChainSubject::default()
        })),
        documents: vec![
            Document { media_type: stored.media_type, content: stored.bytes },
            Document { media_type: config, content: manifest.config.clone() },
        ],
    })
}

/// Median, 99th percentile and number of measurements.
fn spread(times: &mut [Duration]) -> String {
    spread_to(times, 0)
}

/// The same with two decimals.
fn spread_finely(times: &mut [Duration]) -> String {
    spread_to(times, 2)
}

fn spread_to(times: &mut [Duration], decimals: usize) -> String {
    times.sort();
    let at = |percent: usize| times.get((times.len() * percent / 100).min(times.len().saturating_sub(1)));
    match (at(50), at(99)) {
        (Some(median), Some(worst)) => {
            format!("p50 {median:.decimals$?}, p99 {worst:.decimals$?}, n {}", times.len())
        }
        _ => "nothing measured".to_owned(),
    }
}
