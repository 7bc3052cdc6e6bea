//! `afield access cert` against real sshd: a relay and a host that trust the CA.

use std::fs;
use std::process::{Command, Output};

use afield_core::accounts::{self, Ids, PRINCIPALS, System, USER_CA, What};
use afield_core::host_data::{Access, HostData};
use afield_testkit::net::wait_for;
use afield_testkit::relay::{SshKey, SshRelay};
use serde_json::{Value, json};

use crate::office::{Office, SOON, host_script, text, tunnel};

/// bela has no key in the fleet folder, and devops on `clinic` and `ward` through a role.
fn give_bela_a_role(office: &Office, hosts: &[&str]) {
    let path = office.fleet().join("json/users.json");
    let mut users: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for host in hosts {
        users["users"]["per-host"][host]["enable_roles"] = json!(["helpers"]);
    }
    users["users"]["roles"] = json!({"helpers": {"enable": {"bela": "devops"}}});
    fs::write(path, users.to_string()).unwrap();
}

/// A second host, on port 2002.
fn add_ward(office: &Office, key: &SshKey) {
    fs::write(office.fleet().join("hosts/ward.nix"), "{ ... }: { }").unwrap();
    let own = json!({"ward": {"remote_forward_port": 2002, "public_key": key.public}});
    let path = office.fleet().join("json/tunnels.d/more.json");
    fs::write(path, json!({"tunnels": {"per-host": own}}).to_string()).unwrap();
    let waves = office.fleet().join("waves-and-staging-hosts.nix");
    let text = fs::read_to_string(&waves).unwrap();
    fs::write(waves, text.replace("middleWave = [ ]", "middleWave = [ \"ward\" ]")).unwrap();
    let users = office.fleet().join("json/users.json");
    let mut all: Value = serde_json::from_slice(&fs::read(&users).unwrap()).unwrap();
    all["users"]["per-host"]["ward"] = json!({"enable": {}});
    fs::write(users, all.to_string()).unwrap();
}

/// A host that trusts the CA, with the files that the agent makes of host data like what a release carries.
fn trusting(ca: &SshKey, host: &str) -> String {
    let mut data = HostData::empty(host.parse().unwrap());
    data.user_ca = vec![ca.public.clone().try_into().unwrap()];
    let devops = Access { profile: "devops".into(), keys: vec![], expires: None };
    data.access.insert("bela".into(), devops);
    let people = accounts::people(&data, "2026-11-28".parse().unwrap());
    let system = System { has_accounts: true, ..System::default() };
    let mut script = host_script(&[]);
    script.push_str(
        "useradd --no-create-home --home-dir / --shell /bin/sh bela\nusermod --password '*' bela\n",
    );
    for placed in accounts::wanted(&data, &people, &system, &Ids::default()) {
        let path = placed.path;
        script.push_str(&match placed.what {
            What::Folder(_) => format!("mkdir -p {path}\n"),
            What::File(content, _) => format!("cat >{path} <<'END'\n{content}END\n"),
            other => panic!("{path}: {other:?}"),
        });
    }
    script.push_str(&format!(
        "cat >>/etc/ssh/sshd_config.d/keys.conf <<'END'
TrustedUserCAKeys {USER_CA}
AuthorizedPrincipalsFile {PRINCIPALS}/%u
END\n"
    ));
    script
}

struct Bela<'a> {
    office: &'a Office,
    key: SshKey,
    include: String,
}

impl Bela<'_> {
    fn certificate(&self) -> std::path::PathBuf {
        self.key.path.with_file_name("bela-cert.pub")
    }

    /// `afield access cert bela`, signed into the place where ssh looks for it.
    fn sign(&self, more: &[&str]) -> Output {
        let (key, out) = (self.key.path.with_extension("pub"), self.certificate());
        let words = ["access", "cert", "bela", "--key", key.to_str().unwrap(), "--out"];
        self.office.afield(&[&words[..], &[out.to_str().unwrap()], more].concat())
    }

    /// Signs by hand what the command would not.
    fn forge(&self, ca: &SshKey, principals: &str, valid: &str) {
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-s"]).arg(&ca.path).args(["-I", "x", "-n", principals, "-V", valid]);
        command.arg(self.key.path.with_extension("pub"));
        assert!(command.status().unwrap().success());
    }

    /// What `id -un` says on a host; empty if she does not get there.
    fn who_am_i(&self, host: &str) -> String {
        // Her agent has this key alone, and the certificate beside it.
        for words in [vec!["-q", "-D"], vec!["-q", self.key.path.to_str().unwrap()]] {
            assert!(self.office.command("ssh-add").args(words).status().unwrap().success());
        }
        let mut command = self.office.command("timeout");
        command.args(["60", "ssh", "-F", &self.include]);
        command.args(["-o", "BatchMode=yes", "-l", "bela", host, "id", "-un"]);
        text(&self.office.net.enter(|| command.output().unwrap()).stdout)
    }
}

fn run_ok(done: &Output) -> String {
    assert!(done.status.success(), "{}", text(&done.stderr));
    text(&done.stdout)
}

#[test]
fn a_certificate_opens_what_the_roles_give_and_for_so_long() {
    let office = Office::new();
    let keys = tempfile::tempdir().unwrap();
    let key = |name: &str| SshKey::new(keys.path(), name);
    let [clinic, ward, relay_key, ca, stranger] =
        ["clinic", "ward", "relay", "ca", "stranger"].map(key);
    office.write_fleet(&clinic, &relay_key, &[("amara", &office.person)]);
    add_ward(&office, &ward);
    give_bela_a_role(&office, &["clinic", "ward"]);
    let settings = format!(
        "fleet = \"f\"\n[build]\nfile = \"x.nix\"\n[repository]\npath = \"r\"\n[access]\nuser-ca = [\"{}\"]\n",
        ca.public
    );
    fs::write(office.dir.path().join("afield.toml"), settings).unwrap();

    let relay = SshRelay::with_key(&office.relay_script("bru"), Some(&relay_key));
    let hosts = [("clinic", &clinic, 2001), ("ward", &ward, 2002)].map(|(name, key, port)| {
        let script = trusting(&ca, name);
        (SshRelay::with_key(&script, Some(key)), key, port)
    });
    office.net.cable(1, &relay.net);
    let mut tunnels = Vec::new();
    for (n, (host, key, port)) in (3..).zip(&hosts) {
        host.net.cable(n, &relay.net);
        tunnels.push(tunnel(host, &key.path, &format!("10.77.{n}.2"), *port));
        wait_for("a tunnel", SOON, || relay.greeting(*port).is_some());
    }
    let out = keys.path().join("include");
    run_ok(&office.afield(&["ssh-config", "--out", out.to_str().unwrap()]));
    let include = out.join("config").to_str().unwrap().to_owned();
    let bela = Bela { office: &office, key: key("bela"), include };

    assert_eq!(bela.who_am_i("clinic"), "", "a key alone opens nothing");
    signing(&bela, &ca);
    assert_eq!(bela.who_am_i("clinic"), "bela\n");
    assert_eq!(bela.who_am_i("ward"), "", "it was signed for the clinic alone");

    let all = "bela@clinic,bela@ward,bela@:relays";
    bela.forge(&ca, all, "-1d:+1h");
    assert_eq!(bela.who_am_i("ward"), "bela\n");
    for (what, signer, principals, valid) in [
        ("expired", &ca, all, "-2d:-1d"),
        ("not yet valid", &ca, all, "+1d:+2d"),
        ("of a stranger", &stranger, all, "-1d:+1h"),
        ("another person's", &ca, "amara@clinic,amara@:relays", "-1d:+1h"),
        ("not for relays", &ca, "bela@clinic", "-1d:+1h"),
        ("of another host", &ca, "bela@ward,bela@:relays", "-1d:+1h"),
    ] {
        bela.forge(signer, principals, valid);
        assert_eq!(bela.who_am_i("clinic"), "", "a certificate that is {what}");
    }

    // Without the role the same certificate passes no relay, and no new one is signed.
    bela.forge(&ca, all, "-1d:+1h");
    assert_eq!(bela.who_am_i("clinic"), "bela\n");
    office.write_fleet(&clinic, &relay_key, &[("amara", &office.person)]);
    add_ward(&office, &ward);
    relay.update(&office.relay_script("bru"));
    assert_eq!(bela.who_am_i("clinic"), "", "a role that was taken away");
    let refused = bela.sign(&["--ca", ca.path.to_str().unwrap(), "--hosts", "clinic"]);
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused.stderr));
    for mut tunnel in tunnels {
        tunnel.kill().unwrap();
        tunnel.wait().unwrap();
    }
}

fn signing(bela: &Bela, ca: &SshKey) {
    let log = bela.office.fleet().join("certificates.jsonl");
    let ca_path = ca.path.to_str().unwrap();
    let dry = run_ok(&bela.sign(&["--ca", ca_path, "--hosts", "clinic", "--dry-run"]));
    assert!(dry.contains("would be signed") && dry.contains("clinic (devops)"), "{dry}");
    assert!(!bela.certificate().exists() && !log.exists(), "a dry run wrote something");
    for (arguments, code) in [
        (["--ca", ca_path, "--hosts", "bru"], 3),
        (["--ca", ca_path, "--hosts", "nowhere"], 3),
        (["--ca", ca_path, "--hours", "169"], 2),
        (["--ca", "/nonexistent", "--hosts", "clinic"], 1),
    ] {
        let done = bela.sign(&arguments);
        assert_eq!(done.status.code(), Some(code), "{arguments:?}: {}", text(&done.stderr));
        assert!(!bela.certificate().exists() && !log.exists(), "{arguments:?} wrote something");
    }
    // The CA's key may be in the ssh-agent alone.
    let mut add = bela.office.command("ssh-add");
    assert!(add.arg("-q").arg(&ca.path).status().unwrap().success());
    let public = ca.path.with_extension("pub");
    run_ok(&bela.sign(&["--ca", public.to_str().unwrap(), "--agent", "--hosts", "clinic,ward"]));
    let mut remove = bela.office.command("ssh-add");
    assert!(remove.arg("-q").arg("-d").arg(&ca.path).status().unwrap().success());

    run_ok(&bela.sign(&["--ca", ca_path, "--hosts", "clinic", "--hours", "8"]));
    let written = fs::read_to_string(&log).unwrap();
    let entries: Vec<Value> =
        written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(entries.len(), 2, "{written}");
    assert_eq!(entries[1]["principals"], json!(["bela@clinic", "bela@:relays"]));
    let (user, hours, host) = (&entries[1]["user"], &entries[1]["hours"], &entries[1]["hosts"]);
    assert_eq!((user, hours, host), (&json!("bela"), &json!(8), &json!(["clinic"])));
    let mut show = Command::new("ssh-keygen");
    let shown = text(&show.args(["-L", "-f"]).arg(bela.certificate()).output().unwrap().stdout);
    assert!(shown.contains(&format!("Serial: {}", entries[1]["serial"])), "{shown}");
    assert!(!shown.contains("permit-agent-forwarding"), "{shown}");
}
