//! A host of `hosts/ubuntu`, made by `afield-agent install` and then by the fleet: the golden fleet's vm-prod, as the Nix
//! modules evaluate it (`nix/tests/ubuntu/system.json`, which `cargo nix-tests` compares), built without nixpkgs, released
//! by `afield`, handed out by the hub, and taken by the agent. Its own agent and tunnel run, people come in through a real
//! relay, secrets are there after a reboot and in order, the robot brings an app up in a real Docker, and who is taken out
//! of the fleet is out with the next release.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use afield_testkit::golden::golden;
use afield_testkit::golden_keys::private_key;
use afield_testkit::net::wait_for;
use afield_testkit::relay::{SshKey, SshRelay};
use afield_vm::container::{Container, Options};
use afield_vm::image::run;
use afield_vm::machine::{Machine, text};
use afield_vm::programs;

const SOON: Duration = Duration::from_secs(180);
/// The port of vm-prod on relays, as tunnels.d says.
const PORT: u16 = 3002;
const HUB: &str = "http://10.77.1.1:8470";

const AFIELD_TOML: &str = r#"fleet = "golden"
[build]
file = "systems.nix"
[repository]
path = "../repository"
[hub]
url = "http://10.77.1.1:8471"
[rollout]
soak = "1s"
healthy_percent = 100
"#;

/// The machine's own kernel has no device for overlays on overlays, and nothing may be filtered in this network.
const DOCKER: &str = r#"{"iptables": false, "ip-forward": false, "bridge": "none", "storage-driver": "vfs", "insecure-registries": ["ghcr.io"]}"#;
/// systemd-nspawn mounts them read-only.
const CGROUPS: &str = "[Service]\nExecStartPre=sh -c 'for g in /sys/fs/cgroup /sys/fs/cgroup/*; do mount -o remount,bind,rw $$g || true; done'\n";
/// Its network is not made by networkd, and would be waited for.
const ONLINE: &str = "[Service]\nExecStart=\nExecStart=true\n";
/// The relays, and the registry for which the golden secrets have a password.
const NAMES: &str = "127.0.0.1 localhost\n127.0.1.1 vm-prod afield\n10.77.2.1 relay-bru.example.org\n10.77.1.1 ghcr.io\n";

/// The app's repository, and the image that it runs.
const APP: &str = r#"
set -eu
mkdir -p /srv/apps/dhis2-docker-compose/deploy /root/image/bin
cp /bin/busybox /root/image/bin/
tar -C /root/image -c . | docker import - site/app
cd /srv/apps/dhis2-docker-compose
printf '#!/bin/sh\necho "SECRETS=$FLEET_SECRETS_DIRECTORY" > .env\n' > deploy/pre-compose.sh
chmod 755 deploy/pre-compose.sh
cat > docker-compose.yml <<'EOF'
version: "2.4"
services:
  app:
    image: site/app
    container_name: dhis2
    network_mode: none
    stop_signal: SIGKILL
    command: [/bin/busybox, sleep, "1000000"]
    volumes: ["${SECRETS}:/secrets:ro"]
EOF
printf 'version: "2.4"\nservices:\n  app:\n    environment: [BACKUP=yes]\n' > docker-compose.backup.yml
git init --quiet --initial-branch deploy-prod
git add . && git -c user.name=t -c user.email=t@example.org commit --quiet -m app
"#;

#[test]
fn a_debian_host_has_all_that_the_nix_modules_say() {
    let mut scene = Scene::new();
    scene.release();
    scene.install();
    scene.runs_what_the_modules_say();
    scene.lets_people_in();
    scene.brings_the_app_up();
    scene.comes_up_in_order();
    scene.puts_out_who_left();
}

struct Scene {
    machine: Container,
    relay: SshRelay,
    hub: Option<Child>,
    folder: tempfile::TempDir,
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(hub) = &mut self.hub {
            let _ = hub.kill();
            let _ = hub.wait();
        }
    }
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        make_fleet(folder.path());
        let machine = Container::start(Options {
            // Docker needs them.
            nspawn: vec!["--capability=all".into(), "--system-call-filter=@keyring bpf @mount".into()],
            packages: vec!["git", "docker.io", "docker-compose"],
            files: vec![
                ("/etc/docker/daemon.json".into(), DOCKER.into()),
                ("/etc/systemd/system/docker.service.d/cgroups.conf".into(), CGROUPS.into()),
                ("/etc/systemd/system/systemd-networkd-wait-online.service.d/own.conf".into(), ONLINE.into()),
                ("/etc/hosts".into(), NAMES.into()),
            ],
            ..Options::default()
        });
        let registry = machine.world().enter(|| TcpListener::bind("10.77.1.1:80").unwrap());
        std::thread::spawn(move || serve_registry(&registry));
        let afield = |args: &[&str]| run(&mut afield(folder.path(), args));
        let script = afield(&["relay", "config", "relay-bru"]);
        let host_key = key(folder.path(), "relay-sshd-hostkey");
        let relay = SshRelay::with_key(&script, Some(&host_key));
        relay.net.cable(2, machine.net());
        let keys = folder.path().join("keys");
        afield(&["keys", "init", "--out", &keys.display().to_string()]);
        Self { machine, relay, hub: None, folder }
    }

    /// Runs `afield` where the hub is.
    fn afield(&self, args: &[&str]) -> String {
        self.machine.world().enter(|| run(&mut afield(self.folder.path(), args)))
    }

    /// Releases the fleet as it is, and begins to hand it out.
    fn release(&mut self) {
        let keys = self.folder.path().join("keys").display().to_string();
        self.afield(&["release", "--keys", &keys]);
        if self.hub.is_none() {
            self.start_hub();
        }
        self.afield(&["rollout", "start", "--keys", &keys]);
    }

    fn start_hub(&mut self) {
        let at = |name: &str| self.folder.path().join(name);
        let log = std::fs::File::create(at("hub.log")).unwrap();
        let mut hub = Command::new(programs::folder().join("afield-hub"));
        hub.args(["serve", "--listen", "10.77.1.1:8470", "--operator-listen", "10.77.1.1:8471"]);
        hub.arg("--repository").arg(at("repository")).arg("--database").arg(at("hub.sqlite"));
        hub.arg("--trust-root").arg(at("keys/root.json"));
        hub.arg("--rollout-key").arg(at("keys/rollout.pem"));
        hub.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.hub = Some(self.machine.world().enter(|| hub.spawn().unwrap()));
        let answers = || std::net::TcpStream::connect("10.77.1.1:8471").is_ok();
        wait_for("the hub", SOON, || self.machine.world().enter(answers));
    }

    /// As docs/operator.md tells for a Debian that is not of the fleet yet.
    fn install(&self) {
        let machine = &self.machine;
        let own = private_key("vm-prod").unwrap();
        machine.write("/etc/ssh/ssh_host_ed25519_key", own.as_bytes());
        machine.exec("chmod 600 /etc/ssh/ssh_host_ed25519_key && systemctl reset-failed ssh && systemctl restart ssh");
        let root = std::fs::read(self.folder.path().join("keys/root.json")).unwrap();
        machine.write("/root/root.json", &root);
        machine.exec(&format!(
            "/opt/afield/afield-agent install --host vm-prod --fleet golden --trust-root /root/root.json \
             --repository {HUB}/repository --hub {HUB}"
        ));
        self.runs_release(1);
    }

    fn runs_release(&self, release: u32) {
        let is_good = format!("afield-agent status | grep -q 'release  *{release}$'");
        self.machine.wait_for(&format!("release {release}"), SOON, &is_good);
    }

    fn runs_what_the_modules_say(&self) {
        let own = "p=$(systemctl show UNIT --property MainPID --value); readlink /proc/$p/exe | grep -q ^/nix/store/.*-afield-agent/";
        for unit in ["afield-agent", "afield-tunnel"] {
            self.machine.wait_for(&format!("{unit} of the system"), SOON, &own.replace("UNIT", unit));
            self.machine.exec(&format!("systemctl is-active {unit}"));
        }
        assert!(self.machine.text("/etc/afield/agent.toml.from-install").contains("afield-agent install"));
        let there = || self.relay.greeting(PORT).is_some_and(|line| line.starts_with("SSH-2.0"));
        wait_for("the tunnel", SOON, there);
        let alien = self.machine.exec("systemctl --failed --no-legend --plain");
        assert_eq!(alien.trim(), "", "failed units");
    }

    /// Logs in through the relay with a key of the golden fleet.
    fn login(&self, user: &str, key_of: &str, script: &str) -> Output {
        let key = key(self.folder.path(), &format!("users/{key_of}"));
        let known = self.folder.path().join("known_hosts");
        let host = public(&golden("inputs/throwaway-keys.json"), "vm-prod");
        std::fs::write(&known, format!("vm-prod {host}\nrelay {}\n", self.relay.host_key.public)).unwrap();
        let options = format!(
            "-F none -T -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityAgent=none -o ConnectTimeout=60 \
             -o UserKnownHostsFile={} -i {}",
            known.display(),
            key.path.display()
        );
        let relay = format!("ssh {options} -o HostKeyAlias=relay -W localhost:{PORT} tunneller@127.0.0.1");
        let mut ssh = Command::new("ssh");
        ssh.args(options.split_whitespace()).arg("-o").arg(format!("ProxyCommand={relay}"));
        ssh.args(["-l", user, "vm-prod", script]).stdin(Stdio::null());
        self.relay.net.enter(|| ssh.output().unwrap())
    }

    /// What somebody who gets in sees.
    fn as_user(&self, user: &str, key_of: &str, script: &str) -> String {
        let done = self.login(user, key_of, script);
        assert!(done.status.success(), "{user}: {}{}", text(&done.stdout), text(&done.stderr));
        text(&done.stdout).trim().to_owned()
    }

    fn lets_people_in(&self) {
        assert_eq!(self.as_user("bruno_dias", "bruno_dias", "sudo -n id -u"), "0");
        assert_eq!(self.as_user("root", "bruno_dias", "id -un"), "root");
        let groups = self.as_user("chen_wei", "chen_ecdsa", "id -Gn");
        assert!(groups.contains("systemd-journal") && !groups.contains("wheel"), "{groups}");
        assert!(!self.login("chen_wei", "chen_ecdsa", "sudo -n id").status.success());
        // Who has a tunnel and no shell passes the relay and gets no further than that.
        assert!(!self.login("dr_amal", "dr_amal", "true").status.success());
        for out in ["former_staff", "zoe_field"] {
            assert_eq!(self.login(out, out, "true").status.code(), Some(255), "{out} is in");
        }
    }

    fn brings_the_app_up(&self) {
        self.machine.wait_for("Docker", SOON, "docker info > /dev/null");
        self.machine.exec(APP);
        assert!(!self.login("robot", "robot", "sudo -n systemctl --system start ssh").status.success());
        let start = "sudo -n systemctl --system start update_dhis2_prod";
        let done = self.login("robot", "robot", start);
        let log = || self.machine.exec("journalctl -q -u update_dhis2_prod -o cat");
        assert!(done.status.success(), "{}\n{}", text(&done.stderr), log());
        for said in ["Login Succeeded", "extra-step", "Removing login credentials for ghcr.io"] {
            assert!(log().contains(said), "{said} is not in\n{}", log());
        }
        assert_eq!(self.secret_in_the_app(), "p@ss: wörd #1\n");
        let backup = self.machine.exec("docker exec dhis2 /bin/busybox env");
        assert!(backup.contains("BACKUP=yes"), "the second Compose file counts: {backup}");
    }

    fn secret_in_the_app(&self) -> String {
        self.machine.exec("docker exec dhis2 /bin/busybox cat /secrets/dhis2_db_password")
    }

    fn comes_up_in_order(&mut self) {
        self.machine.reboot();
        let machine = &self.machine;
        assert_eq!(machine.text("/run/.secrets/dhis2_db_password"), "p@ss: wörd #1\n");
        assert!(!machine.holds("ls /run/.secrets/break_glass.txt"), "it is not to be unpacked");
        assert_eq!(machine.exec("stat -c %a /run/.secrets").trim(), "750");
        let when = |unit: &str| -> u64 {
            let show = format!("systemctl show {unit} --property ActiveEnterTimestampMonotonic --value");
            machine.exec(&show).trim().parse().unwrap()
        };
        let chain = ["afield-accounts", "afield-private-key", "afield-secrets"].map(when);
        assert!(chain.is_sorted() && chain[0] > 0, "accounts, key, secrets came up at {chain:?}");
        self.runs_what_the_modules_say();
    }

    fn puts_out_who_left(&mut self) {
        let users = self.folder.path().join("fleet/org-config/json/users.json");
        let all = std::fs::read_to_string(&users).unwrap();
        let line = "          \"bruno_dias\": \"admin\",\n          \"chen_wei\"";
        assert_eq!(all.matches(line).count(), 1, "devops_core is not as it was");
        std::fs::write(&users, all.replace(line, "          \"chen_wei\"")).unwrap();
        install_file("system-without-bruno_dias.json", &self.folder.path().join("fleet/system.json"));
        let tunnel = "systemctl show afield-tunnel --property MainPID --value";
        let before = self.machine.exec(tunnel);
        self.release();
        self.runs_release(2);
        for account in ["bruno_dias", "root"] {
            let code = self.login(account, "bruno_dias", "true").status.code();
            assert_eq!(code, Some(255), "bruno_dias is in as {account}");
        }
        assert_eq!(self.as_user("chen_wei", "chen_ecdsa", "id -un"), "chen_wei");
        assert_eq!(self.as_user("root", "amara_okafor", "id -un"), "root");
        assert_eq!(self.machine.exec(tunnel), before, "the tunnel was cut off by a release that does not concern it");
    }
}

/// The golden fleet with vm-prod as its only host, which runs Debian.
fn make_fleet(folder: &Path) {
    let fleet = folder.join("fleet");
    let config = fleet.join("org-config");
    std::fs::create_dir(&fleet).unwrap();
    run(Command::new("cp").arg("-r").arg(golden("inputs/org-config")).arg(&config));
    run(Command::new("chmod").args(["-R", "u+w"]).arg(&config));
    std::fs::remove_dir_all(config.join("hosts")).unwrap();
    // It has an app config for a host that is not there, on purpose.
    std::fs::remove_dir_all(config.join("app_configs/master/field")).unwrap();
    std::fs::create_dir_all(config.join("hosts/ubuntu")).unwrap();
    install_file("vm-prod.nix", &config.join("hosts/ubuntu/vm-prod.nix"));
    for name in ["systems.nix", "system.json", "activate.sh"] {
        install_file(name, &fleet.join(name));
    }
    let agent = programs::folder().join("afield-agent");
    std::fs::copy(agent, fleet.join("afield-agent")).unwrap();
    std::fs::write(fleet.join("afield.toml"), AFIELD_TOML).unwrap();
}

fn install_file(name: &str, to: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../nix/tests/ubuntu").join(name);
    std::fs::copy(from, to).unwrap();
}

fn afield(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(programs::folder().join("afield"));
    command.arg("--fleet").arg(folder.join("fleet")).args(args).env("NO_COLOR", "1");
    // The builds run the agent and Debian's shell.
    command.env("NIX_CONFIG", format!("{}sandbox = false\n", afield_testkit::host::NIX_CONFIG));
    command
}

fn public(keys: &Path, name: &str) -> String {
    let all: serde_json::Value = serde_json::from_slice(&std::fs::read(keys).unwrap()).unwrap();
    all[name]["public"].as_str().unwrap().to_owned()
}

/// A key of the golden fleet as files.
fn key(folder: &Path, name: &str) -> SshKey {
    let path: PathBuf = folder.join(name.replace('/', "-"));
    std::fs::write(&path, private_key(name).unwrap()).unwrap();
    run(Command::new("chmod").arg("600").arg(&path));
    SshKey { path, public: public(&golden("inputs/throwaway-keys.json"), name) }
}

/// As much of a registry as `docker login` asks: whether the password is the one of the golden secrets.
fn serve_registry(listener: &TcpListener) {
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
        let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        // bot:tok_ghcr_123
        let known = head.iter().any(|line| line.ends_with("Basic Ym90OnRva19naGNyXzEyMw=="));
        let (status, more) = match known {
            true => ("200 OK", ""),
            false => ("401 Unauthorized", "WWW-Authenticate: Basic realm=\"ghcr\"\r\n"),
        };
        let answer = format!("HTTP/1.1 {status}\r\n{more}Content-Length: 0\r\nConnection: close\r\n\r\n");
        let _ = stream.write_all(answer.as_bytes());
    }
}
