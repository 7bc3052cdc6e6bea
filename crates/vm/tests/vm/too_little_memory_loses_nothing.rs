//! The kernel ends the agent, or the Nix that it started, for want of memory, at one step after the other. The host keeps a
//! whole release, and with enough memory the update completes. How much that is, is printed.

use afield_testkit::host::key;
use afield_testkit::system::{Built, Contract, System};
use afield_vm::bed::Bed;
use afield_vm::container::Container;
use afield_vm::machine::{Machine, text};

/// Tens of MiB are promised for an update, with all that it starts.
const PROMISED: u32 = 64;

#[test]
fn too_little_memory_loses_nothing() {
    let mut bed = Bed::new(Container::plain());
    let old = offer(&mut bed, 1);
    assert_eq!(bed.once().0, 0);
    let new = offer(&mut bed, 2);
    let mut ended = 0;
    for mib in [2, 4, 6, 8, 10, 12, 16] {
        let (done, peak) = bed.machine.exec_within(mib, "afield-agent once");
        println!("{mib} MiB: {}, at most {peak} KiB", done.status);
        assert!(!text(&done.stderr).contains("panicked"), "{}", text(&done.stderr));
        ended += u32::from(!done.status.success());
        let now = bed.current();
        assert!(now.as_ref() == Some(&old) || now.as_ref() == Some(&new), "{mib} MiB: {now:?}");
    }
    assert!(ended > 0, "it never ran out of memory");
    assert_eq!(bed.once().0, 0);

    // The release may have been given up when its activation was cut off; the next one is not.
    let newest = offer(&mut bed, 3);
    let (done, peak) = bed.machine.exec_within(PROMISED, "afield-agent once --json");
    println!("an update with 8 MiB to fetch: at most {peak} KiB");
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert_eq!(bed.current(), Some(newest));
    bed.machine.exec("nix-store --verify --check-contents 2>&1");
}

/// A release with 8 MiB that no host has.
fn offer(bed: &mut Bed<Container>, n: u32) -> String {
    let mut system = System::new(&format!("release {n}"), Contract::Honest);
    let noise = |i: u32| (i ^ (n << 24)).wrapping_mul(2_654_435_761).rotate_left(i % 32);
    let noise: Vec<u8> = (0..2u32 << 20).flat_map(|i| noise(i).to_le_bytes()).collect();
    let at = system.paths.len() - 1;
    system.paths.insert(at, Built::file("payload", &noise));
    let release = bed.fleet.release(&[("clinic", key().public())], &system, &format!("config {n}"));
    bed.fleet.assign("clinic", release);
    system.path().to_string()
}
