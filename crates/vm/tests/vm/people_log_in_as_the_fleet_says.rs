//! The people of the golden fleet log in over a real sshd, one by one, on two of its hosts: who the older tools let in is
//! in, with just the shell, groups, sudo and tunnels that they gave, and nobody else. Who is removed or expired is out.
//! The break-glass key works with the agent stopped and its state deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Command, Output};

use afield_core::host_data::{Access, HostData};
use afield_testkit::golden::golden;
use afield_testkit::golden_keys::private_key;
use afield_testkit::host::key;
use afield_testkit::system::{Contract, System};
use afield_vm::bed::Bed;
use afield_vm::container::Container;
use afield_vm::image::run;
use afield_vm::machine::{Machine, text};
use afield_vm::programs;

/// As the Nix modules write it; `root` for the break-glass key.
const SSHD: &str = "AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u /var/lib/afield-access/authorized_keys.d/%u
AllowGroups wheel ssh-users root
PasswordAuthentication no
PermitRootLogin prohibit-password
AllowTcpForwarding no
Match Group wheel,ssh-fwd-tun-users
    AllowTcpForwarding yes
";

#[test]
fn everyone_of_nuc_juba_is_in_with_their_rights() {
    everyone_is_in("nuc-juba");
}

#[test]
fn everyone_of_vm_prod_is_in_with_their_rights() {
    everyone_is_in("vm-prod");
}

#[test]
fn who_is_removed_or_expired_is_out_and_the_break_glass_key_works() {
    let mut scene = Scene::new("nuc-juba");
    assert!(scene.login("bruno_dias", "true").status.success());
    let mut data = scene.data.clone();
    data.access.remove("bruno_dias");
    data.access.get_mut("dr_amal").unwrap().expires = Some("2026-01-01".into());
    scene.release(data);
    for out in ["bruno_dias", "dr_amal", "former_staff"] {
        assert_eq!(scene.login(out, "true").status.code(), Some(255), "{out} is in");
    }
    assert!(scene.login("amara_okafor", "true").status.success());

    let machine = &scene.bed.machine;
    machine.exec("systemctl stop afield-agent 2>/dev/null; rm -rf /var/lib/afield /var/lib/afield-access");
    let done = scene.ssh("root", "users/chen_wei", &["id -u"]);
    assert_eq!(text(&done.stdout).trim(), "0", "{}", text(&done.stderr));
    assert_eq!(scene.login("amara_okafor", "true").status.code(), Some(255), "her key is gone");
    assert_eq!(scene.bed.once().0, 0);
    assert!(scene.login("amara_okafor", "true").status.success());
}

/// What the older tools gave one person on one host: a line of `effective-access.tsv`.
struct Truth {
    user: String,
    shell: bool,
    tunnel: bool,
    groups: BTreeSet<String>,
    commands: usize,
}

fn truths(host: &str) -> BTreeMap<String, Truth> {
    let table = std::fs::read_to_string(golden("outputs/nix/effective-access.tsv")).unwrap();
    let rows = table.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let of_host = rows.filter(|row| row[0] == host && row[4] == "true");
    let truth = |row: Vec<&str>| {
        let groups = row[6].split(',').map(str::to_owned).collect();
        let (shell, tunnel) = (row[3] == "bash", row[5] == "true");
        Truth { user: row[1].into(), shell, tunnel, groups, commands: row[7].parse().unwrap() }
    };
    of_host.map(truth).map(|truth| (truth.user.clone(), truth)).collect()
}

fn everyone_is_in(host: &str) {
    let scene = Scene::new(host);
    let truths = truths(host);
    assert!(truths.len() > 4, "too few people");
    let all: serde_json::Value =
        serde_json::from_slice(&std::fs::read(golden("inputs/throwaway-keys.json")).unwrap()).unwrap();
    let people = all.as_object().unwrap().keys().filter_map(|name| name.strip_prefix("users/"));
    for user in people {
        match truths.get(user) {
            Some(truth) => scene.has_their_rights(truth),
            // Keys of a second kind have names of their own; those are no people.
            None => assert_eq!(scene.login(user, "true").status.code(), Some(255), "{user} is in"),
        }
    }
}

struct Scene {
    bed: Bed<Container>,
    data: HostData,
    keys: tempfile::TempDir,
}

impl Scene {
    /// A machine with the people of a host of the golden fleet.
    fn new(host: &str) -> Self {
        let keys = tempfile::tempdir().unwrap();
        let bed = Bed::new(Container::plain());
        let data = data_of(host, keys.path().into());
        let mut scene = Self { bed, data: data.clone(), keys };
        let machine = &scene.bed.machine;
        machine.write("/etc/ssh/sshd_config.d/afield.conf", SSHD.as_bytes());
        // Chen's key is the one in the safe here.
        let glass = scene.public("users/chen_wei");
        machine.write("/etc/ssh/authorized_keys.d/root", glass.as_bytes());
        // sudo asks for the machine by its name, and no DNS answers here.
        machine.exec("echo 127.0.1.1 $(hostname) >> /etc/hosts; groupadd --system docker; systemctl restart ssh");
        scene.release(data);
        scene
    }

    fn release(&mut self, mut data: HostData) {
        data.host = "clinic".parse().unwrap();
        let system = System::new("one", Contract::Honest);
        let release = self.bed.fleet.release_data(&[(data, key().public())], &system);
        self.bed.fleet.assign("clinic", release);
        let (code, said) = self.bed.once();
        assert_eq!(code, 0, "{said}");
    }

    fn key(&self, name: &str) -> serde_json::Value {
        let all = std::fs::read(golden("inputs/throwaway-keys.json")).unwrap();
        let all: serde_json::Value = serde_json::from_slice(&all).unwrap();
        all[name].clone()
    }

    fn public(&self, name: &str) -> String {
        format!("{}\n", self.key(name)["public"].as_str().unwrap())
    }

    /// A private key as a file; none for those that only a token has.
    fn private(&self, name: &str) -> Option<PathBuf> {
        let pem = private_key(name)?;
        let file = self.keys.path().join(name.replace('/', "-"));
        std::fs::write(&file, pem).unwrap();
        run(Command::new("chmod").arg("600").arg(&file));
        Some(file)
    }

    /// Logs in as a person, with that person's own key.
    fn login(&self, user: &str, script: &str) -> Output {
        // Chen's own key needs a certificate; the second one does not.
        let key = if user == "chen_wei" { "chen_ecdsa" } else { user };
        self.ssh(user, &format!("users/{key}"), &[script])
    }

    fn ssh(&self, user: &str, key: &str, arguments: &[&str]) -> Output {
        let (address, port) = self.bed.machine.ssh_address();
        let mut ssh = Command::new("nsenter");
        ssh.arg(format!("--net={}", self.bed.machine.world().path())).arg("ssh");
        ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-T"]);
        ssh.args(["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "IdentitiesOnly=yes"]);
        ssh.args(["-o", "IdentityAgent=none", "-o", "ConnectTimeout=60", "-p", &port.to_string()]);
        if let Some(file) = self.private(key) {
            ssh.arg("-i").arg(file);
        }
        ssh.args(["-l", user]);
        // Options stand before the address, a command behind it.
        let (options, command) = arguments.split_at(usize::from(arguments[0] == "-W") * 2);
        ssh.args(options).arg(address).args(command);
        ssh.stdin(std::process::Stdio::null()).output().unwrap()
    }

    fn has_their_rights(&self, truth: &Truth) {
        let user = &truth.user;
        let done = self.login(user, "id -un; id -Gn");
        let said = text(&done.stdout);
        assert_eq!(done.status.success(), truth.shell, "{user}: {said}{}", text(&done.stderr));
        if truth.shell {
            let (name, groups) = said.split_once('\n').unwrap();
            let groups: BTreeSet<String> =
                groups.split_whitespace().filter(|g| g != user).map(str::to_owned).collect();
            assert_eq!((name, &groups), (user.as_str(), &truth.groups), "{user}");
            self.may_sudo(truth);
        }
        let through = self.ssh(user, &self.key_of(user), &["-W", "127.0.0.1:22"]);
        assert_eq!(text(&through.stdout).contains("SSH-2.0"), truth.tunnel, "{user}: tunnel");
    }

    fn key_of(&self, user: &str) -> String {
        format!("users/{}", if user == "chen_wei" { "chen_ecdsa" } else { user })
    }

    fn may_sudo(&self, truth: &Truth) {
        let user = &truth.user;
        let all = self.login(user, "sudo -n id -u").status.success();
        assert_eq!(all, truth.groups.contains("wheel"), "{user}: sudo");
        if truth.commands > 0 {
            let listed = text(&self.login(user, "sudo -n -l").stdout);
            let rules = listed.matches('/').count() > 0 && listed.contains("NOPASSWD");
            assert!(rules, "{user}: {} commands, and sudo lists {listed}", truth.commands);
        } else if !all {
            assert!(!self.login(user, "sudo -n -l").status.success(), "{user}: has sudo rules");
        }
    }
}

/// The host data that Afield makes of the golden fleet folder for a host, as far as it is access.
fn data_of(host: &str, folder: PathBuf) -> HostData {
    run(Command::new("cp").arg("-r").arg(golden("inputs/org-config")).arg(&folder));
    std::fs::write(folder.join("afield.toml"), "fleet = \"field\"\n[build]\nfile = \"x.nix\"\n[repository]\npath = \"r\"\n").unwrap();
    let mut show = Command::new(programs::folder().join("afield"));
    show.arg("--fleet").arg(&folder).args(["show", "host", host, "--json"]);
    show.env("NIX_CONFIG", afield_testkit::host::NIX_CONFIG);
    let shown: serde_json::Value = serde_json::from_str(&run(&mut show)).unwrap();
    let mut data = afield_testkit::fleet::data(&"clinic".parse().unwrap(), "config");
    for (user, access) in shown["access"].as_object().unwrap() {
        let line = |key: &serde_json::Value| {
            let options = key["options"].as_array().into_iter().flatten();
            let options: Vec<&str> = options.filter_map(|o| o.as_str()).collect();
            let key = key["key"].as_str().unwrap();
            if options.is_empty() { format!("{key} {user}") } else { format!("{} {key} {user}", options.join(",")) }
        };
        let keys = access["keys"].as_array().unwrap().iter().map(line).collect();
        let profile = access["profile"].as_str().unwrap().to_owned();
        let expires = access["expires"].as_str().map(str::to_owned);
        data.access.insert(user.clone(), Access { profile, keys, expires });
    }
    data
}
