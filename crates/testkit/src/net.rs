//! Networks of a test's own: Linux network namespaces, joined by virtual cables. Needs root.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::fd::AsFd as _;
use std::process::{Child, Command};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// How often a condition is looked at.
pub const LOOK: Duration = Duration::from_millis(20);

/// Asks until `done` says yes; panics with `what` if it has not within `within`.
pub fn wait_for(what: &str, within: Duration, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + within;
    while !done() {
        assert!(Instant::now() < until, "{what}: not within {within:?}");
        std::thread::sleep(LOOK);
    }
}

/// packet(7): every protocol.
const ETH_P_ALL: u16 = 3;

/// Somebody who listens; see [`Net::wiretap`].
pub struct Wiretap {
    stop: mpsc::Sender<()>,
    heard: JoinHandle<Vec<u8>>,
}

impl Wiretap {
    /// All packets so far, one after the other.
    pub fn heard(self) -> Vec<u8> {
        drop(self.stop);
        self.heard.join().unwrap()
    }
}

/// One network namespace with its loopback up. It ends when this is dropped.
pub struct Net {
    holder: Child,
}

impl Net {
    /// A network without anything in it.
    #[allow(clippy::new_without_default, reason = "it starts a process")]
    pub fn new() -> Self {
        let holder = Command::new("unshare").args(["--net", "sleep", "infinity"]).spawn().unwrap();
        let net = Self { holder };
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let path = net.path();
        wait_for("a network namespace (is the test root?)", Duration::from_secs(10), || {
            std::fs::read_link(&path).is_ok_and(|ns| ns != own)
        });
        net.run("ip", &["link", "set", "lo", "up"]);
        net
    }

    /// Where the kernel shows it; `nsenter --net=` takes that.
    pub fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }

    /// Runs something inside: sockets and processes that it makes belong to this network.
    pub fn enter<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        let ns = File::open(self.path()).unwrap();
        let run = move || {
            move_into_link_name_space(ns.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            inside()
        };
        std::thread::scope(|scope| scope.spawn(run).join()).unwrap()
    }

    /// Runs a program inside; panics if it fails.
    pub fn run(&self, program: &str, arguments: &[&str]) {
        let done = self.enter(|| Command::new(program).args(arguments).output().unwrap());
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{program} {arguments:?}: {said}");
    }

    /// Lays cable `n` (1 to 250) from here, interface `cable<n>` with 10.77.n.1, to `other`, interface `up<n>` with
    /// 10.77.n.2.
    pub fn cable(&self, n: u8, other: &Net) {
        let (here, there) = (self.holder.id().to_string(), other.holder.id().to_string());
        let (name, up) = (format!("cable{n}"), format!("up{n}"));
        let words = format!("link add {name} netns {here} type veth peer name {up} netns {there}");
        self.run("ip", &words.split(' ').collect::<Vec<_>>());
        self.run("ip", &["addr", "add", &format!("10.77.{n}.1/24"), "dev", &name]);
        self.run("ip", &["link", "set", &name, "up"]);
        other.run("ip", &["addr", "add", &format!("10.77.{n}.2/24"), "dev", &up]);
        other.run("ip", &["link", "set", &up, "up"]);
    }

    /// Makes this a site's network: a bridge with 10.78.0.1, to which [`Net::join`] connects hosts.
    pub fn site(&self) {
        self.run("ip", &["link", "add", "site", "type", "bridge"]);
        self.run("ip", &["addr", "add", "10.78.0.1/24", "dev", "site"]);
        self.run("ip", &["link", "set", "site", "up"]);
    }

    /// Connects `host` to this site, interface `lan` with 10.78.0.n (2 to 250).
    pub fn join(&self, n: u8, host: &Net) {
        let (here, there) = (self.holder.id().to_string(), host.holder.id().to_string());
        let port = format!("port{n}");
        let words = format!("link add {port} netns {here} type veth peer name lan netns {there}");
        self.run("ip", &words.split(' ').collect::<Vec<_>>());
        self.run("ip", &["link", "set", &port, "master", "site", "up"]);
        host.run("ip", &["addr", "add", &format!("10.78.0.{n}/24"), "dev", "lan"]);
        host.run("ip", &["link", "set", "lan", "up", "multicast", "on"]);
    }

    /// Makes 10.77.n.`last` a black hole as seen from here: what is sent there is swallowed without a word.
    pub fn black_hole(&self, n: u8, last: u8) {
        self.swallow_to(&format!("10.77.{n}.{last}"), &format!("cable{n}"));
    }

    /// Ends [`Net::black_hole`].
    pub fn no_black_hole(&self, n: u8, last: u8) {
        self.pass_to(&format!("10.77.{n}.{last}"), &format!("cable{n}"));
    }

    /// The same at the other end of cable `n`: what goes from here to 10.77.n.1 is swallowed.
    pub fn black_hole_up(&self, n: u8) {
        self.swallow_to(&format!("10.77.{n}.1"), &format!("up{n}"));
    }

    /// Ends [`Net::black_hole_up`].
    pub fn no_black_hole_up(&self, n: u8) {
        self.pass_to(&format!("10.77.{n}.1"), &format!("up{n}"));
    }

    fn swallow_to(&self, to: &str, dev: &str) {
        let nobody = "02:00:00:00:00:fe";
        let words = ["neigh", "replace", to, "lladdr", nobody, "nud", "permanent", "dev", dev];
        self.run("ip", &words);
    }

    fn pass_to(&self, to: &str, dev: &str) {
        self.run("ip", &["neigh", "del", to, "dev", dev]);
    }

    /// Makes a NAT on cable `n` to `other` forget the connections that stand: what they send is swallowed on the way,
    /// in both directions, and new ones pass. Gives how many they were.
    pub fn forget_connections(&self, n: u8, other: &Net) -> usize {
        let table = self.enter(|| std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap());
        let own = format!("{:08X}", u32::from_le_bytes([10, 77, n, 1]));
        let mut ports = Vec::new();
        for line in table.lines().skip(1) {
            let mut words = line.split_whitespace().skip(1);
            let (local, _, state) = (words.next().unwrap(), words.next(), words.next());
            let (address, port) = local.split_once(':').unwrap();
            // Established.
            if address == own && state == Some("01") {
                ports.push(u16::from_str_radix(port, 16).unwrap());
            }
        }
        for port in &ports {
            self.swallow(&format!("ip daddr 10.77.{n}.1 tcp dport {port}"));
            other.swallow(&format!("ip saddr 10.77.{n}.1 tcp sport {port}"));
        }
        ports.len()
    }

    /// Drops what arrives here and matches.
    fn swallow(&self, what: &str) {
        let rules = format!(
            "add table ip lost; add chain ip lost in {{ type filter hook prerouting priority raw; }};
            add rule ip lost in {what} drop"
        );
        self.run("nft", &[&rules]);
    }

    /// Listens to all that passes here, until it is asked for what it heard.
    pub fn wiretap(&self) -> Wiretap {
        let all = std::num::NonZeroU32::new(u32::from(ETH_P_ALL.to_be())).unwrap();
        let socket = self.enter(|| {
            let protocol = Some(rustix::net::Protocol::from_raw(all));
            socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, protocol)
        });
        let socket = socket.unwrap();
        set_socket_timeout(&socket, Timeout::Recv, Some(LOOK)).unwrap();
        let (stop, stopped) = mpsc::channel();
        let heard = std::thread::spawn(move || {
            let (mut all, mut packet) = (Vec::new(), vec![0; 65_536]);
            while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                if let Ok((n, _)) = recv(&socket, &mut packet[..], RecvFlags::empty()) {
                    all.extend(&packet[..n]);
                }
            }
            all
        });
        Wiretap { stop, heard }
    }

    /// A service on a port of the loopback: it greets each visitor with `name`, then echoes lines.
    pub fn echo(&self, port: u16, name: &'static str) {
        let listener = self.enter(|| TcpListener::bind(("127.0.0.1", port)).unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let mut out = &stream;
                    let _ = writeln!(out, "{name}");
                    for line in BufReader::new(&stream).lines().map_while(Result::ok) {
                        let _ = writeln!(out, "{line}");
                    }
                });
            }
        });
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
