//! What a switch says is no evidence. One that ends with status 0 and leaves a failed unit is taken back, and the unit is
//! named with its last lines. One that restarts sshd, dbus, the network and the agent itself ends well. On a host of
//! system-manager the same holds, where no link says what is current.

use afield_core::ids::ReleaseId;
use afield_core::report::{Event, Report};
use afield_testkit::host::key;
use afield_testkit::system::{Contract, System};
use afield_testkit::ubuntu::{self, Lie};
use afield_vm::bed::Bed;
use afield_vm::container::Container;
use afield_vm::machine::Machine;

const UNIT: &str = include_str!("../../../../packaging/afield-agent.service");

/// Starts a service that dies, and ends with status 0 all the same.
const LEAVES_A_FAILED_UNIT: &str = "
cat > /run/systemd/system/site.service <<'EOF'
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo the formulary cannot be read; exit 3'
EOF
systemctl daemon-reload
systemctl start site.service || true
";

const RESTARTS_EVERYTHING: &str = "
systemctl restart ssh.service dbus.service systemd-networkd.service afield-agent.service
";

/// A service that dies, as a unit of system-manager.
const DIES: &str = "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo no database; exit 3'\n";

fn offer(bed: &mut Bed<Container>, system: &System) {
    let release = bed.fleet.release(&[("clinic", key().public())], system, "config");
    bed.fleet.assign("clinic", release);
}

/// The event of a check-in that took a release back.
fn taken_back(bed: &Bed<Container>) -> (String, String) {
    let (code, said) = bed.once();
    let event = &said["event"];
    assert_eq!((code, &event["is"]), (1, &"rolled-back".into()), "{said}");
    (event["why"].to_string(), event["log"].to_string())
}

#[test]
fn a_switch_is_judged_by_evidence() {
    let mut bed = Bed::new(Container::plain());
    bed.offer("one", Contract::Honest, "config");
    assert_eq!(bed.once().0, 0);

    offer(&mut bed, &System::scripted("two", LEAVES_A_FAILED_UNIT));
    let (why, log) = taken_back(&bed);
    assert!(why.contains("failed units: site.service"), "{why}");
    assert!(log.contains("site.service: the formulary cannot be read"), "{log}");
    assert_eq!(bed.machine.text("/etc/site"), "one");

    // What had failed before is not the next one's fault.
    bed.machine.write("/etc/systemd/system/afield-agent.service", UNIT.as_bytes());
    bed.machine.exec("systemctl daemon-reload && systemctl start afield-agent");
    offer(&mut bed, &System::scripted("three", RESTARTS_EVERYTHING));
    let is_good = |r: &Report| r.event == Event::Healthy && r.release == Some(ReleaseId(3));
    let reports = bed.reported("release 3 on a host that restarted all", is_good);
    let wrong = |event: &Event| match event {
        Event::RolledBack { from, .. } | Event::Stuck { from, .. } => from.0 == 3,
        _ => false,
    };
    assert!(!reports.iter().any(|r| wrong(&r.event)), "{reports:?}");
    assert_eq!(bed.machine.text("/etc/site"), "three");
    bed.machine.exec("systemctl is-active ssh dbus systemd-networkd afield-agent");
}

#[test]
fn a_host_of_system_manager_is_judged_by_evidence() {
    let mut bed = Bed::new(Container::plain());
    offer(&mut bed, &ubuntu::system("one", &[], Lie::None));
    let (code, said) = bed.once();
    assert_eq!(code, 0, "{said}");
    let good = [("site.service", "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n")];
    offer(&mut bed, &ubuntu::system("two", &good, Lie::None));
    assert_eq!(bed.once().0, 0);
    bed.machine.exec("systemctl is-active site.service");

    offer(&mut bed, &ubuntu::system("three", &[("site.service", DIES)], Lie::None));
    let (why, log) = taken_back(&bed);
    assert!(why.contains("failed units: site.service"), "{why}");
    assert!(log.contains("site.service: no database"), "{log}");
    bed.machine.exec("systemctl is-active site.service && grep -qx two /etc/site");

    // It writes to /etc, so that a power cut finds the new one: it is proved then, or taken back.
    bed.machine.reboot();
    assert_eq!(bed.once().0, 0);
    assert_eq!(bed.machine.text("/etc/site"), "two");
}
