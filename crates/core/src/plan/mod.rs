//! What the agent does next: one pure decision from what it found (`Facts`) to steps.
//!
//! The order of the steps is the order in which power may fail. Before anything on the host changes, the
//! attempt is written down (`Begin`), so that the next run knows what it finds. A system is made current
//! first (`Activate`), then proved, and only then does the machine start it by itself (`Promote`) and is it
//! the last good state (`Commit`). What only a boot can prove is given one boot on trial (`Arm`, `Reboot`).

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::budget::{Allowance, Wait};
use crate::delivery::{Base, Slice};
use crate::ids::{ObjectId, ReleaseId, StorePath};
use crate::reach::Reach;
use crate::release::ObjectRef;
use crate::window::Opening;

mod decide;
pub use decide::plan;

/// An activation is tried this often before the host goes back.
pub const MAX_ATTEMPTS: u32 = 3;

/// A state that the host was in, or is to be in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// The release that it came with; none for what the agent found when it first ran.
    pub release: Option<ReleaseId>,
    /// Toplevel of the system.
    pub system: Option<StorePath>,
    /// Address of the host data.
    pub data: Option<ObjectId>,
}

/// An attempt that was begun and not yet judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// What the host is to become.
    pub to: Generation,
    /// Forward, or back to the last good one.
    pub direction: Direction,
    /// Activations begun so far.
    pub activations: u32,
    /// Why it goes back, once it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// How the host was before it began.
    #[serde(default)]
    pub before: Before,
    /// Since when it waits for a reboot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<Timestamp>,
    /// What the machine starts by itself is being changed, and may be either.
    #[serde(default)]
    pub promoting: bool,
    /// The boot during which a reboot was asked for; another one is the trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
}

impl Attempt {
    /// One that begins now.
    pub fn new(to: Generation, direction: Direction, before: Before) -> Self {
        let (failure, waits, boot) = (None, None, None);
        Self { to, direction, activations: 0, failure, before, waits, promoting: false, boot }
    }
}

/// How a host was before a change: what was wrong then is not the change's fault.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Before {
    /// Units that had failed.
    pub failed_units: BTreeSet<String>,
    /// What could be reached.
    pub reach: Reach,
    /// The way out.
    pub gateway: Option<String>,
    /// It was looked at long before: the whole site may have been without power since, and takes its time to come up.
    pub stale: bool,
}

/// The generation to which a machine falls back while its last good one has not been booted yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fallback {
    /// The last generation that was booted and proved.
    pub generation: Generation,
    /// The boot during which the newer one was made the default.
    pub boot: String,
    /// How the host was then.
    pub before: Before,
}

/// Which way an attempt goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// To an assigned release.
    Forward,
    /// To the last good generation.
    Back,
}

/// Why a release failed on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The release that failed.
    pub release: ReleaseId,
    /// In a sentence.
    pub why: String,
    /// Last lines of the logs.
    pub log: Vec<String>,
    /// It failed because nothing could be reached any more. Where nothing can be reached without it either, it was not
    /// its fault.
    #[serde(default)]
    pub cut_off: bool,
}

/// Going back did not help. It is tried again more and more seldom: each time takes services down, and perhaps the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stuck {
    /// How often in a row.
    pub times: u32,
    /// When it was tried last.
    pub at: Timestamp,
    /// What there was to tell.
    pub failure: Failure,
}

impl Stuck {
    /// Until when the host is left as it is.
    pub fn rests_until(&self) -> Timestamp {
        let rest = match self.times {
            0 | 1 => 0,
            2 => 3600,
            _ => 24 * 3600,
        };
        self.at.checked_add(SignedDuration::from_secs(rest)).unwrap_or(self.at)
    }

    /// A clock that was set back does not make it longer.
    pub fn rests(&self, now: Timestamp) -> bool {
        self.at <= now && now < self.rests_until()
    }
}

/// What became of the activation that was begun last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// None was begun, or it left no trace: the power failed.
    None,
    /// It runs.
    Running,
    /// It ended; how well, the checks tell.
    Ended,
}

/// What became of the reboot that an attempt asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Boot {
    /// None was asked for.
    NotAsked,
    /// The machine has not gone down yet.
    Asked,
    /// The machine came up again; into what, the current system tells.
    Happened,
}

/// What became of the first boot of a system that was proved without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trial {
    /// There is nothing to judge.
    None,
    /// It came up.
    Booted,
    /// The boot loader gave it up, and the one before is up.
    Failed,
}

/// A store path that the assigned release needs and the host lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// The path.
    pub path: StorePath,
    /// The object to fetch for it.
    pub object: ObjectRef,
    /// Bytes of the object that are here already.
    pub here: u64,
    /// Length of its NAR.
    pub nar_size: u64,
    /// What the object is a patch against; empty if it is a full one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bases: Vec<Base>,
    /// Where the object stands in a pack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slice: Option<Slice>,
}

/// A verified release, as far as it concerns this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Which.
    pub release: ReleaseId,
    /// The system to run.
    pub system: StorePath,
    /// The host data to apply.
    pub data: ObjectId,
    /// In the order of fetching and importing: references before referrers.
    pub missing: Vec<Missing>,
}

/// What the agent found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The release that is assigned and was verified; none if there is none or it was refused.
    pub target: Option<Target>,
    /// The system that is current, as seen.
    pub current: Option<StorePath>,
    /// The host data that is applied, as seen.
    pub data: Option<ObjectId>,
    /// The last generation that passed its checks.
    pub good: Generation,
    /// Its system is not in the store any more, so that nothing can be put back to it.
    #[serde(default)]
    pub good_lost: bool,
    /// An attempt that a run before this one left open.
    pub attempt: Option<Attempt>,
    /// What became of its activation.
    pub activation: Activation,
    /// Going back did not help.
    #[serde(default)]
    pub stuck: Option<Stuck>,
    /// Releases that failed here.
    pub quarantined: BTreeSet<ReleaseId>,
    /// The target was taken back while nothing could be reached, and nothing can be reached now.
    #[serde(default)]
    pub unheard: bool,
    /// Since a way back in this boot nothing can be reached.
    #[serde(default)]
    pub deaf: bool,
    /// Free space where the Nix store is, bytes.
    pub free: u64,
    /// What the machine starts by itself, as far as it is certain.
    pub default: Option<StorePath>,
    /// Why the system to become, that of the attempt or else the target's, needs a boot of its own.
    pub reboot: Option<String>,
    /// What became of the attempt's reboot.
    pub boot: Boot,
    /// What became of the first boot of the last good generation.
    pub trial: Trial,
    /// Room that the target's kernel and initrd lack where the boot loader reads them.
    pub boot_lack: Option<Lack>,
    /// Why a system that needs a restart cannot be tried here: nothing would start it, or fall back by itself.
    #[serde(default)]
    pub no_trial: Option<String>,
    /// What time it is.
    pub now: Timestamp,
    /// When the host may be restarted: now, or next.
    pub window: Opening,
    /// What the site's link allows now.
    #[serde(default)]
    pub allowance: Allowance,
}

/// Too little room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lack {
    /// Bytes that are needed.
    pub needed: u64,
    /// Bytes that are free.
    pub free: u64,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Step {
    /// Tell that there is too little room, before the first byte.
    Lack {
        /// Bytes that the update needs.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// Tell that the boot loader's partition has too little room, before anything is switched.
    LackBoot(Lack),
    /// Tell that a system that needs a restart cannot be tried here, and why.
    NoTrial {
        /// In a sentence.
        why: String,
    },
    /// Fetch nothing yet.
    Wait {
        /// For what.
        wait: Wait,
        /// Bytes still to come.
        bytes: u64,
    },
    /// Fetch objects, continuing where the last run stopped, and import them into the Nix store as they come.
    Fetch {
        /// In the order of import.
        missing: Vec<Missing>,
        /// Bytes still to come.
        bytes: u64,
    },
    /// Write down that an attempt begins.
    Begin {
        /// What the host is to become.
        to: Generation,
        /// Which way.
        direction: Direction,
    },
    /// Apply host data.
    ApplyData {
        /// Its address.
        data: ObjectId,
    },
    /// Make a system current by its contract, detached; what the machine starts by itself stays.
    Activate {
        /// Its toplevel.
        system: StorePath,
    },
    /// Wait for an activation that runs already.
    Await {
        /// Of this system.
        system: StorePath,
    },
    /// Look whether the system is current and every check passes; if not, go back.
    Prove,
    /// Make a system what the machine starts by itself.
    Promote {
        /// Its toplevel.
        system: StorePath,
    },
    /// Give a system the next boot on trial; if that fails, the machine starts the last good one.
    Arm {
        /// Its toplevel.
        system: StorePath,
    },
    /// Restart the machine.
    Reboot {
        /// Why.
        why: String,
    },
    /// Leave the restart for the window.
    WaitForWindow {
        /// Why it is needed.
        why: String,
        /// When it is allowed.
        window: Opening,
    },
    /// Judge the last good generation by its first boot: it is an attempt again.
    OnTrial,
    /// Write down that the attempt is the last good generation now.
    Commit,
    /// Go back to the last good generation.
    RollBack {
        /// Why.
        why: String,
    },
    /// Stop trying to go back, and tell that a person is needed.
    GiveUp {
        /// Why.
        why: String,
    },
    /// Run the checks of what is there, and report.
    Watch,
}

/// What to do, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// In a sentence, for `afield-agent plan` and the log.
    pub why: String,
    /// In this order; the first that fails ends the run.
    pub steps: Vec<Step>,
}
