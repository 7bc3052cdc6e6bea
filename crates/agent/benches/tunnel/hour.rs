//! An hour of seeded faults on the ways to three relays: how much of it somebody could log in through some relay.

use std::fmt::Write as _;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use afield_testkit::faults::{Planned, What, plan};
use afield_testkit::net::{Net, wait_for};
use afield_testkit::relay::{SshKey, SshRelay};

use crate::lane::{Known, Who, reaches, relay_script, spawn, tunnel_command};

/// Runs it for ours and for autossh with the older platform's relays; gives what is to be printed.
pub fn run(minutes: u64, seed: u64) -> String {
    let length = Duration::from_secs(minutes * 60);
    let mut text = format!("{minutes} minutes of faults with seed {seed}, three relays each:\n");
    std::thread::scope(|scope| {
        let each = [("afield-agent", Who::Ours), ("autossh (b)", Who::Older)]
            .map(|(name, who)| (name, scope.spawn(move || measure(who, length, seed))));
        for (name, one) in each {
            let told = one.join().unwrap();
            let part = 100.0 * told.good as f64 / told.asked as f64;
            let _ = writeln!(
                text,
                "{name:13} a login possible through some relay in {part:.2} % of {} seconds; the longest time without: {} s; through each relay: {:.1} %",
                told.asked,
                told.longest,
                100.0 * told.single as f64 / (3 * told.asked) as f64
            );
        }
    });
    let faults: usize = (0..4).map(|who| plan(seed, who, length.as_secs()).len()).sum();
    let _ = writeln!(
        text,
        "{faults} faults: ways cut and relays killed for 5 to 90 s, NATs that forget one relay or all"
    );
    text
}

struct Told {
    asked: u64,
    good: u64,
    single: u64,
    longest: u64,
}

fn measure(who: Who, length: Duration, seed: u64) -> Told {
    let dir = tempfile::tempdir().unwrap();
    let key = SshKey::new(dir.path(), "key");
    let site = Net::new();
    site.echo(22, "clinic");
    let relays: Vec<SshRelay> = (0..3).map(|_| SshRelay::new(&relay_script(who, &key))).collect();
    (1..).zip(&relays).for_each(|(n, relay)| site.cable(n, &relay.net));
    let addresses: Vec<String> = (1..4).map(|n| format!("10.77.{n}.2")).collect();
    let each: Vec<[&str; 1]> = addresses.iter().map(|a| [a.as_str()]).collect();
    let names = ["bru", "fra", "nbo"];
    let known: Vec<Known> = (0..3)
        .map(|n| {
            let host_key = relays[n].host_key.public.as_str();
            Known { name: names[n], addresses: &each[n], ports: &[22, 443], host_key }
        })
        .collect();
    let mut tunnels = spawn(&site, &tunnel_command(who, &known, &key, dir.path()));
    wait_for("all tunnels", Duration::from_secs(120), || relays.iter().all(reaches));
    let told = watch(&site, relays, length, seed);
    tunnels.kill().unwrap();
    tunnels.wait().unwrap();
    told
}

fn watch(site: &Net, relays: Vec<SshRelay>, length: Duration, seed: u64) -> Told {
    let start = Instant::now();
    // A relay is stopped and started by the thread of its plan; who asks only needs its network.
    let relays: Vec<RwLock<SshRelay>> = relays.into_iter().map(RwLock::new).collect();
    let seconds: Vec<AtomicBool> = (0..length.as_secs()).map(|_| AtomicBool::new(false)).collect();
    let single = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let relays = &relays;
        for who in 0..4 {
            scope.spawn(move || {
                for fault in plan(seed, who, length.as_secs()) {
                    let at = start + Duration::from_secs(fault.at);
                    std::thread::sleep(at.saturating_duration_since(Instant::now()));
                    apply(site, relays, who as usize, fault);
                }
            });
        }
        for (second, good) in (1..).zip(&seconds) {
            for relay in relays {
                let single = &single;
                scope.spawn(move || {
                    // A relay that is being stopped or started has no login.
                    if relay.try_read().is_ok_and(|relay| reaches(&relay)) {
                        good.store(true, Ordering::Relaxed);
                        single.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let until = start + Duration::from_secs(second);
            std::thread::sleep(until.saturating_duration_since(Instant::now()));
        }
    });
    let good: Vec<bool> = seconds.into_iter().map(AtomicBool::into_inner).collect();
    Told {
        asked: good.len() as u64,
        good: good.iter().filter(|yes| **yes).count() as u64,
        single: single.into_inner(),
        longest: good.split(|yes| *yes).map(<[bool]>::len).max().unwrap_or(0) as u64,
    }
}

fn apply(site: &Net, relays: &[RwLock<SshRelay>], who: usize, fault: Planned) {
    let (n, lasts) = (who as u8 + 1, Duration::from_secs(fault.lasts));
    let forget = |who: usize| {
        site.forget_connections(who as u8 + 1, &relays[who].read().unwrap().net);
    };
    match fault.what {
        What::Cut => {
            site.black_hole(n, 2);
            std::thread::sleep(lasts);
            site.no_black_hole(n, 2);
        }
        What::Killed => {
            relays[who].write().unwrap().stop();
            std::thread::sleep(lasts);
            relays[who].write().unwrap().start();
        }
        What::Forgotten => forget(who),
        What::AllForgotten => (0..3).for_each(forget),
    }
}
