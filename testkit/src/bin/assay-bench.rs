//! `make bench`: what Assay costs on this machine, beside its peers in the same run. Prints one table; asserts nothing but
//! that each thing measured was really done. Build with `--release`, and leave the machine alone meanwhile.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use assay_proto::{assay as wire, connect};
use assay_testkit::{
    CertificateAuthority, Containerd, Cosign, EnvelopeFormat, Host, ImageBuilder, KeyKind, KeyUse, Notation,
    PolicyText, Program, PullBy, PushedImage, Registry, Snapshotter, Token, TokenKey, Version, sha256,
};

/// Requests for a warm answer.
const WARM: usize = 5_000;
/// Questions that are new to the agent, with evidence it has kept.
const KEPT: usize = 300;
/// Images that are new to the agent, evidence and all.
const COLD: usize = 20;
/// Interleaved pairs of pulls.
const PULLS: usize = 30;
/// Interleaved rounds of whole verifying processes.
const VERIFICATIONS: usize = 20;

fn main() -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "containers and mounts need root");
    let token = Token::create("assay")?;
    token.generate("log", TokenKey::P256)?;
    token.generate("ci", TokenKey::P256)?;
    let (public_pem, uri) = (token.public_key_pem("ci")?, token.uri("ci"));
    let ca = CertificateAuthority::root("Bench Root")?;
    let host = Host::reserve(Version::V2, Registry::start()?)?
        .with_token(token, &[KeyUse { label: "ci", purpose: "image", peers: &[0] }])?;
    let scope = format!("{}/bench/**", host.registry.host());
    let policy = PolicyText::enforcing().key("ci", &public_pem).rule("bench", &[&scope], 1, &["ci"]);
    let host = host.up(&policy)?;
    let bench = Bench { host, uri };

    println!("| Work | p50 | p95 | n |\n|---|---|---|---|");
    let twenty = bench.signed("twenty", 18)?;
    bench.admit(&twenty)?;
    bench.cold()?;
    bench.pulls(&twenty)?;
    bench.verifications(&ca, &public_pem)?;
    bench.memory()
}

struct Bench {
    host: Host,
    uri: String,
}

impl Bench {
    /// An image with two layers and `more`, signed through the agent.
    fn signed(&self, name: &str, more: usize) -> Result<PushedImage> {
        let repository = self.host.repository(&format!("bench/{name}"));
        let image = ImageBuilder::busybox(name)?.layers(more, 64 << 10).push(&repository, "1")?;
        self.host.node.assay(&["sign", &image.by_tag(), "--key", &self.uri])?.success()?;
        Ok(image)
    }

    /// `Gate.Admit` from client to client: from memory, and with everything verified again.
    fn admit(&self, image: &PushedImage) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let channel = connect(&self.host.node.socket("gate"), &[0]).await?;
            let mut gate = wire::gate_client::GateClient::new(channel);
            let ask = question(image, "bench")?;
            let answer = gate.admit(ask.clone()).await?.into_inner();
            ensure!(answer.decision() == wire::Decision::Allow, "not admitted: {answer:?}");
            let mut warm = Samples::of("warm `Gate.Admit`, client to client");
            for _ in 0..WARM {
                let started = Instant::now();
                gate.admit(ask.clone()).await?;
                warm.add(started.elapsed());
            }
            warm.print();
            // Evidence is kept a moment after the first answer.
            tokio::time::sleep(Duration::from_millis(300)).await;
            let mut kept = Samples::of("`Gate.Admit`, new question, kept evidence verified, record synced");
            for number in 0..KEPT {
                let ask = question(image, &format!("bench-{number}"))?;
                let started = Instant::now();
                let answer = gate.admit(ask).await?.into_inner();
                kept.add(started.elapsed());
                ensure!(answer.decision() == wire::Decision::Allow, "not admitted: {answer:?}");
            }
            kept.print();
            Ok(())
        })
    }

    /// `Gate.Admit` for images whose signatures lie in the registry.
    fn cold(&self) -> Result<()> {
        let images: Vec<PushedImage> =
            (0..COLD).map(|number| self.signed(&format!("cold{number}"), 0)).collect::<Result<_>>()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let channel = connect(&self.host.node.socket("gate"), &[0]).await?;
            let mut gate = wire::gate_client::GateClient::new(channel);
            let mut cold = Samples::of("cold `Gate.Admit`, signatures collected from a local registry");
            for image in &images {
                let ask = question(image, "bench")?;
                let started = Instant::now();
                let answer = gate.admit(ask).await?.into_inner();
                cold.add(started.elapsed());
                ensure!(answer.decision() == wire::Decision::Allow, "not admitted: {answer:?}");
            }
            cold.print();
            Ok(())
        })
    }

    /// The same 20 layers through Assay and through stock overlayfs, in turn.
    fn pulls(&self, image: &PushedImage) -> Result<()> {
        let stock = Containerd::start(Version::V2, Snapshotter::Stock)?;
        let mut pulls = [
            Samples::of("pull of 20 layers through Assay, whole `ctr` process"),
            Samples::of("the same through stock overlayfs"),
        ];
        let mut ratios = Vec::new();
        for round in 0..=PULLS {
            let mut pair = [Duration::ZERO; 2];
            // Each goes first every other time.
            for place in [round % 2, 1 - round % 2] {
                let containerd = if place == 0 { &self.host.containerd } else { &stock };
                let pulled = containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
                containerd.remove_image(&image.by_tag())?;
                if let Some(slot) = pair.get_mut(place) {
                    *slot = pulled.took;
                }
            }
            // The first round warms both.
            if round > 0 {
                ratios.push(pair[0].as_secs_f64() / pair[1].as_secs_f64());
                pulls.iter_mut().zip(pair).for_each(|(samples, took)| samples.add(took));
            }
        }
        pulls.iter_mut().for_each(Samples::print);
        ratios.sort_by(f64::total_cmp);
        let (low, high) = median_interval(ratios.len());
        let at = |index: usize| ratios.get(index).copied().unwrap_or(f64::NAN);
        println!(
            "| pull through Assay / stock, paired | median {:.3} | 95 % interval of the median {:.3} to {:.3} | {} |",
            at(ratios.len() / 2),
            at(low),
            at(high),
            ratios.len()
        );
        Ok(())
    }

    /// One keyed signature as whole processes: assay, cosign, notation, in turn.
    fn verifications(&self, ca: &CertificateAuthority, public_pem: &str) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let key_file = folder.path().join("ci.pub");
        std::fs::write(&key_file, public_pem)?;
        let image = self.signed("verified", 0)?;
        let (cosign, notation) = (Cosign::new()?, Notation::new()?);
        let noted = ImageBuilder::busybox("noted")?.push(&self.host.repository("bench/noted"), "1")?;
        notation.add_key("bench", &ca.code_signing("Bench", KeyKind::P256)?)?;
        notation.trust(ca.root_pem(), &["x509.subject: C=DE, ST=Berlin, O=Acme"])?;
        notation.sign("bench", EnvelopeFormat::Cose, &noted.by_digest())?;
        let key = key_file.to_str().context("the temporary folder's name is not UTF-8")?;
        let mut rounds = [
            Samples::of("`assay verify --key`, whole process, without an agent"),
            Samples::of("`assay verify`, whole process, asks the agent"),
            Samples::of("`cosign verify --key`, whole process"),
            Samples::of("`notation verify`, whole process"),
        ];
        for round in 0..=VERIFICATIONS {
            let took = [
                self.host.node.assay(&["verify", "--key", key, &image.by_digest()])?.success()?.took,
                self.host.node.assay(&["verify", &image.by_digest()])?.success()?.took,
                cosign.verify(&key_file, &image.by_digest())?.success()?.took,
                notation.verify(&noted.by_digest())?.success()?.took,
            ];
            if round > 0 {
                rounds.iter_mut().zip(took).for_each(|(samples, took)| samples.add(took));
            }
        }
        rounds.iter_mut().for_each(Samples::print);
        Ok(())
    }

    /// Resident memory of each program after all of the above.
    fn memory(&self) -> Result<()> {
        println!("\n| Program | resident | of it private |\n|---|---|---|");
        for program in [Program::Agent, Program::Fetcher, Program::Snapshotter, Program::KeyWorker] {
            let smaps = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.host.node.pid(program)?))?;
            let sum = |fields: &[&str]| -> f64 {
                let kib: f64 = smaps
                    .lines()
                    .filter(|line| fields.iter().any(|field| line.starts_with(field)))
                    .filter_map(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok())
                    .sum();
                kib / 1024.0
            };
            let (resident, private) = (sum(&["Rss:"]), sum(&["Private_Clean:", "Private_Dirty:"]));
            println!("| {} | {resident:.1} MiB | {private:.1} MiB |", program.name());
        }
        for program in ["assay", "assayd", "assay-keyd", "assay-fetch", "containerd-assay-grpc"] {
            let file = std::env::current_exe()?.parent().unwrap_or(Path::new(".")).join(program);
            println!("size of {program}: {} KiB", std::fs::metadata(&file)?.len() / 1024);
        }
        Ok(())
    }
}

/// What the unpack gate asks for the top layer of an image.
fn question(image: &PushedImage, namespace: &str) -> Result<wire::AdmitRequest> {
    let manifest = image.manifest();
    let stored = image.repository.manifest(&manifest.digest)?.context("the manifest is still there")?;
    let chain = manifest.diff_ids.iter().fold(String::new(), |chain, layer| {
        if chain.is_empty() { layer.clone() } else { sha256(format!("{chain} {layer}").as_bytes()) }
    });
    let config = String::from("application/vnd.oci.image.config.v1+json");
    Ok(wire::AdmitRequest {
        gate: wire::GateKind::Unpack.into(),
        namespace: namespace.to_owned(),
        platform: format!("linux/{}", manifest.architecture),
        subject: Some(wire::admit_request::Subject::Chain(wire::ChainSubject {
            chain,
            images: vec![wire::ImageClaim {
                manifest: manifest.digest.clone(),
                config: sha256(&manifest.config),
                indexes: Vec::new(),
                names: vec![wire::Name { reference: image.by_tag(), source: wire::NameSource::ImageRecord.into() }],
            }],
        })),
        documents: vec![
            wire::Document { media_type: stored.media_type, content: stored.bytes },
            wire::Document { media_type: config, content: manifest.config.clone() },
        ],
    })
}

/// Ranks of the ordered sample between which the median lies with 95 % confidence (normal approximation of the binomial).
fn median_interval(count: usize) -> (usize, usize) {
    // 1.96 standard deviations of the rank, whose variance is count / 4: reach² ≤ 0.9604 · count.
    let reach = (1..=count).take_while(|reach| reach * reach * 10_000 <= 9_604 * count).count();
    ((count / 2).saturating_sub(reach + 1), (count / 2 + reach).min(count.saturating_sub(1)))
}

struct Samples {
    what: &'static str,
    taken: Vec<Duration>,
}

impl Samples {
    fn of(what: &'static str) -> Self {
        Self { what, taken: Vec::new() }
    }

    fn add(&mut self, took: Duration) {
        self.taken.push(took);
    }

    fn print(&mut self) {
        self.taken.sort_unstable();
        let at = |percent: usize| self.taken.get(self.taken.len() * percent / 100).copied().unwrap_or_default();
        println!("| {} | {:.3?} | {:.3?} | {} |", self.what, at(50), at(95), self.taken.len());
    }
}
