//! A site where nothing but SSH gets out: the agent reaches hub and repository through a relay. Real sshd, nft, Nix.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use afield_core::host_data::HostData;
use afield_core::relay::{Relay, install_script};
use afield_core::secrets::age::{self, Recipient};
use afield_core::secrets::hostkey::HostPrivate;
use afield_testkit::fleet::Fleet;
use afield_testkit::host::{Host, key};
use afield_testkit::net::{Net, wait_for};
use afield_testkit::relay::SshRelay;
use afield_testkit::server::{Lie, Server};
use afield_testkit::system::{Contract, System};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);
const WORD: &str = "open-sesame";
const HUB: &str = "10.77.9.2:8470";

/// A host in a site, a relay, and headquarters with the hub behind it. Straight, too, the way leads over the relay's
/// machine, which passes packets on like any router.
struct Bed {
    site: Net,
    relay: SshRelay,
    _headquarters: Net,
    fleet: Fleet,
    server: Server,
    host: Host,
    tunnel: Option<Child>,
}

impl Bed {
    fn new() -> Self {
        let fleet = Fleet::new();
        let (site, headquarters) = (Net::new(), Net::new());
        let pair = tempfile::tempdir().unwrap();
        let local = Server::start(pair.path());
        let host = Host::new("clinic", env!("CARGO_BIN_EXE_afield-agent"), &fleet, &local);
        let private = host.path("etc/ssh/ssh_host_ed25519_key");
        fs::set_permissions(&private, fs::Permissions::from_mode(0o600)).unwrap();
        let shown = Command::new("ssh-keygen").arg("-y").arg("-f").arg(&private).output().unwrap();
        let public = String::from_utf8(shown.stdout).unwrap();
        let line = format!("restrict,port-forwarding,permitlisten=\"2001\" {}", public.trim());
        let reach = vec![HUB.parse().unwrap()];
        let relay = Relay { ports: vec![22], tunnel: vec![line], reach, ..Relay::default() };
        let relay = SshRelay::new(&install_script(&"bru".parse().unwrap(), &relay));
        site.cable(1, &relay.net);
        relay.net.cable(9, &headquarters);
        relay.net.run("sysctl", &["-qw", "net.ipv4.ip_forward=1"]);
        site.run("ip", &["route", "add", "10.77.9.0/24", "via", "10.77.1.2"]);
        headquarters.run("ip", &["route", "add", "10.77.1.0/24", "via", "10.77.9.1"]);
        let server =
            headquarters.enter(|| Server::on(TcpListener::bind(HUB).unwrap(), fleet.path()));
        server.know("clinic", key().public());
        let text = host.text("etc/afield/agent.toml").replace(&local.url(), &server.url());
        fs::write(host.config(), format!("{text}through-relay-after = \"0s\"\n")).unwrap();
        Self { site, relay, _headquarters: headquarters, fleet, server, host, tunnel: None }
    }

    /// `tunnel.json` as host data writes it.
    fn configure(&self, more: Value) {
        let relay = json!({
            "name": "bru", "addresses": ["10.77.1.2"], "ports": [22], "host_key": self.relay.host_key.public,
        });
        let mut config = json!({
            "key": self.host.path("etc/ssh/ssh_host_ed25519_key"), "relays": [relay],
            "forwards": [{"listen": 2001, "target": 22}],
        });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fs::create_dir_all(self.host.path("var/lib/afield-access")).unwrap();
        fs::write(self.host.path("var/lib/afield-access/tunnel.json"), config.to_string()).unwrap();
    }

    fn start_tunnel(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_afield-agent"));
        command.arg("tunnel");
        for (option, path) in [
            ("--tunnel-config", "var/lib/afield-access/tunnel.json"),
            ("--tunnel-state", "var/lib/afield-tunnel"),
            ("--tunnel-status", "run/afield-tunnel/status.json"),
        ] {
            command.arg(option).arg(self.host.path(path));
        }
        command.stdin(Stdio::null()).stderr(Stdio::null());
        self.tunnel = Some(self.site.enter(|| command.spawn().unwrap()));
        let up = || self.host.text("run/afield-tunnel/status.json").contains("\"up\"");
        wait_for("the tunnel", SOON, up);
    }

    /// From now on the site's firewall refuses all but SSH.
    fn block(&self) {
        self.site.run(
            "nft",
            &["add table ip site; add chain ip site out { type filter hook output priority 0; };
               add rule ip site out oifname != lo tcp dport != 22 reject with tcp reset;
               add rule ip site out oifname != lo meta l4proto udp reject"],
        );
    }

    fn offer(&mut self, text: &str) -> String {
        let system = System::new(text, Contract::Honest);
        let release = self.fleet.release(&[("clinic", key().public())], &system, "config");
        self.fleet.assign("clinic", release);
        system.path().to_string()
    }

    /// The same with this host data.
    fn offer_data(&mut self, text: &str, data: &HostData) {
        let system = System::new(text, Contract::Honest);
        let release = self.fleet.release_data(&[(data.clone(), key().public())], &system);
        self.fleet.assign("clinic", release);
    }

    fn once(&self) -> (i32, Value) {
        self.site.enter(|| self.host.once())
    }

    /// What a relay's tunnel lets others of the host open.
    fn opens(&self, target: &str) -> bool {
        let control = self.host.path("run/afield-tunnel/control.bru");
        let mut command = Command::new("timeout");
        command.args(["20", "ssh", "-F", "none", "-S"]).arg(control).args(["-W", target, "relay"]);
        command.stdin(Stdio::null());
        self.site.enter(|| command.output().unwrap()).status.success()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Some(tunnel) = &mut self.tunnel {
            let _ = tunnel.kill();
            let _ = tunnel.wait();
        }
    }
}

#[test]
fn where_only_ssh_gets_out_updates_and_reports_go_through_the_relay() {
    let mut bed = Bed::new();
    bed.configure(json!({}));
    bed.start_tunnel();
    let first = bed.offer("one");
    let (code, said) = bed.once();
    assert_eq!((code, bed.host.current()), (0, Some(first)), "straight: {said}");
    assert_eq!(bed.relay.log().matches("PermitOpen").count(), 0);

    bed.block();
    let second = bed.offer("two");
    bed.server.reports();
    bed.server.requests();
    // The first attempt fails; from then on it goes through the relay.
    let said: Vec<_> = (0..2).map(|_| bed.once()).collect();
    assert_eq!(bed.host.current(), Some(second), "{said:?}");
    assert_eq!(said[1].0, 0, "{said:?}");
    assert!(!bed.server.reports().is_empty(), "no report came through: {said:?}");
    // Only the hub, and nothing else of headquarters or the relay.
    assert!(bed.opens(HUB));
    for other in ["10.77.9.2:22", "10.77.9.1:22", "127.0.0.1:22", "localhost:2001"] {
        assert!(!bed.opens(other), "a host opened {other} through the relay");
    }
}

#[test]
fn with_the_switch_it_asks_through_the_relay_from_the_start() {
    let mut bed = Bed::new();
    bed.configure(json!({"through_relay": "always"}));
    bed.block();
    bed.start_tunnel();
    let system = bed.offer("one");
    let (code, said) = bed.once();
    assert_eq!((code, bed.host.current()), (0, Some(system.clone())), "{said}");

    // What comes through a relay is believed no more than anything else: it may be the relay that speaks.
    bed.offer("two");
    bed.server.lie("release-2", Lie::Content(b"made by the relay".to_vec()));
    let (code, said) = bed.once();
    assert_eq!((code, bed.host.current()), (3, Some(system)), "{said}");
    bed.server.be_honest();
}

#[test]
fn a_stolen_relay_has_seen_no_secret_and_keeps_no_private_key() {
    let mut bed = Bed::new();
    bed.configure(json!({"through_relay": "always"}));
    bed.block();
    bed.start_tunnel();
    let own = HostPrivate::from_seed(&[99; 32]).public();
    let mut n = 0_u8;
    let mut count =
        |bytes: &mut [u8]| bytes.iter_mut().for_each(|b| (n, *b) = (n.wrapping_add(7), n));
    let secrets =
        format!("word:\n  content: {WORD}\n  default_extract: true\n  path: word\n").into_bytes();
    let sealed = age::encrypt(&secrets, &[Recipient::Ssh(own)], &mut count).unwrap();
    let mut data = afield_testkit::fleet::data(&"clinic".parse().unwrap(), "plain-to-see");
    data.age = Some(sealed.file);
    bed.offer_data("one", &data);
    // From here on somebody else has the relay.
    let wiretap = bed.relay.net.wiretap();
    let (code, said) = bed.once();
    assert_eq!(code, 0, "{said}");
    assert_eq!(bed.host.text("run/.secrets/word"), WORD, "the secret has arrived");
    let (heard, disk) = (wiretap.heard(), bed.relay.disk());
    let has = |all: &[u8], what: &str| all.windows(what.len()).any(|part| part == what.as_bytes());
    // Who listens there does hear: this hub is asked without TLS, and the relay knows the host's public key.
    assert!(has(&heard, "GET /") && has(&disk, "permitlisten=\"2001\""));
    // Host data passes compressed; this is what a thief unpacks.
    let unpacked = serde_json::to_vec(&data).unwrap();
    assert!(has(&unpacked, "AGE ENCRYPTED FILE") && has(&unpacked, "plain-to-see"));
    let private = bed.host.text("etc/ssh/ssh_host_ed25519_key");
    let body = private.lines().nth(2).unwrap();
    for (place, all) in
        [("passed", &heard), ("is in host data", &unpacked), ("is on the disk", &disk)]
    {
        for secret in [WORD, "PRIVATE KEY", body] {
            assert!(!has(all, secret), "{secret:?} {place}");
        }
    }
}

#[test]
fn with_the_switch_off_it_only_asks_straight() {
    let mut bed = Bed::new();
    bed.configure(json!({"through_relay": "never"}));
    bed.block();
    bed.start_tunnel();
    bed.offer("one");
    for _ in 0..2 {
        bed.once();
    }
    assert_eq!(bed.host.current(), None);
    assert!(bed.server.requests().is_empty());
}
