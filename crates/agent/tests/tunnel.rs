//! `afield-agent tunnel` against real OpenSSH relays, each in a network of its own.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use afield_core::relay::{Relay, install_script};
use afield_testkit::net::{Net, wait_for};
use afield_testkit::relay::{SshKey, SshRelay};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Long enough for a slow machine; nothing waits for it when all is well.
const SOON: Duration = Duration::from_secs(30);

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A relay's script for these keys, each with the port on which it may listen.
fn script(hosts: &[(&SshKey, u16)], people: &[(&SshKey, u16)]) -> String {
    let line = |right: &str, key: &SshKey, who: &str| {
        format!("restrict,port-forwarding,{right} {} {who}", key.public)
    };
    let hosts = hosts
        .iter()
        .map(|(key, port)| line(&format!("permitlisten=\"{port}\""), key, "tunnel@host"));
    let people = people
        .iter()
        .map(|(key, port)| line(&format!("permitopen=\"localhost:{port}\""), key, "person"));
    let (tunnel, tunneller) = (hosts.collect(), people.collect());
    let relay = Relay { ports: vec![22, 443], tunnel, tunneller, ..Relay::default() };
    install_script(&"relay".parse().unwrap(), &relay)
}

/// A site with one host, whose port 22 greets with `clinic`.
struct Site {
    net: Net,
    dir: TempDir,
    key: SshKey,
    agent: Option<Child>,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = SshKey::new(dir.path(), "key");
        let net = Net::new();
        net.echo(22, "clinic");
        Self { net, dir, key, agent: None }
    }

    /// A configuration with these relays and the port 2001; `more` is put over it.
    fn configure(&self, relays: &[Value], more: Value) {
        let mut config = json!({
            "key": self.key.path, "relays": relays, "forwards": [{"listen": 2001, "target": 22}],
        });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let beside = self.dir.path().join("tunnel.json.new");
        fs::write(&beside, config.to_string()).unwrap();
        fs::rename(beside, self.dir.path().join("tunnel.json")).unwrap();
    }

    fn start(&mut self) {
        let at = |name: &str| self.dir.path().join(name);
        let log = fs::File::options().create(true).append(true).open(at("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_afield-agent"));
        command
            .arg("tunnel")
            .arg("--tunnel-config")
            .arg(at("tunnel.json"))
            .arg("--tunnel-state")
            .arg(at("state"));
        command.arg("--tunnel-status").arg(at("run/status.json")).stdin(Stdio::null()).stderr(log);
        self.agent = Some(self.net.enter(|| command.spawn().unwrap()));
    }

    fn kill(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            agent.kill().unwrap();
            agent.wait().unwrap();
        }
    }

    fn status(&self, relay: &str) -> Value {
        let text = fs::read_to_string(self.dir.path().join("run/status.json")).unwrap_or_default();
        let all: Value = serde_json::from_str(&text).unwrap_or_default();
        all["relays"][relay].clone()
    }

    fn is_up(&self, relay: &str) -> bool {
        self.status(relay)["state"] == "up"
    }

    fn why(&self, relay: &str) -> String {
        self.status(relay)["why"].as_str().unwrap_or_default().to_owned()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the agent said:\n{}", self.log());
        }
        if let Some(agent) = &mut self.agent {
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}

fn relay_at(name: &str, addresses: &[&str], relay: &SshRelay) -> Value {
    json!({ "name": name, "addresses": addresses, "ports": [22, 443], "host_key": relay.host_key.public })
}

fn reaches(relay: &SshRelay, port: u16) -> bool {
    relay.greeting(port).as_deref() == Some("clinic")
}

#[test]
fn every_relay_is_held_and_one_that_dies_comes_back() {
    let mut site = Site::new();
    let script = script(&[(&site.key, 2001)], &[]);
    let mut relays: Vec<SshRelay> = (0..3).map(|_| SshRelay::new(&script)).collect();
    for (n, relay) in (1..).zip(&relays) {
        site.net.cable(n, &relay.net);
    }
    let addresses = ["10.77.1.2", "10.77.2.2", "10.77.3.2"];
    let names = ["bru", "fra", "nbo"];
    let configured = |relays: &[SshRelay]| -> Vec<Value> {
        let each = names.iter().zip(addresses).zip(relays);
        each.map(|((name, address), relay)| relay_at(name, &[address], relay)).collect()
    };
    site.configure(&configured(&relays), json!({}));
    site.start();
    wait_for("a login through each relay", SOON, || {
        relays.iter().all(|relay| reaches(relay, 2001))
    });

    relays[1].stop();
    wait_for("the dead relay is noticed", SOON, || !site.is_up("fra"));
    assert!(reaches(&relays[0], 2001) && reaches(&relays[2], 2001), "the others stay");
    relays[1].start();
    wait_for("the relay is used again", SOON, || reaches(&relays[1], 2001));

    // A relay that is configured no more is left, and the others are not touched.
    let before = site.log();
    site.configure(&configured(&relays)[..2], json!({}));
    wait_for("the third relay is left", SOON, || !reaches(&relays[2], 2001));
    assert!(reaches(&relays[0], 2001) && reaches(&relays[1], 2001));
    assert_eq!(site.log(), before, "the other tunnels were touched");
    // A configuration that is wrong changes nothing.
    site.configure(&[], json!({}));
    wait_for("the mistake is said", SOON, || site.log().contains("relays is empty"));
    assert!(reaches(&relays[0], 2001) && reaches(&relays[1], 2001));
}

#[test]
fn an_address_that_leads_to_another_key_is_left_for_the_next() {
    let mut site = Site::new();
    let script = script(&[(&site.key, 2001)], &[]);
    let (liar, relay) = (SshRelay::new(&script), SshRelay::new(&script));
    site.net.cable(1, &liar.net);
    site.net.cable(2, &relay.net);
    site.configure(&[relay_at("bru", &["10.77.1.2"], &relay)], json!({}));
    site.start();
    wait_for("the wrong key is refused", SOON, || site.why("bru").contains("not the pinned one"));
    assert!(!liar.log().contains("Accepted"), "nothing was said to the liar: {}", liar.log());
    site.configure(&[relay_at("bru", &["10.77.1.2", "10.77.2.2"], &relay)], json!({}));
    wait_for("the true address", SOON, || reaches(&relay, 2001));
    assert!(!liar.log().contains("Accepted"));
}

#[test]
fn black_holes_and_silent_ports_cost_little() {
    let mut site = Site::new();
    let relay = SshRelay::new(&script(&[(&site.key, 2001)], &[]));
    site.net.cable(1, &relay.net);
    site.net.black_hole(1, 66);
    // Port 9 accepts and says nothing; port 10 answers, but not as an SSH server.
    let silent = relay.net.enter(|| TcpListener::bind("0.0.0.0:9").unwrap());
    let login_page = relay.net.enter(|| TcpListener::bind("0.0.0.0:10").unwrap());
    std::thread::spawn(move || {
        login_page
            .incoming()
            .flatten()
            .for_each(|mut s| drop(s.write_all(b"HTTP/1.1 200 OK\r\n\r\n")))
    });
    let mut bru = relay_at("bru", &["10.77.1.66", "10.77.1.2"], &relay);
    bru["ports"] = json!([9, 10, 22]);
    site.configure(&[bru], json!({}));
    let start = Instant::now();
    site.start();
    wait_for("a login past the bad ways", SOON, || reaches(&relay, 2001));
    // Four bad ways with 0.3 s each, then a handshake; a tenth of what waiting for each would take.
    assert!(start.elapsed() < secs(8), "it took {:?}", start.elapsed());
    wait_for("its status", SOON, || site.is_up("bru"));
    let way = json!({"path": "direct", "host": "10.77.1.2", "port": 22});
    assert_eq!(site.status("bru")["endpoint"], way);
    drop(silent);
    // After a restart the way that worked is the first: the silent port would take a connection, and gets none.
    let silent = relay.net.enter(|| TcpListener::bind("0.0.0.0:9").unwrap());
    silent.set_nonblocking(true).unwrap();
    site.kill();
    wait_for("the ports are free", SOON, || !reaches(&relay, 2001));
    site.start();
    wait_for("a login after a restart", SOON, || reaches(&relay, 2001));
    assert!(silent.accept().is_err(), "the last good way was not tried first");
}

#[test]
fn names_that_are_unknown_or_lead_elsewhere_do_not_matter() {
    let mut site = Site::new();
    let relay = SshRelay::new(&script(&[(&site.key, 2001)], &[]));
    site.net.cable(1, &relay.net);
    let addresses = ["relay.invalid", "localhost", "10.77.1.2"];
    site.configure(&[relay_at("bru", &addresses, &relay)], json!({}));
    site.start();
    wait_for("a login over the literal address", SOON, || reaches(&relay, 2001));
}

#[test]
fn ssh_ends_with_the_agent_and_frees_the_ports() {
    let mut site = Site::new();
    let relay = SshRelay::new(&script(&[(&site.key, 2001)], &[]));
    site.net.cable(1, &relay.net);
    site.configure(&[relay_at("bru", &["10.77.1.2"], &relay)], json!({}));
    for _ in 0..2 {
        site.start();
        wait_for("a login", SOON, || reaches(&relay, 2001));
        site.kill();
        wait_for("the port is free", secs(10), || relay.greeting(2001).is_none());
    }
}

#[test]
fn a_host_can_listen_on_its_own_ports_and_do_nothing_else() {
    let mut site = Site::new();
    let other = SshKey::new(site.dir.path(), "other");
    let relay = SshRelay::new(&script(&[(&site.key, 2001), (&other, 2002)], &[]));
    site.net.cable(1, &relay.net);
    let two = json!({"forwards": [{"listen": 2002, "target": 22}]});
    site.configure(&[relay_at("bru", &["10.77.1.2"], &relay)], two);
    site.start();
    wait_for("another's port is refused", SOON, || site.why("bru").contains("did not open a port"));
    assert_eq!(relay.greeting(2002), None);
    nothing_but_forwarding(&relay, "tunnel", &site.key);
    // It cannot open ports on the relay, nor listen where others reach it.
    let opened = relay.ssh("tunnel", &site.key, &["-W", "localhost:22", "127.0.0.1"], "");
    assert!(!opened.status.success(), "it opened a port");
    let listen = ["-N", "-R", "0.0.0.0:2001:localhost:22", "127.0.0.1"];
    let mut open = relay.start_ssh("tunnel", &site.key, &listen);
    wait_for("its own port", SOON, || relay.greeting(2001).is_some());
    let outside = site.net.enter(|| TcpStream::connect("10.77.1.2:2001"));
    open.kill().unwrap();
    open.wait().unwrap();
    assert!(outside.is_err(), "a host's port is open to the world");
}

/// No shell, command, subsystem, agent or X11: for both accounts of a relay.
fn nothing_but_forwarding(relay: &SshRelay, user: &str, key: &SshKey) {
    let ways: [&[&str]; 5] = [
        &["127.0.0.1", "echo", "in"],
        &["-tt", "127.0.0.1"],
        &["-s", "127.0.0.1", "sftp"],
        &["-A", "127.0.0.1", "echo in; ssh-add -l"],
        &["-X", "127.0.0.1", "echo", "in"],
    ];
    for way in ways {
        let done = relay.ssh(user, key, way, "echo in\n");
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(!done.status.success() && !said.contains("in"), "{user} {way:?} said {said:?}");
        // It was let in, so that it is the account that stopped it.
        let log = relay.log();
        assert!(log.contains(&format!("Accepted publickey for {user}")), "{log}");
    }
    let device = relay.ssh(user, key, &["-w", "any", "-N", "127.0.0.1"], "");
    assert!(!device.status.success(), "{user} made a tunnel device");
}

#[test]
fn a_person_passes_to_the_ports_that_are_theirs() {
    let mut site = Site::new();
    let person = SshKey::new(site.dir.path(), "person");
    let host = site.key.clone();
    let hosts = [(&host, 2001)];
    let relay = SshRelay::new(&script(&hosts, &[(&person, 2001)]));
    site.net.cable(1, &relay.net);
    site.configure(&[relay_at("bru", &["10.77.1.2"], &relay)], json!({}));
    site.start();
    wait_for("a tunnel", SOON, || reaches(&relay, 2001));
    relay.net.echo(2002, "not yours");

    let pass = |port: u16| {
        let target = format!("localhost:{port}");
        let done = relay.ssh("tunneller", &person, &["-W", &target, "127.0.0.1"], "hello\n");
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    assert_eq!(pass(2001), "clinic\nhello\n");
    assert_eq!(pass(2002), "", "a port of another host");
    assert_eq!(pass(22), "", "the relay's own sshd");
    nothing_but_forwarding(&relay, "tunneller", &person);
    let listen =
        relay.ssh("tunneller", &person, &["-N", "-R", "2002:localhost:22", "127.0.0.1"], "");
    assert_eq!(listen.status.code(), Some(255), "a person listens");
    // The accounts are not each other's, and have no other names.
    for user in ["tunnel", "root", "sshd"] {
        let done = relay.ssh(user, &person, &["-W", "localhost:2001", "127.0.0.1"], "");
        assert!(!done.status.success(), "{user}");
    }

    // A leaver's connection ends with the key.
    let mut open = relay.start_ssh("tunneller", &person, &["-W", "localhost:2001", "127.0.0.1"]);
    let mut greeting = [0; 7];
    open.stdout.as_mut().unwrap().read_exact(&mut greeting).unwrap();
    relay.update(&script(&hosts, &[]));
    wait_for("a leaver is cut off", SOON, || open.try_wait().unwrap().is_some());
    assert_eq!(pass(2001), "", "a leaver passes");
    assert!(reaches(&relay, 2001), "the host's tunnel is not touched");
}

#[test]
fn a_revoked_host_is_out_and_a_restored_one_is_back() {
    let mut site = Site::new();
    let relay = SshRelay::new(&script(&[(&site.key, 2001)], &[]));
    site.net.cable(1, &relay.net);
    site.configure(&[relay_at("bru", &["10.77.1.2"], &relay)], json!({}));
    site.start();
    wait_for("a login", SOON, || reaches(&relay, 2001));
    relay.update(&script(&[], &[]));
    wait_for("the revoked key is refused", SOON, || {
        site.why("bru").contains("refuses this host's key")
    });
    assert_eq!(relay.greeting(2001), None);
    relay.update(&script(&[(&site.key, 2001)], &[]));
    wait_for("the key counts again", SOON, || reaches(&relay, 2001));
}

#[test]
fn a_host_that_lost_its_address_notices_at_once() {
    let mut site = Site::new();
    let relay = SshRelay::new(&script(&[(&site.key, 2001)], &[]));
    site.net.cable(1, &relay.net);
    // With this keepalive, silence would be noticed after three minutes.
    site.configure(&[relay_at("bru", &["10.77.1.2"], &relay)], json!({"keepalive": "60s"}));
    site.start();
    wait_for("a login", SOON, || site.is_up("bru"));
    site.net.run("ip", &["addr", "del", "10.77.1.1/24", "dev", "cable1"]);
    wait_for("the loss is noticed", secs(15), || !site.is_up("bru"));
    // Another address, as with another provider. The relay still holds the port for the old one; see the next test.
    site.net.run("ip", &["addr", "add", "10.77.1.7/24", "dev", "cable1"]);
    wait_for("it tries over the new address", secs(15), || {
        relay.log().contains("Accepted publickey for tunnel from 10.77.1.7")
    });
}

#[test]
fn a_link_that_swallows_everything_is_noticed_and_the_stale_port_freed() {
    let mut site = Site::new();
    let relay = SshRelay::new(&script(&[(&site.key, 2001)], &[]));
    site.net.cable(1, &relay.net);
    site.configure(&[relay_at("bru", &["10.77.1.2"], &relay)], json!({"keepalive": "2s"}));
    site.start();
    wait_for("a login", SOON, || reaches(&relay, 2001));
    wait_for("its status", SOON, || site.is_up("bru"));
    let cut = Instant::now();
    site.net.black_hole(1, 2);
    wait_for("the silence is noticed", secs(15), || !site.is_up("bru"));
    assert!(cut.elapsed() >= secs(2), "noticed before three keepalives: {:?}", cut.elapsed());
    site.net.no_black_hole(1, 2);
    // The relay gives the port up 30 s after the last word that it heard.
    wait_for("a login after the cut", secs(60), || reaches(&relay, 2001));
}

#[test]
fn a_connection_that_a_nat_forgot_is_replaced_before_the_keepalive_gives_it_up() {
    let mut site = Site::new();
    let relay = SshRelay::new(&script(&[(&site.key, 2001)], &[]));
    site.net.cable(1, &relay.net);
    // By itself OpenSSH would notice after a minute and a half, and the relay after half a minute.
    site.configure(&[relay_at("bru", &["10.77.1.2"], &relay)], json!({"keepalive": "8s"}));
    site.start();
    wait_for("a login", SOON, || reaches(&relay, 2001));
    wait_for("its status", SOON, || site.is_up("bru"));
    assert_eq!(site.net.forget_connections(1, &relay.net), 1);
    wait_for("it is replaced", secs(20), || site.log().contains("answers no more"));
    wait_for("a login", secs(15), || reaches(&relay, 2001));
    assert!(!site.log().contains("it fell silent"), "{}", site.log());
}

#[test]
fn a_host_that_comes_again_gets_its_ports_at_once() {
    let mut site = Site::new();
    let other = SshKey::new(site.dir.path(), "other");
    let relay = SshRelay::new(&script(&[(&site.key, 2001), (&other, 2002)], &[]));
    site.net.cable(1, &relay.net);
    let listen = ["-N", "-R", "2002:localhost:22", "127.0.0.1"];
    let mut neighbour = relay.start_ssh("tunnel", &other, &listen);
    site.configure(&[relay_at("bru", &["10.77.1.2"], &relay)], json!({}));
    site.start();
    wait_for("a login", SOON, || reaches(&relay, 2001));
    wait_for("the neighbour's port", SOON, || relay.greeting(2002).is_some());
    // The host loses power: no goodbye reaches the relay.
    assert_eq!(site.net.forget_connections(1, &relay.net), 1);
    site.kill();
    site.start();
    // The relay would give the dead connection up after 30 s.
    wait_for("a login again", secs(15), || reaches(&relay, 2001));
    assert!(!site.log().contains("did not open a port"), "{}", site.log());
    assert!(neighbour.try_wait().unwrap().is_none(), "another host's tunnel was ended");
    assert!(relay.greeting(2002).is_some());
    neighbour.kill().unwrap();
    neighbour.wait().unwrap();
}

#[test]
fn where_only_the_proxy_gets_out_it_goes_through_the_proxy() {
    let mut site = Site::new();
    let relay = SshRelay::new(&script(&[(&site.key, 2001)], &[]));
    site.net.cable(1, &relay.net);
    let proxy = relay.net.enter(|| TcpListener::bind("0.0.0.0:3128").unwrap());
    std::thread::scope(|scope| {
        // What the proxy reaches, it reaches in the relay's network.
        let visitors = proxy.try_clone().unwrap();
        let net = &relay.net;
        scope.spawn(move || {
            // Until the socket is shut down below.
            for visitor in visitors.incoming().map_while(Result::ok) {
                scope.spawn(move || net.enter(|| serve_connect(visitor)));
            }
        });
        // For the site itself the address is its own loopback, where no relay is.
        let bru = relay_at("bru", &["127.0.0.1"], &relay);
        let mut bru = bru;
        bru["ports"] = json!([443]);
        site.configure(&[bru], json!({"proxy": "http://10.77.1.2:3128"}));
        site.start();
        let up = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for("a login through the proxy", SOON, || reaches(&relay, 2001));
            wait_for("its status", SOON, || site.is_up("bru"));
            assert_eq!(site.status("bru")["endpoint"]["path"], "proxy");
        }));
        site.kill();
        let _ = rustix::net::shutdown(proxy.as_fd(), rustix::net::Shutdown::Both);
        up.unwrap();
    });
}

/// One visitor of an HTTP proxy; none if it left early.
fn serve_connect(visitor: TcpStream) -> Option<()> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && (&visitor).read(&mut byte).is_ok_and(|n| n > 0) {
        request.extend(byte);
    }
    let request = String::from_utf8(request).ok()?;
    let target = request.strip_prefix("CONNECT ")?.split(' ').next()?;
    let out = TcpStream::connect(target).unwrap();
    (&visitor).write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").ok()?;
    std::thread::scope(|scope| {
        for (from, to) in [(&visitor, &out), (&out, &visitor)] {
            scope.spawn(move || {
                let (mut from, mut to) = (from, to);
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    Some(())
}
