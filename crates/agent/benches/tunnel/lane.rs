//! One contestant: a host with its tunnel, and a relay.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

use afield_core::relay::{Relay, install_script};
use afield_testkit::net::Net;
use afield_testkit::relay::{SshKey, SshRelay};
use serde_json::json;
use tempfile::TempDir;

/// Who is not back by then counts as never.
pub const PATIENCE: Duration = Duration::from_secs(400);

/// What holds the tunnel, and to what kind of relay.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// `afield-agent tunnel`, to a relay of `afield relay config`.
    Ours,
    /// autossh with the older unit's options, to the same kind of relay.
    Autossh,
    /// The same to a relay with the older platform's settings.
    Older,
}

/// A relay's script for one host.
pub fn relay_script(who: Who, key: &SshKey) -> String {
    let line =
        format!("restrict,port-forwarding,permitlisten=\"2001\" {} tunnel@clinic", key.public);
    if who != Who::Older {
        let relay = Relay { ports: vec![22, 443], tunnel: vec![line], ..Relay::default() };
        return install_script(&"relay".parse().unwrap(), &relay);
    }
    // Spec "fleet folder" §2 and §3.
    format!(
        "set -e
getent passwd tunnel || useradd --system --home-dir /nonexistent --shell /usr/sbin/nologin tunnel
usermod --password '*' tunnel
mkdir -p /etc/ssh/authorized_keys.d
echo '{line}' >/etc/ssh/authorized_keys.d/tunnel
cat >/etc/ssh/sshd_config.d/older.conf <<'END'
Port 22
Port 443
AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u
AllowTcpForwarding remote
MaxStartups 100:30:300
ClientAliveInterval 10
ClientAliveCountMax 5
END
"
    )
}

/// A relay as hosts know it.
pub struct Known<'a> {
    pub name: &'a str,
    pub addresses: &'a [&'a str],
    pub ports: &'a [u16],
    pub host_key: &'a str,
}

/// The program that holds tunnels to these relays from a site, not yet started.
pub fn tunnel_command(who: Who, relays: &[Known<'_>], key: &SshKey, dir: &Path) -> Command {
    match who {
        Who::Ours => agent_command(relays, key, 2001, dir),
        Who::Autossh | Who::Older => autossh_command(relays, key, dir),
    }
}

/// `afield-agent tunnel` with its files in `dir`.
pub fn agent_command(relays: &[Known<'_>], key: &SshKey, port: u16, dir: &Path) -> Command {
    let relays: Vec<_> = relays
        .iter()
        .map(|r| json!({"name": r.name, "addresses": r.addresses, "ports": r.ports, "host_key": r.host_key}))
        .collect();
    let forwards = [json!({"listen": port, "target": 22})];
    let config = json!({"key": key.path, "relays": relays, "forwards": forwards});
    let at = |name: &str| dir.join(name);
    fs::write(at("tunnel.json"), config.to_string()).unwrap();
    let mut command = Command::new(agent());
    command.arg("tunnel").arg("--tunnel-config").arg(at("tunnel.json"));
    command.arg("--tunnel-state").arg(at("state"));
    command.arg("--tunnel-status").arg(at("status.json"));
    command
}

/// A copy of the agent, so that a build during the hour does not change what is measured.
fn agent() -> PathBuf {
    static COPY: OnceLock<TempDir> = OnceLock::new();
    let make = || {
        let dir = tempfile::tempdir().unwrap();
        fs::copy(env!("CARGO_BIN_EXE_afield-agent"), dir.path().join("afield-agent")).unwrap();
        dir
    };
    COPY.get_or_init(make).path().join("afield-agent")
}

fn autossh_command(relays: &[Known<'_>], key: &SshKey, dir: &Path) -> Command {
    // One unit a relay. The older unit pauses for ten minutes when autossh ends; here it goes on at once, in its favour.
    let mut script = String::new();
    for relay in relays {
        let known = dir.join(format!("known_hosts.{}", relay.name));
        let names: String = relay
            .addresses
            .iter()
            .flat_map(|a| relay.ports.iter().map(move |p| format!("[{a}]:{p},{a},")))
            .collect();
        let line = format!("{} {}\n", names.trim_end_matches(','), relay.host_key);
        fs::write(&known, line).unwrap();
        let ports: Vec<String> = relay.ports.iter().map(u16::to_string).collect();
        script.push_str(&format!(
            "(while true; do for a in {}; do for p in {}; do
                autossh -M 0 -N -T -F none -i {} -p $p -o IdentitiesOnly=yes -o BatchMode=yes \\
                  -o StrictHostKeyChecking=yes -o UserKnownHostsFile={} -o ExitOnForwardFailure=yes \\
                  -o ConnectTimeout=360 -o ServerAliveInterval=10 -o ServerAliveCountMax=5 \\
                  -R 2001:localhost:22 tunnel@$a; done; done; sleep 1; done) &\n",
            relay.addresses.join(" "),
            ports.join(" "),
            key.path.display(),
            known.display(),
        ));
    }
    script.push_str("wait\n");
    let mut command = Command::new("sh");
    command.args(["-c", &script]);
    command
}

/// Starts a program in a site's network, with a process namespace of its own, so that its end takes all along.
pub fn spawn(site: &Net, command: &Command) -> Child {
    let mut whole = Command::new("unshare");
    whole.args(["--pid", "--fork", "--kill-child"]).arg(command.get_program());
    whole.args(command.get_args());
    whole.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    site.enter(|| whole.spawn().unwrap())
}

/// One contestant.
pub struct Lane {
    who: Who,
    pub site: Net,
    pub relay: SshRelay,
    dir: TempDir,
    key: SshKey,
    process: Option<Child>,
}

impl Lane {
    pub fn new(who: Who) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = SshKey::new(dir.path(), "key");
        let relay = SshRelay::new(&relay_script(who, &key));
        let site = Net::new();
        site.cable(1, &relay.net);
        relay.net.run("ip", &["addr", "add", "10.77.1.3/24", "dev", "up1"]);
        site.echo(22, "clinic");
        Self { who, site, relay, dir, key, process: None }
    }

    pub fn start(&mut self, addresses: &[&str], ports: &[u16]) {
        let host_key = &self.relay.host_key.public;
        let relay = Known { name: "bru", addresses, ports, host_key };
        let command = tunnel_command(self.who, &[relay], &self.key, self.dir.path());
        self.process = Some(spawn(&self.site, &command));
    }

    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// How long until a login works; at most [`PATIENCE`]. Somebody tries every 0.2 s.
    pub fn wait(&self) -> Duration {
        let start = Instant::now();
        std::thread::scope(|scope| {
            let (tell, answers) = mpsc::channel();
            while start.elapsed() < PATIENCE {
                let tell = tell.clone();
                scope.spawn(move || {
                    if reaches(&self.relay) {
                        let _ = tell.send(start.elapsed());
                    }
                });
                if let Ok(took) = answers.recv_timeout(Duration::from_millis(200)) {
                    return took;
                }
            }
            PATIENCE
        })
    }
}

/// Whether a login works through a relay.
pub fn reaches(relay: &SshRelay) -> bool {
    relay.greeting(2001).as_deref() == Some("clinic")
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.stop();
    }
}
