//! The power of a guest is cut in the middle of an update, at points spread over all of it, and its disk loses of what it
//! had not flushed whatever chance says. Then the guest boots, is at the old or the new release, no store path is damaged,
//! and the update completes.


use afield_testkit::system::Contract;
use afield_vm::bed::Bed;
use afield_vm::chance::Chance;
use afield_vm::guest::{Guest, Options, Snapshot};
use afield_vm::machine::Machine;

/// Cuts of the short set; `AFIELD_VM_CUTS` asks for another number.
const SHORT: usize = 20;
/// Cuts of the long set.
const LONG: usize = 200;
/// What an update goes through; each must be among the cuts.
const STAGES: &[&str] =
    &["fetch:", "import:", "state:begin", "data:", "activate:", "activation:begins", "activation:ran", "promote:profile-set", "state:commit", "state:report"];

#[test]
fn after_a_power_cut_at_any_point_the_update_completes() {
    cut(asked().unwrap_or(SHORT));
}

/// For `cargo soak`.
#[test]
#[ignore = "slow: 200 cuts"]
fn after_200_power_cuts_the_update_completes() {
    cut(asked().unwrap_or(LONG));
}

fn asked() -> Option<usize> {
    std::env::var("AFIELD_VM_CUTS").ok().map(|cuts| cuts.parse().unwrap())
}

struct Scene {
    bed: Bed<Guest>,
    snapshot: Snapshot,
    old: String,
    new: String,
}

fn cut(count: usize) {
    let mut scene = Scene::set();
    let mut chance = Chance::new();
    let points = chosen(&scene.points(), count, &mut chance);
    let (mut old, mut new, mut lost_blocks) = (0, 0, 0);
    for (n, point) in points.iter().enumerate() {
        let lost = scene.cut_at(point, &mut chance);
        let found = scene.after(point);
        println!("{:3} {point}: {lost} blocks lost, {found}", n + 1);
        lost_blocks += lost;
        if found == "the new system" { new += 1 } else { old += 1 }
    }
    println!("{count} cuts: {old} found the old system, {new} the new one; {lost_blocks} blocks of 4 KiB lost; 0 damaged paths");
}

/// Points spread over the whole run, at least one of each stage; the rest by chance.
fn chosen(points: &[String], count: usize, chance: &mut Chance) -> Vec<String> {
    let mut chosen: Vec<String> = Vec::new();
    for stage in STAGES {
        let of: Vec<&String> = points.iter().filter(|p| p.starts_with(stage)).collect();
        assert!(!of.is_empty(), "the update does not pass {stage}: {points:?}");
        chosen.push(of[chance.below(of.len())].clone());
    }
    chosen.truncate(count);
    while chosen.len() < count {
        chosen.push(points[chance.below(points.len())].clone());
    }
    chosen
}

impl Scene {
    /// A guest at release 1, to which release 2 is offered.
    fn set() -> Self {
        // Only what an update needs: a boot costs a third of the whole time.
        let kernel = "systemd.unit=basic.target systemd.wants=systemd-networkd.service".into();
        let mut bed = Bed::new(Guest::start(Options { kernel, ..Options::default() }));
        let (_, old) = bed.offer("one", Contract::Honest, "config one");
        assert_eq!(bed.once().0, 0);
        let (_, new) = bed.offer("two", Contract::Honest, "config two");
        let snapshot = bed.machine.snapshot();
        Self { bed, snapshot, old, new }
    }

    /// The fault points that the update passes.
    fn points(&mut self) -> Vec<String> {
        self.bed.machine.resume(&self.snapshot);
        self.bed.once_with("AFIELD_FAULT_LOG=/run/points");
        let text = self.bed.machine.text("/run/points");
        let mut seen = std::collections::BTreeSet::new();
        text.lines().map(str::to_owned).filter(|point| seen.insert(point.clone())).collect()
    }

    /// Lets the update run to this point and cuts the power; how many blocks were lost.
    fn cut_at(&mut self, point: &str, chance: &mut Chance) -> usize {
        let machine = &mut self.bed.machine;
        machine.resume(&self.snapshot);
        let from = machine.console().len();
        machine.exec(&format!(
            "systemd-run --quiet --setenv=AFIELD_FAULT={point} --setenv=AFIELD_FAULT_SAY=/dev/ttyS0 afield-agent once"
        ));
        machine.wait_for_console(from, &format!("AFIELD_FAULT {point}"));
        machine.cut_power_with(|| chance.toss())
    }

    /// Boots, looks, and lets the update complete; what was there.
    fn after(&mut self, point: &str) -> &'static str {
        self.bed.machine.start();
        let found = match self.bed.current() {
            Some(system) if system == self.old => "the old system",
            Some(system) if system == self.new => "the new system",
            other => panic!("{point}: {other:?} is neither"),
        };
        let verify = self.bed.machine.try_exec("nix-store --verify --check-contents 2>&1");
        assert!(verify.status.success(), "{point}: {}", String::from_utf8_lossy(&verify.stdout));
        // The first may only finish what was begun.
        let first = self.bed.once();
        let (code, said) = self.bed.once();
        assert_eq!((code, said["good"]["release"].as_u64()), (0, Some(2)), "{point}: {first:?}, {said}");
        assert_eq!(self.bed.current().as_ref(), Some(&self.new), "{point}");
        assert_eq!(self.bed.machine.text("/etc/site"), "two", "{point}");
        found
    }
}

