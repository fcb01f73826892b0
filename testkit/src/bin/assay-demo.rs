//! `make demo`: one host from nothing to a signed image that runs and unsigned, tampered and observed ones that show why
//! or why not. Every line of output is a real program's; everything that is started here is stopped here.

use std::io::Write as _;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use assay_testkit::{Finished, Host, ImageBuilder, KeyUse, PolicyText, PullBy, PushedImage, Registry, Token, Version};
use serde_json::Value;

fn main() -> Result<()> {
    let version = match std::env::var("CONTAINERD").as_deref() {
        Err(_) | Ok("" | "2") => Version::V2,
        Ok("1.6") => Version::V1_6,
        Ok(other) => bail!("CONTAINERD={other} is not known here; use 2 or 1.6"),
    };
    ensure!(nix::unistd::geteuid().is_root(), "the demo mounts file systems and runs containers: run it as root");
    let started = Instant::now();
    let mut demo = Demo::prepare(version)?;
    demo.make_keys()?;
    demo.signed_image_runs()?;
    demo.unsigned_image_is_refused()?;
    demo.tampered_signature_is_refused()?;
    demo.observed_image_is_admitted_and_recorded()?;
    demo.log_is_read_and_checked()?;
    drop(demo);
    say(&format!(
        "Shown in {:.0} s: a key made in a token and never seen outside it; a signed image pulled and run; an unsigned one\n\
         and one with a forged signature refused before they were unpacked; the same unsigned image admitted under `observe`\n\
         and put on record; the log of all of this checked against its signature.\n\
         Everything that was started has been stopped. Your own containerd was not touched.\n\n\
         Next: README.md, \"The first five minutes with your own containerd\"; policy-examples/ for policies to start from.",
        started.elapsed().as_secs_f32()
    ));
    Ok(())
}

/// A host in the middle of the demonstration.
struct Demo {
    host: Host,
    key: String,
    rule: PolicyText,
    signed: PushedImage,
    unsigned: PushedImage,
    tampered: PushedImage,
}

impl Demo {
    fn prepare(version: Version) -> Result<Self> {
        title("A host: a registry, a PKCS#11 token, containerd, and Assay in front of it");
        let registry = Registry::start()?;
        say(&format!("docker-registry listens on {}", registry.host()));
        let token = Token::create("assay")?;
        say("softhsm2-util --init-token: token \"assay\" was made; from now on only assay-keyd's uid can open it");
        let key = token.uri("ci-release");
        let mut host = Host::reserve(version, registry)?
            .with_token(token, &[KeyUse { label: "ci-release", purpose: "image", peers: &[0] }])?;
        let image = |name: &str| -> Result<PushedImage> {
            let image = ImageBuilder::busybox(name)?.push(&host.repository(&format!("demo/{name}")), "1")?;
            say(&format!("built and pushed {} ({})", image.by_tag(), image.digest));
            Ok(image)
        };
        let (signed, unsigned, tampered) = (image("signed")?, image("unsigned")?, image("tampered")?);
        host.node.write_policy(&PolicyText::enforcing())?;
        host.start_node()?;
        host.containerd.resume()?;
        show("ctr version", &host.containerd.ctr(&["version"])?.success()?);
        Ok(Self { host, key, rule: PolicyText::enforcing(), signed, unsigned, tampered })
    }

    fn make_keys(&mut self) -> Result<()> {
        title("Keys in the token, and a policy that trusts one of them");
        for (label, purpose) in [("log", "log"), ("ci-release", "image")] {
            self.assay(&["keys", "generate", "--type", "p256", "--purpose", purpose, label])?;
        }
        let listed = self.host.node.assay(&["-o", "json", "keys", "list"])?.success()?;
        let pin = find_pin(&serde_json::from_str(&listed.stdout)?, "object=ci-release")
            .with_context(|| format!("no key ci-release in {}", listed.stdout))?;
        let scope = format!("{}/demo/**", self.host.registry.host());
        self.rule = PolicyText::enforcing()
            .token_key("ci-release", &self.key.replace("type=private", "type=public"), &pin)
            .rule("demo", &[&scope], 1, &["ci-release"]);
        self.host.node.write_policy(&self.rule)?;
        say(&format!("policy.toml:\n{}", indent(&self.rule.document())));
        self.assay(&["node", "reload"])
    }

    fn signed_image_runs(&mut self) -> Result<()> {
        title("A signed image is pulled and run");
        let image = self.signed.by_tag();
        let key = self.key.clone();
        self.assay(&["sign", &image, "--key", &key])?;
        self.pull(&self.signed)?.success()?;
        show(&format!("ctr run --rm {image}"), &self.host.containerd.run(&image, &[])?.success()?);
        self.assay(&["verify", &image])
    }

    fn unsigned_image_is_refused(&mut self) -> Result<()> {
        title("An unsigned image is refused");
        let before = self.host.registry.requests().len();
        self.pull(&self.unsigned)?.failure()?;
        self.show_layers_fetched(&self.unsigned, before)?;
        ensure!(!self.host.containerd.run(&self.unsigned.by_tag(), &[])?.status.success(), "an unsigned image ran");
        Ok(())
    }

    fn tampered_signature_is_refused(&mut self) -> Result<()> {
        title("A signature with one byte changed is refused");
        let (image, key) = (self.tampered.by_tag(), self.key.clone());
        self.assay(&["sign", &image, "--key", &key])?;
        let changed = change_one_byte_of_the_signature(&self.tampered)?;
        say(&format!("in the registry, one character of the signature in bundle {changed} was changed"));
        self.pull(&self.tampered)?.failure()?;
        let asked = self.host.node.assay(&["verify", &image])?.failure()?;
        show(&format!("assay verify {image}"), &asked);
        Ok(())
    }

    fn observed_image_is_admitted_and_recorded(&mut self) -> Result<()> {
        title("The policy is switched to `observe`: the unsigned image is admitted, and that is on record");
        self.rule = self.rule.in_mode("observe");
        self.host.node.write_policy(&self.rule)?;
        self.assay(&["node", "reload"])?;
        let image = self.unsigned.by_tag();
        self.pull(&self.unsigned)?.success()?;
        show(&format!("ctr run --rm {image}"), &self.host.containerd.run(&image, &[])?.success()?);
        Ok(())
    }

    fn log_is_read_and_checked(&mut self) -> Result<()> {
        title("The log: every decision and every use of a key, signed in the token");
        self.assay(&["audit", "show", "--last", "8"])?;
        self.assay(&["audit", "head"])?;
        self.assay(&["audit", "verify"])?;
        self.assay(&["node", "status"])
    }

    /// Runs `assay` and shows what it said; it must succeed.
    fn assay(&self, words: &[&str]) -> Result<()> {
        let finished = self.host.node.assay(words)?;
        show(&format!("assay {}", words.join(" ")), &finished);
        finished.success().map(drop)
    }

    fn pull(&self, image: &PushedImage) -> Result<Finished> {
        let finished = self.host.containerd.pull(&image.by_tag(), PullBy::Default)?;
        let mut line = format!("ctr images pull --plain-http --snapshotter assay {}", image.by_tag());
        line.push_str(if finished.status.success() { "" } else { "   # fails" });
        show(&line, &finished);
        Ok(finished)
    }

    /// What the registry's own log says about the layers of a refused image.
    fn show_layers_fetched(&self, image: &PushedImage, since: usize) -> Result<()> {
        let requests = self.host.registry.requests();
        let fetched = image
            .manifest()
            .layers
            .iter()
            .filter(|layer| requests.iter().skip(since).any(|line| line.starts_with("GET") && line.contains(layer.as_str())))
            .count();
        match self.host.containerd.version() {
            Version::V2 => {
                ensure!(fetched == 0, "containerd fetched {fetched} layers of a refused image");
                say("the registry's log shows no request for a layer of it: it was refused before the first download");
            }
            Version::V1_6 => say(&format!(
                "containerd 1.6 fetched {fetched} of its layers before it asked; none was unpacked, and it cannot run"
            )),
        }
        Ok(())
    }
}

/// Replaces the image's signature artifact by one whose bundle has another signature of the same length.
fn change_one_byte_of_the_signature(image: &PushedImage) -> Result<String> {
    let repository = &image.repository;
    let tag = image.digest.replace(':', "-");
    let index = repository.manifest(&tag)?.context("the signature has no fallback tag")?;
    let mut index_json = index.json()?;
    let manifest_digest =
        index_json.pointer("/manifests/0/digest").and_then(Value::as_str).context("no signature in the index")?.to_owned();
    let manifest = repository.manifest(&manifest_digest)?.context("the signature's manifest is gone")?;
    let mut manifest_json = manifest.json()?;
    let bundle_digest =
        manifest_json.pointer("/layers/0/digest").and_then(Value::as_str).context("no layer in the signature")?.to_owned();
    let mut bundle: Value = serde_json::from_slice(&repository.blob(&bundle_digest)?)?;
    let signature = bundle.pointer_mut("/dsseEnvelope/signatures/0/sig").context("no signature in the bundle")?;
    let text = signature.as_str().context("the signature is no text")?;
    // The twentieth character is in the middle of r: still base64, still a well-formed pair of numbers.
    let changed: String =
        text.chars().enumerate().map(|(at, c)| if at == 20 { if c == 'A' { 'B' } else { 'A' } } else { c }).collect();
    *signature = Value::from(changed);
    let bytes = serde_json::to_vec(&bundle)?;
    let (digest, size) = (repository.push_blob(&bytes)?, bytes.len());
    set(&mut manifest_json, "/layers/0/digest", digest.clone().into())?;
    set(&mut manifest_json, "/layers/0/size", size.into())?;
    let bytes = serde_json::to_vec(&manifest_json)?;
    let new_manifest = assay_testkit::sha256(&bytes);
    repository.push_manifest(&new_manifest, &manifest.media_type, &bytes)?;
    set(&mut index_json, "/manifests/0/digest", new_manifest.into())?;
    set(&mut index_json, "/manifests/0/size", bytes.len().into())?;
    repository.push_manifest(&tag, &index.media_type, &serde_json::to_vec(&index_json)?)?;
    Ok(digest)
}

fn set(json: &mut Value, pointer: &str, value: Value) -> Result<()> {
    *json.pointer_mut(pointer).with_context(|| format!("no {pointer}"))? = value;
    Ok(())
}

/// The SubjectPublicKeyInfo hash of the key whose URI contains `text`, wherever the listing has it.
fn find_pin(listing: &Value, text: &str) -> Option<String> {
    let keys = listing.as_array().or_else(|| listing.get("keys")?.as_array())?;
    let key = keys.iter().find(|key| key.get("uri").and_then(Value::as_str).is_some_and(|uri| uri.contains(text)))?;
    key.get("spki_sha256").and_then(Value::as_str).map(str::to_owned)
}

fn title(text: &str) {
    say(&format!("\n=== {text}"));
}

fn show(line: &str, finished: &Finished) {
    let said = [finished.stdout.trim_end(), finished.stderr.trim_end()];
    let said: Vec<&str> = said.into_iter().filter(|text| !text.is_empty()).collect();
    say(&format!("$ {line}\n{}", indent(&last_of_each_line(&said.join("\n")))));
}

/// `ctr` redraws its progress with carriage returns and escape sequences; what stands there in the end is enough.
fn last_of_each_line(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default().trim_end())
        .filter(|line| !line.is_empty() && !line.contains('\u{1b}'))
        .collect();
    lines.join("\n")
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect::<String>().trim_end().to_owned()
}

fn say(text: &str) {
    // A closed pipe (`make demo | head`) is no reason to fail half-way through the clean-up.
    let _ = writeln!(std::io::stdout(), "{text}");
}
