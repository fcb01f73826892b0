//! `assay keys`: what keys the token holds, a new key, and a key's public half. Private keys never leave the token.

use assay_proto::assay as wire;
use assay_verify::SignerName;
use base64::{Engine, engine::general_purpose::STANDARD};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::{
    Context,
    agent::Agent,
    failure::{Exit, Failure},
};

#[derive(Debug, Subcommand)]
pub(crate) enum KeysVerb {
    /// List the keys that the agent may use, with kind, purpose and fingerprint
    List,
    /// Make a new key in the token; it never leaves it
    Generate(GenerateArgs),
    /// Print a key's public half as PEM, for a policy or for `cosign verify --key`
    Public {
        /// The key, as a pkcs11: URI
        uri: String,
    },
}

#[derive(Args, Debug)]
pub(crate) struct GenerateArgs {
    /// The key's label in the token, which is its name in a policy too: letters, digits, '.', '_' and '-'
    #[arg(value_parser = label)]
    label: String,
    /// The kind of key
    #[arg(long = "type", value_enum, value_name = "TYPE", default_value = "p256")]
    kind: Kind,
    /// What it may sign; a key has one purpose
    #[arg(long, value_enum, value_name = "PURPOSE", default_value = "image")]
    purpose: Purpose,
}

/// A label that a policy can have as a name, so that what is printed for the policy can be used as it is.
fn label(text: &str) -> Result<String, String> {
    text.parse::<SignerName>().map(|name| name.to_string()).map_err(|error| error.to_string())
}

/// Kinds of key that a token can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// ECDSA on P-256
    P256,
    /// ECDSA on P-384
    P384,
    /// RSA with 3072 bits
    Rsa3072,
    /// Ed25519
    Ed25519,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Purpose {
    /// Images
    Image,
    /// Heads of the node's log
    Log,
    /// Policies
    Policy,
}

pub(crate) async fn run(context: &Context, verb: KeysVerb) -> Result<Exit, Failure> {
    match verb {
        KeysVerb::List => list(context).await,
        KeysVerb::Generate(arguments) => generate(context, arguments).await,
        KeysVerb::Public { uri } => public(context, uri).await,
    }
}

async fn list(context: &Context) -> Result<Exit, Failure> {
    let agent = Agent::any(context).await?;
    let keys = agent.ask(agent.keys().list(agent.request(wire::ListKeysRequest {}))).await?.keys;
    let json = json!({ "keys": keys.iter().map(key_json).collect::<Vec<_>>() });
    context.console.print(&table(&keys), &json)?;
    Ok(Exit::Success)
}

async fn generate(context: &Context, arguments: GenerateArgs) -> Result<Exit, Failure> {
    let agent = Agent::admin(context).await?;
    let message = wire::GenerateKeyRequest {
        label: arguments.label.clone(),
        kind: kind_word(arguments.kind).to_owned(),
        purpose: purpose(arguments.purpose).into(),
    };
    let progress = context.console.progress("the token makes the key");
    let answer = agent.ask(agent.keys().generate(agent.request(message))).await?;
    drop(progress);
    let key = answer.key.ok_or_else(no_key)?;
    let mut json = key_json(&key);
    if let Some(object) = json.as_object_mut() {
        object.insert("record".to_owned(), answer.record.into());
    }
    context.console.print(&generated_text(&arguments.label, &key, answer.record), &json)?;
    Ok(Exit::Success)
}

async fn public(context: &Context, uri: String) -> Result<Exit, Failure> {
    if !uri.starts_with("pkcs11:") {
        let message = format!("{uri:?} is no pkcs11: URI");
        return Err(Failure::new("USAGE", message, "`assay keys list` shows the URIs").exits(Exit::Usage));
    }
    let key = public_key(context, uri).await?;
    context.console.print(pem(&key.spki).trim_end(), &key_json(&key))?;
    Ok(Exit::Success)
}

/// Asks the agent for a key's public half.
///
/// # Errors
/// If there is no agent, or no such key.
pub(crate) async fn public_key(context: &Context, uri: String) -> Result<wire::Key, Failure> {
    public_key_from(&Agent::any(context).await?, uri).await
}

/// The same of an agent that is connected.
///
/// # Errors
/// If it does not answer, or there is no such key.
pub(crate) async fn public_key_from(agent: &Agent, uri: String) -> Result<wire::Key, Failure> {
    let answer = agent.ask(agent.keys().public(agent.request(wire::PublicKeyRequest { uri }))).await?;
    answer.key.ok_or_else(no_key)
}

fn no_key() -> Failure {
    Failure::new("AGENT_FAILED", "the agent's answer names no key", "use an assay of the agent's version")
}

const fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::P256 => "p256",
        Kind::P384 => "p384",
        Kind::Rsa3072 => "rsa3072",
        Kind::Ed25519 => "ed25519",
    }
}

const fn purpose(purpose: Purpose) -> wire::KeyPurpose {
    match purpose {
        Purpose::Image => wire::KeyPurpose::Image,
        Purpose::Log => wire::KeyPurpose::Log,
        Purpose::Policy => wire::KeyPurpose::Policy,
    }
}

const fn purpose_word(purpose: wire::KeyPurpose) -> &'static str {
    match purpose {
        wire::KeyPurpose::Image => "image",
        wire::KeyPurpose::Log => "log",
        wire::KeyPurpose::Policy => "policy",
        wire::KeyPurpose::Unspecified => "none",
    }
}

fn key_json(key: &wire::Key) -> Value {
    json!({
        "uri": key.uri,
        "kind": key.kind,
        "purpose": purpose_word(key.purpose()),
        "sha256": key.spki_sha256,
        "public": pem(&key.spki),
    })
}

fn table(keys: &[wire::Key]) -> String {
    if keys.is_empty() {
        return "no keys; make one with `assay keys generate LABEL`".to_owned();
    }
    let mut lines = vec![format!("{:<9} {:<8} {:<64} URI", "KIND", "PURPOSE", "SHA-256 OF THE PUBLIC KEY")];
    lines.extend(
        keys.iter().map(|key| {
            format!("{:<9} {:<8} {:<64} {}", key.kind, purpose_word(key.purpose()), key.spki_sha256, key.uri)
        }),
    );
    lines.join("\n")
}

fn generated_text(label: &str, key: &wire::Key, record: u64) -> String {
    let (uri, sha256) = (&key.uri, &key.spki_sha256);
    let purpose = purpose_word(key.purpose());
    // A dot in a bare key would begin a table in the table.
    let table = if label.contains('.') { format!("\"{label}\"") } else { label.to_owned() };
    let remark = match key.kind.as_str() {
        "p384" => "\nNote: `cosign verify --key` needs `--signature-digest-algorithm sha384` for its signatures.\n",
        _ => "",
    };
    let use_it = match key.purpose() {
        wire::KeyPurpose::Image => format!(
            "\nTo let people sign with it, in assayd.toml:\n\n[[keys]]\nuri = \"{uri}\"\npurpose = \"image\"\npeers = [0]\n\
             \nTo trust it, in the policy:\n\n[keys.{table}]\npublic = \"{uri}\"\nsha256 = \"{sha256}\"\n{remark}"
        ),
        wire::KeyPurpose::Log => format!("\nTo sign the log's heads with it, in assayd.toml:\n\nlog-key = \"{uri}\"\n"),
        wire::KeyPurpose::Policy | wire::KeyPurpose::Unspecified => String::new(),
    };
    format!("made {uri} ({}, {purpose}), record {record}\nsha256 {sha256}\n{use_it}", key.kind).trim_end().to_owned()
}

/// RFC 7468.
fn pem(spki: &[u8]) -> String {
    let base64 = STANDARD.encode(spki);
    let mut out = String::from("-----BEGIN PUBLIC KEY-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at_checked(64).unwrap_or((rest, ""));
        out.push_str(line);
        out.push('\n');
        rest = more;
    }
    out.push_str("-----END PUBLIC KEY-----\n");
    out
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    fn key() -> wire::Key {
        wire::Key {
            uri: "pkcs11:token=assay;object=ci".into(),
            kind: "p256".into(),
            purpose: wire::KeyPurpose::Image.into(),
            spki_sha256: "ab".repeat(32),
            spki: vec![0x30; 91],
        }
    }

    #[test]
    fn a_new_key_is_shown_with_what_to_write_where() {
        let text = generated_text("ci", &key(), 5);
        assert!(text.starts_with("made pkcs11:token=assay;object=ci (p256, image), record 5\n"), "{text}");
        assert!(text.contains("[keys.ci]\npublic = \"pkcs11:token=assay;object=ci\"\nsha256 = \"abab"), "{text}");
        let log = wire::Key { purpose: wire::KeyPurpose::Log.into(), ..key() };
        assert!(generated_text("log", &log, 5).contains("log-key = \"pkcs11:"));
    }

    #[test]
    fn what_is_printed_for_the_policy_is_toml_of_that_name() {
        for name in ["ci", "ci-2_x", "team.example", "7"] {
            let text = generated_text(name, &key(), 5);
            let (_, policy) = text.split_once("in the policy:").unwrap_or_default();
            let table: toml::Table = toml::from_str(policy).expect("it is TOML");
            assert!(table["keys"].get(name).is_some_and(|key| key.get("sha256").is_some()), "{policy}");
            assert_eq!(label(name).as_deref(), Ok(name));
        }
        for wrong in ["../x", "", "a b", "a\"b", "\u{e4}", ".x", "a]"] {
            assert!(label(wrong).is_err_and(|why| why.contains("letters, digits")), "{wrong}");
        }
    }

    #[test]
    fn the_table_has_a_line_for_each_key() {
        assert_eq!(table(&[key(), key()]).lines().count(), 3);
        assert!(table(&[]).contains("assay keys generate"));
    }

    #[test]
    fn pem_has_lines_of_64_characters() {
        let pem = pem(&[0x30; 91]);
        let lines: Vec<&str> = pem.lines().collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines.get(1).map(|line| line.len()), Some(64));
        assert_eq!(key_json(&key())["public"], pem);
    }
}
