//! What the person or the script sees: text or JSON on standard output, failures and remarks on standard error.
//! Text that came from a registry or a log never reaches the terminal with control characters in it.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

use crate::failure::Failure;

/// `-o`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Sentences.
    #[default]
    Text,
    /// One JSON document, also on failure.
    Json,
}

/// Standard output and standard error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Console {
    format: Format,
}

impl Console {
    /// A console that prints in `format`.
    pub(crate) const fn new(format: Format) -> Self {
        Self { format }
    }

    /// Prints `text`, or `json` where that was asked for.
    ///
    /// # Errors
    /// If standard output cannot be written. A reader that went away (`| head`) is no error.
    pub(crate) fn print(&self, text: &str, json: &Value) -> Result<(), Failure> {
        let line = match self.format {
            Format::Text => printable(text),
            Format::Json => json.to_string(),
        };
        let mut out = io::stdout().lock();
        match writeln!(out, "{line}").and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::new("IO", format!("failed to write to standard output: {error}"), ""))
            }
            _ => Ok(()),
        }
    }

    /// Prints a failure: as JSON on standard output, or as text on standard error.
    pub(crate) fn print_failure(&self, failure: &Failure) {
        // Nothing can be done about a console that is gone; the exit code still tells.
        let _ = match self.format {
            Format::Text => writeln!(io::stderr(), "{}", printable(&failure.to_string())),
            Format::Json => writeln!(io::stdout(), "{}", failure.json()),
        };
    }

    /// A remark beside the result, on standard error.
    pub(crate) fn remark(&self, text: &str) {
        let _ = writeln!(io::stderr(), "{}", printable(text));
    }

    /// A spinner with `text` while something takes long: only where a person reads along.
    pub(crate) fn progress(&self, text: &'static str) -> Progress {
        let spinner = (self.format == Format::Text && io::stderr().is_terminal()).then(|| {
            let spinner = indicatif::ProgressBar::new_spinner().with_message(text);
            spinner.enable_steady_tick(std::time::Duration::from_millis(120));
            spinner
        });
        Progress { spinner }
    }
}

/// A spinner that vanishes when it is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    spinner: Option<indicatif::ProgressBar>,
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}

/// Replaces control characters but line feeds, and the characters that turn the direction of writing, by their escapes:
/// a sentence from a registry must not move the cursor, colour the screen or rewrite what stands before it.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        let turns = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if (character.is_control() && character != '\n') || turns {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_bidi_overrides_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\r\u{202e}c\nd\u{e9}"), "a\\u{1b}[2Jb\\u{d}\\u{202e}c\nd\u{e9}");
    }
}
