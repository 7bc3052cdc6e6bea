//! A host that can reach nothing after a change, or before a restart: whose fault it is, and what is done about it.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::time::Duration;

use afield_testkit::machine::power_cycle;
use afield_testkit::net::wait_for;
use afield_testkit::system::Contract;
use common::Bed;

const SOON: Duration = Duration::from_secs(60);

/// A machine at release 1 with a cable, and a router that answers or does not.
fn machine(kernel: &str, config: &str) -> Bed {
    let bed = common::machine::machine(kernel);
    let toml = bed.host.text("etc/afield/agent.toml");
    let toml = format!("{toml}reach-patience = \"0s\"\n{config}\n");
    fs::write(bed.host.config(), toml).unwrap();
    link(&bed, "eth0", true, "1");
    route(&bed, true);
    bed
}

fn offer(bed: &mut Bed, text: &str, kernel: &str) {
    common::machine::offer(bed, text, Contract::Honest, kernel);
}

fn link(bed: &Bed, name: &str, device: bool, carrier: &str) {
    let folder = bed.host.path("sys/class/net").join(name);
    fs::create_dir_all(&folder).unwrap();
    if device {
        fs::create_dir_all(folder.join("device")).unwrap();
    }
    fs::write(folder.join("carrier"), carrier).unwrap();
    fs::write(folder.join("flags"), "0x1003\n").unwrap();
}

/// A default route over a line without addresses, so that nothing is asked of this machine's own network.
fn route(bed: &Bed, there: bool) {
    let head = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n";
    let line = if there { "eth0 00000000 00000000 0001 0 0 0 00000000 0 0 0\n" } else { "" };
    fs::create_dir_all(bed.host.path("proc/net")).unwrap();
    fs::write(bed.host.path("proc/net/route"), format!("{head}{line}")).unwrap();
}

/// A check-in in whose middle, at this point, something happens.
fn once_and(
    bed: &Bed,
    point: &str,
    env: &[(&str, &str)],
    happens: impl FnOnce(),
) -> (i32, serde_json::Value) {
    let (say, go) = (bed.host.path("said"), bed.host.path("go"));
    let [say_, go_] = [&say, &go].map(|path| path.to_str().unwrap());
    let mut all =
        vec![("AFIELD_FAULT", point), ("AFIELD_FAULT_SAY", say_), ("AFIELD_FAULT_GO", go_)];
    all.extend(env);
    std::thread::scope(|scope| {
        let run = scope.spawn(|| bed.host.once_with(&all));
        wait_for(point, SOON, || say.exists());
        happens();
        fs::write(&go, "").unwrap();
        let done = run.join().unwrap();
        fs::remove_file(&say).unwrap();
        fs::remove_file(&go).unwrap();
        done
    })
}

const DAY: &str = "2026-11-28T12:00:00Z";
const NIGHT: &str = "2026-11-28T02:00:00Z";
const WINDOW: &str = "reboot-window = \"01:00-05:00\"";

/// `DAY` and the like, counted from now, since hosts do not believe a time that is past.
fn clock(text: &str) -> String {
    let tomorrow = jiff::Timestamp::now() + Duration::from_secs(86_400);
    let day = tomorrow.strftime("%F").to_string();
    text.replace("2026-11-28", &day)
}

#[test]
fn a_way_back_that_leaves_the_host_cut_off_ends_in_one_restart_in_the_window() {
    let mut bed = machine("same", WINDOW);
    let (day, night) = (clock(DAY), clock(NIGHT));
    let (day, night) = ([("AFIELD_CLOCK", day.as_str())], [("AFIELD_CLOCK", night.as_str())]);
    let one = bed.host.current();
    offer(&mut bed, "two", "same");
    let (_, said) = once_and(&bed, "state:activate:after:1", &day, || bed.server.be_silent(true));
    let notes = said["notes"].to_string();
    assert!(notes.contains("release 2 was taken back"), "{said}");
    assert_eq!((bed.host.current(), &said["event"]["is"]), (one.clone(), &"updating".into()));

    // What it does for its site goes on by day.
    let (_, said) = bed.host.once_with(&day);
    assert!(!bed.host.path("run/reboot-asked").exists(), "{said}");
    let (_, said) = bed.host.once_with(&night);
    let why = bed.host.text("run/reboot-asked");
    assert!(why.contains("nothing can be reached since the host went back"), "{why}, {said}");
    assert_eq!(Some(power_cycle(&bed.host)), one);

    // Once.
    let (_, said) = bed.host.once_with(&night);
    assert!(!bed.host.path("run/reboot-asked").exists(), "{said}");
    bed.host.once_with(&night);
    assert!(!bed.host.path("run/reboot-asked").exists());

    // Something answers: the release is tried again.
    bed.server.be_silent(false);
    let (code, said) = bed.host.once_with(&night);
    assert_eq!((code, said["good"]["release"].as_u64()), (0, Some(2)), "{said}");
}

#[test]
fn a_silence_that_ends_before_the_window_needs_no_restart() {
    let mut bed = machine("same", WINDOW);
    let (day, night) = (clock(DAY), clock(NIGHT));
    let (day, night) = ([("AFIELD_CLOCK", day.as_str())], [("AFIELD_CLOCK", night.as_str())]);
    offer(&mut bed, "two", "same");
    once_and(&bed, "state:activate:after:1", &day, || bed.server.be_silent(true));
    bed.server.be_silent(false);
    let (code, said) = bed.host.once_with(&day);
    assert_eq!((code, said["good"]["release"].as_u64()), (0, Some(2)), "{said}");
    bed.server.be_silent(true);
    bed.host.once_with(&night);
    assert!(!bed.host.path("run/reboot-asked").exists());
}

#[test]
fn a_release_that_cuts_the_host_off_is_to_blame_if_the_way_back_helps() {
    let mut bed = machine("same", WINDOW);
    let toml = bed.host.text("etc/afield/agent.toml");
    let toml = toml.replace("reach-patience = \"0s\"", "reach-patience = \"8s\"");
    fs::write(bed.host.config(), toml).unwrap();
    let one = bed.host.current();
    offer(&mut bed, "two", "same");
    let points = bed.host.path("points");
    let log = [("AFIELD_FAULT_LOG", points.to_str().unwrap())];
    let (code, said) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let seen = || fs::read_to_string(&points).unwrap_or_default();
            wait_for("the way back", SOON, || seen().contains("state:roll-back:after"));
            bed.server.be_silent(false);
        });
        once_and(&bed, "state:activate:after:1", &log, || bed.server.be_silent(true))
    });
    assert_eq!((code, &said["event"]["is"]), (1, &"rolled-back".into()), "{said}");
    assert_eq!(bed.host.current(), one);
    assert_eq!(bed.host.once().1["good"]["release"].as_u64(), Some(1), "it is not tried again");
}

#[test]
fn a_bridge_of_containers_is_no_cable() {
    let mut bed = machine("same", "uplink-patience = \"0s\"");
    link(&bed, "docker0", false, "1");
    offer(&mut bed, "two", "same");
    let (code, said) = once_and(&bed, "state:activate:after:1", &[], || {
        // The cable is pulled, and what DHCP gave is withdrawn.
        link(&bed, "eth0", true, "0");
        route(&bed, false);
        bed.server.be_silent(true);
    });
    assert_eq!((code, said["good"]["release"].as_u64()), (0, Some(2)), "{said}");
    assert!(said["notes"].to_string().contains("the uplink died"), "{said}");
}

#[test]
fn a_restart_waits_while_nothing_can_be_reached() {
    let mut bed = machine("old", "reboot-window = \"00:00-00:00\"");
    offer(&mut bed, "two", "new");
    let (_, said) = once_and(&bed, "state:begin:after:1", &[], || bed.server.be_silent(true));
    assert!(said["notes"].to_string().contains("until something can be reached"), "{said}");
    assert!(!bed.host.path("run/reboot-asked").exists());
    bed.server.be_silent(false);
    bed.host.once();
    assert!(bed.host.text("run/reboot-asked").contains("another kernel"));
    power_cycle(&bed.host);
    assert_eq!(bed.host.once().1["good"]["release"].as_u64(), Some(2));
}

#[test]
fn a_window_that_closed_during_a_fetch_is_closed() {
    let mut bed = machine("old", WINDOW);
    offer(&mut bed, "two", "new");
    let clock_file = bed.host.path("clock");
    fs::write(&clock_file, clock(NIGHT)).unwrap();
    let env = [("AFIELD_CLOCK", clock_file.to_str().unwrap())];
    let (_, said) = once_and(&bed, "import:done:1", &env, || {
        fs::write(&clock_file, clock(DAY)).unwrap();
    });
    assert!(said["notes"].to_string().contains("release 2 waits for a restart since"), "{said}");
    assert!(!bed.host.path("run/reboot-asked").exists(), "it restarts by day");
}

#[test]
fn after_a_power_cut_at_the_site_the_uplink_has_its_time() {
    let mut bed = machine("same", "uplink-patience = \"600s\"");
    offer(&mut bed, "two", "same");
    assert_eq!(bed.host.once().0, 0);
    let two = bed.host.current();
    assert_eq!(Some(power_cycle(&bed.host)), two);
    // Weeks later; the router is up before the satellite is.
    bed.server.be_silent(true);
    let (code, said) = once_and(&bed, "reach:waits:1", &[], || bed.server.be_silent(false));
    assert_eq!((code, said["good"]["release"].as_u64()), (0, Some(2)), "{said}");
    assert_eq!(bed.host.current(), two);
}
