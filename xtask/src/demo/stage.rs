//! Everything the story plays on: a copy of the example fleet, its keys, the hub and the hosts.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::host::{Host, Target};
use super::net;
use super::show::Show;
use super::teardown::Teardown;
use crate::process::{self, NIX_CONFIG, Programs};

/// The fleet as the hosts are given it, in the order of waves: what the story needs to know, asked of Nix.
const FLEET: &str = r#"
let
  waves = import ./org-config/waves-and-staging-hosts.nix;
  named = wave: host: {
    inherit host wave;
    address = (import (./org-config/hosts + "/${host}.nix") {
      config.settings.hardwarePlatforms = { nuc = "nuc"; vm = "vm"; };
    }).settings.site.web.address;
  };
in
map (named 0) waves.firstWave ++ map (named 1) waves.middleWave ++ map (named 2) waves.finalWave
"#;

/// The stage.
pub struct Stage {
    programs: Programs,
    folder: PathBuf,
    block: u8,
    /// The hosts, in the order of waves.
    pub hosts: Vec<Host>,
    /// What ends all this.
    pub teardown: Teardown,
}

#[derive(serde::Deserialize)]
struct Named {
    host: String,
    wave: usize,
    address: Ipv4Addr,
}

impl Stage {
    /// Copies the example, gives it addresses and the hosts keys, and commits it to a Git repository.
    pub fn set(programs: Programs, folder: &Path, keep: bool) -> Result<Self> {
        let teardown = Teardown::new(folder, keep)?;
        let mut stage = Self {
            programs,
            folder: folder.canonicalize()?,
            block: net::free_block()?,
            hosts: Vec::new(),
            teardown,
        };
        let example = process::root().join("examples/field-fleet");
        copy(&example, &stage.fleet(), &|text| {
            text.replace("127.77.", &format!("127.{}.", stage.block))
        })?;
        fs::create_dir(stage.folder.join("logs"))?;
        stage.hosts = stage.make_hosts()?;
        stage.git(&["init", "--quiet"])?;
        stage.commit("The fleet as it is")?;
        Ok(stage)
    }

    /// The fleet's folder.
    pub fn fleet(&self) -> PathBuf {
        self.folder.join("fleet")
    }

    fn keys(&self) -> PathBuf {
        self.folder.join("keys")
    }

    fn hub_address(&self) -> SocketAddr {
        (Ipv4Addr::new(127, self.block, 0, 100), 8470).into()
    }

    /// Where operators find the hub.
    pub fn page(&self) -> SocketAddr {
        (Ipv4Addr::new(127, self.block, 0, 100), 8471).into()
    }

    fn make_hosts(&self) -> Result<Vec<Host>> {
        let mut nix = self.nix("nix-instantiate");
        nix.args(["--eval", "--strict", "--json", "--expr", FLEET]);
        let named: Vec<Named> = serde_json::from_str(&process::output(&mut nix)?)?;
        let host = |named: Named| {
            let host = Host {
                page: (named.address, 8080).into(),
                root: self.folder.join("hosts").join(&named.host),
                log: self.folder.join("logs").join(format!("{}.log", named.host)),
                wave: named.wave,
                name: named.host,
            };
            self.record_key(&host.name, &host.provision()?)?;
            Ok(host)
        };
        named.into_iter().map(host).collect()
    }

    /// Writes a host's public key into the file of `tunnels.d` that knows the host, and leaves the rest as it is.
    fn record_key(&self, host: &str, public: &str) -> Result<()> {
        for entry in fs::read_dir(self.fleet().join("org-config/json/tunnels.d"))? {
            let file = entry?.path();
            let text = fs::read_to_string(&file)?;
            let json: serde_json::Value = serde_json::from_str(&text)?;
            let known = &json["tunnels"]["per-host"][host]["public_key"];
            if let Some(old) = known.as_str() {
                fs::write(&file, text.replace(old, public))?;
                return Ok(());
            }
        }
        bail!("no file of tunnels.d knows {host}")
    }

    /// Changes one line of one of the fleet's files.
    pub fn edit(&self, file: &str, old: &str, new: &str) -> Result<()> {
        let path = self.fleet().join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("{file} is missing"))?;
        if text.matches(old).count() != 1 {
            bail!("{file} should contain {old:?} once");
        }
        fs::write(&path, text.replace(old, new))?;
        Ok(())
    }

    /// Commits what was edited.
    pub fn commit(&self, message: &str) -> Result<()> {
        self.git(&["add", "--all"])?;
        let name = "user.name=The demo";
        let mail = "user.email=demo@example.org";
        self.git(&["-c", name, "-c", mail, "commit", "--quiet", "-m", message])
    }

    fn git(&self, args: &[&str]) -> Result<()> {
        let mut git = Command::new("git");
        git.current_dir(self.fleet()).args(args);
        process::output(&mut git).map(drop)
    }

    fn nix(&self, program: &str) -> Command {
        let mut nix = Command::new(program);
        nix.current_dir(self.fleet()).env("NIX_CONFIG", NIX_CONFIG);
        nix
    }

    /// What every host should be like with the fleet's files as they are: asked of Nix and of the files, not of Afield.
    pub fn targets(&self, notice: &str) -> Result<Vec<Target>> {
        let mut build = self.nix("nix-build");
        build.args(["--no-out-link", "systems.nix"]);
        for host in &self.hosts {
            build.args(["--attr", &host.name]);
        }
        let systems = process::output(&mut build)?;
        let file = "org-config/app_configs/master/clinics/intake-configs.yml";
        let form = block(&fs::read_to_string(self.fleet().join(file))?);
        let target = |system: &str| {
            let mut query = self.nix("nix-store");
            let closure = process::output(query.args(["--query", "--requisites", system]))?;
            Ok(Target {
                system: system.into(),
                closure: closure.lines().map(PathBuf::from).collect(),
                notice: notice.to_owned(),
                form: form.clone(),
            })
        };
        systems.lines().map(target).collect()
    }

    /// An `afield` command for this fleet.
    pub fn afield(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.programs.afield);
        command.arg("--fleet").arg(self.fleet()).args(args);
        command.env("NIX_CONFIG", NIX_CONFIG).env("NO_COLOR", "1");
        command
    }

    /// Runs an `afield` command in front of the audience.
    pub fn show(&self, show: &Show, args: &[&str]) -> Result<String> {
        let folder = self.folder.to_string_lossy();
        let program = self.programs.afield.to_string_lossy();
        let fleet = format!(" --fleet {folder}/fleet");
        let short = [(&*program, "afield"), (&*fleet, ""), (&*folder, "…")];
        // `status` says with its exit code that a host is in trouble.
        let codes: &[i32] = if args.first() == Some(&"status") { &[0, 1] } else { &[0] };
        show.command(&mut self.afield(args), codes, &short)
    }

    /// The same, for a command that signs.
    pub fn sign(&self, show: &Show, args: &[&str]) -> Result<String> {
        let keys = self.keys();
        let mut args = args.to_vec();
        let keys = keys.to_string_lossy();
        args.extend(["--keys", &keys]);
        self.show(show, &args)
    }

    /// Makes the fleet's keys and gives every host the trust root.
    pub fn make_keys(&self, show: &Show) -> Result<()> {
        let keys = self.keys();
        self.show(show, &["keys", "init", "--out", &keys.to_string_lossy()])?;
        self.hosts
            .iter()
            .try_for_each(|host| host.configure(self.hub_address(), &keys.join("root.json")))
    }

    /// Starts the hub and waits until it answers.
    pub fn start_hub(&self) -> Result<()> {
        let mut hub = Command::new(&self.programs.hub);
        hub.arg("serve");
        hub.arg("--repository").arg(self.folder.join("repository"));
        hub.arg("--trust-root").arg(self.keys().join("root.json"));
        hub.arg("--rollout-key").arg(self.keys().join("rollout.pem"));
        hub.arg("--database").arg(self.folder.join("hub.sqlite"));
        hub.arg("--listen").arg(self.hub_address().to_string());
        hub.arg("--operator-listen").arg(self.page().to_string());
        self.start(&mut hub, &self.folder.join("logs/hub.log"))?;
        super::watch::until("the hub answers", || {
            self.teardown.all_alive()?;
            Ok(net::get(self.page(), "/healthz").map(drop))
        })
    }

    /// Starts one agent a host.
    pub fn start_agents(&self) -> Result<()> {
        for host in &self.hosts {
            let mut agent = Command::new(&self.programs.agent);
            agent.arg("--config").arg(host.root.join("etc/afield/agent.toml"));
            agent.arg("run").env("NIX_CONFIG", NIX_CONFIG);
            self.start(&mut agent, &host.log)?;
        }
        Ok(())
    }

    fn start(&self, command: &mut Command, log: &Path) -> Result<()> {
        let file = File::create(log)?;
        command.stdin(Stdio::null());
        command.stdout(file.try_clone()?).stderr(file);
        self.teardown.start(command)
    }

    /// The last lines of every program's log, for whoever has to find out why the demo failed.
    pub fn logs(&self) -> String {
        let mut out = String::new();
        let logs = fs::read_dir(self.folder.join("logs")).into_iter().flatten();
        for file in logs.filter_map(Result::ok).map(|entry| entry.path()) {
            let text = fs::read_to_string(&file).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let last = &lines[lines.len().saturating_sub(8)..];
            out += &format!("--- {}\n{}\n", file.display(), last.join("\n"));
        }
        out
    }
}

/// Copies a folder, changing the texts on the way.
fn copy(from: &Path, to: &Path, change: &dyn Fn(&str) -> String) -> Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target, change)?;
        } else {
            let text = fs::read_to_string(entry.path())?;
            fs::write(target, change(&text))?;
        }
    }
    Ok(())
}

/// The content of the one `content: |` of an app-config file.
fn block(yaml: &str) -> String {
    let lines = yaml.lines().skip_while(|line| line.trim() != "content: |").skip(1);
    let inside = lines.map_while(|line| line.strip_prefix("      "));
    inside.map(|line| format!("{line}\n")).collect()
}
