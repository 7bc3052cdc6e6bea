//! The guest that other scenarios stand on: it boots, answers, reboots, goes on from a snapshot as it was, and loses at a
//! power cut what it had not flushed, and nothing else.

use afield_vm::guest::{BOOT_ID, Guest};
use afield_vm::machine::Machine;

#[test]
fn a_guest_boots_and_goes_on_from_a_snapshot() {
    let mut guest = Guest::plain();
    guest.write("/root/kept", b"flushed");
    guest.exec("sync");
    let snapshot = guest.snapshot();

    guest.resume(&snapshot);
    let boot = guest.exec(BOOT_ID);
    guest.write("/root/lost", b"not flushed");
    let lost = guest.cut_power_with(|| false);
    guest.start();
    assert_ne!(guest.exec(BOOT_ID), boot);
    assert_eq!(guest.text("/root/kept"), "flushed");
    assert_eq!(guest.text("/root/lost"), "", "{lost} blocks were lost");

    guest.resume(&snapshot);
    assert_eq!(guest.exec(BOOT_ID), boot);
    guest.reboot();
    assert_eq!(guest.text("/root/kept"), "flushed");
}
