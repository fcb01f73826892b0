//! Frames on a stream: four bytes of big-endian length, then that many bytes.
//!
//! Never allocates more than the cap, and never waits longer than its limits.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// The largest frame in bytes, either way.
pub const MAX_FRAME: usize = 256 * 1024;

/// Why no frame came or went.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The peer closed between two frames, or reset the connection.
    #[error("the other side closed the connection")]
    Closed,
    /// The peer closed within a frame.
    #[error("the other side closed the connection within a frame")]
    Truncated,
    /// Larger than `MAX_FRAME`.
    #[error("frame of {bytes} bytes is larger than {MAX_FRAME}")]
    TooLarge {
        /// Bytes announced.
        bytes: u64,
    },
    /// Nothing, or not everything, in time.
    #[error("the other side did not finish a frame in time")]
    TimedOut,
    /// The socket failed.
    #[error("{0}")]
    Io(std::io::Error),
}

/// Reads one frame: waits `idle` for its first byte and `whole` for the rest.
///
/// # Errors
/// The stream is unusable after any of them.
pub(crate) fn read_frame(stream: &mut UnixStream, idle: Duration, whole: Duration) -> Result<Vec<u8>, FrameError> {
    let mut header = [0; 4];
    let (first, rest) = header.split_at_mut(1);
    match read_exact(stream, first, Instant::now() + idle) {
        Err(FrameError::Truncated) => return Err(FrameError::Closed),
        other => other?,
    }
    let until = Instant::now() + whole;
    read_exact(stream, rest, until)?;
    let announced = u32::from_be_bytes(header);
    let length = usize::try_from(announced)
        .ok()
        .filter(|length| *length <= MAX_FRAME)
        .ok_or(FrameError::TooLarge { bytes: announced.into() })?;
    let mut frame = vec![0; length];
    read_exact(stream, &mut frame, until)?;
    Ok(frame)
}

/// Writes one frame within `whole`.
///
/// # Errors
/// `TooLarge` before anything was written; the stream is unusable after any other error.
pub(crate) fn write_frame(stream: &mut UnixStream, frame: &[u8], whole: Duration) -> Result<(), FrameError> {
    let too_large = || FrameError::TooLarge { bytes: u64::try_from(frame.len()).unwrap_or(u64::MAX) };
    if frame.len() > MAX_FRAME {
        return Err(too_large());
    }
    let length = u32::try_from(frame.len()).map_err(|_| too_large())?;
    let mut bytes = Vec::with_capacity(frame.len() + 4);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(frame);
    let until = Instant::now() + whole;
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        stream.set_write_timeout(Some(remaining(until)?)).map_err(FrameError::Io)?;
        match stream.write(rest) {
            Ok(0) => return Err(FrameError::Closed),
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(error) => interrupted(error)?,
        }
    }
    Ok(())
}

fn read_exact(stream: &mut UnixStream, buffer: &mut [u8], until: Instant) -> Result<(), FrameError> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        stream.set_read_timeout(Some(remaining(until)?)).map_err(FrameError::Io)?;
        match stream.read(rest) {
            Ok(0) => return Err(FrameError::Truncated),
            Ok(count) => filled += count,
            Err(error) => interrupted(error)?,
        }
    }
    Ok(())
}

/// What is left until `until`; a socket's time-out must not be zero.
fn remaining(until: Instant) -> Result<Duration, FrameError> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(FrameError::TimedOut) } else { Ok(left.max(Duration::from_millis(1))) }
}

fn interrupted(error: std::io::Error) -> Result<(), FrameError> {
    match error.kind() {
        ErrorKind::Interrupted => Ok(()),
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Err(FrameError::TimedOut),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => Err(FrameError::Closed),
        _ => Err(FrameError::Io(error)),
    }
}
