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
/// Of a boot only what could be harmed by a power cut: file systems, journal, accounts, network, the system. A boot is half
/// of the whole time.
const KERNEL: &str = "systemd.unit=basic.target systemd.wants=systemd-networkd.service";

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
        let options =
            Options { kernel: KERNEL.into(), cores: 1, lean: true, ..Options::default() };
        let guest = Guest::start(options);
        guest.exec("mount -o ro /dev/vdb /opt/afield");
        let mut bed = Bed::new(guest);
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
        let (mut tally, mut recorded) = (Tally::default(), false);
        guest.resume(&self.snapshot);
        for cut in &round.cuts {
            let name = format!("round {}, cut {cut}", round.number);
            let began = Instant::now();
            let passed = run_until(guest, cut);
            recorded |= passed.iter().any(|point| point.starts_with("state:commit:after:"));
            let lost_blocks = guest.cut_power_with(|| round.chance.toss());
            guest.start();
            let found = self.look(guest, &name);
            assert!(found.new > 0 || !recorded, "{name}: release 2 was recorded as good");
            let passed = passed.last().map_or("no point yet", String::as_str);
            let system = if found.new > 0 { "the new system" } else { "the old system" };
            let took = began.elapsed().as_secs();
            println!("{name} ({passed}): {lost_blocks} blocks lost, {system}, {took} s");
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

/// Lets the update run until its power is to be cut; the fault points that it passed.
fn run_until(guest: &mut Guest, cut: &Cut) -> Vec<String> {
    let from = guest.console().len();
    let mut env = "--setenv=AFIELD_FAULT_LOG=/dev/ttyS0".to_owned();
    if let Cut::At(point) = cut {
        env += &format!(" --setenv=AFIELD_FAULT={point} --setenv=AFIELD_FAULT_SAY=/dev/ttyS0");
    }
    guest.exec(&format!("systemd-run --quiet {env} afield-agent once"));
    match cut {
        Cut::At(point) => drop(guest.wait_for_console(from, &format!("AFIELD_FAULT {point}"))),
        // What is tried, not what is waited for.
        Cut::After(moment) => std::thread::sleep(*moment),
    }
    let console = guest.console();
    let lines = console.get(from..).unwrap_or_default().lines();
    lines.filter(|line| line.contains(':') && !line.contains(' ')).map(str::to_owned).collect()
}
