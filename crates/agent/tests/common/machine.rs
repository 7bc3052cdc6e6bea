//! A host with a machine below it: `afield_testkit::machine`.

use std::fs;

use afield_testkit::host::{Host, key};
use afield_testkit::machine::{Loader, power_cycle};
use afield_testkit::system::{Contract, Kernel, System};

use super::Bed;

/// A machine with systemd-boot that was started with release 1.
pub fn machine(kernel: &str) -> Bed {
    machine_with(Loader::TriesInIds, kernel)
}

/// The same with another boot loader.
pub fn machine_with(loader: Loader, kernel: &str) -> Bed {
    let mut bed = Bed::new();
    loader.install(&bed.host);
    // On a machine that has other things to do, writing the entries takes a while.
    let toml = bed.host.text("etc/afield/agent.toml").replace("\"2s\"", "\"60s\"");
    let toml = toml + "boot-patience = \"0s\"\n";
    fs::write(bed.host.config(), toml).unwrap();
    offer(&mut bed, "one", Contract::Honest, kernel);
    assert_eq!(bed.host.once().0, 0);
    power_cycle(&bed.host);
    let (code, said) = bed.host.once();
    assert_eq!(code, 0, "{said}");
    bed.server.reports();
    bed
}

/// Releases a system with this kernel, and assigns it; its toplevel. Each has host data of its own.
pub fn offer(bed: &mut Bed, text: &str, contract: Contract, kernel: &str) -> String {
    let system = System::with_kernel(text, contract, Kernel::Named(kernel));
    let data = format!("config {text}");
    let release = bed.fleet.release(&[("clinic", key().public())], &system, &data);
    bed.fleet.assign("clinic", release);
    system.path().to_string()
}

/// A window that is open, or closed for hours.
pub fn hours(open: bool) -> String {
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let hour = |n: i8| format!("{:02}:00", (now.hour() + n).rem_euclid(24));
    let (from, to) = if open { (hour(0), hour(0)) } else { (hour(6), hour(7)) };
    format!("{from}-{to}")
}

/// The window of `agent.toml`.
pub fn window(bed: &Bed, open: bool) {
    let toml = bed.host.text("etc/afield/agent.toml");
    let toml: Vec<&str> = toml.lines().filter(|l| !l.starts_with("reboot-window")).collect();
    let text = format!("{}\nreboot-window = \"{}\"\n", toml.join("\n"), hours(open));
    fs::write(bed.host.config(), text).unwrap();
}

/// Names of its boot entries.
pub fn entries(host: &Host) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(host.path("boot/loader/entries"))
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
