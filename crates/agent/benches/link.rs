//! `cargo bench-link`: a real agent fetches a release through an emulated satellite link: a rate, a round trip, lost
//! segments, connections cut at random bytes, and at each cut another server. Prints bytes and time against the plan.
//!
//! The link is a TCP proxy: it paces bytes, delays them, and sends a lost segment twice and a round trip later; what TCP
//! itself makes of such a link is not in it. The time ends with the last full segment: what the agent says to the hub
//! after the import is not the fetch's. Does nothing without `--run`, since `cargo test --all-targets` starts it too.
#![allow(clippy::unwrap_used, reason = "a bench ends where it goes wrong")]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use afield_core::ids::ReleaseId;
use afield_testkit::fleet::Fleet;
use afield_testkit::host::{Host, key};
use afield_testkit::server::Server;
use afield_testkit::system::{Built, Contract, System};
use clap::Parser;

/// A segment of TCP.
const SEGMENT: usize = 1460;

#[derive(Parser)]
struct Args {
    /// Measure.
    #[arg(long)]
    run: bool,
    /// Numbers repeat with the same seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many times faster than 128 kbit/s and 600 ms, so that it ends soon.
    #[arg(long, default_value_t = 8)]
    scale: u32,
    /// Connections are cut after about so many bytes.
    #[arg(long, default_value_t = 300_000)]
    cut: u64,
    /// Segments of a hundred that are lost.
    #[arg(long, default_value_t = 5)]
    loss: u64,
    /// Taken for cargo, which passes it on.
    #[arg(long, hide = true)]
    bench: bool,
}

struct Seed(u64);

impl Seed {
    fn below(&mut self, n: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n.max(1)
    }

    fn bytes(&mut self, n: u64) -> Vec<u8> {
        (0..n).map(|_| self.below(256) as u8).collect()
    }
}

/// What the link is, and what it did.
struct Link {
    rate: f64,
    trip: Duration,
    loss: u64,
    cut: u64,
    seed: Seed,
    /// When the line is free again.
    free: Instant,
    until_cut: u64,
    /// Which of the two servers answers.
    alive: usize,
    cuts: u64,
    down: u64,
    up: u64,
    first: Option<Instant>,
    last: Instant,
}

impl Link {
    fn new(args: &Args) -> Self {
        let mut seed = Seed(args.seed);
        let until_cut = args.cut / 2 + seed.below(args.cut);
        Self {
            rate: 16_000.0 * f64::from(args.scale),
            trip: Duration::from_millis(600) / args.scale,
            loss: args.loss,
            cut: args.cut,
            seed,
            free: Instant::now(),
            until_cut,
            alive: 0,
            cuts: 0,
            down: 0,
            up: 0,
            first: None,
            last: Instant::now(),
        }
    }

    /// A segment takes the line: when it leaves, and when it arrives. None if the connection is cut instead.
    fn send(&mut self, bytes: usize) -> Option<(Instant, Instant)> {
        let n = bytes as u64;
        if n >= self.until_cut {
            self.cuts += 1;
            self.alive = 1 - self.alive;
            self.until_cut = self.cut / 2 + self.seed.below(self.cut);
            return None;
        }
        self.until_cut -= n;
        let lost = self.seed.below(100) < self.loss;
        let times = if lost { 2.0 } else { 1.0 };
        let takes = Duration::from_secs_f64(n as f64 * times / self.rate);
        self.free = self.free.max(Instant::now()) + takes;
        let late = if lost { self.trip } else { Duration::ZERO };
        Some((self.free, self.free + self.trip / 2 + late))
    }
}

type Shared = Arc<Mutex<Link>>;

/// One end of the link, before one of the two servers.
fn open(link: &Shared, server: SocketAddr, number: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let link = Arc::clone(link);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            if link.lock().unwrap().alive != number {
                continue;
            }
            let link = Arc::clone(&link);
            std::thread::spawn(move || carry(&link, &client, &TcpStream::connect(server).unwrap()));
        }
    });
    address
}

fn carry(link: &Shared, client: &TcpStream, server: &TcpStream) {
    let trip = link.lock().unwrap().trip;
    // The handshake.
    std::thread::sleep(trip);
    let (queue, arriving) = channel();
    std::thread::scope(|scope| {
        scope.spawn(|| upward(link, client, server, trip));
        scope.spawn(move || arrive(link, client, arriving));
        let mut server = server;
        let mut buffer = [0; SEGMENT];
        while let Ok(n) = server.read(&mut buffer)
            && n > 0
        {
            let Some((left, arrives)) = link.lock().unwrap().send(n) else { break };
            // What waits before the line, so that it is never idle because this thread wakes up late.
            std::thread::sleep(left.saturating_duration_since(Instant::now() + trip));
            if queue.send((arrives, buffer[..n].to_vec())).is_err() {
                break;
            }
        }
        drop(queue);
        let _ = server.shutdown(Shutdown::Both);
    });
}

/// Requests go up, half a round trip late.
fn upward(link: &Shared, mut client: &TcpStream, mut server: &TcpStream, trip: Duration) {
    let mut buffer = [0; SEGMENT];
    while let Ok(n) = client.read(&mut buffer)
        && n > 0
    {
        link.lock().unwrap().up += n as u64;
        std::thread::sleep(trip / 2);
        if server.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
}

/// Segments arrive in order.
fn arrive(link: &Shared, mut client: &TcpStream, arriving: Receiver<(Instant, Vec<u8>)>) {
    for (at, bytes) in arriving {
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        if client.write_all(&bytes).is_err() {
            break;
        }
        let mut link = link.lock().unwrap();
        link.down += bytes.len() as u64;
        // An answer to a report is shorter, and comes after the fetch.
        if bytes.len() == SEGMENT {
            link.last = Instant::now();
        }
        link.first.get_or_insert(Instant::now());
    }
    let _ = client.shutdown(Shutdown::Both);
}

/// A NAR of one file.
fn archive(content: &[u8]) -> Vec<u8> {
    let mut nar = Vec::new();
    for word in [b"nix-archive-1".as_slice(), b"(", b"type", b"regular", b"contents", content, b")"]
    {
        nar.extend((word.len() as u64).to_le_bytes());
        nar.extend(word);
        nar.resize(nar.len().div_ceil(8) * 8, 0);
    }
    nar
}

/// A system of a few hundred paths, most of them small, as real ones are.
fn system(seed: &mut Seed) -> System {
    let mut system = System::new("one", Contract::Honest);
    for n in 0..400 {
        let most = if n % 10 == 0 { 120_000 } else { 3000 };
        let length = 100 + seed.below(most);
        let nar = archive(&seed.bytes(length));
        system.paths.insert(1, Built::of(&format!("package-{n}"), nar, vec![]));
    }
    system
}

fn main() {
    let args = Args::parse();
    if !args.run {
        return;
    }
    let mut fleet = Fleet::new();
    let server = Server::start(fleet.path());
    let host = Host::new("clinic", env!("CARGO_BIN_EXE_afield-agent"), &fleet, &server);
    let release: ReleaseId =
        fleet.release(&[("clinic", key().public())], &system(&mut Seed(args.seed)), "config");
    fleet.assign("clinic", release);
    let output = host.run(&["plan", "--json"], &[]);
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let steps = plan["plan"]["steps"].as_array().unwrap();
    let bytes = steps.iter().find_map(|step| step["bytes"].as_u64()).unwrap();
    let link: Shared = Arc::new(Mutex::new(Link::new(&args)));
    let real: SocketAddr = server.url().trim_start_matches("http://").parse().unwrap();
    let mirrors = [0, 1].map(|n| format!("\"http://{}\"", open(&link, real, n)));
    let toml = host.text("etc/afield/agent.toml");
    let toml = toml.replace(
        &format!("repositories = [\"{}\"]", server.url()),
        &format!("repositories = [{}]", mirrors.join(", ")),
    );
    std::fs::write(host.config(), toml).unwrap();
    server.requests();
    let start = Instant::now();
    let (mut runs, mut memory) = (0, 0);
    while host.text("etc/site").is_empty() {
        let (_, said) = host.once();
        memory = memory.max(said["peak_memory_kib"].as_u64().unwrap_or(0));
        runs += 1;
        assert!(runs < 50, "it never ends: {said}");
    }
    let whole = start.elapsed().as_secs_f64();
    let link = link.lock().unwrap();
    let ideal = bytes as f64 / link.rate;
    let fetched = link.last.duration_since(link.first.unwrap_or(link.last)).as_secs_f64();
    println!(
        "seed {}, {} times 128 kbit/s and 600 ms, {} % lost",
        args.seed, args.scale, args.loss
    );
    println!("plan            {bytes} bytes, {ideal:.1} s at the full rate");
    println!("cuts            {}, each to the other server; check-ins {runs}", link.cuts);
    println!("requests        {}", server.requests().iter().filter(|r| r.method == "GET").count());
    let (down, up) = (link.down, link.up);
    println!(
        "received        {down} bytes: {:.4} of the plan (aim 1.01)",
        down as f64 / bytes as f64
    );
    println!("sent            {up} bytes");
    println!("time of fetch   {fetched:.1} s: {:.3} of bytes by rate (aim 1.15)", fetched / ideal);
    println!("until it runs   {whole:.1} s");
    println!("agent's memory  {:.1} MiB at most", memory as f64 / 1024.0);
}
