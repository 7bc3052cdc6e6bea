//! On a plain Debian the command that installs the agent installs the tunnel too, as a unit without rights: it waits until
//! host data names relays, lets people in through a real relay, is not cut off by the agent, and is back after a kill, a
//! reboot and a power cut.

use std::time::Duration;

use afield_core::host_data::HostData;
use afield_core::relay::{Relay, install_script};
use afield_testkit::fleet::data;
use afield_testkit::host::key;
use afield_testkit::net::wait_for;
use afield_testkit::relay::SshRelay;
use afield_testkit::system::{Contract, System};
use afield_vm::bed::Bed;
use afield_vm::container::{Container, Options};
use afield_vm::machine::{Machine, text};

const SOON: Duration = Duration::from_secs(120);
/// Where the host's sshd is on the relay.
const PORT: u16 = 12001;
const INSTALL: &str = "/opt/afield/afield-agent install --host clinic --fleet field --repository http://10.77.1.1:8470 \
                       --hub http://10.77.1.1:8470 --trust-root /root/root.json";
const PID: &str = "systemctl show afield-tunnel --property MainPID --value";

/// A relay on which the host may listen on its port, and nothing else.
fn relay(machine: &Container) -> SshRelay {
    let own = machine.exec("cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub");
    let line = format!("restrict,port-forwarding,permitlisten=\"{PORT}\" {} tunnel@clinic", own.trim());
    let keys = Relay { ports: vec![22], tunnel: vec![line], ..Relay::default() };
    let relay = SshRelay::new(&install_script(&"bru".parse().unwrap(), &keys));
    relay.net.cable(2, machine.net());
    relay
}

fn told(relay: &SshRelay) -> HostData {
    let tunnel = serde_json::json!({
        "relays": [{"name": "bru", "addresses": ["10.77.2.1"], "host_key": relay.host_key.public}],
        "forwards": [{"listen": PORT, "target": 22}],
    });
    let tunnel = Some(serde_json::from_value(tunnel).unwrap());
    HostData { tunnel, ..data(&"clinic".parse().unwrap(), "config") }
}

fn is_within_reach(relay: &SshRelay, when: &str) {
    let there = || relay.greeting(PORT).is_some_and(|line| line.starts_with("SSH-2.0"));
    wait_for(&format!("the host's sshd on the relay {when}"), SOON, there);
}

#[test]
fn a_plain_debian_is_within_reach() {
    // The tree of the scenarios has none, which every installed Debian has.
    let files = vec![("/etc/hosts".into(), "127.0.0.1 localhost\n".into())];
    let mut bed = Bed::new(Container::start(Options { files, ..Options::default() }));
    bed.machine.exec(
        "mv /etc/afield/root.json /root/; rm -r /etc/afield /usr/local/bin/afield-agent\n\
         ssh-keygen -y -f /etc/ssh/ssh_host_ed25519_key > /etc/ssh/ssh_host_ed25519_key.pub",
    );
    let mut relay = relay(&bed.machine);
    waits_for_relays(&bed);
    let system = System::new("one", Contract::Honest);
    let release = bed.fleet.release_data(&[(told(&relay), key().public())], &system);
    bed.fleet.assign("clinic", release);
    bed.machine.wait_for("the release", SOON, "afield-agent once --json > /tmp/once; grep -q one /etc/site");
    is_within_reach(&relay, "after its host data named it");
    has_no_rights(&bed.machine);
    is_left_alone(&bed.machine, &relay);
    comes_back(&mut bed.machine, &mut relay);
    // What holds a release to the reach that there was.
    let status = bed.machine.text("/run/afield-tunnel/status.json");
    assert!(status.contains("\"up\""), "{status}");
}

fn waits_for_relays(bed: &Bed<Container>) {
    let machine = &bed.machine;
    let said = machine.exec(&format!("{INSTALL} --dry-run"));
    assert!(said.contains("would write /etc/systemd/system/afield-tunnel.service"), "{said}");
    assert!(said.contains("would enable and start afield-agent.service and afield-tunnel.service"), "{said}");
    assert!(!machine.holds("ls /etc/systemd/system/afield-tunnel.service"));
    machine.exec(INSTALL);
    machine.exec("systemctl is-active afield-tunnel && systemctl is-enabled afield-tunnel");
    machine.wait_for("what it waits for", SOON, "journalctl --unit afield-tunnel | grep -q 'names no relays yet'");
    let failed = machine.exec("systemctl --failed --no-legend --plain");
    assert!(!failed.contains("afield"), "{failed}");
}

fn has_no_rights(machine: &Container) {
    let status = machine.exec(&format!("cat /proc/$({PID})/status"));
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    let owner = machine.exec(&format!("stat -c %u /proc/$({PID})"));
    assert!(owner.trim().parse::<u32>().unwrap() > 60_000, "it runs as {owner}");
    // Neither it nor what it starts can read the key where it is, or change anything but its own folder.
    let shown = machine.exec(
        "systemctl show afield-tunnel --property DynamicUser,ProtectSystem,NoNewPrivileges,CapabilityBoundingSet",
    );
    for wanted in ["DynamicUser=yes", "ProtectSystem=strict", "NoNewPrivileges=yes"] {
        assert!(shown.contains(wanted), "{wanted} is not in {shown}");
    }
    assert_eq!(machine.exec("stat -c %a /etc/ssh/ssh_host_ed25519_key").trim(), "600");
}

fn is_left_alone(machine: &Container, relay: &SshRelay) {
    let before = machine.exec(PID);
    machine.exec("systemctl restart afield-agent");
    let said = machine.exec(INSTALL);
    assert!(said.contains("everything is in place"), "{said}");
    // A new program: the person who puts it there may come through the tunnel.
    machine.exec("cd /usr/local/bin && cp afield-agent other && printf x >> other && mv other afield-agent");
    let said = machine.exec(INSTALL);
    assert!(said.contains("systemctl restart afield-tunnel"), "{said}");
    assert_eq!(machine.exec(PID), before, "the tunnel was cut off");
    is_within_reach(relay, "with the agent started anew");
}

fn comes_back(machine: &mut Container, relay: &mut SshRelay) {
    let before = machine.exec(PID);
    machine.exec(&format!("kill -KILL {before}"));
    let again = format!("p=$({PID}); test \"$p\" -gt 0 && test \"$p\" != {}", before.trim());
    machine.wait_for("the tunnel after it was killed", SOON, &again);
    is_within_reach(relay, "after a kill");
    relay.stop();
    relay.start();
    is_within_reach(relay, "after the relay was gone");
    machine.reboot();
    is_within_reach(relay, "after a reboot");
    machine.cut_power();
    machine.start();
    is_within_reach(relay, "after a power cut");
    let failed = machine.try_exec("systemctl --failed --no-legend --plain");
    assert!(!text(&failed.stdout).contains("afield"), "{}", text(&failed.stdout));
}
