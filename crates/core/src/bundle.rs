//! What travels by hand: a note that says whom a piece of the repository is for, and what hosts send back on it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{HostName, Name, ReleaseId};
use crate::plan::{Attempt, Generation};
use crate::signed::{Document, Envelope};
use crate::status::Taken;

/// Format number of [`Note`] and [`Package`]; a reader refuses a higher one.
pub const FORMAT: u32 = 1;
/// Name of the [`Note`] in a bundle's folder.
pub const NOTE: &str = "bundle.json";
/// Folder of what hosts send back, in a bundle's folder or beside a bundle's file.
pub const REPORTS: &str = "reports";
/// Ending of a [`Package`], sealed with age to the hub.
pub const SEALED: &str = "age";
/// A sealed package has at most this many bytes, so that a hub can take it in one request.
pub const MAX_SEALED: u64 = 1024 * 1024;

/// Says whom a bundle is for. Not signed: it only lets a host say by name what is wrong with a stick; what counts is
/// in the bundle's signed files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// [`FORMAT`].
    pub format: u32,
    /// The fleet.
    pub fleet: Name,
    /// The hosts that it was made for.
    pub hosts: Vec<HostName>,
    /// When it was made.
    pub made: Timestamp,
    /// When the first of its signatures expires.
    pub expires: Timestamp,
}

/// What one host puts onto a stick: how it stands, and reports that wait. Sealed to the hub as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// [`FORMAT`].
    pub format: u32,
    /// A [`Standing`], signed by the host.
    pub standing: Envelope,
    /// Signed reports, oldest first.
    pub reports: Vec<Envelope>,
}

/// How a host stands, beyond what reports say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The fleet.
    pub fleet: Name,
    /// The host.
    pub host: HostName,
    /// The host's idea of the time.
    pub time: Timestamp,
    /// Version of the agent.
    pub agent: String,
    /// The newest release that it accepted.
    pub release_seen: Option<ReleaseId>,
    /// The last good generation.
    pub good: Generation,
    /// What is under way.
    pub attempt: Option<Attempt>,
    /// Releases that failed on it.
    pub failed: Vec<ReleaseId>,
    /// The end of the last activation's log.
    pub log: Vec<String>,
}

impl Document for Standing {
    const KIND: &'static str = "standing";
}

/// The hub's answer to `POST /v1/packages`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpacked {
    /// How the host stood.
    pub standing: Standing,
    /// How many reports were in the package.
    pub reports: u64,
    /// What became of them; none if there were none.
    pub taken: Option<Taken>,
}
