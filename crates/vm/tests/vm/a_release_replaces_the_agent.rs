//! A release brings a new agent: the installed one tries it, and it stays once it got through a check-in. One that does
//! not start, or never gets through, is given up after three tries; the last good one runs again, and takes the next
//! release.

use std::time::Duration;

use afield_testkit::host::key;
use afield_testkit::system::{Contract, System};
use afield_vm::bed::Bed;
use afield_vm::container::Container;
use afield_vm::machine::Machine;
use afield_vm::programs;

const SOON: Duration = Duration::from_secs(240);

#[test]
fn a_release_replaces_the_agent() {
    let mut bed = Bed::new(Container::plain());
    // Its configuration is there already; the command adds the unit.
    bed.machine.exec(
        "cp /etc/afield/root.json /root; mv /etc/afield/agent.toml /root/agent.toml
        /opt/afield/afield-agent install --host clinic --fleet field --repository http://10.77.1.1:8470 --trust-root /root/root.json
        mv /root/agent.toml /etc/afield/agent.toml
        mkdir /etc/systemd/system/afield-agent.service.d
        printf '[Service]\\nRestartSec=100ms\\n' > /etc/systemd/system/afield-agent.service.d/quick.conf
        systemctl daemon-reload; systemctl restart afield-agent",
    );

    // The same program with a byte more is another one.
    let mut newer = std::fs::read(programs::folder().join("afield-agent")).unwrap();
    newer.push(0);
    let good = offer(&mut bed, "one", &newer);
    runs(&bed, "the new agent runs", &good);
    bed.machine.wait_for("it is good", SOON, "journalctl -q -u afield-agent | grep -q 'the new agent .* is good'");

    let broken = b"#!/bin/sh\n[ \"$3\" = check-config ] || [ \"$1\" = check-config ] && exit 0\nexit 1\n";
    let bad = offer(&mut bed, "two", broken);
    let tried = format!("journalctl -q -u afield-agent | grep -q 'trying the new agent {bad}'");
    bed.machine.wait_for("the broken agent is tried", SOON, &tried);
    bed.machine.wait_for("it is given up", SOON, "journalctl -q -u afield-agent | grep -q 'never got through'");
    runs(&bed, "the last good agent runs again", &good);

    let confused = b"#!/bin/sh\necho 'I do not know this key' >&2\nexit 1\n";
    offer(&mut bed, "three", confused);
    bed.machine.wait_for("the next release", SOON, "grep -q three /etc/site");
    bed.machine.wait_for("its agent is passed over", SOON, "journalctl -q -u afield-agent | grep -q 'passed over: I do not know this key'");
    runs(&bed, "the last good agent still runs", &good);
}

/// Releases a system with this agent; the agent's path.
fn offer(bed: &mut Bed<Container>, text: &str, agent: &[u8]) -> String {
    let system = System::with_programs(text, Contract::Honest, &[("afield-agent", agent)]);
    let release = bed.fleet.release(&[("clinic", key().public())], &system, text);
    bed.fleet.assign("clinic", release);
    format!("{}/bin/afield-agent", system.path())
}

fn runs(bed: &Bed<Container>, what: &str, program: &str) {
    let main = "systemctl show afield-agent --property MainPID --value";
    let script = format!("systemctl is-active afield-agent && test $(readlink /proc/$({main})/exe) = {program}");
    bed.machine.wait_for(what, SOON, &script);
}
