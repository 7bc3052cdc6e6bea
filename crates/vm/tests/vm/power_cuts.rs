//! The power of a guest is cut in the middle of an update, at points spread over all of it and at moments that chance
//! draws, and its disk loses of what it had not flushed whatever chance says. Then the guest boots, is at the old or the
//! new release, and the update completes, with every store path whole: undamaged, or repaired by the agent.
//!
//! Each round goes on from one snapshot: a cut at a point, a boot, the update again, a cut at some moment of that, a
//! boot, and the update to its end. As many guests as there are cores play rounds side by side.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use afield_testkit::system::Contract;
use afield_vm::bed::{self, Bed};
use afield_vm::chance::Chance;
use afield_vm::guest::{Guest, Options, Snapshot};
use afield_vm::machine::{Machine, text};
use afield_vm::soak;

/// Cuts of the short set; `AFIELD_VM_CUTS` asks for another number.
const SHORT: usize = 20;
/// Cuts of the long set.
const LONG: usize = 200;
/// What an update goes through; each must be among the cuts.
const STAGES: &[&str] = &[
    "fetch:",
    "import:",
    "state:begin",
    "data:",
    "activate:",
    "activation:begins",
    "activation:ran",
    "promote:profile-set",
    "state:commit",
    "state:report",
];
/// Of a boot only what could be harmed by a power cut is left: file systems, journal, accounts, network, the system. A
/// boot is half of the whole time.
const LEFT_OUT: &str = "kmod-static-nodes.service modprobe@.service systemd-udev-trigger.service opt-afield.mount \
    dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount \
    sys-fs-fuse-connections.mount systemd-pstore.service systemd-repart.service systemd-network-generator.service";
/// What no device asks for then.
const KERNEL: &str =
    "systemd.unit=basic.target systemd.wants=systemd-networkd.service modules_load=virtio_net";

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

fn cut(count: usize) {
    let mut chance = Chance::new();
    let mut scene = Scene::set();
    let rounds = Mutex::new(scene.rounds(count, &mut chance));
    let cores = std::thread::available_parallelism().unwrap().get().min(count.div_ceil(2)) as u16;
    let twins = (1..cores).map(|n| scene.bed.machine.twin(n)).collect::<Vec<_>>();
    let Scene { bed, story } = scene;
    // None of them goes before the last round is played: they share the snapshot, and the world.
    let mut guests: Vec<Guest> = std::iter::once(bed.machine).chain(twins).collect();
    let began = Instant::now();
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let (rounds, story) = (&rounds, &story);
        let play = |guest| scope.spawn(move || play(guest, story, rounds));
        let lanes: Vec<_> = guests.iter_mut().map(play).collect();
        lanes.into_iter().map(|lane| lane.join().unwrap()).collect()
    });
    let tally = tallies.into_iter().fold(Tally::default(), Tally::and);
    println!("{tally}, in {} s", began.elapsed().as_secs());
}

/// Plays rounds until there are none left, or no time.
fn play(guest: &mut Guest, story: &Story, rounds: &Mutex<VecDeque<Round>>) -> Tally {
    let mut tally = Tally::default();
    let alarm = Alarm(rounds);
    loop {
        let Some(round) = rounds.lock().unwrap().pop_front() else { break };
        tally = tally.and(story.play(guest, round));
        if soak::time_is_up() {
            break;
        }
    }
    drop(alarm);
    tally
}

/// Whoever fails leaves nothing to be done by the others.
struct Alarm<'a>(&'a Mutex<VecDeque<Round>>);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().unwrap().clear();
        }
    }
}

/// When the power is cut.
enum Cut {
    At(String),
    After(Duration),
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(point) => write!(f, "at {point}"),
            Self::After(moment) => write!(f, "after {:.3} s", moment.as_secs_f64()),
        }
    }
}

/// Cuts of one update, one after the other.
struct Round {
    number: usize,
    cuts: Vec<Cut>,
    chance: Chance,
}

/// What came of cuts.
#[derive(Default)]
struct Tally {
    cuts: usize,
    old: usize,
    new: usize,
    lost_blocks: usize,
    damaged: usize,
    repaired: usize,
}

impl Tally {
    fn and(self, other: Self) -> Self {
        Self {
            cuts: self.cuts + other.cuts,
            old: self.old + other.old,
            new: self.new + other.new,
            lost_blocks: self.lost_blocks + other.lost_blocks,
            damaged: self.damaged + other.damaged,
            repaired: self.repaired + other.repaired,
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cuts, old, new, lost_blocks, damaged, repaired } = self;
        write!(
            f,
            "{cuts} cuts: {old} found the old system, {new} the new one; {lost_blocks} blocks of 4 KiB lost; \
             {damaged} times the store was damaged, {repaired} paths repaired; every update completed"
        )
    }
}

/// A guest at release 1, to which release 2 is offered.
struct Scene {
    bed: Bed<Guest>,
    story: Story,
}

/// What every round begins with and must end with.
struct Story {
    snapshot: Snapshot,
    old: String,
    new: String,
}

impl Scene {
    fn set() -> Self {
        let options = Options { kernel: KERNEL.into(), cores: 1, ..Options::default() };
        let mut bed = Bed::new(Guest::start(options));
        bed.machine.exec(&format!("cd /etc/systemd/system; for u in {LEFT_OUT}; do ln -sf /dev/null $u; done"));
        let (_, old) = bed.offer("one", Contract::Honest, "config one");
        assert_eq!(bed.once().0, 0);
        let (_, new) = bed.offer("two", Contract::Honest, "config two");
        let snapshot = bed.machine.snapshot();
        Self { bed, story: Story { snapshot, old, new } }
    }

    /// The fault points that the update passes, and how long it takes.
    fn points(&mut self) -> (Vec<String>, Duration) {
        self.bed.machine.resume(&self.story.snapshot);
        let began = Instant::now();
        self.bed.once_with("AFIELD_FAULT_LOG=/run/points");
        let length = began.elapsed();
        let text = self.bed.machine.text("/run/points");
        let mut seen = BTreeSet::new();
        let points = text.lines().map(str::to_owned).filter(|point| seen.insert(point.clone()));
        (points.collect(), length)
    }

    /// Half of the cuts are at points, half at any moment of what is left to do after those.
    fn rounds(&mut self, count: usize, chance: &mut Chance) -> VecDeque<Round> {
        let (points, length) = self.points();
        println!("an update passes {} points in {:.1} s", points.len(), length.as_secs_f64());
        let chosen = chosen(&points, count.div_ceil(2), chance);
        let moment = |n: usize, chance: &mut Chance| {
            let is_one = 2 * n + 1 < count;
            is_one.then(|| Cut::After(chance.moment(length)))
        };
        let round = |(n, point)| {
            let mut chance = chance.branch();
            let cuts = std::iter::once(Cut::At(point)).chain(moment(n, &mut chance)).collect();
            Round { number: n + 1, cuts, chance }
        };
        chosen.into_iter().enumerate().map(round).collect()
    }
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

impl Story {
    fn play(&self, guest: &mut Guest, mut round: Round) -> Tally {
        let mut tally = Tally::default();
        guest.resume(&self.snapshot);
        for cut in &round.cuts {
            let name = format!("round {}, cut {cut}", round.number);
            let began = Instant::now();
            let passed = run_until(guest, cut);
            let lost_blocks = guest.cut_power_with(|| round.chance.toss());
            guest.start();
            let found = self.look(guest, &name);
            let system = if found.new > 0 { "the new system" } else { "the old system" };
            let took = began.elapsed().as_secs();
            println!("{name}{passed}: {lost_blocks} blocks lost, {system}, {took} s");
            tally = tally.and(Tally { cuts: 1, lost_blocks, ..found });
        }
        self.complete(guest, &format!("round {}", round.number), tally)
    }

    /// What a guest that has booted has.
    fn look(&self, guest: &Guest, name: &str) -> Tally {
        let mut found = Tally::default();
        match bed::current(guest) {
            Some(system) if system == self.old => found.old = 1,
            Some(system) if system == self.new => found.new = 1,
            other => panic!("{name}: {other:?} is neither"),
        }
        let verify = guest.try_exec("nix-store --verify --check-contents 2>&1");
        if !verify.status.success() {
            println!("{name}: {}", text(&verify.stdout));
            found.damaged = 1;
        }
        found
    }

    /// Lets the update come to its end.
    fn complete(&self, guest: &Guest, name: &str, mut tally: Tally) -> Tally {
        let (mut code, mut said) = bed::once(guest, "");
        let is_done = |code, said: &serde_json::Value| (code, said["good"]["release"].as_u64()) == (0, Some(2));
        let repaired = said["notes"].to_string().matches("is repaired").count();
        if !is_done(code, &said) {
            // It only finished what was begun.
            let first = said;
            (code, said) = bed::once(guest, "");
            assert!(is_done(code, &said), "{name}: {first}, {said}");
        }
        assert_eq!(bed::current(guest).as_ref(), Some(&self.new), "{name}");
        assert_eq!(guest.text("/etc/site"), "two", "{name}");
        if tally.damaged > 0 {
            guest.exec("nix-store --verify --check-contents");
        }
        tally.repaired += repaired;
        tally
    }
}

/// Lets the update run until its power is to be cut; how far it came, for those who read of it.
fn run_until(guest: &mut Guest, cut: &Cut) -> String {
    let from = guest.console().len();
    let env = match cut {
        Cut::At(point) => format!("--setenv=AFIELD_FAULT={point} --setenv=AFIELD_FAULT_SAY=/dev/ttyS0"),
        Cut::After(_) => "--setenv=AFIELD_FAULT_LOG=/dev/ttyS0".to_owned(),
    };
    guest.exec(&format!("systemd-run --quiet {env} afield-agent once"));
    match cut {
        Cut::At(point) => {
            guest.wait_for_console(from, &format!("AFIELD_FAULT {point}"));
            String::new()
        }
        Cut::After(moment) => {
            // What is tried, not what is waited for.
            std::thread::sleep(*moment);
            let console = guest.console();
            let said = console.get(from..).unwrap_or_default();
            let is_point = |line: &&str| line.contains(':') && !line.contains(' ');
            format!(" ({})", said.lines().rev().find(is_point).unwrap_or("no point yet"))
        }
    }
}
