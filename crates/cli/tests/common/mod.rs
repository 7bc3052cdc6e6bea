//! A fleet of a few hosts in a temporary folder, with a Nix store of its own, and the binary run on it.
#![allow(dead_code, clippy::unwrap_used, missing_docs)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}\n{self:#?}"))
    }

    /// The same, if the exit code is as expected.
    #[track_caller]
    pub fn code(self, wanted: i32) -> Self {
        assert_eq!(self.code, wanted, "{self:#?}");
        self
    }
}

/// The folder of a fleet, its Nix store, and everything else that the commands see.
pub struct Field {
    pub dir: tempfile::TempDir,
    path: String,
}

const TOOLS: &str = r#"
  # Only this one file of the folder gets into the store.
  busybox = builtins.path { path = @dir@; name = "busybox"; filter = path: _: path == "@dir@/busybox"; };
  mk = name: script: derivation {
    inherit name;
    system = builtins.currentSystem;
    builder = "${busybox}/busybox";
    args = [ "sh" "-euc" "${busybox}/busybox mkdir $out; ${script}" ];
  };
"#;

impl Field {
    /// A fleet with these hosts; the value of each in `systems.nix` is a Nix expression that may use `mk name script`.
    pub fn new(hosts: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = std::env::var("PATH").unwrap();
        let field = Field { dir, path };
        field.write(
            "org-config/json/users.json",
            r#"{"global_admins":["ann"],"users":{"expires":{},"per-host":{},"roles":{}}}"#,
        );
        let keys = serde_json::json!({ "keys": { "ann": { "public_keys": [public_key(100)] } } });
        field.write("org-config/json/keys.json", &keys.to_string());
        let relay = serde_json::json!({
            "public_key": public_key(101),
            "relay_servers": { "relay": { "addresses": ["192.0.2.1"] } },
        });
        field.write("org-config/json/relay-servers.json", &relay.to_string());
        field.write(
            "afield.toml",
            "fleet = \"test\"\n[build]\nfile = \"systems.nix\"\n[repository]\npath = \"repository\"\n",
        );
        for (host, _) in hosts {
            field.write(&format!("org-config/hosts/{host}.nix"), "{ }\n");
        }
        field.systems(hosts);
        field
    }

    /// Replaces `systems.nix`.
    pub fn systems(&self, hosts: &[(&str, &str)]) {
        let busybox = which("busybox");
        let tools = TOOLS.replace("@dir@", busybox.parent().unwrap().to_str().unwrap());
        let mut text = format!("let{tools}in {{\n");
        for (host, value) in hosts {
            text.push_str(&format!("  {host} = {value};\n"));
        }
        text.push_str("}\n");
        self.write("systems.nix", &text);
    }

    /// Writes a file of the fleet.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Puts a program of this name in front of all others.
    pub fn program(&mut self, name: &str, script: &str) {
        self.write(&format!("bin/{name}"), script);
        let path = self.path(&format!("bin/{name}"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        self.path = format!("{}:{}", self.path("bin").display(), self.path);
    }

    /// Makes sure that this program is not found; others are.
    pub fn only_programs(&mut self, names: &[&str]) {
        let bin = self.path("only");
        fs::create_dir_all(&bin).unwrap();
        for name in names {
            std::os::unix::fs::symlink(which(name), bin.join(name)).unwrap();
        }
        self.path = bin.display().to_string();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs `afield` in the fleet's folder, with nothing of the environment but what it needs.
    pub fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, &[])
    }

    /// The same, with these variables.
    pub fn run_with(&self, args: &[&str], set: &[(&str, &str)]) -> Ran {
        finish(&mut self.afield(args, set))
    }

    /// The same, for a command that a fault point ends.
    pub fn killed(&self, args: &[&str], set: &[(&str, &str)]) {
        let output = self.afield(args, set).output().unwrap();
        assert_eq!(output.status.code(), None, "{set:?} was not passed, or not deadly: {output:?}");
    }

    fn afield(&self, args: &[&str], set: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_afield"));
        self.prepare(&mut command).args(args).envs(set.iter().copied());
        command
    }

    /// Runs a program of Nix on the fleet's store.
    pub fn nix(&self, program: &str, args: &[&str]) -> Ran {
        let mut command = Command::new(program);
        self.prepare(&mut command).args(args);
        finish(&mut command)
    }

    fn prepare<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env_clear()
            .env("PATH", &self.path)
            .env("HOME", self.path("home"))
            .env("NIX_REMOTE", self.path("store"))
            .env("NIX_CONFIG", "build-users-group =\nsubstituters =\nsandbox = true\n")
            .current_dir(self.dir.path())
    }
}

fn finish(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A program that the tests need; they fail loudly without it.
pub fn which(name: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap();
    let found = path.split(':').map(|dir| Path::new(dir).join(name));
    let found = found.into_iter().find(|p| p.is_file());
    found.unwrap_or_else(|| panic!("{name} is needed: apt install nix-bin busybox-static"))
}

impl Field {
    /// Puts hosts into waves, and gives each a tunnel and a key.
    pub fn waves(&self, first: &[&str], last: &[&str]) {
        let list =
            |hosts: &[&str]| -> String { hosts.iter().map(|h| format!("\"{h}\" ")).collect() };
        let (first_list, last_list) = (list(first), list(last));
        let text = format!(
            "{{ stagingHosts = [ ]; firstWave = [ {first_list}]; middleWave = [ ]; finalWave = [ {last_list}]; latestWave = [ ]; }}\n"
        );
        self.write("org-config/waves-and-staging-hosts.nix", &text);
        let tunnels: serde_json::Map<String, Value> = first
            .iter()
            .chain(last)
            .enumerate()
            .map(|(i, host)| {
                let entry =
                    serde_json::json!({ "remote_forward_port": 2000 + i, "public_key": public_key(i as u8) });
                ((*host).to_owned(), entry)
            })
            .collect();
        let json = serde_json::json!({ "tunnels": { "per-host": tunnels } });
        self.write("org-config/json/tunnels.d/all.json", &json.to_string());
    }

    /// The repository as a host sees it that got its trust root when the keys were made.
    pub fn trusted(&self, root: &[u8]) -> afield_store::trust::Trusted {
        afield_store::trust::load(&self.path("repository/metadata"), root, None).unwrap()
    }

    /// Every file of the repository, with its length.
    pub fn repository(&self) -> std::collections::BTreeMap<String, u64> {
        let mut files = std::collections::BTreeMap::new();
        let mut folders = vec![self.path("repository")];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(&folder) else {
                continue;
            };
            for entry in entries {
                let entry = entry.unwrap();
                let meta = entry.metadata().unwrap();
                match meta.is_dir() {
                    true => folders.push(entry.path()),
                    // Locking changes nothing.
                    false if entry.file_name() == ".lock" => {}
                    false => drop(files.insert(entry.path().display().to_string(), meta.len())),
                }
            }
        }
        files
    }
}

/// An OpenSSH public key whose private half is known to whoever reads this.
pub fn public_key(n: u8) -> String {
    let public = afield_core::signed::SecretKey::from_seed(&[n; 32]).public();
    let blob = [b"\0\0\0\x0bssh-ed25519\0\0\0\x20".as_slice(), public.as_bytes()].concat();
    format!("ssh-ed25519 {}", data_encoding::BASE64.encode(&blob))
}

/// A server that answers each request, known by its first line and its body, with a status and JSON. Its address.
pub fn answering(mut answer: impl FnMut(&str, Vec<u8>) -> (u16, Value) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let (mut line, mut length) = (String::new(), 0);
            reader.read_line(&mut line).unwrap();
            loop {
                let mut header = String::new();
                reader.read_line(&mut header).unwrap();
                if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if header.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let (status, answer) = answer(&line, body);
            let answer = answer.to_string();
            let length = answer.len();
            let head = format!(
                "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
            );
            reader.get_mut().write_all((head + &answer).as_bytes()).unwrap();
        }
    });
    address
}
