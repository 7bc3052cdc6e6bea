//! Secrets: the operators' encrypted files, and what is sealed to each host.
//!
//! | file | format | module |
//! |---|---|---|
//! | `secrets/master/**/*-secrets.yml` | ansible-vault around `secrets: {name: {path, content, servers}}` | `vault`, `master`, `add` |
//! | `secrets/generated/generated-secrets.yml` | per host, sealed to its SSH key (NaCl) | `sealed`, `seal` |
//! | `secrets/generated/age/<host>.age` | the same bytes, sealed with age to the host and the operators | [`age`] |
//!
//! Rules: `fleet-folder.md` §4. Nothing here makes randomness: the caller passes it in. Plaintext and keys are
//! overwritten in memory when dropped, as far as this code holds them.
//!
//! Opening (feature `secrets`) is what a host's agent needs; `secrets-write` adds the operators' side.

#[cfg(feature = "secrets-write")]
pub mod add;
pub mod age;
mod entry;
pub mod hostkey;
#[cfg(feature = "secrets-write")]
pub mod master;
#[cfg(feature = "secrets-write")]
pub mod seal;
pub mod sealed;
#[cfg(feature = "secrets-write")]
pub mod vault;
mod yaml;

use zeroize::Zeroizing;

/// The largest plaintext that is encrypted or decrypted, in bytes: 16 MiB. Larger input is refused, not cut.
pub const MAX_PLAINTEXT: usize = 16 << 20;

/// Fills a buffer with secret random bytes. It must not fail: a caller without randomness must stop before.
pub type Random<'a> = &'a mut dyn FnMut(&mut [u8]);

/// What a host gets: its secrets in the order of their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretTree {
    /// The secrets; paths are checked with [`check_path`].
    pub secrets: Vec<Secret>,
}

/// One secret of a host.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// Its name in the master file.
    pub name: String,
    /// Where it is written, relative to the secrets' folder on the host.
    pub path: String,
    /// What is written, byte for byte.
    pub content: Zeroizing<String>,
    /// Whether it is written without being asked for (`default_extract`).
    pub extract: bool,
}

impl std::fmt::Debug for Secret {
    /// Shows everything but the content.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret")
            .field("name", &self.name)
            .field("path", &self.path)
            .field("bytes", &self.content.len())
            .field("extract", &self.extract)
            .finish()
    }
}

/// `default_extract` as it stands in a file. The older tools wrote text; a boolean means the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extract {
    /// No such field: the secret is unpacked.
    Absent,
    /// A boolean.
    Bool(bool),
    /// Text: `false` in any case means no, anything else yes.
    Text(String),
}

impl Extract {
    /// Whether the secret is unpacked without being asked for.
    pub fn unpacks(&self) -> bool {
        match self {
            Self::Absent => true,
            Self::Bool(value) => *value,
            Self::Text(text) => !text.eq_ignore_ascii_case("false"),
        }
    }
}

/// Why a path may not be used for a secret or an app config.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathProblem {
    /// Nothing, or only `.` and `/`.
    #[error("the path is empty: give the file's name below the secrets folder")]
    Empty,
    /// Starts with `/`.
    #[error("the path is absolute: give it relative to the secrets folder")]
    Absolute,
    /// Has a part `..`.
    #[error("the path leaves the secrets folder (`..`)")]
    Leaves,
    /// Ends in `/` or `/.`, so that it names a folder.
    #[error("the path names a folder, not a file")]
    Folder,
    /// Has a zero byte, which no file name can have.
    #[error("the path has a zero byte")]
    ZeroByte,
}

/// Whether a path stays in the folder it is relative to (`fleet-folder.md` §4).
pub fn check_path(path: &str) -> Result<(), PathProblem> {
    let parts: Vec<&str> = path.split('/').collect();
    if path.contains('\0') {
        Err(PathProblem::ZeroByte)
    } else if path.starts_with('/') {
        Err(PathProblem::Absolute)
    } else if parts.contains(&"..") {
        Err(PathProblem::Leaves)
    } else if parts.iter().all(|part| matches!(*part, "" | ".")) {
        Err(PathProblem::Empty)
    } else if matches!(parts.last(), Some(&("" | "."))) {
        Err(PathProblem::Folder)
    } else {
        Ok(())
    }
}
