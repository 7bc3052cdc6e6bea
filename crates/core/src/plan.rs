//! What the agent does next: one pure decision from what it found (`Facts`) to steps.
//!
//! The order of the steps is the order in which power may fail. Before anything on the host changes, the
//! attempt is written down (`Begin`), so that the next run knows what it finds; only after the checks pass
//! is it the last good state (`Commit`).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::budget::{Allowance, Wait, told};
use crate::delivery::{Base, Slice, room};
use crate::ids::{ObjectId, ReleaseId, StorePath};
use crate::release::ObjectRef;

/// An activation is tried this often before the host goes back.
pub const MAX_ATTEMPTS: u32 = 3;

/// A state that the host was in, or is to be in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// An attempt that a run before this one left open.
    pub attempt: Option<Attempt>,
    /// What became of its activation.
    pub activation: Activation,
    /// Releases that failed here.
    pub quarantined: BTreeSet<ReleaseId>,
    /// Free space where the Nix store is, bytes.
    pub free: u64,
    /// What the site's link allows now.
    #[serde(default)]
    pub allowance: Allowance,
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
    /// Make a system current: set the profile and run the contract, detached.
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

/// The decision.
pub fn plan(facts: &Facts) -> Plan {
    if let Some(attempt) = &facts.attempt {
        return finish(facts, attempt);
    }
    let Some(target) = &facts.target else {
        return keep(facts, "nothing new is assigned".into());
    };
    let release = target.release;
    if facts.quarantined.contains(&release) {
        return keep(
            facts,
            format!("release {release} failed here before; waiting for a newer one"),
        );
    }
    if facts.good == as_generation(target) {
        return keep(facts, format!("release {release} is in place"));
    }
    // What runs is mended first: the rest of the new release may be days away.
    let away = !target.missing.is_empty() && facts.good.release.is_some();
    if away && !changes(facts, &facts.good).is_empty() {
        return keep(facts, format!("release {release} is still to be fetched"));
    }
    advance(facts, target)
}

/// Keeps the last good generation: puts back what drifted from it, or only watches.
fn keep(facts: &Facts, why: String) -> Plan {
    let put_back = changes(facts, &facts.good);
    // What was there before the first release is not Afield's to put back.
    let never_touched = facts.good.release.is_none() && facts.quarantined.is_empty();
    if put_back.is_empty() || never_touched {
        return Plan { why, steps: vec![Step::Watch] };
    }
    let mut steps = vec![Step::Begin { to: facts.good.clone(), direction: Direction::Back }];
    steps.extend(put_back);
    steps.extend([Step::Prove, Step::Commit]);
    Plan { why: format!("{why}; the host drifted, and is put back"), steps }
}

fn as_generation(target: &Target) -> Generation {
    let (release, system, data) = (target.release, target.system.clone(), target.data);
    Generation { release: Some(release), system: Some(system), data: Some(data) }
}

fn advance(facts: &Facts, target: &Target) -> Plan {
    let mut steps = Vec::new();
    let missing = &target.missing;
    if !missing.is_empty() {
        let needed = room(missing);
        if needed > facts.free {
            let why = format!("release {} does not fit", target.release);
            return Plan { why, steps: vec![Step::Lack { needed, free: facts.free }, Step::Watch] };
        }
        let bytes = missing.iter().map(|m| m.object.size.saturating_sub(m.here)).sum();
        // What is here already may be imported at any time.
        if let (Err(wait), true) = (facts.allowance.verdict(), bytes > 0) {
            let release = target.release;
            let todo = told(bytes, &facts.allowance.budget);
            let why = format!("release {release} ({todo}): {wait}");
            return Plan { why, steps: vec![Step::Wait { wait, bytes }, Step::Watch] };
        }
        steps.push(Step::Fetch { missing: missing.clone(), bytes });
    }
    let to = as_generation(target);
    steps.push(Step::Begin { to: to.clone(), direction: Direction::Forward });
    steps.extend(changes(facts, &to));
    steps.extend([Step::Prove, Step::Commit]);
    let why = if facts.current == to.system {
        format!("release {} changes the host data only", target.release)
    } else {
        format!("release {} is assigned", target.release)
    };
    Plan { why, steps }
}

/// Data before system, since the system's services read it.
fn changes(facts: &Facts, to: &Generation) -> Vec<Step> {
    let data = to.data.filter(|_| facts.data != to.data).map(|data| Step::ApplyData { data });
    let system = to.system.clone().filter(|_| facts.current != to.system);
    data.into_iter().chain(system.map(|system| Step::Activate { system })).collect()
}

/// An attempt is finished before anything new is begun.
fn finish(facts: &Facts, attempt: &Attempt) -> Plan {
    let release = attempt.to.release.map_or("the first state".into(), |r| format!("release {r}"));
    let mut steps = Vec::new();
    match (facts.activation, &attempt.to.system) {
        (Activation::Running, Some(system)) => {
            steps.push(Step::Await { system: system.clone() });
        }
        (Activation::Ended, _) => {
            steps.extend(changes(
                facts,
                &Generation { system: facts.current.clone(), ..attempt.to.clone() },
            ));
        }
        _ if attempt.activations >= MAX_ATTEMPTS => {
            let n = attempt.activations;
            let why = format!("{release} was activated {n} times and never ended");
            let step = match attempt.direction {
                Direction::Forward => Step::RollBack { why: why.clone() },
                Direction::Back => Step::GiveUp { why: why.clone() },
            };
            return Plan { why, steps: vec![step] };
        }
        _ => steps.extend(changes(facts, &attempt.to)),
    }
    steps.extend([Step::Prove, Step::Commit]);
    let way = match attempt.direction {
        Direction::Forward => "to",
        Direction::Back => "back to",
    };
    Plan { why: format!("an earlier run was on the way {way} {release}"), steps }
}
