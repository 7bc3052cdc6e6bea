//! What somebody changes by hand on a real machine is told by name at the next check-in, and put back where it is managed:
//! a key file, an account, a profile that was switched, a service that was stopped or fails, an edited unit.

use afield_core::host_data::{Access, Check, Probe};
use afield_core::span::Span;
use afield_testkit::host::key;
use afield_testkit::system::{Contract, System};
use afield_vm::bed::Bed;
use afield_vm::container::Container;
use afield_vm::machine::Machine;

const KEYS: &str = "/var/lib/afield-access/authorized_keys.d/ann";
const ANN: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK9M1AgwesemDL6kG9NMBdFqwtlEWW0+ZVu/KTZ4M4SK ann";
const APP: &str = "[Service]\nExecStart=/usr/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n";

#[test]
fn drift_is_named_and_put_back() {
    let mut bed = Bed::new(Container::plain());
    bed.machine.write("/etc/systemd/system/app.service", APP.as_bytes());
    bed.machine.exec("systemctl daemon-reload; systemctl start app");
    let good = settle(&mut bed);
    let site = bed.machine.text(KEYS);
    assert!(site.contains(ANN), "{site}");

    // A key file that was changed.
    bed.machine.exec(&format!("echo 'ssh-ed25519 AAAA intruder' >> {KEYS}"));
    told(&bed, KEYS);
    assert_eq!(bed.machine.text(KEYS), site);

    // An account that nobody declared is told, and left alone: it may be somebody's last way in.
    bed.machine.exec("useradd --create-home --shell /bin/bash intruder");
    told(&bed, "intruder");
    assert!(bed.machine.holds("id intruder"));

    // A profile that was switched by hand, and what runs with it.
    let other = bed.machine.exec("nix-store --add /etc/hostname");
    bed.machine.exec(&format!("nix-env -p /nix/var/nix/profiles/system --set {other}"));
    bed.machine.exec(&format!("ln -sfn {} /run/current-system", other.trim()));
    told(&bed, other.trim());
    assert_eq!(bed.current(), Some(good.clone()));
    let profile = bed.machine.exec("readlink -f /nix/var/nix/profiles/system");
    assert_eq!(profile.trim(), good);

    // A service that was stopped, and one that fails.
    bed.machine.exec("systemctl stop app");
    let (code, said) = bed.once();
    assert_eq!((code, said["event"]["is"].as_str()), (1, Some("unhealthy")), "{said}");
    assert!(said["checks"].to_string().contains("app.service"), "{said}");
    bed.machine.exec("systemctl start app");
    bed.machine.try_exec("systemd-run --unit=broken /usr/bin/false");
    bed.machine.wait_for("a failed unit", afield_vm::machine::BOOT, "systemctl is-failed broken");
    told(&bed, "broken.service");
}

/// Nobody manages these, so that they are told and left alone, also after the next release.
#[test]
fn edited_units_are_named_until_they_are_as_they_were() {
    let (app, more) = ("/etc/systemd/system/app.service", "/etc/systemd/system/ssh.service.d/override.conf");
    let mut bed = Bed::new(Container::plain());
    bed.machine.write(app, APP.as_bytes());
    bed.machine.exec("systemctl daemon-reload; systemctl enable --now app");
    settle(&mut bed);
    let (_, said) = bed.once();
    assert!(!said["notes"].to_string().contains("unit file"), "{said}");

    bed.machine.exec(&format!("echo '# by hand' >> {app}"));
    bed.machine.write(more, b"[Service]\nNice=5\n");
    bed.machine.exec("systemctl --quiet disable app");
    let edits = [
        format!("the unit file {app} was changed"),
        format!("the unit file {more} was added"),
        "the unit file /etc/systemd/system/multi-user.target.wants/app.service is gone".to_owned(),
    ];
    for edit in &edits {
        told(&bed, edit);
    }
    let (_, two) = bed.offer("two", Contract::Honest, "config two");
    assert_eq!(bed.once().0, 0);
    assert_eq!(bed.current(), Some(two));
    for edit in &edits {
        told(&bed, edit);
    }
    bed.machine.write(app, APP.as_bytes());
    bed.machine.exec(&format!("rm {more}; systemctl --quiet enable app"));
    let (_, said) = bed.once();
    assert!(!said["notes"].to_string().contains("unit file"), "{said}");
}

fn settle(bed: &mut Bed<Container>) -> String {
    let mut data = afield_testkit::fleet::data(&"clinic".parse().unwrap(), "config");
    let access = Access { profile: "admin".into(), keys: vec![ANN.into()], expires: None };
    data.access.insert("ann".into(), access);
    data.checks.push(Check {
        name: "app".parse().unwrap(),
        probe: Probe::Unit { unit: "app.service".into() },
        deadline: Span::secs(10),
        tries: 2,
        pause: Span::secs(0),
        log: None,
    });
    let system = System::new("one", Contract::Honest);
    let release = bed.fleet.release_data(&[(data, key().public())], &system);
    bed.fleet.assign("clinic", release);
    let (code, said) = bed.once();
    assert_eq!(code, 0, "{said}");
    system.path().to_string()
}

/// The next check-in names it.
fn told(bed: &Bed<Container>, name: &str) {
    let (code, said) = bed.once();
    assert!(code == 0 && said["notes"].to_string().contains(name), "{name} is not in {said}");
}
