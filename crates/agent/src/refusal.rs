//! Why what was offered is refused: each lie has a name, a sentence and a remedy.

use afield_core::ids::{HostName, Name, ObjectId, ReleaseId};
use afield_core::signed::OpenError;
use afield_store::object::ObjectError;
use afield_store::repository::RepositoryError;
use afield_store::trust::TrustError;
use jiff::Timestamp;

use crate::source::SourceError;

/// Why what was offered is refused. The host does not change.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// No source answered; nothing was offered.
    #[error(transparent)]
    Unreachable(#[from] SourceError),
    /// The metadata of trust.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The metadata is another fleet's.
    #[error(
        "the repository is of the fleet {found}, and this host belongs to {own}; check `repositories` in agent.toml, or the stick"
    )]
    OtherFleet {
        /// Whose it is.
        found: Name,
        /// Whose the host is.
        own: Name,
    },
    /// A stick that was made for others.
    #[error(
        "{place} has nothing for this host: {what}; make one with afield bundle export --host {own}"
    )]
    StickForOthers {
        /// The stick.
        place: String,
        /// Whom it was made for, as far as it says.
        what: String,
        /// This host.
        own: HostName,
    },
    /// The assignment's signature.
    #[error("the assignment is not signed by the rollout key: {0}")]
    AssignmentSignature(OpenError),
    /// An assignment for another.
    #[error(
        "the assignment is for {fleet}/{host}, not for this host: whoever hands it out mixed them up, or lies"
    )]
    OtherHost {
        /// Its fleet.
        fleet: Name,
        /// Its host.
        host: HostName,
    },
    /// An assignment older than one that was accepted.
    #[error(
        "the assignment has the counter {found}, and {seen} was seen before: whoever hands it out holds newer ones back"
    )]
    OlderAssignment {
        /// What came.
        found: u64,
        /// What was seen.
        seen: u64,
    },
    /// Two assignments with one counter.
    #[error(
        "the assignment says something else than the one seen before with the same counter {0}: the rollout key is used twice, or stolen"
    )]
    TwoAssignments(u64),
    /// An assignment that is no longer valid.
    #[error(
        "the assignment expired on {at} (it is {now}): the hub has not renewed it, or someone holds newer ones back"
    )]
    AssignmentExpired {
        /// When.
        at: Timestamp,
        /// The time that was judged by.
        now: Timestamp,
    },
    /// Release number lower than one that was accepted.
    #[error(
        "release {found} is older than release {seen}, which was accepted before; to go back, make a new release: afield release --like {found}"
    )]
    OlderRelease {
        /// What is assigned.
        found: ReleaseId,
        /// What was seen.
        seen: ReleaseId,
    },
    /// The rollout key names a release that the release key has not signed.
    #[error(
        "release {0} is assigned, but the release key has not signed it: publish it, or the rollout key is stolen"
    )]
    NotReleased(ReleaseId),
    /// The two keys speak of different releases of one number.
    #[error(
        "the assignment means release {release} with the manifest {assigned}, and the release key signed {released}"
    )]
    OtherManifest {
        /// The number.
        release: ReleaseId,
        /// What the rollout key says.
        assigned: ObjectId,
        /// What the release key says.
        released: ObjectId,
    },
    /// The release does not speak of this host.
    #[error("release {0} has nothing for this host: its build failed, or it was left out")]
    NotInRelease(ReleaseId),
    /// A signed document that does not make sense.
    #[error("release {release} was signed with a flaw for this host: {what}")]
    Flawed {
        /// Which.
        release: ReleaseId,
        /// What is wrong.
        what: String,
    },
    /// A manifest or document is not what it should be.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// An object is not what it should be.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// Nix did not take an archive.
    #[error("Nix refused the import of {path}: {why}")]
    Import {
        /// The first path that is still missing.
        path: String,
        /// Nix's words.
        why: String,
    },
    /// Too little room.
    #[error(
        "the update needs {needed} bytes and {free} are free; remove old generations with nix-collect-garbage, or files"
    )]
    NoSpace {
        /// Bytes needed.
        needed: u64,
        /// Bytes there.
        free: u64,
    },
    /// Too little room for a kernel.
    #[error(
        "the new kernel and initrd need {needed} bytes where the boot loader reads them and {free} are free; remove old generations from the boot menu with `nix-collect-garbage --delete-older-than 30d` and `switch-to-configuration boot`"
    )]
    NoBootSpace {
        /// Bytes needed.
        needed: u64,
        /// Bytes there.
        free: u64,
    },
    /// What must be tried by a restart cannot be.
    #[error("the release needs a restart, which cannot be tried here: {0}")]
    NoTrial(String),
}

impl Refusal {
    /// Whether nothing was offered at all: a link that is down, and no lie.
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::Unreachable(SourceError::NotThere { .. } | SourceError::Failed { .. }))
    }

    /// Its name, for reports and `docs/refusals.md`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable(SourceError::TooLong { .. }) => "too-long",
            Self::Unreachable(SourceError::Truncated { .. }) => "truncated",
            Self::Unreachable(_) => "unreachable",
            Self::Trust(e) => e.code(),
            Self::OtherFleet { .. } => "other-fleet",
            Self::StickForOthers { .. } => "stick-without-this-host",
            Self::AssignmentSignature(_) => "assignment-signature",
            Self::OtherHost { .. } => "assignment-for-another-host",
            Self::OlderAssignment { .. } => "assignment-older",
            Self::TwoAssignments(_) => "assignment-two-of-one-counter",
            Self::AssignmentExpired { .. } => "assignment-expired",
            Self::OlderRelease { .. } => "release-older",
            Self::NotReleased(_) => "assignment-without-release",
            Self::OtherManifest { .. } => "assignment-of-another-manifest",
            Self::NotInRelease(_) => "release-without-this-host",
            Self::Flawed { .. } => "release-flawed",
            Self::Repository(RepositoryError::Object(e)) | Self::Object(e) => object_code(e),
            Self::Repository(_) => "repository",
            Self::Import { .. } => "import-refused",
            Self::NoSpace { .. } => "no-space",
            Self::NoBootSpace { .. } => "no-boot-space",
            Self::NoTrial(_) => "no-trial",
        }
    }
}

fn object_code(error: &ObjectError) -> &'static str {
    use afield_store::nar::NarError;
    match error {
        ObjectError::Io { .. } => "object-unreadable",
        ObjectError::Swapped { .. } => "object-swapped",
        ObjectError::Length { .. } => "object-length",
        ObjectError::Document { .. } => "document-malformed",
        ObjectError::Nar { source: NarError::Unsorted { .. }, .. } => "nar-unsorted",
        ObjectError::Nar { source: NarError::BadName(_), .. } => "nar-escaping",
        ObjectError::Nar { source: NarError::WrongHash { .. }, .. } => "nar-hash",
        ObjectError::Nar { .. } => "nar-malformed",
    }
}
