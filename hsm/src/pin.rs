//! The token's PIN: where it comes from, and how it is kept.
//!
//! In: a checked file, a systemd credential or a terminal, never argv or the environment. Out: bytes that only the
//! login call sees. It is never printed, copied or logged, and wiped when dropped.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// Where the PIN comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinSource {
    /// A file with mode 0400 or 0600 that belongs to root or the worker.
    File(PathBuf),
    /// A systemd credential: a file of this name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// The controlling terminal, once, at start.
    Prompt,
}

/// Why there is no PIN.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The file cannot be opened or read; a symbolic link counts as such.
    #[error("failed to read PIN file {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory, pipe or device.
    #[error("PIN file {path} is not a regular file")]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Others may read or change it.
    #[error("PIN file {path} has mode {mode:04o}; it must be 0400 or 0600: chmod 0400 {path}")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to someone else.
    #[error("PIN file {path} belongs to uid {owner}; it must belong to root or to the key worker's uid {own}")]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The worker's uid.
        own: u32,
    },
    /// systemd passed no credentials.
    #[error("credential {name:?} is not there: CREDENTIALS_DIRECTORY is not set; use LoadCredential= or pin-file")]
    NoCredentials {
        /// The credential's name.
        name: String,
    },
    /// No terminal, or it failed.
    #[error("failed to ask for the PIN on /dev/tty: {source}")]
    Terminal {
        /// Why.
        source: io::Error,
    },
    /// Nothing but an end of line.
    #[error("PIN from {origin} is empty")]
    Empty {
        /// Where it came from.
        origin: String,
    },
    /// Longer than any token takes.
    #[error("PIN from {origin} is longer than {limit} bytes")]
    TooLong {
        /// Where it came from.
        origin: String,
        /// Bytes allowed.
        limit: usize,
    },
    /// More than one line: a wrong file, most likely.
    #[error("PIN from {origin} has more than one line, or control characters")]
    NotOneLine {
        /// Where it came from.
        origin: String,
    },
}

/// A PIN. Neither `Clone` nor `Display`; wiped when dropped, and kept out of swap where the system lets us.
pub struct Pin(Zeroizing<Vec<u8>>);

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin(…)")
    }
}

impl Pin {
    /// Reads the PIN from its source; one end of line is cut off.
    ///
    /// # Errors
    /// When the source is not there, is not private, or holds no PIN.
    pub fn read(source: &PinSource) -> Result<Self, PinError> {
        match source {
            PinSource::File(path) => Pin::from_file(path, FileRules::Own),
            PinSource::Credential(name) => {
                let directory = std::env::var_os("CREDENTIALS_DIRECTORY")
                    .ok_or_else(|| PinError::NoCredentials { name: name.clone() })?;
                Pin::from_file(&Path::new(&directory).join(name), FileRules::Credential)
            }
            PinSource::Prompt => Pin::from_terminal(),
        }
    }

    /// The bytes, for the login call alone.
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }

    fn from_file(path: &Path, rules: FileRules) -> Result<Self, PinError> {
        let unreadable = |source| PinError::Unreadable { path: path.to_owned(), source };
        // No link is followed, and a pipe does not block; what is checked is what was opened.
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = File::options().read(true).custom_flags(flags.bits()).open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(PinError::NotAFile { path: path.to_owned() });
        }
        let mode = metadata.mode() & 0o7777;
        let private = match rules {
            FileRules::Own => mode == 0o400 || mode == 0o600,
            // systemd grants the unit's user by an ACL, whose mask shows as the group's bits (systemd.exec(5)).
            FileRules::Credential => mode == 0o400 || mode == 0o440 || mode == 0o600,
        };
        if !private {
            return Err(PinError::Mode { path: path.to_owned(), mode });
        }
        let own = nix::unistd::geteuid().as_raw();
        if metadata.uid() != 0 && metadata.uid() != own {
            return Err(PinError::Owner { path: path.to_owned(), owner: metadata.uid(), own });
        }
        Pin::from_reader(file, &path.display().to_string()).map_err(|error| match error {
            ReadError::Io(source) => unreadable(source),
            ReadError::Pin(error) => error,
        })
    }

    fn from_terminal() -> Result<Self, PinError> {
        let terminal = |source| PinError::Terminal { source };
        let tty = File::options().read(true).write(true).open("/dev/tty").map_err(terminal)?;
        let echo = NoEcho::start(&tty).map_err(terminal)?;
        (&tty).write_all(b"PIN of the token: ").map_err(terminal)?;
        let mut line = Zeroizing::new(Vec::with_capacity(MAX_PIN + 2));
        let limit = u64::try_from(MAX_PIN + 2).expect("a small number");
        BufReader::with_capacity(1, (&tty).take(limit)).read_until(b'\n', &mut line).map_err(terminal)?;
        drop(echo);
        (&tty).write_all(b"\n").map_err(terminal)?;
        Pin::from_line(line, "the terminal")
    }

    fn from_reader(reader: impl Read, origin: &str) -> Result<Self, ReadError> {
        // Capacity first: growing would leave unwiped copies behind.
        let mut content = Zeroizing::new(Vec::with_capacity(MAX_PIN + 2));
        let limit = u64::try_from(MAX_PIN + 2).expect("a small number");
        reader.take(limit).read_to_end(&mut content).map_err(ReadError::Io)?;
        Pin::from_line(content, origin).map_err(ReadError::Pin)
    }

    fn from_line(mut line: Zeroizing<Vec<u8>>, origin: &str) -> Result<Self, PinError> {
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if line.is_empty() {
            return Err(PinError::Empty { origin: origin.to_owned() });
        }
        if line.len() > MAX_PIN {
            return Err(PinError::TooLong { origin: origin.to_owned(), limit: MAX_PIN });
        }
        if line.iter().any(u8::is_ascii_control) {
            return Err(PinError::NotOneLine { origin: origin.to_owned() });
        }
        lock_in_memory(&line);
        Ok(Pin(line))
    }
}

/// Longer than PKCS#11 modules take (SoftHSM: 255).
const MAX_PIN: usize = 255;

#[derive(Clone, Copy)]
enum FileRules {
    Own,
    Credential,
}

enum ReadError {
    Io(io::Error),
    Pin(PinError),
}

/// Best effort: without the right to lock memory, the PIN may reach swap.
#[expect(unsafe_code, reason = "there is no safe call to lock a range of memory")]
fn lock_in_memory(bytes: &[u8]) {
    // SAFETY: mlock only pins the pages of this live allocation; it changes no content and aliases nothing.
    let result = unsafe { nix::libc::mlock(bytes.as_ptr().cast(), bytes.len()) };
    if result != 0 {
        tracing::debug!("the PIN's memory could not be locked");
    }
}

/// Echo is off while this lives.
struct NoEcho<'a, T: AsFd> {
    tty: &'a T,
    before: nix::sys::termios::Termios,
}

impl<'a, T: AsFd> NoEcho<'a, T> {
    fn start(tty: &'a T) -> io::Result<Self> {
        let before = tcgetattr(tty)?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(tty, SetArg::TCSAFLUSH, &silent)?;
        Ok(NoEcho { tty, before })
    }
}

impl<T: AsFd> Drop for NoEcho<'_, T> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.tty, SetArg::TCSAFLUSH, &self.before);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::{Pin, PinError, PinSource};

    struct PinFile(#[expect(dead_code, reason = "removes the directory when dropped")] tempfile::TempDir, PathBuf);

    fn file(content: &[u8], mode: u32) -> PinFile {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pin");
        write(&path, content).unwrap();
        set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        PinFile(directory, path)
    }

    fn read(file: &PinFile) -> Result<Pin, PinError> {
        Pin::read(&PinSource::File(file.1.clone()))
    }

    #[test]
    fn a_private_file_gives_its_line() {
        for mode in [0o400, 0o600] {
            let pin = read(&file(b"1234\n", mode)).unwrap();
            assert_eq!(pin.expose(), b"1234");
            assert_eq!(format!("{pin:?}"), "Pin(…)");
        }
        assert_eq!(read(&file(b"1234", 0o400)).unwrap().expose(), b"1234");
    }

    #[test]
    fn a_file_that_others_may_touch_is_refused() {
        for mode in [0o644, 0o640, 0o440, 0o620, 0o4600, 0o700] {
            let refused = read(&file(b"1234\n", mode));
            assert!(matches!(refused, Err(PinError::Mode { mode: found, .. }) if found == mode), "{mode:o}");
        }
    }

    #[test]
    fn an_empty_pin_is_refused() {
        for content in [b"".as_slice(), b"\n"] {
            assert!(matches!(read(&file(content, 0o400)), Err(PinError::Empty { .. })));
        }
    }

    #[test]
    fn more_than_a_line_is_refused() {
        for content in [b"1234\n5678\n".as_slice(), b"\n\n", b"1234\r\n", b"12\x0034"] {
            assert!(matches!(read(&file(content, 0o400)), Err(PinError::NotOneLine { .. })));
        }
        assert!(matches!(read(&file(&[b'1'; 256], 0o400)), Err(PinError::TooLong { limit: 255, .. })));
        assert_eq!(read(&file(&[b'1'; 255], 0o400)).unwrap().expose().len(), 255);
    }

    #[test]
    fn links_and_directories_are_refused() {
        let real = file(b"1234\n", 0o400);
        let link = real.1.with_file_name("link");
        std::os::unix::fs::symlink(&real.1, &link).unwrap();
        assert!(matches!(Pin::read(&PinSource::File(link)), Err(PinError::Unreadable { .. })));
        let directory = PinSource::File(real.1.parent().unwrap().to_owned());
        assert!(matches!(Pin::read(&directory), Err(PinError::NotAFile { .. })));
    }

    #[test]
    fn a_file_of_someone_else_is_refused() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let foreign = file(b"1234\n", 0o400);
        std::os::unix::fs::chown(&foreign.1, Some(4711), None).unwrap();
        assert!(matches!(read(&foreign), Err(PinError::Owner { owner: 4711, own: 0, .. })));
    }
}
