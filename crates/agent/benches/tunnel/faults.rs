//! One fault after the other: how long until a login works again.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::lane::{Lane, Who};

/// A tunnel stands this long before the fault, so that nobody counts it as one that failed at its start (autossh's
/// gate time is 30 s, ours a minute).
const SETTLE: Duration = Duration::from_secs(65);

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The link swallows everything for so many seconds.
    Cut(u64),
    /// The NAT on the way forgets the connection; new ones pass.
    NatForgets,
    /// The relay's sshd is killed, and started again after so many seconds.
    RelayKilled(u64),
    /// The relay loses power without a goodbye, and is back after so many seconds.
    RelayReboots(u64),
    /// The host loses power, and the relay hears nothing of it: its listener is stale.
    HostReboots,
    /// The host starts, and the first of three addresses is a black hole.
    BlackHoleFirst,
    /// The host starts, and the first port accepts and says nothing.
    SilentPortFirst,
}

/// All of them; the longest first, since they run side by side.
pub const FAULTS: [(&str, Fault); 9] = [
    ("link cut for 10 min", Fault::Cut(600)),
    ("a port says nothing, at start", Fault::SilentPortFirst),
    ("one of 3 addresses is dead, at start", Fault::BlackHoleFirst),
    ("host reboots, stale listener", Fault::HostReboots),
    ("NAT forgets", Fault::NatForgets),
    ("link cut for 60 s", Fault::Cut(60)),
    ("relay reboots, 20 s", Fault::RelayReboots(20)),
    ("relay killed, 5 s", Fault::RelayKilled(5)),
    ("link cut for 5 s", Fault::Cut(5)),
];

/// Measures one fault with one lane; `phase` shifts it against everybody's keepalive.
fn measure(lane: &mut Lane, fault: Fault, phase: Duration) -> Duration {
    let (addresses, ports): (&[&str], &[u16]) = match fault {
        Fault::BlackHoleFirst => (&["10.77.1.66", "10.77.1.2", "10.77.1.3"], &[22, 443]),
        Fault::SilentPortFirst => (&["10.77.1.2"], &[9, 22]),
        _ => (&["10.77.1.2"], &[22, 443]),
    };
    lane.site.black_hole(1, 66);
    let _silent = lane.relay.net.enter(|| std::net::TcpListener::bind("0.0.0.0:9"));
    lane.start(addresses, ports);
    let first = lane.wait();
    let away = |secs: u64| std::thread::sleep(Duration::from_secs(secs));
    match fault {
        Fault::BlackHoleFirst | Fault::SilentPortFirst => return first,
        _ => std::thread::sleep(SETTLE + phase),
    }
    match fault {
        Fault::Cut(secs) => {
            lane.site.black_hole(1, 2);
            away(secs);
            lane.site.no_black_hole(1, 2);
        }
        Fault::RelayKilled(secs) => {
            lane.relay.stop();
            away(secs);
            lane.relay.start();
        }
        Fault::RelayReboots(secs) => {
            lane.site.black_hole(1, 2);
            lane.relay.net.black_hole_up(1);
            lane.relay.stop();
            away(secs);
            // A machine that lost its power knows no old connections; this one's kernel still has them.
            lane.relay.net.run("ss", &["-K", "-t", "state", "all"]);
            lane.relay.net.no_black_hole_up(1);
            lane.site.no_black_hole(1, 2);
            lane.relay.start();
        }
        Fault::NatForgets => {
            lane.site.forget_connections(1, &lane.relay.net);
        }
        Fault::HostReboots => {
            // Its kernel would still say goodbye for it, which a power cut does not.
            lane.site.forget_connections(1, &lane.relay.net);
            lane.stop();
            lane.start(addresses, ports);
        }
        Fault::BlackHoleFirst | Fault::SilentPortFirst => {}
    }
    lane.wait()
}

/// All faults, each `runs` times, `at_once` side by side; prints each line as soon as it is complete.
pub fn run(faults: &[(&'static str, Fault)], runs: usize, at_once: usize) {
    println!("seconds until a login works again, {runs} runs each: median / worst");
    println!("(a) autossh to a relay of Afield's, (b) to one with the older platform's settings");
    println!(
        "{:37} {:>13} {:>15} {:>15} {:>13}",
        "", "afield-agent", "autossh (a)", "(b)", "ours : (b)"
    );
    let places = Places { free: Mutex::new(at_once), freed: Condvar::new() };
    let results: Mutex<BTreeMap<usize, Vec<[Duration; 3]>>> = Mutex::default();
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for (at, (name, fault)) in faults.iter().enumerate() {
            for run in 0..runs {
                let (places, results) = (&places, &results);
                places.take();
                // One after the other: a fleet does not start in one moment either.
                std::thread::sleep(Duration::from_millis(500));
                scope.spawn(move || {
                    // Evenly over a keepalive of ten seconds.
                    let phase = Duration::from_millis((10_000 * run / runs) as u64 + 300);
                    let took = contest(*fault, phase);
                    let mut results = results.lock().unwrap();
                    let all = results.entry(at).or_default();
                    all.push(took);
                    if all.len() == runs {
                        line(name, all);
                    }
                    places.give();
                });
            }
        }
    });
    println!("done in {} s", begin.elapsed().as_secs());
}

/// All three at the same time.
fn contest(fault: Fault, phase: Duration) -> [Duration; 3] {
    std::thread::scope(|scope| {
        let each = [Who::Ours, Who::Autossh, Who::Older]
            .map(|who| scope.spawn(move || measure(&mut Lane::new(who), fault, phase)));
        each.map(|one| one.join().unwrap())
    })
}

fn line(name: &str, all: &[[Duration; 3]]) {
    let each: Vec<(f64, f64)> = (0..3)
        .map(|who| {
            let mut times: Vec<f64> = all.iter().map(|took| took[who].as_secs_f64()).collect();
            times.sort_by(f64::total_cmp);
            (times[times.len() / 2], times[times.len() - 1])
        })
        .collect();
    let show = |(median, worst): (f64, f64)| format!("{median:.1} / {worst:.1}");
    let ratio = each[2].0 / each[0].0;
    println!(
        "{name:37} {:>13} {:>15} {:>15} {:>13}",
        show(each[0]),
        show(each[1]),
        show(each[2]),
        format!("1 : {ratio:.1}")
    );
}

/// So many may run at a time.
struct Places {
    free: Mutex<usize>,
    freed: Condvar,
}

impl Places {
    fn take(&self) {
        let mut free = self.freed.wait_while(self.free.lock().unwrap(), |free| *free == 0).unwrap();
        *free -= 1;
    }

    fn give(&self) {
        *self.free.lock().unwrap() += 1;
        self.freed.notify_one();
    }
}
