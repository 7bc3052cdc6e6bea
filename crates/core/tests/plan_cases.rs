//! The agent's decision as a table: what is found, and what follows.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use afield_core::budget::{Allowance, Budget};
use afield_core::ids::{ObjectId, ReleaseId, StorePath};
use afield_core::plan::{
    Activation, Attempt, Before, Boot, Direction, Facts, Failure, Generation, Lack, MAX_ATTEMPTS,
    Missing, Step, Stuck, Target, Trial, plan,
};
use afield_core::release::ObjectRef;
use afield_core::window::Opening;
use jiff::Timestamp;

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
        good_lost: false,
        attempt: None,
        activation: Activation::None,
        stuck: None,
        quarantined: BTreeSet::new(),
        unheard: false,
        deaf: false,
        free: 1_000_000,
        default: Some(system(1)),
        reboot: None,
        boot: Boot::NotAsked,
        trial: Trial::None,
        boot_lack: None,
        no_trial: None,
        now: at(0),
        window: Opening { opens: at(3600), closes: at(7200) },
        allowance: Allowance::default(),
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn with(change: impl FnOnce(&mut Facts)) -> Facts {
    let mut facts = base();
    change(&mut facts);
    facts
}

fn attempt(n: u64, direction: Direction, activations: u32) -> Option<Attempt> {
    Some(Attempt { activations, ..Attempt::new(generation(n), direction, Before::default()) })
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
        Step::LackBoot(_) => "lack boot".into(),
        Step::NoTrial { why } => format!("no trial: {why}"),
        Step::Promote { system } => format!("promote {}", system.name()),
        Step::Arm { system } => format!("arm {}", system.name()),
        Step::Reboot { .. } => "reboot".into(),
        Step::WaitForWindow { .. } => "wait".into(),
        Step::OnTrial => "on trial".into(),
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
    let all = "Forward 2, data 2, activate system-2, prove, promote system-2, commit";
    check("a new release", &new, all);
    let half = with(|f| f.target = Some(Target { missing: missing(500), ..target(2) }));
    check("half of it is here", &half, "fetch 60");
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
    check("a metered link, and all of it is here", &here, "fetch 0");
    let data_only = with(|f| f.target = Some(Target { system: system(1), ..target(2) }));
    check("host data alone", &data_only, "Forward 2, data 2, prove, commit");
    let back = with(|f| f.target = Some(Target { release: ReleaseId(3), ..target(1) }));
    check("taken back: a new number for what is there", &back, "Forward 3, prove, commit");
    let failed = with(|f| {
        f.target = Some(target(2));
        f.quarantined.insert(ReleaseId(2));
    });
    check("it failed here before", &failed, "watch");
    let unheard = with(|f| {
        f.target = Some(target(2));
        f.unheard = true;
    });
    check("taken back in a silence that goes on", &unheard, "watch");
    let deaf = with(|f| f.deaf = true);
    check("a way back that left it cut off, by day", &deaf, "watch");
    let night = with(|f| {
        f.deaf = true;
        f.now = at(3600);
    });
    check("the same in the window", &night, "Back 1, reboot");
}

#[test]
fn a_host_that_drifted() {
    let default = with(|f| f.default = Some(system(7)));
    check("another system is the default", &default, "Back 1, promote system-1, prove, commit");
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
fn going_back_that_does_not_help_is_tried_more_and_more_seldom() {
    let stuck = |times: u32, at_second: i64, change: fn(&mut Facts)| {
        with(|f| {
            let (release, why, log) = (ReleaseId(1), String::new(), vec![]);
            let failure = Failure { release, why, log, cut_off: false };
            f.stuck = Some(Stuck { times, at: at(at_second), failure });
            f.current = Some(system(7));
            f.now = at(100_000);
            change(f);
        })
    };
    let back = "Back 1, activate system-1, prove, commit";
    check("once", &stuck(1, 100_000, |_| ()), back);
    check("twice", &stuck(2, 99_000, |_| ()), "watch");
    check("twice, an hour ago", &stuck(2, 96_400, |_| ()), back);
    check("again and again", &stuck(9, 96_400, |_| ()), "watch");
    check("again and again, a day ago", &stuck(9, 13_600, |_| ()), back);
    check("the clock was ahead then", &stuck(9, 900_000, |_| ()), back);
    let data = stuck(9, 99_000, |f| {
        f.current = Some(system(1));
        f.data = None;
    });
    check("host data takes nothing down", &data, "Back 1, data 1, prove, commit");
    let away = stuck(9, 99_000, |f| {
        f.target = Some(Target { missing: missing(500), ..target(2) });
    });
    check("a newer release is fetched", &away, "fetch 60");
    let newer = stuck(9, 99_000, |f| f.target = Some(target(2)));
    check(
        "a newer release is tried at once",
        &newer,
        &steps(&with(|f| {
            f.current = Some(system(7));
            f.target = Some(target(2));
        })),
    );
}

#[test]
fn what_runs_is_mended_before_the_next_release_is_here() {
    let away = with(|f| {
        f.target = Some(Target { missing: missing(500), ..target(2) });
        f.data = None;
    });
    check("a reboot while fetching", &away, "Back 1, data 1, prove, commit");
    let lost = Facts { good_lost: true, current: None, default: None, ..away };
    let steps_of_lost = plan(&lost).steps;
    assert!(
        matches!(steps_of_lost.first(), Some(Step::Fetch { .. })),
        "a system that is gone keeps the next one away: {steps_of_lost:?}"
    );
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
    let rest = "activate system-2, prove, promote system-2, commit";
    check("before the activation", &before, &format!("data 2, {rest}"));
    let within = with(|f| {
        f.attempt = attempt(2, Direction::Forward, 1);
        f.data = Some(data(2));
    });
    check("in the activation", &within, rest);
    let never = with(|f| f.attempt = attempt(2, Direction::Forward, MAX_ATTEMPTS));
    check("the activation never ends", &never, "roll back");
    let runs = with(|f| {
        f.attempt = attempt(2, Direction::Forward, 1);
        f.activation = Activation::Running;
    });
    check("the activation still runs", &runs, "await");
    let ended = with(|f| {
        f.attempt = attempt(2, Direction::Forward, 1);
        f.activation = Activation::Ended;
        f.data = Some(data(2));
    });
    check("it ended, and nobody looked", &ended, "prove, promote system-2, commit");
    let promoting = with(|f| {
        f.attempt = attempt(2, Direction::Forward, 1);
        f.current = Some(system(2));
        f.data = Some(data(2));
        f.default = None;
    });
    let rest_of_it = "prove, promote system-2, commit";
    check("while it became the default", &promoting, rest_of_it);
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
    check("an attempt is finished first", &newer, rest);
}

#[test]
fn a_host_that_goes_back() {
    let back = |change: fn(&mut Facts)| {
        with(|f| {
            let mut to = attempt(1, Direction::Back, 0).unwrap();
            let release = ReleaseId(2);
            to.failure = Some(Failure { release, why: String::new(), log: vec![], cut_off: false });
            to.promoting = true;
            f.attempt = Some(to);
            f.current = Some(system(2));
            change(f);
        })
    };
    check("never the default", &back(|_| ()), "activate system-1, prove, commit");
    let default = back(|f| f.default = None);
    let all = "promote system-1, activate system-1, prove, commit";
    check("the last good one is the default again before anything else", &default, all);
    let booted = back(|f| {
        f.default = None;
        f.data = Some(data(2));
        f.reboot = Some("another kernel".into());
    });
    check("what was booted is left by a boot", &booted, "promote system-1, data 1, reboot");
    let drifted = with(|f| {
        f.attempt = attempt(1, Direction::Back, 0);
        f.current = Some(system(7));
        f.reboot = Some("another kernel".into());
    });
    check("drift reboots nobody", &drifted, "activate system-1, prove, commit");
}

#[test]
fn a_system_that_needs_a_reboot() {
    let new = |change: fn(&mut Facts)| {
        with(|f| {
            f.target = Some(target(2));
            f.reboot = Some("another kernel".into());
            change(f);
        })
    };
    check("by day", &new(|_| ()), "Forward 2, data 2, wait");
    let night = new(|f| f.now = at(3600));
    check("in the window", &night, "Forward 2, data 2, arm system-2, reboot");
    let waiting = |f: &mut Facts| {
        f.attempt = attempt(2, Direction::Forward, 0);
        f.data = Some(data(2));
    };
    check("it waits", &new(waiting), "wait");
    let due = |f: &mut Facts| {
        f.attempt = attempt(2, Direction::Forward, 0);
        f.data = Some(data(2));
        f.now = at(7199);
    };
    check("the window has come", &new(due), "arm system-2, reboot");
    let newer = |f: &mut Facts| {
        f.attempt = attempt(2, Direction::Forward, 0);
        f.target = Some(target(3));
    };
    check("a newer one takes its place", &new(newer), "Forward 3, data 3, wait");
    let failed = |f: &mut Facts| {
        f.attempt = attempt(2, Direction::Forward, 0);
        f.data = Some(data(2));
        f.target = Some(target(3));
        f.quarantined.insert(ReleaseId(3));
    };
    check("but not one that failed", &new(failed), "wait");
    let asked = |f: &mut Facts| {
        f.attempt = attempt(2, Direction::Forward, 0);
        f.boot = Boot::Asked;
    };
    check("it was asked to go down, and is still here", &new(asked), "reboot");
}

#[test]
fn a_host_that_came_up_again() {
    let up = |current: u64, boot: Boot| {
        with(|f| {
            f.attempt = attempt(2, Direction::Forward, 0);
            f.current = Some(system(current));
            f.boot = boot;
            f.default = None;
            if current != 2 {
                f.reboot = Some("another kernel".into());
            }
        })
    };
    let good = "data 2, prove, promote system-2, commit";
    check("as the new system", &up(2, Boot::Happened), good);
    check("as the old one: it fell back", &up(1, Boot::Happened), "roll back");
    // The power failed after it was armed and before the agent could ask for the reboot.
    check("as the new system, unasked", &up(2, Boot::NotAsked), good);
    let first_boot = with(|f| f.trial = Trial::Booted);
    check("what was proved without a boot is up", &first_boot, "on trial");
    let gave_up = with(|f| f.trial = Trial::Failed);
    check("what was proved without a boot does not come up", &gave_up, "on trial");
}

#[test]
fn a_boot_partition_that_is_full_is_seen_before_the_switch() {
    let full = with(|f| {
        f.target = Some(target(2));
        f.boot_lack = Some(Lack { needed: 30, free: 1 });
    });
    check("it does not fit", &full, "lack boot, watch");
}

#[test]
fn a_system_that_needs_a_restart_is_not_begun_where_none_can_be_tried() {
    let blind = |reboot: Option<&str>| {
        with(|f| {
            f.target = Some(target(2));
            f.reboot = reboot.map(str::to_owned);
            f.no_trial = Some("no boot loader".into());
        })
    };
    check("another kernel", &blind(Some("another kernel")), "no trial: no boot loader, watch");
    let live = "Forward 2, data 2, activate system-2, prove, promote system-2, commit";
    check("without a restart it is switched to", &blind(None), live);
}
