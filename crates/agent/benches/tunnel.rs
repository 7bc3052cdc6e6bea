//! `cargo bench-tunnel`: how long until a login works again after a fault, ours beside autossh with the options of the
//! older unit, at the same time and over the same kind of network, with real sshd relays.
//!
//! Does nothing without `--run`, since `cargo test --all-targets` starts it too. Needs root and autossh.
#![allow(clippy::unwrap_used, reason = "a bench ends where it goes wrong")]

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use afield_core::relay::install_script;
use afield_testkit::net::{Net, wait_for};
use afield_testkit::relay::{SshKey, SshRelay};
use clap::Parser;
use serde_json::json;
use tempfile::TempDir;

/// Who is not back by then counts as never.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Parser)]
struct Args {
    /// Measure.
    #[arg(long)]
    run: bool,
    /// How often each fault is made.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Only faults whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Taken for cargo, which passes it on.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// The link swallows everything for so many seconds.
    Cut(u64),
    /// The relay loses power for so many seconds.
    RelayGone(u64),
    /// The NAT on the way forgets the connection; new ones pass.
    NatForgets,
    /// The host loses power, and the relay hears nothing of it.
    HostReboots,
    /// The host starts, and the first address is a black hole.
    BlackHoleFirst,
    /// The host starts, and the first port accepts and says nothing.
    SilentPortFirst,
}

const FAULTS: [(&str, Fault); 8] = [
    ("link cut for 5 s", Fault::Cut(5)),
    ("link cut for 60 s", Fault::Cut(60)),
    ("link cut for 10 min", Fault::Cut(600)),
    ("relay gone for 5 s", Fault::RelayGone(5)),
    ("NAT forgets", Fault::NatForgets),
    ("host reboots, stale port", Fault::HostReboots),
    ("start, black hole first", Fault::BlackHoleFirst),
    ("start, silent port first", Fault::SilentPortFirst),
];

/// One contestant with a host and a relay of its own.
struct Lane {
    ours: bool,
    site: Net,
    relay: SshRelay,
    dir: TempDir,
    key: SshKey,
    process: Option<Child>,
}

impl Lane {
    fn new(ours: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = SshKey::new(dir.path(), "key");
        let line =
            format!("restrict,port-forwarding,permitlisten=\"2001\" {} tunnel@clinic", key.public);
        let relay =
            SshRelay::new(&install_script(&"relay".parse().unwrap(), &[22, 443], &[line], &[]));
        let site = Net::new();
        site.cable(1, &relay.net);
        site.echo(22, "clinic");
        Self { ours, site, relay, dir, key, process: None }
    }

    fn start(&mut self, addresses: &[&str], ports: &[u16]) {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child"]);
        if self.ours {
            let relay = json!({"name": "bru", "addresses": addresses, "ports": ports, "host_key": self.relay.host_key.public});
            let config = json!({"key": self.key.path, "relays": [relay], "forwards": [{"listen": 2001, "target": 22}]});
            let at = |name: &str| self.dir.path().join(name);
            fs::write(at("tunnel.json"), config.to_string()).unwrap();
            command
                .arg(env!("CARGO_BIN_EXE_afield-agent"))
                .arg("tunnel")
                .arg("--tunnel-config")
                .arg(at("tunnel.json"));
            command
                .arg("--tunnel-state")
                .arg(at("state"))
                .arg("--tunnel-status")
                .arg(at("status.json"));
        } else {
            let known = self.dir.path().join("known_hosts");
            let names: String = addresses
                .iter()
                .flat_map(|a| ports.iter().map(move |p| format!("[{a}]:{p},{a},")))
                .collect();
            fs::write(
                &known,
                format!("{} {}\n", names.trim_end_matches(','), self.relay.host_key.public),
            )
            .unwrap();
            // The older unit gives up for ten minutes when autossh ends; here it goes on at once, in its favour.
            let script = "while true; do for a in $ADDRESSES; do for p in $PORTS; do
                autossh -M 0 -N -T -F none -i $KEY -p $p -o IdentitiesOnly=yes -o BatchMode=yes \\
                  -o StrictHostKeyChecking=yes -o UserKnownHostsFile=$KNOWN -o ExitOnForwardFailure=yes \\
                  -o ConnectTimeout=360 -o ServerAliveInterval=10 -o ServerAliveCountMax=5 \\
                  -R 2001:localhost:22 tunnel@$a; done; done; sleep 1; done";
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            command.args(["sh", "-c", script]).env("KNOWN", known).env("KEY", &self.key.path);
            command.env("ADDRESSES", addresses.join(" ")).env("PORTS", ports.join(" "));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(self.site.enter(|| command.spawn().unwrap()));
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    fn reaches(&self) -> bool {
        self.relay.greeting(2001).as_deref() == Some("clinic")
    }

    /// How long until a login works; at most [`PATIENCE`].
    fn wait(&self) -> Duration {
        let start = Instant::now();
        while start.elapsed() < PATIENCE && !self.reaches() {
            std::thread::sleep(Duration::from_millis(50));
        }
        start.elapsed().min(PATIENCE)
    }

    /// Makes a fault in a tunnel that stands, and says how long after its end a login works.
    fn measure(&mut self, fault: Fault) -> Duration {
        let (addresses, ports): (&[&str], &[u16]) = match fault {
            Fault::BlackHoleFirst => (&["10.77.1.66", "10.77.1.2"], &[22, 443]),
            Fault::SilentPortFirst => (&["10.77.1.2"], &[9, 22]),
            _ => (&["10.77.1.2"], &[22, 443]),
        };
        self.site.black_hole(1, 66);
        let silent = self.relay.net.enter(|| std::net::TcpListener::bind("0.0.0.0:9"));
        // Each run begins without memory of the last.
        let _ = fs::remove_dir_all(self.dir.path().join("state"));
        self.start(addresses, ports);
        let mut took = self.wait();
        match fault {
            Fault::BlackHoleFirst | Fault::SilentPortFirst => {}
            Fault::Cut(secs) => {
                self.site.black_hole(1, 2);
                std::thread::sleep(Duration::from_secs(secs));
                self.site.no_black_hole(1, 2);
                took = self.wait();
            }
            Fault::RelayGone(secs) => {
                self.relay.stop();
                std::thread::sleep(Duration::from_secs(secs));
                self.relay.start();
                took = self.wait();
            }
            Fault::NatForgets => {
                let forgotten = self.forget_connections();
                took = self.wait();
                self.end_of(&forgotten);
            }
            Fault::HostReboots => {
                // Its kernel would still say goodbye for it, which a power cut does not.
                let forgotten = self.forget_connections();
                self.stop();
                self.start(addresses, ports);
                took = self.wait();
                self.end_of(&forgotten);
            }
        }
        self.stop();
        drop(silent);
        wait_for("the port is free", PATIENCE, || self.relay.greeting(2001).is_none());
        took
    }

    /// From here on, what the connections that stand send is dropped; gives their ports.
    fn forget_connections(&self) -> Vec<String> {
        let table = self.site.enter(|| fs::read_to_string("/proc/thread-self/net/tcp").unwrap());
        let mut ports = Vec::new();
        for line in table.lines().skip(1) {
            let mut words = line.split_whitespace().skip(1);
            let (local, _, state) = (words.next().unwrap(), words.next(), words.next());
            let (address, port) = local.split_once(':').unwrap();
            // 10.77.1.1, established
            if address == "01014D0A" && state == Some("01") {
                let port = u16::from_str_radix(port, 16).unwrap().to_string();
                self.rule("add", &port);
                ports.push(port);
            }
        }
        assert!(!ports.is_empty(), "no connection stands");
        ports
    }

    fn end_of(&self, forgotten: &[String]) {
        forgotten.iter().for_each(|port| self.rule("del", port));
    }

    fn rule(&self, what: &str, port: &str) {
        self.site
            .run("ip", &["rule", what, "pref", "5", "ipproto", "tcp", "sport", port, "blackhole"]);
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.stop();
    }
}

fn main() {
    let args = Args::parse();
    if !args.run {
        println!("nothing is measured without --run; see `cargo bench-tunnel`");
        return;
    }
    println!("seconds until a login works again, {} runs each: median / worst", args.runs);
    println!("{:26} {:>16} {:>16}", "", "afield-agent", "autossh");
    for (name, fault) in FAULTS.iter().filter(|(name, _)| name.contains(&args.only)) {
        let mut both = [true, false].map(|ours| (Lane::new(ours), Vec::new()));
        for _ in 0..args.runs {
            std::thread::scope(|scope| {
                for (lane, times) in &mut both {
                    scope.spawn(move || times.push(lane.measure(*fault)));
                }
            });
        }
        let [ours, theirs] = both.map(|(_, mut times)| {
            times.sort();
            let secs = |at: usize| times.get(at).map_or(f64::NAN, Duration::as_secs_f64);
            format!("{:.1} / {:.1}", secs(times.len() / 2), secs(times.len() - 1))
        });
        println!("{name:26} {ours:>16} {theirs:>16}");
    }
}
