//! The agent's decision as a table: what is found, and what follows.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use afield_core::budget::{Allowance, Budget};
use afield_core::ids::{ObjectId, ReleaseId, StorePath};
use afield_core::plan::{
    Activation, Attempt, Direction, Facts, Generation, MAX_ATTEMPTS, Missing, Step, Target, plan,
};
use afield_core::release::ObjectRef;

fn system(n: u64) -> StorePath {
    format!("/nix/store/{}-system-{n}", "0".repeat(32)).parse().unwrap()
}

fn data(n: u64) -> ObjectId {
    ObjectId::of(&n.to_le_bytes())
}

fn generation(n: u64) -> Generation {
    Generation { release: Some(ReleaseId(n)), system: Some(system(n)), data: Some(data(n)) }
}

fn target(n: u64) -> Target {
    Target { release: ReleaseId(n), system: system(n), data: data(n), missing: vec![] }
}

/// A host on release 1, to which nothing is assigned.
fn base() -> Facts {
    Facts {
        target: None,
        current: Some(system(1)),
        data: Some(data(1)),
        good: generation(1),
        attempt: None,
        activation: Activation::None,
        quarantined: BTreeSet::new(),
        free: 1_000_000,
        allowance: Allowance::default(),
    }
}

fn with(change: impl FnOnce(&mut Facts)) -> Facts {
    let mut facts = base();
    change(&mut facts);
    facts
}

fn attempt(n: u64, direction: Direction, activations: u32) -> Option<Attempt> {
    Some(Attempt { to: generation(n), direction, activations, failure: None })
}

fn missing(nar_size: u64) -> Vec<Missing> {
    let object = ObjectRef { id: data(9), size: 100 };
    let (bases, slice) = (vec![], None);
    vec![Missing { path: system(2), object, here: 40, nar_size, bases, slice }]
}

/// The steps in short.
fn steps(facts: &Facts) -> String {
    let short = |step: &Step| match step {
        Step::Lack { .. } => "lack".into(),
        Step::Fetch { bytes, .. } => format!("fetch {bytes}"),
        Step::Wait { bytes, .. } => format!("wait {bytes}"),
        Step::Begin { to, direction } => format!("{direction:?} {}", to.release.unwrap()),
        Step::ApplyData { data: d } => {
            format!("data {}", (0..9).find(|n| data(*n) == *d).unwrap())
        }
        Step::Activate { system } => format!("activate {}", system.name()),
        Step::Await { .. } => "await".into(),
        Step::Prove => "prove".into(),
        Step::Commit => "commit".into(),
        Step::RollBack { .. } => "roll back".into(),
        Step::GiveUp { .. } => "give up".into(),
        Step::Watch => "watch".into(),
    };
    plan(facts).steps.iter().map(short).collect::<Vec<String>>().join(", ")
}

fn check(name: &str, facts: &Facts, wanted: &str) {
    assert_eq!(steps(facts), wanted, "{name}: {}", plan(facts).why);
}

#[test]
fn a_host_without_an_attempt() {
    check("nothing assigned", &base(), "watch");
    check("in place", &with(|f| f.target = Some(target(1))), "watch");
    let new = with(|f| f.target = Some(target(2)));
    check("a new release", &new, "Forward 2, data 2, activate system-2, prove, commit");
    let half = with(|f| f.target = Some(Target { missing: missing(500), ..target(2) }));
    let all = "fetch 60, Forward 2, data 2, activate system-2, prove, commit";
    check("half of it is here", &half, all);
    let large = with(|f| f.target = Some(Target { missing: missing(2_000_000), ..target(2) }));
    check("it does not fit", &large, "lack, watch");
    let metered = Allowance {
        budget: Budget { ask_first: true, ..Budget::default() },
        ..Allowance::default()
    };
    let waits = with(|f| {
        f.target = Some(Target { missing: missing(500), ..target(2) });
        f.allowance = metered.clone();
    });
    check("a metered link", &waits, "wait 60, watch");
    let here = with(|f| {
        let mut all = missing(500);
        all[0].here = 100;
        f.target = Some(Target { missing: all, ..target(2) });
        f.allowance = metered.clone();
    });
    let import = "fetch 0, Forward 2, data 2, activate system-2, prove, commit";
    check("a metered link, and all of it is here", &here, import);
    let data_only = with(|f| f.target = Some(Target { system: system(1), ..target(2) }));
    check("host data alone", &data_only, "Forward 2, data 2, prove, commit");
    let back = with(|f| f.target = Some(Target { release: ReleaseId(3), ..target(1) }));
    check("taken back: a new number for what is there", &back, "Forward 3, prove, commit");
    let failed = with(|f| {
        f.target = Some(target(2));
        f.quarantined.insert(ReleaseId(2));
    });
    check("it failed here before", &failed, "watch");
}

#[test]
fn a_host_that_drifted() {
    check("app configs", &with(|f| f.data = None), "Back 1, data 1, prove, commit");
    let offline = with(|f| f.current = Some(system(7)));
    check("another system, offline", &offline, "Back 1, activate system-1, prove, commit");
    let assigned = with(|f| {
        f.current = Some(system(7));
        f.target = Some(target(1));
    });
    check("another system, assigned", &assigned, "Back 1, activate system-1, prove, commit");
    let before_the_first = with(|f| {
        f.good.release = None;
        f.current = Some(system(7));
    });
    check("nothing is put back before the first release", &before_the_first, "watch");
}

#[test]
fn what_runs_is_mended_before_the_next_release_is_here() {
    let away = with(|f| {
        f.target = Some(Target { missing: missing(500), ..target(2) });
        f.data = None;
    });
    check("a reboot while fetching", &away, "Back 1, data 1, prove, commit");
    let first_failed = with(|f| {
        f.good.release = None;
        f.quarantined.insert(ReleaseId(1));
        f.current = Some(system(7));
    });
    let back = Step::Activate { system: system(1) };
    let steps = plan(&first_failed).steps;
    assert!(steps.contains(&back), "the way back from the first release was forgotten: {steps:?}");
}

#[test]
fn a_host_that_was_cut_off() {
    let before = with(|f| f.attempt = attempt(2, Direction::Forward, 0));
    check("before the activation", &before, "data 2, activate system-2, prove, commit");
    let within = with(|f| {
        f.attempt = attempt(2, Direction::Forward, 1);
        f.data = Some(data(2));
    });
    check("in the activation", &within, "activate system-2, prove, commit");
    let never = with(|f| f.attempt = attempt(2, Direction::Forward, MAX_ATTEMPTS));
    check("the activation never ends", &never, "roll back");
    let runs = with(|f| {
        f.attempt = attempt(2, Direction::Forward, 1);
        f.activation = Activation::Running;
    });
    check("the activation still runs", &runs, "await, prove, commit");
    let ended = with(|f| {
        f.attempt = attempt(2, Direction::Forward, 1);
        f.activation = Activation::Ended;
        f.data = Some(data(2));
    });
    check("it ended, and nobody looked", &ended, "prove, commit");
    let back = with(|f| {
        f.attempt = attempt(1, Direction::Back, 9);
        f.current = Some(system(2));
    });
    check("on the way back, too often", &back, "give up");
    let newer = with(|f| {
        f.attempt = attempt(2, Direction::Forward, 0);
        f.target = Some(target(3));
        f.data = Some(data(2));
    });
    check("an attempt is finished first", &newer, "activate system-2, prove, commit");
}
