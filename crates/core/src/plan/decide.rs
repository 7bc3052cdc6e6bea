//! The decision itself.

use crate::budget::told;
use crate::delivery::room;

use super::{
    Activation, Attempt, Boot, Direction, Facts, Generation, MAX_ATTEMPTS, Plan, Step, Stuck,
    Target, Trial,
};

/// The decision.
pub fn plan(facts: &Facts) -> Plan {
    if let Some(attempt) = &facts.attempt {
        return finish(facts, attempt);
    }
    let how = match facts.trial {
        Trial::None => return settled(facts),
        Trial::Booted => "it is up for the first time",
        Trial::Failed => "the boot loader gave it up",
    };
    Plan { why: format!("{}: {how}", name(&facts.good)), steps: vec![Step::OnTrial] }
}

/// Nothing is under way.
fn settled(facts: &Facts) -> Plan {
    if let Some(plan) = last_resort(facts) {
        return plan;
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
    // Tried now, it would be judged without the one thing that it is suspected of.
    if facts.unheard {
        let why = format!("release {release} is tried again when something can be reached");
        return keep(facts, why);
    }
    // What runs is mended first: the rest of the new release may be days away.
    let away = !target.missing.is_empty() && facts.good.release.is_some();
    if away && drifted(facts) && resting(facts).is_none() {
        return keep(facts, format!("release {release} is still to be fetched"));
    }
    advance(facts, target)
}

/// A switch back in a running machine may leave the network as it was. What runs here goes on until the window.
fn last_resort(facts: &Facts) -> Option<Plan> {
    let there = facts.good.system.is_some() && !facts.good_lost;
    if !(facts.deaf && there && facts.window.is_open(facts.now)) {
        return None;
    }
    let why = "nothing can be reached since the host went back".to_owned();
    let begin = Step::Begin { to: facts.good.clone(), direction: Direction::Back };
    Some(Plan { why: why.clone(), steps: vec![begin, Step::Reboot { why }] })
}

fn drifted(facts: &Facts) -> bool {
    // What is gone cannot be put back; the next release brings a system.
    if facts.good_lost {
        return false;
    }
    !changes(facts, &facts.good).is_empty() || facts.default != facts.good.system
}

/// Going back did not help, and is not tried again yet.
fn resting(facts: &Facts) -> Option<&Stuck> {
    // Host data takes nothing down.
    let switches = facts.current != facts.good.system;
    facts.stuck.as_ref().filter(|stuck| switches && stuck.rests(facts.now))
}

/// Keeps the last good generation: puts back what drifted from it, or only watches.
fn keep(facts: &Facts, why: String) -> Plan {
    // What was there before the first release is not Afield's to put back.
    let never_touched = facts.good.release.is_none() && facts.quarantined.is_empty();
    if never_touched || !drifted(facts) {
        return Plan { why, steps: vec![Step::Watch] };
    }
    if let Some(stuck) = resting(facts) {
        let (n, until) = (stuck.times, stuck.rests_until());
        let why =
            format!("{why}; going back did not help {n} times, and is tried again at {until}");
        return Plan { why, steps: vec![Step::Watch] };
    }
    let mut steps = vec![Step::Begin { to: facts.good.clone(), direction: Direction::Back }];
    steps.extend(go_back(&Facts { reboot: None, ..facts.clone() }, &facts.good));
    Plan { why: format!("{why}; the host drifted, and is put back"), steps }
}

fn as_generation(target: &Target) -> Generation {
    let (release, system, data) = (target.release, target.system.clone(), target.data);
    Generation { release: Some(release), system: Some(system), data: Some(data) }
}

fn name(generation: &Generation) -> String {
    generation.release.map_or("the first state".into(), |r| format!("release {r}"))
}

fn advance(facts: &Facts, target: &Target) -> Plan {
    let release = target.release;
    if !target.missing.is_empty() {
        return bring(facts, target);
    }
    let to = as_generation(target);
    if let Some(lack) = facts.boot_lack.filter(|_| facts.current != to.system) {
        let why = format!("release {release} does not fit where the boot loader reads it");
        return Plan { why, steps: vec![Step::LackBoot(lack), Step::Watch] };
    }
    if let (Some(_), Some(why)) = (&facts.reboot, &facts.no_trial) {
        let steps = vec![Step::NoTrial { why: why.clone() }, Step::Watch];
        return Plan {
            why: format!("release {release} needs a restart that cannot be tried"),
            steps,
        };
    }
    let mut steps = vec![Step::Begin { to: to.clone(), direction: Direction::Forward }];
    steps.extend(go_forward(facts, &to));
    let why = if facts.current == to.system {
        format!("release {release} changes the host data only")
    } else {
        format!("release {release} is assigned")
    };
    Plan { why, steps }
}

/// Brings what is missing here; how the system is switched to is planned when it can be looked at.
fn bring(facts: &Facts, target: &Target) -> Plan {
    let (release, missing) = (target.release, &target.missing);
    let needed = room(missing);
    if needed > facts.free {
        let why = format!("release {release} does not fit");
        return Plan { why, steps: vec![Step::Lack { needed, free: facts.free }, Step::Watch] };
    }
    let bytes = missing.iter().map(|m| m.object.size.saturating_sub(m.here)).sum();
    // What is here already may be imported at any time.
    if let (Err(wait), true) = (facts.allowance.verdict(), bytes > 0) {
        let todo = told(bytes, &facts.allowance.budget);
        let why = format!("release {release} ({todo}): {wait}");
        return Plan { why, steps: vec![Step::Wait { wait, bytes }, Step::Watch] };
    }
    let steps = vec![Step::Fetch { missing: missing.clone(), bytes }];
    Plan { why: format!("release {release} is assigned"), steps }
}

/// Data before system, since the system's services read it.
fn changes(facts: &Facts, to: &Generation) -> Vec<Step> {
    let data = new_data(facts, to);
    let system = to.system.clone().filter(|_| facts.current != to.system);
    data.into_iter().chain(system.map(|system| Step::Activate { system })).collect()
}

fn new_data(facts: &Facts, to: &Generation) -> Option<Step> {
    to.data.filter(|_| facts.data != to.data).map(|data| Step::ApplyData { data })
}

/// What the machine starts by itself changes last.
fn go_forward(facts: &Facts, to: &Generation) -> Vec<Step> {
    match (&facts.reboot, &to.system) {
        (Some(why), Some(system)) => {
            let mut steps: Vec<Step> = new_data(facts, to).into_iter().collect();
            if facts.window.is_open(facts.now) {
                steps.push(Step::Arm { system: system.clone() });
                steps.push(Step::Reboot { why: why.clone() });
            } else {
                let window = facts.window;
                steps.push(Step::WaitForWindow { why: why.clone(), window });
            }
            steps
        }
        _ => [changes(facts, to), prove(facts, to)].concat(),
    }
}

fn prove(facts: &Facts, to: &Generation) -> Vec<Step> {
    let booted = facts.boot == Boot::Happened;
    let promote = to.system.clone().filter(|_| booted || facts.default != to.system);
    let promote = promote.map(|system| Step::Promote { system });
    [Step::Prove].into_iter().chain(promote).chain([Step::Commit]).collect()
}

/// What the machine starts by itself changes first: the last good generation has its proof already.
fn go_back(facts: &Facts, to: &Generation) -> Vec<Step> {
    let promote = to.system.clone().filter(|_| facts.default != to.system);
    let mut steps: Vec<Step> = promote.map(|system| Step::Promote { system }).into_iter().collect();
    match &facts.reboot {
        // A host that does harm does not wait for a window.
        Some(why) => {
            steps.extend(new_data(facts, to));
            steps.push(Step::Reboot { why: why.clone() });
        }
        None => {
            steps.extend(changes(facts, to));
            steps.extend([Step::Prove, Step::Commit]);
        }
    }
    steps
}

/// An attempt is finished before anything new is begun.
fn finish(facts: &Facts, attempt: &Attempt) -> Plan {
    let to = &attempt.to;
    let release = name(to);
    let forward = attempt.direction == Direction::Forward;
    let way = if forward { "to" } else { "back to" };
    let why = format!("an earlier run was on the way {way} {release}");
    let up = facts.current == to.system;
    let steps = match (facts.activation, facts.boot) {
        (Activation::Running, _) => {
            to.system.clone().map(|system| Step::Await { system }).into_iter().collect()
        }
        (_, Boot::Asked) => vec![Step::Reboot { why: format!("{release} waits for the restart") }],
        (_, Boot::Happened) if forward && !up => {
            return undo(
                attempt,
                format!("{release} did not come up: the machine fell back by itself"),
            );
        }
        (Activation::None, _) if attempt.activations >= MAX_ATTEMPTS && !up => {
            let n = attempt.activations;
            return undo(
                attempt,
                format!("{release} was begun {n} times, and each time the host went down"),
            );
        }
        (Activation::None, Boot::NotAsked) if forward && facts.reboot.is_some() => {
            return wait_or_reboot(facts, to, why);
        }
        (Activation::None, _) if forward => go_forward(facts, to),
        (Activation::None, _) => {
            // Only a system that was booted must be left by a boot.
            let reboot = facts.reboot.clone();
            let reboot = reboot.filter(|_| attempt.failure.is_some() && attempt.promoting);
            go_back(&Facts { reboot, ..facts.clone() }, to)
        }
        (Activation::Ended, _) => {
            // It is not begun again, whatever came of it: the proof tells.
            let ended = Facts { current: to.system.clone(), reboot: None, ..facts.clone() };
            if forward { go_forward(&ended, to) } else { go_back(&ended, to) }
        }
    };
    Plan { why, steps }
}

/// A newer release takes the place of one that waits for its window.
fn wait_or_reboot(facts: &Facts, to: &Generation, why: String) -> Plan {
    let newer = facts.target.as_ref().filter(|target| {
        to.release.is_some_and(|r| target.release > r)
            && !facts.quarantined.contains(&target.release)
    });
    match newer {
        Some(target) if !facts.window.is_open(facts.now) => advance(facts, target),
        _ => Plan { why, steps: go_forward(facts, to) },
    }
}

fn undo(attempt: &Attempt, why: String) -> Plan {
    let step = match attempt.direction {
        Direction::Forward => Step::RollBack { why: why.clone() },
        Direction::Back => Step::GiveUp { why: why.clone() },
    };
    Plan { why, steps: vec![step] }
}
