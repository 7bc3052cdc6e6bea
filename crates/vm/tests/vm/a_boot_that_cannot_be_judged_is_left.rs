//! A system on trial that ends in emergency mode, since one of its file systems does not come, is left by a restart, once
//! for its trial; without a trial, and in a boot that was found well, nobody is thrown out of emergency and rescue mode. A
//! machine that is switched off in its trial is left alone.

use std::time::Duration;

use afield_vm::bed::Bed;
use afield_vm::container::Container;
use afield_vm::machine::{BOOT, Machine};

/// As the agent writes it down when a system gets its tries.
const ON_TRIAL: &str = "/var/lib/afield/on-trial";
/// A file system that a release adds and that cannot be mounted.
const BROKEN: &str = "echo 'tmpfs /data tmpfs size=broken 0 0' >> /etc/fstab";
const MENDED: &str = "sed -i /broken/d /etc/fstab";
const IN_EMERGENCY: &str = "systemctl --quiet is-active emergency.service";
const UP: &str = "systemctl is-system-running | grep -qE 'running|degraded'";
const NOT_LEFT: &str = "test \"$(systemctl show afield-boot-failed --property ConditionResult --value)\" = no && \
                        test \"$(systemctl show afield-boot-failed --property ActiveState --value)\" = inactive";

#[test]
fn a_boot_that_cannot_be_judged_is_left() {
    let bed = Bed::new(Container::plain());
    bed.machine.exec(
        "mv /etc/afield/root.json /root/ && rm -r /etc/afield /usr/local/bin/afield-agent && mkdir -p /var/log/journal\n\
         /opt/afield/afield-agent install --host clinic --fleet field --repository http://10.77.1.1:8470 \
         --hub http://10.77.1.1:8470 --trust-root /root/root.json\n\
         systemctl --quiet is-enabled afield-boot-failed",
    );
    emergency_mode_is_left_once_for_a_trial(&bed.machine);
    a_machine_that_is_switched_off_in_its_trial_is_left_alone(&bed.machine);
    a_person_may_rescue_a_machine_that_is_well(&bed.machine);
}

/// Restarts, and waits for the boot after the next `more` ones to be in some state.
fn restart(machine: &Container, more: usize, what: &str, state: &str) {
    let boots = machine.boots() + 1 + more;
    machine.exec("systemctl --no-block reboot");
    let until = std::time::Instant::now() + BOOT;
    while machine.boots() < boots {
        assert!(std::time::Instant::now() < until, "{what}:\n{}", machine.console());
        std::thread::sleep(Duration::from_millis(100));
    }
    wait(machine, what, state);
    assert_eq!(machine.boots(), boots, "{what}");
}

/// Between two boots there is no machine to ask.
fn wait(machine: &Container, what: &str, state: &str) {
    let up = || machine.leader().is_some() && machine.holds(state);
    afield_testkit::net::wait_for(what, BOOT, up);
}

fn emergency_mode_is_left_once_for_a_trial(machine: &Container) {
    machine.exec(&format!("{BROKEN}; touch {ON_TRIAL}"));
    // The trial ends in emergency mode, and so does what comes up after it; that one stays for a person.
    restart(machine, 1, "the trial is left", IN_EMERGENCY);
    assert!(!machine.holds(&format!("test -e {ON_TRIAL}")), "{}", machine.console());
    wait(machine, "without a trial nobody is thrown out", NOT_LEFT);
    machine.exec(MENDED);
    restart(machine, 0, "the machine is mended", UP);
    machine.exec("test -e /run/afield-boot-well");
}

fn a_machine_that_is_switched_off_in_its_trial_is_left_alone(machine: &Container) {
    let hangs = "/etc/systemd/system/afield-boot-check.service.d/hangs.conf";
    machine.write(hangs, b"[Service]\nExecStart=\nExecStart=/bin/sleep infinity\n");
    machine.exec(&format!("touch {ON_TRIAL}"));
    let judging = "systemctl show afield-boot-check --property ActiveState --value | grep -qx activating";
    restart(machine, 0, "the trial is judged", judging);
    machine.exec(&format!("rm {hangs}"));
    restart(machine, 0, "the machine is up again", UP);
    let begun = "journalctl --quiet --boot=-1 --unit afield-boot-failed -o cat";
    assert!(!machine.exec(begun).contains("leave a system"), "{}", machine.exec(begun));
    let judged = machine.exec("journalctl --quiet --boot=-1 --unit afield-boot-check -o cat");
    assert!(judged.contains("Failed with result"), "it was ended, and did not count: {judged}");
    machine.exec(&format!("test -e {ON_TRIAL}"));
}

fn a_person_may_rescue_a_machine_that_is_well(machine: &Container) {
    let boots = machine.boots();
    machine.exec("test -e /run/afield-boot-well && systemctl --no-block isolate rescue.target");
    wait(machine, "rescue mode", "systemctl --quiet is-active rescue.service");
    wait(machine, "nobody is thrown out", NOT_LEFT);
    assert_eq!(machine.boots(), boots);
}
