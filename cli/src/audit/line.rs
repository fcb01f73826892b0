//! One record of the log as one line for a person.

use assay_admission::Reason;
use assay_audit::{
    BroughtEvidence, DecisionRecord, KeyOperation, KeyUseOutcome, KeyUseRecord, PolicyOutcome, Record, RecordedOutcome,
    RecordedSubject, RefusalRecord, TrustRootOutcome,
};

/// `    12  2026-11-22T10:00:00Z  deny    unpack  …`
pub(super) fn of(index: u64, record: &Record) -> String {
    let text = match record {
        Record::Decision(decision) => of_decision(decision),
        Record::Refusal(refusal) => of_refusal(refusal),
        Record::KeyUse(key_use) => of_key_use(key_use),
        Record::Policy(policy) => {
            let version = policy.version.map_or("a policy".to_owned(), |version| format!("policy version {version}"));
            match &policy.outcome {
                PolicyOutcome::Applied => format!("policy  {version} is in force from here on"),
                PolicyOutcome::Refused(why) => format!("policy  {version} was refused: {}", first_line(why)),
            }
        }
        Record::TrustRoot(root) => {
            let (name, source) = (&root.name, first_line(&root.source));
            match &root.outcome {
                TrustRootOutcome::Updated { sha256, root_version } => {
                    format!(
                        "trust   {name} is sha256:{sha256} from here on, by root version {root_version} of {source}"
                    )
                }
                TrustRootOutcome::Refused(why) => {
                    format!("trust   {name} from {source} was refused: {}", first_line(why))
                }
            }
        }
        Record::Evidence(brought) => {
            let what = match &brought.what {
                BroughtEvidence::RevocationList(url) => format!("the revocation list for {}", first_line(url)),
                BroughtEvidence::OcspAnswer => "an OCSP answer".to_owned(),
            };
            format!("import  {what}, {}, by uid {}", brought.digest, brought.peer_uid)
        }
        Record::Start(start) => {
            let repaired = match start.repaired_bytes {
                0 => String::new(),
                bytes => format!("; {bytes} bytes of an unfinished record were cut off"),
            };
            format!("start   assayd {}{repaired}", start.program_version)
        }
    };
    format!("{index:>6}  {}  {text}", record.time())
}

fn of_decision(decision: &DecisionRecord) -> String {
    let outcome = match decision.outcome {
        RecordedOutcome::Allow => "allow",
        RecordedOutcome::Deny => "deny",
    };
    // Of several images that share the layers, the one that decided.
    let decisive = decision.images.iter().find(|image| image.admitted == (decision.outcome == RecordedOutcome::Allow));
    let decisive_name = decisive.and_then(|image| image.name.as_ref());
    let mut what = match (&decision.subject, decisive_name.or(decision.names.first())) {
        (RecordedSubject::Name(name), _) => name.clone(),
        (RecordedSubject::Chain(chain), Some(name)) => format!("{name} (chain {})", short(&chain.to_string())),
        (RecordedSubject::Chain(chain), None) => format!("chain {chain}"),
    };
    decisive.iter().for_each(|image| what.push_str(&format!(" manifest {}", short(&image.manifest.to_string()))));
    if decision.images.len() > 1 {
        what.push_str(&format!(", one of {} images of these layers", decision.images.len()));
    }
    let rule = decision.rule.as_deref().map_or("no rule".to_owned(), |rule| format!("rule {rule}"));
    let mut text = format!("{outcome:<6}  {:<6}  {what}; {rule}, {}", decision.gate.as_str(), decision.mode);
    if !decision.reasons.is_empty() {
        text.push_str(&format!("; {}", codes(&decision.reasons)));
    }
    if !decision.would_deny.is_empty() {
        text.push_str(&format!("; enforcing would deny: {}", codes(&decision.would_deny)));
    }
    decision.cached_from.iter().for_each(|first| text.push_str(&format!("; as in record {first}")));
    text
}

/// What a gate refused by itself.
fn of_refusal(refusal: &RefusalRecord) -> String {
    let (gate, about) = (refusal.gate.as_str(), first_line(&refusal.about));
    let reason = codes(std::slice::from_ref(&refusal.reason));
    let mut text = format!("refuse  {gate:<6}  {about}; by the gate itself; {reason}");
    if refusal.times > 1 {
        text.push_str(&format!("; {} times since {}", refusal.times, refusal.since));
    } else if refusal.since != refusal.time {
        text.push_str(&format!("; at {}", refusal.since));
    }
    if refusal.left_out > 0 {
        text.push_str(&format!("; {} more that the gate could not report", refusal.left_out));
    }
    text
}

fn of_key_use(record: &KeyUseRecord) -> String {
    let operation = match record.operation {
        KeyOperation::Sign => "signs",
        KeyOperation::Generate => "is made",
        KeyOperation::Checkpoint => "signs the log's head",
    };
    let mut text = format!("key     {} {operation}", record.key);
    record.subject.iter().for_each(|subject| text.push_str(&format!(" {subject}")));
    record.peer_uid.iter().for_each(|uid| text.push_str(&format!(" for uid {uid}")));
    match &record.outcome {
        KeyUseOutcome::Done => {}
        KeyUseOutcome::Refused(why) => text.push_str(&format!("; refused: {}", first_line(why))),
        KeyUseOutcome::Failed(why) => text.push_str(&format!("; failed: {}", first_line(why))),
    }
    text
}

/// Each code once, in order, the first with its detail.
fn codes(reasons: &[Reason]) -> String {
    let mut codes: Vec<&str> = Vec::new();
    for reason in reasons {
        if !codes.contains(&reason.code.as_str()) {
            codes.push(reason.code.as_str());
        }
    }
    let detail = reasons.first().map(|reason| first_line(&reason.detail)).filter(|detail| !detail.is_empty());
    detail.map_or_else(|| codes.join(", "), |detail| format!("{} ({detail})", codes.join(", ")))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Enough of a digest for a person to tell two apart.
fn short(digest: &str) -> &str {
    digest.get(..19).unwrap_or(digest)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn line(json: &str) -> String {
        of(7, &Record::parse(json.as_bytes()).unwrap())
    }

    #[test]
    fn a_denial_is_shown_with_gate_name_rule_and_code() {
        let chain = format!("sha256:{}", "ab".repeat(32));
        let text = line(&format!(
            r#"{{"v":1,"kind":"decision","time":1795341600,"gate":"unpack","namespace":"default","subject":{{"chain":"{chain}"}},
            "names":["r.example/a:1 (image-record)"],"images":[],"outcome":"deny","mode":"enforce","rule":"production",
            "reasons":[],"policy_version":1,"policy_sha256":"","cached_from":5}}"#
        ));
        assert!(text.starts_with("     7  2026-11-22T10:00:00Z  deny    unpack  r.example/a:1"), "{text}");
        assert!(text.ends_with("(chain sha256:abababababab); rule production, enforce; as in record 5"), "{text}");
    }

    #[test]
    fn what_a_gate_refused_by_itself_is_shown_with_its_count() {
        let text = line(
            r#"{"v":1,"kind":"refusal","time":1795341660,"gate":"unpack","namespace":"default","about":"default/4/x",
            "reason":{"code":"LIMIT","detail":"5000 images"},"times":57,"since":1795341600}"#,
        );
        assert!(
            text.starts_with("     7  2026-11-22T10:01:00Z  refuse  unpack  default/4/x; by the gate itself"),
            "{text}"
        );
        assert!(text.ends_with("; LIMIT (5000 images); 57 times since 2026-11-22T10:00:00Z"), "{text}");
        let once = line(
            r#"{"v":1,"kind":"refusal","time":60,"gate":"unpack","namespace":"","about":"k",
            "reason":{"code":"INTERNAL"},"times":1,"since":60,"left_out":2}"#,
        );
        assert!(once.ends_with("k; by the gate itself; INTERNAL; 2 more that the gate could not report"), "{once}");
    }

    #[test]
    fn of_several_images_the_one_that_decided_is_shown() {
        let (chain, digest) = ("ab".repeat(32), |hex: &str| format!("sha256:{}", hex.repeat(32)));
        let image = |hex: &str, name: &str, admitted: bool| {
            format!(
                r#"{{"manifest":"{}","config":"{}","name":"{name}","rule":"r","mode":"enforce","admitted":{admitted},"reasons":[],"facts":[]}}"#,
                digest(hex),
                digest("cc")
            )
        };
        let text = line(&format!(
            r#"{{"v":1,"kind":"decision","time":0,"gate":"unpack","namespace":"default","subject":{{"chain":"sha256:{chain}"}},
            "names":["r.example/dev/x","r.example/prod/app"],"images":[{},{}],"outcome":"allow","mode":"enforce","rule":"r",
            "reasons":[],"policy_version":1,"policy_sha256":""}}"#,
            image("aa", "r.example/dev/x", false),
            image("bb", "r.example/prod/app", true)
        ));
        assert!(text.contains("r.example/prod/app (chain sha256:abababababab) manifest sha256:bbbbbbbbbbbb"), "{text}");
        assert!(text.contains("one of 2 images of these layers"), "{text}");
    }

    #[test]
    fn starts_policies_and_imports_have_a_line() {
        let start = r#"{"v":1,"kind":"start","time":0,"program_version":"0.1.0","log_size":3,"repaired_bytes":9}"#;
        assert!(line(start).ends_with("start   assayd 0.1.0; 9 bytes of an unfinished record were cut off"));
        let digest = format!("sha256:{}", "ab".repeat(32));
        let list = r#"{"revocation-list":"http://ca.example/ca.crl"}"#;
        for (what, shown) in
            [(list, "the revocation list for http://ca.example/ca.crl"), (r#""ocsp-answer""#, "an OCSP answer")]
        {
            let brought =
                format!(r#"{{"v":1,"kind":"evidence","time":0,"peer_uid":1000,"what":{what},"digest":"{digest}"}}"#);
            assert!(line(&brought).ends_with(&format!("import  {shown}, {digest}, by uid 1000")), "{}", line(&brought));
        }
        let policy = r#"{"v":1,"kind":"policy","time":0,"version":4,"sha256":"","outcome":"applied"}"#;
        assert!(line(policy).ends_with("policy  policy version 4 is in force from here on"));
    }
}
