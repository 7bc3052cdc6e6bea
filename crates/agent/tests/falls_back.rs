//! What a machine falls back to when several systems were proved without a boot, with each of the boot loaders: in the
//! end always the last one that was booted, never for ever one that does not come up.
#![allow(clippy::unwrap_used)]

mod common;

use afield_core::report::Event;
use afield_testkit::machine::{Loader, complete, power_cycle};
use afield_testkit::system::Contract;
use common::Bed;
use common::machine::{entries, machine_with, offer, window};

/// Runs until nothing is asked for any more, over restarts; what is up then.
fn settle(bed: &Bed) -> String {
    for _ in 0..6 {
        bed.host.once();
        if bed.host.path("run/reboot-asked").exists() {
            power_cycle(&bed.host);
            complete(&bed.host);
        }
    }
    bed.host.current().unwrap()
}

fn is_sound(bed: &mut Bed, name: &str) {
    let good = offer(bed, name, Contract::Honest, "old");
    assert_eq!(settle(bed), good, "it takes nothing new");
    assert_eq!(power_cycle(&bed.host), good);
    assert!(complete(&bed.host));
    assert_eq!(bed.host.once().0, 0);
    assert_eq!(power_cycle(&bed.host), good);
}

#[test]
fn what_broke_booting_before_the_release_on_trial_is_not_what_is_fallen_back_to() {
    for loader in Loader::ALL {
        let mut bed = machine_with(loader, "old");
        let one = bed.host.current().unwrap();
        window(&bed, true);
        let two = offer(&mut bed, "two", Contract::DiesAtBoot, "old");
        assert_eq!(bed.host.once().0, 0, "it runs well enough without a boot");
        offer(&mut bed, "three", Contract::DiesAtBoot, "new");
        bed.host.once();
        assert!(bed.host.path("run/reboot-asked").exists(), "{loader:?}");
        assert_eq!(power_cycle(&bed.host), one, "{loader:?}");
        // The last good one, which was never booted, is put back, and keeps its tries.
        let (_, said) = bed.host.once();
        assert_eq!(bed.host.current(), Some(two), "{loader:?}: {said}");
        assert_eq!(power_cycle(&bed.host), one, "{loader:?}");
        bed.server.reports();
        assert_eq!(settle(&bed), one, "{loader:?}");
        let reports = bed.server.reports();
        let told = |e: &Event| matches!(e, Event::RolledBack { from, .. } if from.0 == 2);
        assert!(reports.iter().any(|r| told(&r.event)), "{loader:?}: {reports:?}");
        assert_eq!(power_cycle(&bed.host), one, "{loader:?}");
        is_sound(&mut bed, "four");
    }
}

#[test]
fn a_power_cut_in_a_trial_does_not_make_what_was_never_booted_the_default() {
    let mut bed = machine_with(Loader::Grub, "old");
    let one = bed.host.current().unwrap();
    window(&bed, true);
    offer(&mut bed, "two", Contract::DiesAtBoot, "old");
    bed.host.once();
    let three = offer(&mut bed, "three", Contract::Honest, "new");
    bed.host.once();
    assert_eq!(power_cycle(&bed.host), three);
    assert_eq!(power_cycle(&bed.host), one, "GRUB starts it once");
    bed.host.once();
    assert_eq!(power_cycle(&bed.host), one);
    assert_eq!(settle(&bed), one);
    is_sound(&mut bed, "four");
}

#[test]
fn of_many_systems_that_were_never_booted_none_is_started_for_ever() {
    for loader in Loader::ALL {
        let mut bed = machine_with(loader, "same");
        let one = bed.host.current().unwrap();
        for text in ["two", "three", "four"] {
            offer(&mut bed, text, Contract::DiesAtBoot, "same");
            assert_eq!(bed.host.once().0, 0);
        }
        let before = bed.host.text("boot/boots").lines().count();
        assert_eq!(power_cycle(&bed.host), one, "{loader:?}");
        let boots = bed.host.text("boot/boots").lines().count() - before;
        assert!(boots <= 4, "{loader:?}: only the newest has tries, not {boots}");
        assert_eq!(settle(&bed), one, "{loader:?}");
        assert_eq!(power_cycle(&bed.host), one, "{loader:?}");
    }
}

#[test]
fn a_system_made_the_default_by_hand_does_not_take_the_tries_of_the_last_good_one() {
    for loader in Loader::ALL {
        let mut bed = machine_with(loader, "same");
        let one = bed.host.current().unwrap();
        offer(&mut bed, "two", Contract::DiesAtBoot, "same");
        assert_eq!(bed.host.once().0, 0);
        // As `nixos-rebuild switch --rollback` does it.
        let profile = bed.host.path("nix/var/nix/profiles/system");
        std::fs::remove_file(&profile).unwrap();
        std::os::unix::fs::symlink("system-1-link", &profile).unwrap();
        assert_eq!(bed.host.once().0, 0);
        assert_eq!(power_cycle(&bed.host), one, "{loader:?}");
        assert_eq!(settle(&bed), one, "{loader:?}");
        assert_eq!(power_cycle(&bed.host), one, "{loader:?}");
    }
}

#[test]
fn the_boot_entry_of_the_last_booted_system_is_kept() {
    for loader in Loader::ALL {
        let mut bed = machine_with(loader, "same");
        let one = bed.host.current().unwrap();
        offer(&mut bed, "two", Contract::Honest, "same");
        assert_eq!(bed.host.once().0, 0);
        // What a tidy-up of old generations does; the boot entries follow when they are written next.
        std::fs::remove_file(bed.host.path("nix/var/nix/profiles/system-1-link")).unwrap();
        let _ = std::fs::remove_file(bed.host.path("boot/loader/entries/generation-1.conf"));
        offer(&mut bed, "three", Contract::DiesAtBoot, "same");
        assert_eq!(bed.host.once().0, 0);
        assert_eq!(power_cycle(&bed.host), one, "{loader:?}");
        assert_eq!(settle(&bed), one, "{loader:?}");
    }
}

#[test]
fn what_is_somebody_elses_is_never_started() {
    for loader in Loader::SYSTEMD_BOOT {
        let mut bed = machine_with(loader, "old");
        let one = bed.host.current().unwrap();
        window(&bed, true);
        // It would be the first.
        let other = bed.host.path("boot/loader/entries/zz-other.conf");
        std::fs::write(other, "title other\nlinux /other\n").unwrap();
        offer(&mut bed, "two", Contract::DiesAtBoot, "new");
        bed.host.once();
        assert_eq!(power_cycle(&bed.host), one);
        assert_eq!(settle(&bed), one);
        let three = offer(&mut bed, "three", Contract::Honest, "new");
        bed.host.once();
        assert_eq!(power_cycle(&bed.host), three);
        assert!(complete(&bed.host));
        assert_eq!(power_cycle(&bed.host), three);
    }
}

#[test]
fn a_trial_of_which_the_agent_knows_nothing_yet_is_judged_before_it_is_blessed() {
    for loader in Loader::ALL {
        let mut bed = machine_with(loader, "old");
        let one = bed.host.current().unwrap();
        window(&bed, true);
        let two = offer(&mut bed, "two", Contract::Honest, "new");
        // It has its tries, and the power fails before anybody asks for a restart.
        let (code, said) = bed.host.once_with(&[("AFIELD_FAULT", "state:reboot:before:1")]);
        assert_eq!(code, -1, "{said}");
        assert_eq!(power_cycle(&bed.host), two, "{loader:?}");
        std::fs::remove_file(bed.host.path("etc/site")).unwrap();
        assert!(!complete(&bed.host), "{loader:?}: {:?}", entries(&bed.host));
        assert_eq!(power_cycle(&bed.host), one, "{loader:?}");
    }
}
