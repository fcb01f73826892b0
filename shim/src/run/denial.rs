//! How a refusal reaches the person: a line where the caller looks for the runtime's own errors, written as runc writes it.

use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt, time::SystemTime};

use assay_admission::UnixTime;

use super::arguments::{LogFormat, LogPlace};

/// Appends the message to the log, if there is one, and says it on standard error. What cannot be written is left: the exit
/// code says the rest.
pub fn deny(place: &LogPlace, message: &str) {
    let elapsed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = UnixTime::from_seconds(i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX));
    let line = line(place.format, message, now);
    let mut stderr = std::io::stderr().lock();
    let Some(file) = &place.file else {
        let _ = stderr.write_all(line.as_bytes());
        return;
    };
    let _ = writeln!(stderr, "{message}");
    // A FIFO without a reader must not hold us.
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let opened = OpenOptions::new().append(true).create(true).mode(0o644).custom_flags(nonblocking).open(file);
    if let Err(error) = opened.and_then(|mut log| log.write_all(line.as_bytes())) {
        let _ = writeln!(stderr, "assay-runc: {}: {error}", file.display());
    }
}

fn line(format: LogFormat, message: &str, now: UnixTime) -> String {
    match format {
        LogFormat::Json => {
            let entry = serde_json::json!({ "level": "error", "msg": message, "time": now.to_string() });
            format!("{entry}\n")
        }
        LogFormat::Text => format!("time=\"{now}\" level=error msg={message:?}\n"),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn lines_are_written_as_runc_writes_them() {
        let now = UnixTime::from_seconds(1_795_341_600);
        let json = r#"{"level":"error","msg":"no \"x\"","time":"2026-11-22T10:00:00Z"}"#;
        assert_eq!(line(LogFormat::Json, "no \"x\"", now), format!("{json}\n"));
        let text = r#"time="2026-11-22T10:00:00Z" level=error msg="no \"x\"""#;
        assert_eq!(line(LogFormat::Text, "no \"x\"", now), format!("{text}\n"));
    }

    #[test]
    fn a_refusal_is_appended_to_what_the_log_has() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log.json");
        std::fs::write(&file, "before\n").unwrap();
        let place = LogPlace { file: Some(file.clone()), format: LogFormat::Json };
        deny(&place, "one");
        deny(&place, "two");
        let text = std::fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(text.starts_with("before\n{") && text.contains("\"msg\":\"two\""), "{text}");
    }
}
