//! A host that is a folder: its own root, Nix store and key; the agent runs on it as a real process.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use afield_core::signed::{PublicKey, SecretKey};
use ssh_key::private::{Ed25519Keypair, Ed25519PrivateKey, KeypairData};
use ssh_key::{LineEnding, PrivateKey};

use crate::fleet::Fleet;
use crate::server::Server;

/// What Nix needs where it runs as root without a daemon and without the Internet.
pub const NIX_CONFIG: &str = "build-users-group =\nsubstituters =\n";

/// A host.
#[derive(Debug)]
pub struct Host {
    dir: tempfile::TempDir,
    agent: PathBuf,
}

/// The key of every host here.
pub fn key() -> SecretKey {
    SecretKey::from_seed(&[99; 32])
}

/// That key as OpenSSH keeps it.
pub fn key_file(comment: &str) -> String {
    let private = Ed25519PrivateKey::from_bytes(&[99; 32]);
    let public = ssh_key::public::Ed25519PublicKey(*key().public().as_bytes());
    let pair = KeypairData::Ed25519(Ed25519Keypair { public, private });
    PrivateKey::new(pair, comment).unwrap().to_openssh(LineEnding::LF).unwrap().to_string()
}

impl Host {
    /// A fresh host named `name`; `agent` is the program to run on it.
    pub fn new(name: &str, agent: &str, fleet: &Fleet, server: &Server) -> Self {
        let host = Self { dir: tempfile::tempdir().unwrap(), agent: agent.into() };
        for folder in ["etc/ssh", "etc/afield", "run", "var/lib", "var/log", "nix/store"] {
            fs::create_dir_all(host.path(folder)).unwrap();
        }
        fs::write(host.path("etc/afield/root.json"), &fleet.root).unwrap();
        fs::write(host.path("etc/ssh/ssh_host_ed25519_key"), key_file(name)).unwrap();
        let config = format!(
            "host = \"{name}\"\nfleet = \"field\"\nrepositories = [\"{url}\"]\nhub = \"{url}\"\n\
             root = \"{root}\"\nheartbeat = \"0s\"\nactivation-timeout = \"2s\"\n",
            url = server.url(),
            root = host.dir.path().display()
        );
        fs::write(host.config(), config).unwrap();
        server.know(name, key().public());
        host
    }

    /// The same host once more, as it is now, that asks another server.
    pub fn copy(&self, server: &Server) -> Self {
        let copy = Self { dir: tempfile::tempdir().unwrap(), agent: self.agent.clone() };
        let mut from = self.dir.path().as_os_str().to_owned();
        from.push("/.");
        let status = Command::new("cp").arg("-a").arg(from).arg(copy.dir.path()).status();
        assert!(status.unwrap().success());
        let toml = copy.text("etc/afield/agent.toml");
        let changed: Vec<String> = toml
            .lines()
            .map(|line| match line.split(' ').next() {
                Some("repositories") => format!("repositories = [{:?}]", server.url()),
                Some("hub") => format!("hub = {:?}", server.url()),
                Some("root") => format!("root = {:?}", copy.dir.path()),
                _ => line.to_owned(),
            })
            .collect();
        fs::write(copy.config(), changed.join("\n")).unwrap();
        let name = changed[0].split('"').nth(1).unwrap();
        server.know(name, key().public());
        copy
    }

    /// Its public key.
    pub fn public(&self) -> PublicKey {
        key().public()
    }

    /// A path on it.
    pub fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// The agent's configuration.
    pub fn config(&self) -> PathBuf {
        self.path("etc/afield/agent.toml")
    }

    /// Runs the agent with nothing of the test's environment but `PATH`.
    pub fn run(&self, args: &[&str], env: &[(&str, &str)]) -> Output {
        let mut command = Command::new(&self.agent);
        command.args(args).arg("--config").arg(self.config()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("NIX_CONFIG", NIX_CONFIG).envs(env.iter().copied());
        command.output().unwrap()
    }

    /// One check-in: its exit code, and what it printed as JSON.
    pub fn once(&self) -> (i32, serde_json::Value) {
        self.once_with(&[])
    }

    /// One check-in with an environment.
    pub fn once_with(&self, env: &[(&str, &str)]) -> (i32, serde_json::Value) {
        let output = self.run(&["once", "--json"], env);
        let code = output.status.code().unwrap_or(-1);
        let json = serde_json::from_slice(&output.stdout).unwrap_or_else(
            |_| serde_json::json!({ "stderr": String::from_utf8_lossy(&output.stderr) }),
        );
        (code, json)
    }

    /// What `/run/current-system` links to.
    pub fn current(&self) -> Option<String> {
        let link = fs::read_link(self.path("run/current-system")).ok()?;
        Some(link.to_string_lossy().into_owned())
    }

    /// A file's text; empty if it is not there.
    pub fn text(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_default()
    }

    /// Everything that a refusal must leave alone: files with content and mode, and links, outside of the
    /// agent's own folder and Nix's database.
    pub fn fingerprint(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        collect(self.dir.path(), self.dir.path(), &mut found);
        found
    }
}

/// The agent's own folders, and Nix's: roots of what a signed release names may stand before any of it is here.
const OWN: [&str; 3] = ["var/lib/afield", "nix/var/nix/db", "nix/var/nix/gcroots/afield-coming"];

fn collect(root: &Path, folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let short = path.strip_prefix(root).unwrap().to_owned();
        if OWN.iter().any(|own| short.starts_with(own)) {
            continue;
        }
        let meta = fs::symlink_metadata(&path).unwrap();
        let what = if meta.is_symlink() {
            format!("-> {}", fs::read_link(&path).unwrap().display())
        } else if meta.is_dir() {
            collect(root, &path, found);
            format!("folder {:o}", meta.permissions().mode())
        } else {
            let bytes = fs::read(&path).unwrap();
            let hash = afield_core::ids::ObjectId::of(&bytes);
            format!("file {:o} {hash}", meta.permissions().mode())
        };
        found.insert(short, what);
    }
}
