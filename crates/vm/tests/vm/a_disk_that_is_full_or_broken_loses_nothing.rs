//! The disk fills up, or breaks and can only be read, while an update is under way, at each of its steps. The agent says so,
//! the host keeps a whole release, and once there is room again, or after a restart, the update completes.

use afield_testkit::host::key;
use afield_testkit::system::{Built, Contract, System};
use afield_vm::bed::Bed;
use afield_vm::container::{Container, Options};
use afield_vm::machine::{Machine, text};

/// Where the update stands when it happens.
const POINTS: &[&str] = &[
    "state:accept:before",
    "state:announce:before",
    "fetch:proved",
    "import:path",
    "import:done",
    "state:begin:before",
    "data:file",
    "state:activate:before",
    "activate:job-written",
    "activation:begins",
    "activation:ran",
    "promote:profile-set",
    "state:commit:before",
    "state:report:before",
];

struct Scene {
    bed: Bed<Container>,
    release: u64,
}

#[test]
fn a_disk_that_fills_up_at_any_step_loses_nothing() {
    let mut scene = Scene::set();
    for point in POINTS {
        let system = scene.offer();
        let before = scene.bed.current();
        let said = scene.disturb(point, |machine| {
            // Not a byte and not a file more; the file system keeps nothing back for root.
            let fill = "dd if=/dev/zero of=/root/full bs=4k 2>/dev/null; sync; echo x > /root/x 2>/dev/null; true";
            machine.exec(fill);
        });
        scene.told(point, &said, &["No space left", "does not fit", "is the disk full?"]);
        let after = scene.bed.current();
        assert!(after == before || after.as_ref() == Some(&system), "{point}: {after:?}");
        scene.bed.machine.exec("rm -f /root/full /root/x");
        scene.completes(point, &system);
    }
}

#[test]
fn a_disk_that_breaks_at_any_step_loses_nothing() {
    let mut scene = Scene::set();
    for point in POINTS {
        let system = scene.offer();
        let said = scene.disturb(point, Container::break_disk);
        scene.told(point, &said, &["Read-only", "read-only", "Input/output", "Structure needs"]);
        scene.bed.machine.cut_power();
        scene.bed.machine.start();
        scene.completes(point, &system);
    }
}

/// Too little room for the whole update is told before the first byte, with figures.
#[test]
fn too_little_room_is_told_before_anything_is_fetched() {
    let mut scene = Scene::set();
    let system = scene.offer();
    scene.bed.machine.exec("fallocate -l $(( $(df --output=avail -B1 / | tail -1) - 300000 )) /root/full");
    scene.bed.server.requests();
    let (code, said) = scene.bed.once();
    assert_eq!((code, said["event"]["code"].as_str()), (3, Some("no-space")), "{said}");
    let asked = scene.bed.server.requests();
    assert!(!asked.iter().any(|r| r.path.contains("objects/") && r.from > 0), "{asked:?}");
    scene.bed.machine.exec("rm /root/full");
    scene.completes("no room", &system);
}

impl Scene {
    /// A host at release 1 with a disk of 160 MiB of its own.
    fn set() -> Self {
        let machine = Container::start(Options { disk: Some(160), ..Options::default() });
        let mut scene = Self { bed: Bed::new(machine), release: 0 };
        let system = scene.offer();
        scene.completes("the first release", &system);
        scene
    }

    /// The next release, with half a megabyte that the host does not have.
    fn offer(&mut self) -> String {
        self.release += 1;
        let n = self.release;
        let mut system = System::new(&format!("release {n}"), Contract::Honest);
        let noise: Vec<u8> = (0u32..131_072).flat_map(|i| (i ^ (n as u32)).wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let payload = Built::file("payload", &noise);
        let at = system.paths.len() - 1;
        system.paths.insert(at, payload);
        let fleet = &mut self.bed.fleet;
        let release = fleet.release(&[("clinic", key().public())], &system, &format!("config {n}"));
        fleet.assign("clinic", release);
        system.path().to_string()
    }

    /// Runs the agent, lets something happen at a point of it, and lets it go on. All that it said.
    fn disturb(&self, point: &str, happens: impl FnOnce(&Container)) -> String {
        let machine = &self.bed.machine;
        // In memory, since the disk is what breaks.
        machine.exec(&format!(
            "rm -f /run/go /run/held; AFIELD_FAULT={point}:1 AFIELD_FAULT_SAY=/run/held AFIELD_FAULT_GO=/run/go \
             systemd-run --quiet --unit=update --collect --property=Type=exec \
             --setenv=AFIELD_FAULT --setenv=AFIELD_FAULT_SAY --setenv=AFIELD_FAULT_GO \
             sh -c 'afield-agent once > /run/said 2>&1; echo ended $? >> /run/said'"
        ));
        let soon = std::time::Duration::from_secs(120);
        machine.wait_for(&format!("{point} is passed"), soon, "grep -q AFIELD_FAULT /run/held");
        happens(machine);
        machine.exec("touch /run/go");
        machine.wait_for("the agent ends", soon, "grep -q ended /run/said");
        text(&machine.try_exec("cat /run/said").stdout)
    }

    /// Either the run did not need the disk any more, or it said what is wrong.
    fn told(&self, point: &str, said: &str, words: &[&str]) {
        assert!(!said.contains("panicked"), "{point}: {said}");
        let well = said.contains("ended 0");
        assert!(well || words.iter().any(|word| said.contains(word)), "{point}: {said}");
    }

    /// The update is finished by the next runs; a release that failed for want of room may have been given up, so that a
    /// newer one is offered.
    fn completes(&mut self, point: &str, system: &str) {
        let mut wanted = system.to_owned();
        for _ in 0..3 {
            self.bed.once();
        }
        if self.bed.current().as_ref() != Some(&wanted) {
            wanted = self.offer();
            self.bed.once();
        }
        let (code, said) = self.bed.once();
        assert_eq!((code, self.bed.current()), (0, Some(wanted)), "{point}: {said}");
        self.bed.machine.exec("nix-store --verify --check-contents 2>&1");
    }
}
