//! Which release a host should run, said by the rollout key; and what operators tell the hub.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{HostName, Name, ObjectId, ReleaseId};
use crate::rollout::Policy;
use crate::signed::Document;

/// One host's assignment. The release must say the same (design §5): neither key alone moves a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The fleet's name.
    pub fleet: Name,
    /// For this host and no other.
    pub host: HostName,
    /// The release to run.
    pub release: ReleaseId,
    /// Address of that release's manifest, so that one number cannot mean two things.
    pub manifest: ObjectId,
    /// Grows with every assignment of the fleet; an older one is refused.
    pub counter: u64,
    /// When it was signed.
    pub issued: Timestamp,
    /// Not to be followed after this.
    pub expires: Timestamp,
}

impl Document for Assignment {
    const KIND: &'static str = "assignment";
}

/// What an operator tells the hub, signed with an operator's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The fleet's name.
    pub fleet: Name,
    /// What to do.
    pub action: Action,
    /// When it was signed; the hub takes none that is not newer than the last it took.
    pub issued: Timestamp,
    /// Not to be followed after this.
    pub expires: Timestamp,
}

impl Document for Order {
    const KIND: &'static str = "order";
}

/// What can be done with a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Action {
    /// Begin to hand out a release, wave by wave.
    Start {
        /// Which.
        release: ReleaseId,
        /// When a wave is good enough for the next.
        policy: Policy,
    },
    /// No further wave until resumed.
    Pause,
    /// Go on, also after a failure stopped it.
    Resume,
    /// End it: waves that it has not reached never get it.
    Cancel,
}
