//! An office with a person, and a fleet folder that they work in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use afield_testkit::net::{Net, wait_for};
use afield_testkit::relay::{SshKey, SshRelay};
use serde_json::json;
use tempfile::TempDir;

pub const SOON: Duration = Duration::from_secs(60);

/// The office's network, where commands run, with the person's keys in an ssh-agent.
pub struct Office {
    pub net: Net,
    pub dir: TempDir,
    agent: Child,
    pub person: SshKey,
    pub robot: SshKey,
}

impl Office {
    pub fn new() -> Self {
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

    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("SSH_AUTH_SOCK", self.dir.path().join("agent")).stdin(Stdio::null());
        command
    }

    pub fn fleet(&self) -> PathBuf {
        self.dir.path().join("fleet")
    }

    /// Runs `afield` for at most a minute.
    pub fn afield(&self, arguments: &[&str]) -> Output {
        let mut command = self.command("timeout");
        command
            .args(["60", env!("CARGO_BIN_EXE_afield"), "--fleet"])
            .arg(self.fleet())
            .args(arguments);
        self.net.enter(|| command.output().unwrap())
    }

    /// A fleet with the host `clinic` on port 2001 and the relays `bru` (10.77.1.2) and `fra` (10.77.2.2).
    pub fn write_fleet(&self, clinic: &SshKey, relays: &SshKey, people: &[(&str, &SshKey)]) {
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

    pub fn relay_script(&self, name: &str) -> String {
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

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A host's own accounts.
pub fn host_script(users: &[(&str, &SshKey)]) -> String {
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
pub fn tunnel(host: &SshRelay, key: &Path, relay: &str, port: u16) -> Child {
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
        &format!("{port}:localhost:22"),
        "-l",
        "tunnel",
        relay,
    ]);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    host.net.enter(|| command.spawn().unwrap())
}
