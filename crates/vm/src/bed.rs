//! A fleet, its repository and hub in the machine's world, and a machine that is the host `clinic` of that fleet.

use std::net::TcpListener;
use std::time::Duration;

use afield_core::ids::ReleaseId;
use afield_core::report::Report;
use afield_testkit::fleet::Fleet;
use afield_testkit::host::{key, key_file};
use afield_testkit::net::wait_for;
use afield_testkit::server::Server;
use afield_testkit::system::{Contract, System};

use crate::machine::{BOOT, Machine, text};

/// The port of repository and hub.
const PORT: u16 = 8470;

/// What NixOS does at every boot: the system of the profile is current.
const BOOT_UNIT: &str = r#"[Unit]
Description=The system of the profile is current
DefaultDependencies=no
ConditionPathExists=/nix/var/nix/profiles/system
# A system that was booted did it itself.
ConditionPathExists=!/run/booted-system
Before=sysinit.target
After=local-fs.target
[Service]
Type=oneshot
ExecStart=sh -c 'ln -sfn $$(readlink -f /nix/var/nix/profiles/system) /run/current-system'
[Install]
WantedBy=sysinit.target
"#;

/// Where a scenario happens.
pub struct Bed<M> {
    /// The machine.
    pub machine: M,
    /// Its fleet.
    pub fleet: Fleet,
    /// Repository and hub.
    pub server: Server,
}

impl<M: Machine> Bed<M> {
    /// Makes the machine a host: key, trust root, agent.toml, and the agent as `/usr/local/bin/afield-agent`. Nothing
    /// runs yet.
    pub fn new(machine: M) -> Self {
        let fleet = Fleet::new();
        let listen = || TcpListener::bind(("0.0.0.0", PORT)).unwrap();
        let server = Server::on(machine.world().enter(listen), fleet.path());
        server.know("clinic", key().public());
        let bed = Self { machine, fleet, server };
        bed.machine.write("/etc/ssh/ssh_host_ed25519_key", key_file("clinic").as_bytes());
        bed.machine.write("/etc/afield/root.json", &bed.fleet.root);
        bed.machine.write("/etc/afield/agent.toml", bed.config("").as_bytes());
        bed.machine.write("/etc/systemd/system/afield-vm-system.service", BOOT_UNIT.as_bytes());
        bed.machine.exec(
            "systemctl --quiet enable afield-vm-system.service\n\
             chmod 600 /etc/ssh/ssh_host_ed25519_key\n\
             install -m 755 /opt/afield/afield-agent /usr/local/bin/afield-agent",
        );
        bed
    }

    /// The agent's configuration, with further lines.
    pub fn config(&self, more: &str) -> String {
        let url = format!("http://{}:{PORT}", self.machine.world_address());
        format!(
            "host = \"clinic\"\nfleet = \"field\"\nrepositories = [\"{url}\"]\nhub = \"{url}\"\n\
             interval = \"1s\"\nheartbeat = \"0s\"\nactivation-timeout = \"60s\"\n{more}\n"
        )
    }

    /// Releases a system, and assigns it.
    pub fn offer(&mut self, text: &str, contract: Contract, config: &str) -> (ReleaseId, String) {
        let system = System::new(text, contract);
        let release = self.fleet.release(&[("clinic", key().public())], &system, config);
        self.fleet.assign("clinic", release);
        (release, system.path().to_string())
    }

    /// One check-in by hand: exit code, and what it said as JSON.
    pub fn once(&self) -> (i32, serde_json::Value) {
        self.once_with("")
    }

    /// The same with an environment, as `NAME=value NAME=value`.
    pub fn once_with(&self, env: &str) -> (i32, serde_json::Value) {
        once(&self.machine, env)
    }

    /// What `/run/current-system` links to.
    pub fn current(&self) -> Option<String> {
        current(&self.machine)
    }

    /// Every report since the last call, until one of them is this one.
    pub fn reported(&self, what: &str, is_it: impl Fn(&Report) -> bool) -> Vec<Report> {
        self.reported_within(what, BOOT, is_it)
    }

    /// The same with another patience.
    pub fn reported_within(
        &self,
        what: &str,
        within: Duration,
        is_it: impl Fn(&Report) -> bool,
    ) -> Vec<Report> {
        let mut found: Vec<Report> = Vec::new();
        wait_for(what, within, || {
            found.extend(self.server.reports());
            found.iter().any(&is_it)
        });
        found
    }
}

/// One check-in on a machine, with an environment.
pub fn once(machine: &impl Machine, env: &str) -> (i32, serde_json::Value) {
    let done = machine.try_exec(&format!("{env} afield-agent once --json"));
    let said = serde_json::from_slice(&done.stdout);
    let said = said.unwrap_or_else(|_| serde_json::json!({ "stderr": text(&done.stderr) }));
    (done.status.code().unwrap_or(-1), said)
}

/// What a machine's `/run/current-system` links to.
pub fn current(machine: &impl Machine) -> Option<String> {
    let done = machine.try_exec("readlink /run/current-system");
    done.status.success().then(|| text(&done.stdout).trim().to_owned())
}
