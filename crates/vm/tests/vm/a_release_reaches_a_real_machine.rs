//! A release travels from a repository over a network into the real Nix store of a machine with systemd, is switched to by
//! a unit of its own, proved and reported; and all of that holds after a reboot and after a power cut.

use afield_core::report::Event;
use afield_testkit::system::Contract;
use afield_vm::bed::Bed;
use afield_vm::container::Container;
use afield_vm::machine::Machine;

#[test]
fn a_release_reaches_a_real_machine() {
    let mut bed = Bed::new(Container::plain());
    let (_, system) = bed.offer("one", Contract::Honest, "config one");
    let (code, said) = bed.once();
    assert_eq!(code, 0, "{said}");
    assert_eq!(bed.current().as_ref(), Some(&system));
    assert_eq!(bed.machine.text("/etc/site"), "one");
    bed.reported("the first release", |r| r.event == Event::Healthy);
    bed.machine.exec("nix-store --verify --check-contents");

    bed.machine.reboot();
    assert_eq!(bed.machine.boots(), 2);
    assert_eq!(bed.current(), Some(system));
    // App configs are in memory; they are put back.
    let (code, said) = bed.once();
    assert_eq!(code, 0, "{said}");

    bed.offer("two", Contract::BrokenService, "config two");
    bed.machine.cut_power();
    bed.machine.start();
    // What was in memory is put back, the release tried, and gone back from, all in one check-in.
    let (code, said) = bed.once();
    assert_eq!(code, 1, "{said}");
    bed.reported("the way back", |r| matches!(r.event, Event::RolledBack { .. }));
    assert_eq!(bed.machine.text("/etc/site"), "one");
}
