//! Why metadata was refused, each with its own name and remedy.

use jiff::Timestamp;
use tough::error::Error as Tough;
use tough::schema::Error as Schema;

/// Why metadata was refused.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Too old to be believed.
    #[error(
        "the {role} metadata expired on {at} (it is {now}); publish it anew with `afield release --refresh`, \
         or, if it was, whoever hands it out holds it back"
    )]
    Expired {
        /// Which metadata.
        role: String,
        /// When.
        at: Timestamp,
        /// The time that was judged by.
        now: Timestamp,
    },
    /// An earlier version than one accepted before.
    #[error(
        "the {role} metadata is older than what was seen before: {detail}; \
         whoever hands it out holds newer releases back"
    )]
    Older {
        /// Which metadata.
        role: String,
        /// The versions.
        detail: String,
    },
    /// Too few signatures of the keys that count.
    #[error(
        "the {role} metadata has {valid} valid signature(s) of {threshold} needed; \
         it was signed with keys that are not, or no longer, trusted for this"
    )]
    Threshold {
        /// Which metadata.
        role: String,
        /// Valid signatures.
        valid: u64,
        /// Needed.
        threshold: u64,
    },
    /// One key, twice.
    #[error("the {role} metadata carries two signatures of the key {key}; one key counts once")]
    DuplicateSignature {
        /// Which metadata.
        role: String,
        /// Whose.
        key: String,
    },
    /// Files of different releases, or damaged ones.
    #[error(
        "the metadata files do not belong together: {0}; fetch them again, from another source if it stays"
    )]
    Mixed(String),
    /// Longer than any should be.
    #[error("a metadata file is longer than it may be: {0}")]
    TooLong(String),
    /// Something is not there.
    #[error("a metadata file is missing: {0}")]
    Missing(String),
    /// Something cannot be read.
    #[error("the metadata cannot be read: {0}")]
    Malformed(String),
}

impl TrustError {
    /// Short name of the refusal, for reports and `docs/refusals.md`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Expired { .. } => "metadata-expired",
            Self::Older { .. } => "metadata-older",
            Self::Threshold { .. } => "signature-threshold",
            Self::DuplicateSignature { .. } => "signature-duplicate",
            Self::Mixed(_) => "metadata-mixed",
            Self::TooLong(_) => "metadata-too-long",
            Self::Missing(_) => "metadata-missing",
            Self::Malformed(_) => "metadata-malformed",
        }
    }
}

impl From<Tough> for TrustError {
    fn from(error: Tough) -> Self {
        match error {
            Tough::VerifyMetadata { role, source, .. } => signatures(&role.to_string(), source),
            Tough::VerifyTrustedMetadata { source, .. } => signatures("trusted root", source),
            Tough::OlderMetadata { role, current_version, new_version, .. } => Self::Older {
                role: role.to_string(),
                detail: format!("version {new_version} after {current_version}"),
            },
            Tough::OlderSnapshotInTimestamp { snapshot_new, snapshot_old, .. } => Self::Older {
                role: "snapshot".into(),
                detail: format!("version {snapshot_new} after {snapshot_old}"),
            },
            Tough::SnapshotRoleRollback { role, new_role_version, old_role_version, .. } => {
                let detail = format!("version {new_role_version} after {old_role_version}");
                Self::Older { role, detail }
            }
            Tough::VersionMismatch { .. } => Self::Mixed(error.to_string()),
            Tough::Transport { source, url, .. } => transport(url.as_ref(), &source),
            Tough::ParseMetadata { role, source, .. } => {
                Self::Malformed(format!("{role}: {source}"))
            }
            Tough::ParseTrustedMetadata { source, .. } => {
                Self::Malformed(format!("trusted root: {source}"))
            }
            other => Self::Malformed(other.to_string()),
        }
    }
}

fn signatures(role: &str, source: Schema) -> TrustError {
    let role = role.to_owned();
    match source {
        Schema::SignatureThreshold { threshold, valid, .. } => {
            TrustError::Threshold { role, valid, threshold }
        }
        Schema::DuplicateKeyId { keyid } => TrustError::DuplicateSignature { role, key: keyid },
        other => TrustError::Malformed(format!("{role}: {other}")),
    }
}

fn transport(url: &str, error: &tough::TransportError) -> TrustError {
    let file = url.rsplit('/').next().unwrap_or(url).to_owned();
    let cause = std::error::Error::source(error).and_then(|c| c.downcast_ref::<Tough>());
    match cause {
        Some(Tough::HashMismatch { calculated, expected, .. }) => TrustError::Mixed(format!(
            "{file} has the hash {calculated}, and {expected} was signed"
        )),
        Some(Tough::MaxSizeExceeded { max_size, .. }) => {
            TrustError::TooLong(format!("{file} has more than {max_size} bytes"))
        }
        _ if error.kind() == tough::TransportErrorKind::FileNotFound => TrustError::Missing(file),
        _ => TrustError::Malformed(format!("{file}: {error}")),
    }
}
