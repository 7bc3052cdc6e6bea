//! What the machine starts by itself: never what has no proof, and back by itself from what does not come up.
//! The machine is played by `afield_testkit::machine`; `cargo vm` has a real one.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;

use afield_core::host_data::HostData;
use afield_core::ids::ReleaseId;
use afield_core::report::Event;
use afield_testkit::fleet::data;
use afield_testkit::host::{Host, key};
use afield_testkit::machine::{Loader, is_on_trial, keep_variables, power_cycle, variable};
use afield_testkit::server::Server;
use afield_testkit::system::{Contract, Kernel, System};
use common::Bed;
use common::machine::{entries, hours, machine, machine_with, offer, window};

/// A release with another kernel whose host data has this window.
fn offer_with_window(bed: &mut Bed, text: &str, kernel: &str, window: Option<&str>) -> String {
    let system = System::with_kernel(text, Contract::Honest, Kernel::Named(kernel));
    let reboot_window = window.map(|w| w.parse().unwrap());
    let told = HostData { reboot_window, ..data(&"clinic".parse().unwrap(), "config") };
    let release = bed.fleet.release_data(&[(told, key().public())], &system);
    bed.fleet.assign("clinic", release);
    system.path().to_string()
}

fn status(bed: &Bed) -> String {
    String::from_utf8(bed.host.run(&["status"], &[]).stdout).unwrap()
}

#[test]
fn the_default_changes_after_the_proof() {
    let mut bed = machine("same");
    let one = bed.host.current().unwrap();
    let two = offer(&mut bed, "two", Contract::BrokenService, "same");
    assert_eq!(bed.host.once().0, 1);
    assert_eq!(entries(&bed.host), ["generation-1.conf"], "{two} has an entry without a proof");
    let three = offer(&mut bed, "three", Contract::Honest, "same");
    assert_eq!(bed.host.once().0, 0);
    assert_eq!(bed.host.current(), Some(three.clone()));
    // Proved, and on trial until it was booted.
    assert_eq!(entries(&bed.host), ["generation-1.conf", "generation-2+3.conf"]);
    assert_eq!(power_cycle(&bed.host), three);
    assert_eq!(bed.host.once().0, 0);
    assert_eq!(entries(&bed.host), ["generation-1.conf", "generation-2.conf"]);
    assert!(bed.host.text("boot/loader/loader.conf").contains("default generation-2.conf"));
    assert_ne!(one, three);
}

#[test]
fn a_system_that_dies_at_boot_is_left_after_three_tries() {
    let mut bed = machine("same");
    let one = bed.host.current().unwrap();
    let two = offer(&mut bed, "two", Contract::DiesAtBoot, "same");
    assert_eq!(bed.host.once().0, 0, "it runs well enough without a boot");
    let before = bed.host.text("boot/boots").lines().count();
    assert_eq!(power_cycle(&bed.host), one);
    let boots = bed.host.text("boot/boots");
    let boots: Vec<&str> = boots.lines().skip(before).collect();
    assert_eq!(boots, [two.as_str(), &two, &two, &one]);
    let (code, said) = bed.host.once();
    assert_eq!((code, &said["event"]["is"]), (1, &"rolled-back".into()), "{said}");
    assert!(said["event"]["why"].to_string().contains("did not come up"), "{said}");
    assert_eq!(bed.host.text("run/.app_configs/app/settings.yml"), "config one");
    // It is not tried again, and a newer one is.
    assert_eq!(bed.host.once().0, 0);
    assert_eq!(bed.host.current(), Some(one));
    let three = offer(&mut bed, "three", Contract::Honest, "same");
    assert_eq!(bed.host.once().0, 0);
    assert_eq!(power_cycle(&bed.host), three);
    assert_eq!(bed.host.once().0, 0);
}

#[test]
fn another_kernel_waits_for_the_window_and_says_so() {
    let mut bed = machine("old");
    let one = bed.host.current().unwrap();
    window(&bed, false);
    let two = offer(&mut bed, "two", Contract::Honest, "new");
    let (code, said) = bed.host.once();
    assert_eq!((code, &said["event"]["is"]), (0, &"updating".into()), "{said}");
    let notes = said["notes"].to_string();
    assert!(notes.contains("release 2 waits for a restart since"), "{notes}");
    assert!(notes.contains("another kernel") && notes.contains("the window is from"), "{notes}");
    assert!(notes.contains(&format!("({}, by agent.toml)", hours(false))), "{notes}");
    let status = status(&bed);
    assert!(status.contains("waits         since"), "{status}");
    assert!(
        status.contains(&format!("restarts      {}, by agent.toml;", hours(false))),
        "{status}"
    );
    // A power cut by day starts what ran before.
    assert_eq!(power_cycle(&bed.host), one);
    assert_eq!(bed.host.once().0, 0);
    assert_eq!(entries(&bed.host), ["generation-1.conf"]);
    window(&bed, true);
    let (code, said) = bed.host.once();
    assert_eq!(code, 0, "{said}");
    assert!(bed.host.text("run/reboot-asked").contains("another kernel"), "{said}");
    assert_eq!(power_cycle(&bed.host), two);
    let (code, said) = bed.host.once();
    assert_eq!((code, &said["event"]["is"]), (0, &"healthy".into()), "{said}");
    assert_eq!(bed.host.text("etc/site"), "two");
    assert_eq!(power_cycle(&bed.host), two);
}

#[test]
fn a_window_of_host_data_counts_before_that_of_agent_toml() {
    let mut bed = machine("old");
    let one = bed.host.current().unwrap();
    assert!(status(&bed).contains("restarts      01:00-05:00, by default;"), "{}", status(&bed));
    window(&bed, true);
    let two = offer_with_window(&mut bed, "two", "new", Some(&hours(false)));
    let (code, said) = bed.host.once();
    assert_eq!((code, &said["event"]["is"]), (0, &"updating".into()), "{said}");
    let by = |release: u64| format!("{}, by the host data of release {release}", hours(false));
    let reports = bed.server.reports();
    let notes = reports.last().unwrap().notes.join("\n");
    assert!(notes.contains("release 2 waits") && notes.contains(&by(2)), "{notes}");
    assert!(status(&bed).contains(&by(2)), "{}", status(&bed));
    // It holds without anybody to ask, and after a power cut.
    let assignment = bed.fleet.assignment_path("clinic");
    let kept = fs::read(&assignment).unwrap();
    fs::remove_file(&assignment).unwrap();
    assert_eq!(power_cycle(&bed.host), one);
    let (_, said) = bed.host.once();
    assert!(said["notes"].to_string().contains(&by(2)), "{said}");
    fs::write(&assignment, kept).unwrap();
    // The next release opens the window, and takes the place of the one that waits.
    window(&bed, false);
    let three = offer_with_window(&mut bed, "three", "newer", Some(&hours(true)));
    let (code, said) = bed.host.once();
    assert_eq!(code, 0, "{said}");
    for _ in 0..3 {
        if bed.host.path("run/reboot-asked").exists() {
            power_cycle(&bed.host);
        }
        bed.host.once();
    }
    assert_eq!(bed.host.current(), Some(three), "{two} stayed");
    assert!(status(&bed).contains("by the host data of release 3"), "{}", status(&bed));
    // A release without one gives the host back to its own file.
    offer_with_window(&mut bed, "four", "newest", None);
    let (code, said) = bed.host.once();
    assert_eq!((code, &said["event"]["is"]), (0, &"updating".into()), "{said}");
    assert!(said["notes"].to_string().contains("by agent.toml"), "{said}");
    let json = bed.host.run(&["status", "--json"], &[]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["reboot_window"]["from"], "agent.toml", "{json}");
    assert_eq!(json["reboot_window"]["window"], hours(false), "{json}");
}

#[test]
fn a_kernel_that_does_not_come_up_is_quarantined() {
    let mut bed = machine("old");
    let one = bed.host.current().unwrap();
    window(&bed, true);
    offer(&mut bed, "two", Contract::DiesAtBoot, "new");
    bed.host.once();
    assert_eq!(power_cycle(&bed.host), one);
    let (code, said) = bed.host.once();
    assert_eq!((code, &said["event"]["is"]), (1, &"rolled-back".into()), "{said}");
    let reports = bed.server.reports();
    let told = |e: &Event| matches!(e, Event::RolledBack { from: ReleaseId(2), .. });
    assert_eq!(reports.iter().filter(|r| told(&r.event)).count(), 1, "{reports:?}");
    assert!(!bed.host.path("run/reboot-asked").exists());
    assert_eq!(power_cycle(&bed.host), one, "it is tried again");
}

#[test]
fn a_kernel_that_comes_up_without_its_service_is_left_by_a_reboot() {
    let mut bed = machine("old");
    let one = bed.host.current().unwrap();
    window(&bed, true);
    let two = offer(&mut bed, "two", Contract::Honest, "new");
    bed.host.once();
    assert_eq!(power_cycle(&bed.host), two);
    fs::remove_file(bed.host.path("etc/site")).unwrap();
    window(&bed, false);
    let (_, said) = bed.host.once();
    assert!(bed.host.path("run/reboot-asked").exists(), "it does not wait by day: {said}");
    assert_eq!(power_cycle(&bed.host), one);
    // The boot is in order, also before the way back is written down as ended.
    let check = bed.host.run(&["boot-check"], &[]);
    assert!(check.status.success(), "{check:?}");
    let (code, said) = bed.host.once();
    assert_eq!((code, &said["event"]["is"]), (1, &"rolled-back".into()), "{said}");
    assert!(said["event"]["why"].to_string().contains("check site"), "{said}");
    assert_eq!(power_cycle(&bed.host), one);
}

#[test]
fn a_full_boot_partition_is_seen_before_the_switch() {
    let mut bed = machine("old");
    let partition = bed.host.path("boot");
    let small = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=512k", "small"])
        .arg(&partition)
        .status();
    assert!(small.unwrap().success());
    struct Mount(std::path::PathBuf);
    impl Drop for Mount {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount").arg(&self.0).status();
        }
    }
    let _mount = Mount(partition);
    fs::create_dir_all(bed.host.path("boot/loader/entries")).unwrap();
    let before = bed.host.current();
    let system = System::with_kernel("two", Contract::Honest, Kernel::Large);
    let release = bed.fleet.release(&[("clinic", key().public())], &system, "config");
    bed.fleet.assign("clinic", release);
    let (code, said) = bed.host.once();
    assert_eq!((code, &said["event"]["code"]), (3, &"no-boot-space".into()), "{said}");
    assert_eq!(bed.host.current(), before);
}

/// An entry that sorts before all others, and whose system must not be started.
fn somebody_elses(host: &Host) {
    let entry = host.path("boot/loader/entries/zz-other.conf");
    fs::write(entry, "title other\noptions init=/nix/store/other/init\n").unwrap();
}

#[test]
fn with_variables_the_last_good_one_is_named_all_the_time() {
    let mut bed = machine("old");
    keep_variables(&bed.host);
    somebody_elses(&bed.host);
    window(&bed, true);
    let one = bed.host.current().unwrap();
    let two = offer(&mut bed, "two", Contract::DiesAtBoot, "new");
    bed.host.once();
    assert_eq!(variable(&bed.host), None, "it would outrank the trial");
    assert!(bed.host.text("boot/loader/loader.conf").contains("default generation-*.conf"));
    let before = bed.host.text("boot/boots").lines().count();
    assert_eq!(power_cycle(&bed.host), one, "not somebody else's");
    let boots = bed.host.text("boot/boots");
    let boots: Vec<&str> = boots.lines().skip(before).collect();
    assert_eq!(boots, [two.as_str(), &two, &two, &one]);
    assert_eq!(bed.host.once().0, 1);
    assert_eq!(variable(&bed.host), None, "it stays behind in the firmware");
    let three = offer(&mut bed, "three", Contract::Honest, "newer");
    bed.host.once();
    assert_eq!(power_cycle(&bed.host), three);
    assert_eq!(bed.host.once().0, 0);
    assert_eq!(variable(&bed.host), None, "it stays behind in the firmware");
    assert_eq!(power_cycle(&bed.host), three);
}

/// A host that does all of one check-in but what comes after a fault point, once for each of them; where it is, whether
/// it switched and proved the new system before, and it.
fn at_every_point(bed: &Bed, mut tried: impl FnMut(&str, bool, &Host, &Server)) {
    let points = bed.fault_points();
    let mut proved = false;
    // What comes before changes nothing yet; `kills.rs` has it.
    let changing = points.iter().map(String::as_str).skip_while(|p| !p.starts_with("state:begin"));
    for point in changing {
        proved |= point.starts_with("promote:");
        let server = Server::start(bed.fleet.path());
        let host = bed.host.copy(&server);
        let (code, said) = host.once_with(&[("AFIELD_FAULT", point)]);
        assert_eq!(code, -1, "{point} was not passed: {said}");
        tried(point, proved, &host, &server);
    }
}

/// Where the firmware keeps no variables, the contract's `boot` names the new system before it has tries.
fn is_unguarded(point: &str, variables: bool) -> bool {
    !variables && point.starts_with("promote:entries-written")
}

/// The power fails at every fault point of an update, and the machine is started again: as the old system as long as the
/// new one has no proof, or else with a try of the new one that is counted; and in the end as the new one.
fn power_fails_everywhere(loader: Loader, kernel: &str, variables: bool) {
    let mut bed = machine_with(loader, "old");
    if variables {
        keep_variables(&bed.host);
        somebody_elses(&bed.host);
    }
    window(&bed, true);
    let two = offer(&mut bed, "two", Contract::Honest, kernel);
    let mut tries = 0;
    at_every_point(&bed, |point, proved, host, server| {
        let up = power_cycle(host);
        if up == two {
            tries += 1;
            // With another kernel the boot is the proof.
            assert!(proved || kernel != "old", "{point}: {two} was started without a proof");
            let counted = is_on_trial(host) || is_unguarded(point, variables);
            assert!(counted, "{point}: {two} would be started for ever: {:?}", entries(host));
        }
        for _ in 0..3 {
            host.once();
            if host.path("run/reboot-asked").exists() {
                power_cycle(host);
            }
        }
        assert_eq!(host.text("etc/site"), "two", "{point}");
        assert_eq!(power_cycle(host), two, "{point}");
        let reports = server.reports();
        let last = &reports.last().unwrap_or_else(|| panic!("{point}: no report")).event;
        assert_eq!(last, &Event::Healthy, "{point}");
    });
    assert!(tries > 0, "the new system was on trial nowhere");
}

/// The same with a system that dies at boot: in the end it is left, wherever the power failed.
fn what_dies_is_left_everywhere(loader: Loader, variables: bool) {
    let mut bed = machine_with(loader, "old");
    if variables {
        keep_variables(&bed.host);
    }
    window(&bed, true);
    let one = bed.host.current().unwrap();
    offer(&mut bed, "two", Contract::DiesAtBoot, "new");
    at_every_point(&bed, |point, _, host, server| {
        if is_unguarded(point, variables) && loader != Loader::Grub {
            return;
        }
        assert_eq!(power_cycle(host), one, "{point}");
        for _ in 0..3 {
            host.once();
            if host.path("run/reboot-asked").exists() {
                assert_eq!(power_cycle(host), one, "{point}");
            }
        }
        let told = |e: &Event| matches!(e, Event::RolledBack { from: ReleaseId(2), .. });
        assert!(server.reports().iter().any(|r| told(&r.event)), "{point}");
        assert_eq!(power_cycle(host), one, "{point}");
    });
}

#[test]
fn the_power_fails_at_every_point_of_a_switch() {
    power_fails_everywhere(Loader::TriesInIds, "old", false);
}

#[test]
fn the_power_fails_at_every_point_of_an_update_that_needs_a_boot() {
    power_fails_everywhere(Loader::TriesInIds, "new", false);
}

#[test]
fn with_variables_the_power_fails_at_every_point_of_a_switch() {
    power_fails_everywhere(Loader::TriesInIds, "old", true);
}

#[test]
fn with_variables_the_power_fails_at_every_point_of_an_update_that_needs_a_boot() {
    power_fails_everywhere(Loader::NoTriesInIds, "new", true);
}

#[test]
fn a_system_that_dies_at_boot_is_left_wherever_the_power_failed_before() {
    what_dies_is_left_everywhere(Loader::NoTriesInIds, true);
}

#[test]
fn with_grub_a_system_that_dies_at_boot_is_left_wherever_the_power_failed_before() {
    what_dies_is_left_everywhere(Loader::Grub, false);
}

#[test]
fn without_a_known_boot_loader_no_restart_is_tried() {
    let mut bed = machine("old");
    let one = bed.host.current().unwrap();
    window(&bed, true);
    let two = offer(&mut bed, "two", Contract::Honest, "new");
    // The partition is not mounted: what would be written is not what the machine reads.
    let (mounted, away) = (bed.host.path("boot/loader"), bed.host.path("boot-loader"));
    fs::rename(&mounted, &away).unwrap();
    refused(&bed, "no-trial", "name its place as `esp`");
    assert!(!bed.host.path("run/reboot-asked").exists());
    assert_eq!(bed.host.current(), Some(one));

    fs::rename(&away, &mounted).unwrap();
    // Nothing was held against the release.
    bed.host.once();
    assert_eq!(power_cycle(&bed.host), two);
    assert_eq!(bed.host.once().0, 0);
}

#[test]
fn a_grub_that_cannot_forget_a_trial_is_given_none() {
    let mut bed = machine_with(Loader::Grub, "old");
    let one = bed.host.current().unwrap();
    window(&bed, true);
    let two = offer(&mut bed, "two", Contract::Honest, "new");
    // All of the disk is LVM.
    fs::create_dir_all(bed.host.path("proc/self")).unwrap();
    fs::create_dir_all(bed.host.path("sys/dev/block/253:0/dm")).unwrap();
    fs::write(bed.host.path("sys/dev/block/253:0/dm/uuid"), "LVM-0123\n").unwrap();
    let mounts = |kind: &str, device: &str| {
        let line = format!("1 0 {device} / / rw - {kind} /dev/root rw\n");
        fs::write(bed.host.path("proc/self/mountinfo"), line).unwrap();
    };
    mounts("ext4", "253:0");
    refused(&bed, "no-trial", "LVM or RAID");
    mounts("btrfs", "0:30");
    refused(&bed, "no-trial", "btrfs");
    assert!(!bed.host.path("run/reboot-asked").exists());
    assert_eq!(bed.host.current(), Some(one));

    // An encrypted partition is no hindrance.
    fs::write(bed.host.path("sys/dev/block/253:0/dm/uuid"), "CRYPT-LUKS2-0123\n").unwrap();
    mounts("ext4", "253:0");
    bed.host.once();
    assert_eq!(power_cycle(&bed.host), two);
    assert_eq!(bed.host.once().0, 0);
}

fn refused(bed: &Bed, code: &str, why: &str) {
    let (exit, said) = bed.host.once();
    assert_eq!((exit, &said["event"]["code"]), (3, &code.into()), "{said}");
    assert!(said["event"]["why"].to_string().contains(why), "{said}");
}
