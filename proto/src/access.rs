//! Who may open a socket: its mode and its group. Whoever can open one is asked for the uid all the same.

use std::{
    fs::{Permissions, set_permissions},
    io,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
};

use nix::unistd::Group;

/// A socket's mode, and its group if that is not its maker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketAccess {
    mode: u32,
    gid: Option<u32>,
}

/// Why there is no such access. Fits after the name of a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// Not one of the modes that make sense.
    #[error(
        "mode {0:?} is none of \"0600\" (the owner), \"0660\" (and the group) and \"0666\" (everyone on this machine)"
    )]
    Mode(String),
    /// The system knows no such group.
    #[error("there is no group {0:?}; name one of the system's groups, or give a number")]
    NoGroup(String),
    /// The system cannot be asked.
    #[error("group {0:?} could not be looked up: {1}")]
    Lookup(String, io::ErrorKind),
}

impl SocketAccess {
    /// The owner alone.
    pub const OWNER: Self = Self { mode: 0o600, gid: None };
    /// The owner and the group.
    pub const GROUP: Self = Self { mode: 0o660, gid: None };

    pub(crate) const fn of_mode(mode: u32) -> Self {
        Self { mode, gid: None }
    }

    /// The same with a mode of four octal digits: `0600`, `0660` or `0666`.
    ///
    /// # Errors
    /// [`AccessError::Mode`] for any other.
    pub fn with_mode(self, text: &str) -> Result<Self, AccessError> {
        let mode = match text {
            "0600" => 0o600,
            "0660" => 0o660,
            "0666" => 0o666,
            _ => return Err(AccessError::Mode(text.to_owned())),
        };
        Ok(Self { mode, ..self })
    }

    /// The same for a group: its name, or its number.
    ///
    /// # Errors
    /// [`AccessError`] if there is none of that name, or the system's list of groups cannot be read.
    pub fn with_group(self, text: &str) -> Result<Self, AccessError> {
        let gid = match text.parse::<u32>() {
            Ok(gid) => gid,
            Err(_) => match Group::from_name(text) {
                Ok(Some(group)) => group.gid.as_raw(),
                Ok(None) => return Err(AccessError::NoGroup(text.to_owned())),
                Err(error) => return Err(AccessError::Lookup(text.to_owned(), io::Error::from(error).kind())),
            },
        };
        Ok(Self { gid: Some(gid), ..self })
    }

    /// Permission bits.
    #[must_use]
    pub const fn mode(self) -> u32 {
        self.mode
    }

    /// The group, if it is not the maker's.
    #[must_use]
    pub const fn gid(self) -> Option<u32> {
        self.gid
    }

    /// Gives the file its group, and then its mode: no moment at which another group has it.
    pub(crate) fn give(self, path: &Path) -> io::Result<()> {
        if let Some(gid) = self.gid {
            set_permissions(path, Permissions::from_mode(0o600))?;
            chown(path, None, Some(gid)).map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("it cannot be given to group {gid}, of which its maker has to be a member: {error}"),
                )
            })?;
        }
        set_permissions(path, Permissions::from_mode(self.mode))
    }
}
