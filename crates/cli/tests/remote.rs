//! `afield ssh` and its like, and `afield relay config`: an office, two relays and a host, all with real OpenSSH, each
//! in a network of its own.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use afield_testkit::net::{Net, wait_for};
use afield_testkit::relay::{SshKey, SshRelay};
use serde_json::json;
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(30);

/// The office's network, where commands run, with the person's keys in an ssh-agent.
struct Office {
    net: Net,
    dir: TempDir,
    agent: Child,
    person: SshKey,
    robot: SshKey,
}

impl Office {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [person, robot] = ["person", "robot"].map(|name| SshKey::new(dir.path(), name));
        let socket = dir.path().join("agent");
        let agent = Command::new("ssh-agent")
            .arg("-D")
            .arg("-a")
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let office = Self { net: Net::new(), dir, agent, person, robot };
        wait_for("ssh-agent", SOON, || socket.exists());
        let mut add = office.command("ssh-add");
        assert!(add.arg("-q").arg(&office.person.path).status().unwrap().success());
        office
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("SSH_AUTH_SOCK", self.dir.path().join("agent")).stdin(Stdio::null());
        command
    }

    fn fleet(&self) -> PathBuf {
        self.dir.path().join("fleet")
    }

    /// Runs `afield` for at most a minute.
    fn afield(&self, arguments: &[&str]) -> Output {
        let mut command = self.command("timeout");
        command
            .args(["60", env!("CARGO_BIN_EXE_afield"), "--fleet"])
            .arg(self.fleet())
            .args(arguments);
        self.net.enter(|| command.output().unwrap())
    }

    /// A fleet with the host `clinic` on port 2001 and the relays `bru` (10.77.1.2) and `fra` (10.77.2.2).
    fn write_fleet(&self, clinic: &SshKey, relays: &SshKey, people: &[(&str, &SshKey)]) {
        let write = |path: &str, text: String| {
            let path = self.fleet().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for host in ["clinic", "bru", "fra"] {
            write(&format!("hosts/{host}.nix"), "{ ... }: { }".into());
        }
        let enable: serde_json::Map<_, _> = people
            .iter()
            .filter(|(name, _)| *name != "robot")
            .map(|(name, _)| ((*name).to_owned(), json!("admin")))
            .collect();
        let per_host =
            json!({"clinic": {"enable": enable}, "bru": {"enable": {}}, "fra": {"enable": {}}});
        write("json/users.json", json!({"global_admins": [], "users": {"per-host": per_host, "roles": {}, "expires": {}}}).to_string());
        let keys: serde_json::Map<_, _> = people
            .iter()
            .map(|(name, key)| ((*name).to_owned(), json!({"public_keys": [key.public]})))
            .collect();
        write("json/keys.json", json!({ "keys": keys }).to_string());
        let no_port = json!({"remote_forward_port": 0, "public_key": relays.public});
        let own = json!({"remote_forward_port": 2001, "public_key": clinic.public});
        let hosts = json!({"clinic": own, "bru": no_port, "fra": no_port});
        write("json/tunnels.d/tunnels.json", json!({"tunnels": {"per-host": hosts}}).to_string());
        let servers = json!({
            "bru": {"addresses": ["10.77.1.2"], "ports": [22, 443]},
            "fra": {"addresses": ["10.77.2.2"], "ports": [22, 443]},
        });
        write(
            "json/relay-servers.json",
            json!({"public_key": relays.public, "relay_servers": servers}).to_string(),
        );
        let waves = "{ firstWave = [ \"clinic\" ]; middleWave = [ ]; finalWave = [ ]; latestWave = [ \"bru\" \"fra\" ]; stagingHosts = [ ]; }";
        write("waves-and-staging-hosts.nix", waves.into());
    }

    fn relay_script(&self, name: &str) -> String {
        let done = self.afield(&["relay", "config", name]);
        assert!(done.status.success(), "{}", text(&done.stderr));
        text(&done.stdout)
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A host's own accounts.
fn host_script(users: &[(&str, &SshKey)]) -> String {
    let mut script = String::from("set -e\nmkdir -p /etc/ssh/keys /etc/ssh/sshd_config.d\n");
    script
        .push_str("echo 'AuthorizedKeysFile /etc/ssh/keys/%u' >/etc/ssh/sshd_config.d/keys.conf\n");
    for (user, key) in users {
        script.push_str(&format!("useradd --no-create-home --home-dir / --shell /bin/sh {user}\nusermod --password '*' {user}\n"));
        script.push_str(&format!("echo '{}' >/etc/ssh/keys/{user}\n", key.public));
    }
    script
}

/// The host's tunnel to a relay; that of the agent is tried in its own crate.
fn tunnel(host: &SshRelay, key: &Path, relay: &str) -> Child {
    let mut command = Command::new("ssh");
    command.args([
        "-F",
        "none",
        "-N",
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-i",
    ]);
    command.arg(key).args([
        "-o",
        "ExitOnForwardFailure=yes",
        "-R",
        "2001:localhost:22",
        "-l",
        "tunnel",
        relay,
    ]);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    host.net.enter(|| command.spawn().unwrap())
}

#[test]
fn people_find_the_relay_on_which_the_host_is() {
    let office = Office::new();
    let keys = tempfile::tempdir().unwrap();
    let [clinic_key, relay_key] = ["clinic", "relay"].map(|name| SshKey::new(keys.path(), name));
    let people = [("amara", &office.person), ("robot", &office.robot)];
    office.write_fleet(&clinic_key, &relay_key, &people);

    // The relays are set up by the documented command; the host is on the second only.
    let script = office.relay_script("bru");
    let relays = [
        SshRelay::with_key(&script, Some(&relay_key)),
        SshRelay::with_key(&script, Some(&relay_key)),
    ];
    let host = SshRelay::with_key(&host_script(&people), Some(&clinic_key));
    office.net.cable(1, &relays[0].net);
    office.net.cable(2, &relays[1].net);
    host.net.cable(3, &relays[1].net);
    let mut tunnel = tunnel(&host, &clinic_key.path, "10.77.3.2");
    wait_for("the host's tunnel", SOON, || relays[1].greeting(2001).is_some());

    let done = office.afield(&["ssh", "amara@clinic", "echo", "hello;", "exit", "7"]);
    assert_eq!(
        (text(&done.stdout).as_str(), done.status.code()),
        ("hello\n", Some(7)),
        "{}",
        text(&done.stderr)
    );

    let file = keys.path().join("file");
    fs::write(&file, "content").unwrap();
    let (from, to) = (file.to_str().unwrap(), "amara@clinic:/tmp/../dev/null");
    let done = office.afield(&["scp", "-q", from, to]);
    assert!(done.status.success(), "{}", text(&done.stderr));

    // Plain ssh with the file to include.
    let out = keys.path().join("include");
    let done = office.afield(&["ssh-config", "--out", out.to_str().unwrap()]);
    assert!(done.status.success() && text(&done.stdout).contains("3 hosts"), "{done:?}");
    let mut plain = office.command("timeout");
    plain
        .args(["60", "ssh", "-F"])
        .arg(out.join("config"))
        .args(["-l", "amara", "clinic", "id", "-un"]);
    let done = office.net.enter(|| plain.output().unwrap());
    assert_eq!(text(&done.stdout), "amara\n", "{}", text(&done.stderr));

    forward(&office);
    deploy_hook(&office, &clinic_key, &relay_key);

    // An impostor on the host's port is found out by the host's own key.
    tunnel.kill().unwrap();
    tunnel.wait().unwrap();
    wait_for("the port is free", SOON, || relays[1].greeting(2001).is_none());
    let done = office.afield(&["ssh", "amara@clinic", "true"]);
    assert_eq!(done.status.code(), Some(255));
    assert!(
        text(&done.stderr).contains("clinic is on none of the relays that answer"),
        "{}",
        text(&done.stderr)
    );
    let other_key = SshKey::new(keys.path(), "impostor");
    let impostor = SshRelay::with_key(&host_script(&people), Some(&other_key));
    impostor.net.cable(4, &relays[1].net);
    let mut false_tunnel = self::tunnel(&impostor, &clinic_key.path, "10.77.4.2");
    wait_for("the impostor's tunnel", SOON, || relays[1].greeting(2001).is_some());
    let done = office.afield(&["ssh", "amara@clinic", "echo", "trusted"]);
    false_tunnel.kill().unwrap();
    false_tunnel.wait().unwrap();
    assert_eq!((text(&done.stdout).as_str(), done.status.code()), ("", Some(255)));
    assert!(text(&done.stderr).contains("Host key verification failed"), "{}", text(&done.stderr));
}

fn forward(office: &Office) {
    let mut command = office.command(env!("CARGO_BIN_EXE_afield"));
    command.arg("--fleet").arg(office.fleet()).args([
        "forward",
        "amara@clinic",
        "22",
        "--local",
        "4022",
    ]);
    let mut forward = office.net.enter(|| command.stderr(Stdio::null()).spawn().unwrap());
    let is_open = || office.net.enter(|| std::net::TcpStream::connect("127.0.0.1:4022").is_ok());
    wait_for("the forwarded port", SOON, is_open);
    forward.kill().unwrap();
    forward.wait().unwrap();
}

fn deploy_hook(office: &Office, clinic: &SshKey, relay: &SshKey) {
    let at = |name: &str| office.dir.path().join(name).to_str().unwrap().to_owned();
    fs::write(
        at("known"),
        format!(
            "10.77.2.2 {}\n[localhost]:2001 {}\n[localhost]:2002 {0}\n",
            relay.public, clinic.public
        ),
    )
    .unwrap();
    fs::write(
        at("event"),
        json!({"commits": [{"message": "Fix (x-nixos:rebuild:relay_port:2001)"}]}).to_string(),
    )
    .unwrap();
    let (event, key, known) = (at("event"), at("robot"), at("known"));
    let hook = |more: &[&str]| {
        let start = [
            "deploy-hook",
            "--eventlog",
            &event,
            "--sshrelay_domain",
            "10.77.2.2",
            "--sshrelay_port",
            "22",
        ];
        let rest = ["--keyfile", &key, "--known-hosts", &known, "--timeout", "20"];
        office.afield(&[&start[..], &rest[..], more].concat())
    };
    let done = hook(&["--command", "test $(id -un) = robot"]);
    assert_eq!(text(&done.stdout), "tunnelled_2001: done\n", "{}", text(&done.stderr));
    assert_eq!(done.status.code(), Some(0));
    // Those that cannot be reached are listed, the others done, and the exit code tells.
    let done = hook(&["--command", "true", "--fixedtunnelports", "2002 70000"]);
    let said = text(&done.stdout);
    assert!(said.contains("tunnelled_2001: done\ntunnelled_2002: FAILED: unreachable: "), "{said}");
    assert!(said.contains("tunnelled_70000: FAILED: no such port"), "{said}");
    assert_eq!(done.status.code(), Some(1));
    let done = hook(&["--command", "exit 3"]);
    assert!(
        text(&done.stdout).contains("it was reached, and the command ended with 3"),
        "{}",
        text(&done.stdout)
    );
}
