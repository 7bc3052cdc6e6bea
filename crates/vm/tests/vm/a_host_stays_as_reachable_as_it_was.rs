//! A release that cuts the way to the hub, while the link is up, is taken back. One during whose switch the uplink dies is
//! not: for as long as the cable is out, the local checks alone decide.

use std::time::Duration;

use afield_testkit::host::key;
use afield_testkit::system::{Contract, System};
use afield_vm::bed::Bed;
use afield_vm::container::Container;
use afield_vm::machine::Machine;

const PATIENCE: &str = "reach-patience = \"4s\"\nuplink-patience = \"12s\"\n";
const SOON: Duration = Duration::from_secs(180);

/// The hub cannot be reached any more; the first system's script is what mends it.
const CUTS_ITSELF_OFF: &str = "ip route add blackhole 10.77.1.1/32\n";
const NO_ROUTE: &str = "ip route del default\nip route add blackhole 10.77.1.1/32\n";
const MENDS: &str = "ip route del blackhole 10.77.1.1/32 2>&- || true
ip route replace default via 10.77.1.1 2>&- || true\n";
/// A switch that goes on when it is told to.
const WAITS: &str = "touch /run/in-switch\nuntil [ -e /run/go ]; do sleep 0.1; done\n";

fn offer(bed: &mut Bed<Container>, system: &System) {
    let release = bed.fleet.release(&[("clinic", key().public())], system, "config");
    bed.fleet.assign("clinic", release);
}

fn host() -> Bed<Container> {
    let mut bed = Bed::new(Container::plain());
    bed.machine.write("/etc/afield/agent.toml", bed.config(PATIENCE).as_bytes());
    offer(&mut bed, &System::scripted("one", MENDS));
    assert_eq!(bed.once().0, 0);
    bed
}

fn cable(bed: &Bed<Container>, state: &str) {
    bed.machine.world().run("ip", &["link", "set", "cable1", state]);
}

/// Starts a check-in that goes on while the test does something to the cable.
fn begin(bed: &Bed<Container>) {
    bed.machine.exec("rm -f /run/in-switch /run/go /run/said");
    bed.machine.exec(
        "systemd-run --quiet --unit=check-in --collect sh -c 'PATH=/usr/local/bin:$PATH afield-agent once --json > /run/said.part; mv /run/said.part /run/said'",
    );
}

fn end(bed: &Bed<Container>) -> serde_json::Value {
    bed.machine.wait_for("the check-in's end", SOON, "test -e /run/said");
    serde_json::from_str(&bed.machine.text("/run/said")).unwrap()
}

#[test]
fn a_release_that_cuts_the_host_off_is_taken_back() {
    let mut bed = host();
    for (text, script) in [("two", CUTS_ITSELF_OFF), ("three", NO_ROUTE)] {
        offer(&mut bed, &System::scripted(text, script));
        let (code, said) = bed.once();
        assert_eq!((code, &said["event"]["is"]), (1, &"rolled-back".into()), "{said}");
        let why = said["event"]["why"].to_string();
        assert!(why.contains("could be reached before, and nothing can now"), "{why}");
        assert_eq!(bed.machine.text("/etc/site"), "one");
        assert!(said["hub_error"].is_null(), "the hub cannot be reached after going back: {said}");
    }
}

#[test]
fn an_uplink_that_dies_takes_nothing_back() {
    let mut bed = host();
    // In the switch.
    offer(&mut bed, &System::scripted("two", WAITS));
    begin(&bed);
    bed.machine.wait_for("the switch", SOON, "test -e /run/in-switch");
    cable(&bed, "down");
    bed.machine.exec("touch /run/go");
    let said = end(&bed);
    assert_eq!(said["event"]["is"], "healthy", "{said}");
    assert!(said["notes"].to_string().contains("the uplink died"), "{said}");
    assert_eq!(bed.machine.text("/etc/site"), "two");
    cable(&bed, "up");
    assert!(bed.once().1["hub_error"].is_null());

    // In the switch, and back before the patience ends.
    offer(&mut bed, &System::scripted("three", WAITS));
    begin(&bed);
    bed.machine.wait_for("the switch", SOON, "test -e /run/in-switch");
    cable(&bed, "down");
    bed.machine.exec("touch /run/go");
    bed.machine.wait_for("a look", SOON, "grep -q three /etc/site");
    cable(&bed, "up");
    let said = end(&bed);
    assert_eq!(said["event"]["is"], "healthy", "{said}");
    assert!(said["hub_error"].is_null(), "{said}");
}

/// The router is there, and says that nothing behind it is: the satellite is out of sight.
fn satellite(bed: &Bed<Container>, dead: bool) {
    let rules = match dead {
        true => {
            "table ip sky { chain in { type filter hook input priority 0; \
             meta l4proto { tcp, udp } reject with icmp type host-unreachable; }; }"
        }
        false => "delete table ip sky",
    };
    bed.machine.world().run("nft", &[rules]);
}

#[test]
fn a_line_that_is_dead_behind_its_router_blames_no_release() {
    let mut bed = host();
    offer(&mut bed, &System::scripted("two", &format!("{MENDS}{WAITS}")));
    begin(&bed);
    bed.machine.wait_for("the switch", SOON, "test -e /run/in-switch");
    satellite(&bed, true);
    bed.machine.exec("touch /run/go");
    let said = end(&bed);
    let notes = said["notes"].to_string();
    assert!(notes.contains("taken back") && notes.contains("the gateway answers"), "{said}");
    assert!(notes.contains("tried again when something can"), "{said}");
    assert_eq!((&said["event"]["is"], bed.machine.text("/etc/site")), (&"updating".into(), "one".into()));

    // Not in the silence, since it would be judged by the local checks alone.
    let (_, said) = bed.once();
    assert_eq!(bed.machine.text("/etc/site"), "one", "{said}");
    let status = bed.machine.exec("afield-agent status");
    assert!(status.contains("to try again  release 2") && !status.contains("failed here"), "{status}");

    satellite(&bed, false);
    bed.machine.exec("touch /run/go");
    let (code, said) = bed.once();
    assert_eq!((code, said["good"]["release"].as_u64()), (0, Some(2)), "{said}");
    assert_eq!(bed.machine.text("/etc/site"), "two");
    assert!(!bed.machine.exec("afield-agent status").contains("to try again"));
}

#[test]
fn a_host_without_internet_is_judged_by_its_own_checks() {
    let mut bed = Bed::new(Container::plain());
    bed.offer("one", Contract::Honest, "config");
    bed.machine.exec("mkdir -p /media/stick");
    let repository = bed.fleet.path().to_owned();
    for entry in files(&repository) {
        let name = entry.strip_prefix(&repository).unwrap().display().to_string();
        bed.machine.write(&format!("/media/stick/{name}"), &std::fs::read(&entry).unwrap());
    }
    let url = "repositories = [\"file:///media/stick\"]";
    let config: Vec<String> = bed
        .config(PATIENCE)
        .lines()
        .filter(|l| !l.starts_with("hub"))
        .map(|l| if l.starts_with("repositories") { url.to_owned() } else { l.to_owned() })
        .collect();
    bed.machine.write("/etc/afield/agent.toml", config.join("\n").as_bytes());
    cable(&bed, "down");
    let (code, said) = bed.once();
    assert_eq!((code, &said["event"]["is"]), (0, &"healthy".into()), "{said}");
    assert_eq!(bed.machine.text("/etc/site"), "one");
}

fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}
