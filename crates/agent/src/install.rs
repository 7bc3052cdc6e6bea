//! `afield-agent install`: makes a plain Debian or Ubuntu a host of the fleet. Run again, it changes what is not so yet.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use afield_core::ids::{HostName, Name};
use afield_store::files;
use anyhow::{Context as _, bail};

use crate::config::Config;
use crate::nix;

const UNIT: &str = include_str!("../../../packaging/afield-agent.service");
const BOOT_CHECK: &str = include_str!("../../../packaging/afield-boot-check.service");
const BOOT_FAILED: &str = include_str!("../../../packaging/afield-boot-failed.service");
const TUNNEL: &str = include_str!("../../../packaging/afield-tunnel.service");
const PROGRAM: &str = "/usr/local/bin/afield-agent";
const UNIT_FILE: &str = "/etc/systemd/system/afield-agent.service";
const TUNNEL_FILE: &str = "/etc/systemd/system/afield-tunnel.service";
const BOOT_CHECK_FILE: &str = "/etc/systemd/system/afield-boot-check.service";
const BOOT_FAILED_FILE: &str = "/etc/systemd/system/afield-boot-failed.service";
const CONFIG: &str = "/etc/afield/agent.toml";
const TRUST_ROOT: &str = "/etc/afield/root.json";
const SSHD: &str = "/etc/ssh/sshd_config.d/afield.conf";
/// Ways in that are there already stay; the fleet's people come in besides.
const SSHD_LINES: &str = "# Written by `afield-agent install`.
AuthorizedKeysFile .ssh/authorized_keys /etc/ssh/authorized_keys.d/%u /var/lib/afield-access/authorized_keys.d/%u
";
/// What runs from the installation on.
const UNITS: [&str; 2] = ["afield-agent.service", "afield-tunnel.service"];
const HOST_KEY: &str = "/etc/ssh/ssh_host_ed25519_key";
/// A trust root or program has at most this many bytes.
const MAX_FILE: u64 = 256 << 20;
/// A text that this command writes has at most this many bytes.
const MAX_MARKED: u64 = 64 << 10;

/// What every file says that this command writes, but for the trust root.
const MARK: &str = "`afield-agent install`";

/// Whether a file of the host is one that this command wrote; `file` is where this process sees it.
pub fn wrote(path: &Path, file: &Path) -> bool {
    let regular = fs::symlink_metadata(file).is_ok_and(|meta| meta.is_file());
    let marked = || {
        files::read_limited(file, MAX_MARKED)
            .is_ok_and(|text| String::from_utf8_lossy(&text).contains(MARK))
    };
    regular && (path == Path::new(TRUST_ROOT) || marked())
}

/// What the host is to be.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Its name in the fleet folder.
    #[arg(long)]
    host: HostName,
    /// The fleet's name.
    #[arg(long)]
    fleet: Name,
    /// Where releases are; give it again for each further place, first choice first.
    #[arg(long, required = true, value_name = "URL")]
    repository: Vec<String>,
    /// Where reports go.
    #[arg(long, value_name = "URL")]
    hub: Option<String>,
    /// The root.json that `afield keys init` wrote.
    #[arg(long, value_name = "FILE")]
    trust_root: PathBuf,
    /// Take another place than before for repository or hub, another name, another trust root.
    #[arg(long)]
    replace: bool,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
}

/// What must be so, in this order.
enum Want {
    Package { name: &'static str, present: fn() -> bool },
    HostKey,
    File { path: &'static str, mode: u32, content: Vec<u8>, precious: bool },
    Running,
}

/// Does it; whether something had to be refused, so that nothing was done.
pub fn run(args: &Args) -> anyhow::Result<bool> {
    if !Path::new("/run/systemd/system").exists() {
        bail!("systemd does not run this machine; install the agent by hand, see docs/operator.md");
    }
    let wants = wants(args)?;
    let refused = if args.replace { Vec::new() } else { refusals(&wants) };
    for path in &refused {
        println!(
            "refused: {path} is there and says something else; look at it, then give --replace"
        );
    }
    if !refused.is_empty() {
        return Ok(true);
    }
    if !args.dry_run && !rustix::process::geteuid().is_root() {
        bail!("only root can install the agent; try it with sudo");
    }
    let mut changed = false;
    for want in &wants {
        changed |= settle(want, args.dry_run, changed)?;
    }
    if !changed {
        println!("everything is in place");
    }
    tell_key()?;
    Ok(false)
}

fn wants(args: &Args) -> anyhow::Result<Vec<Want>> {
    let root = files::read_limited(&args.trust_root, MAX_FILE)?;
    let parsed: serde_json::Value = serde_json::from_slice(&root).unwrap_or_default();
    if parsed["signed"]["_type"] != "root" {
        bail!(
            "{} is no root metadata; take root.json of the fleet's keys",
            args.trust_root.display()
        );
    }
    let own = files::read_limited(Path::new("/proc/self/exe"), MAX_FILE)?;
    let config = config(args)?.into_bytes();
    let file = |path, mode, content, precious| Want::File { path, mode, content, precious };
    Ok(vec![
        Want::Package { name: "nix-bin", present: || found("nix-store") },
        // It knows the accounts that host data brings.
        Want::Package { name: "libnss-systemd", present: has_nss_systemd },
        // The tunnel is the system's own ssh.
        Want::Package { name: "openssh-client", present: || found("ssh") },
        Want::HostKey,
        file(TRUST_ROOT, 0o644, root, true),
        file(CONFIG, 0o644, config, true),
        file(PROGRAM, 0o755, own, false),
        file(UNIT_FILE, 0o644, UNIT.into(), false),
        file(TUNNEL_FILE, 0o644, TUNNEL.into(), false),
        file(BOOT_CHECK_FILE, 0o644, BOOT_CHECK.into(), false),
        file(BOOT_FAILED_FILE, 0o644, BOOT_FAILED.into(), false),
        file(SSHD, 0o644, SSHD_LINES.into(), true),
        Want::Running,
    ])
}

/// The configuration, checked as the agent itself will check it.
fn config(args: &Args) -> anyhow::Result<String> {
    let mut text = format!(
        "# Written by `afield-agent install`.\nhost = {:?}\nfleet = {:?}\nrepositories = {:?}\n",
        args.host.as_str(),
        args.fleet.as_str(),
        args.repository
    );
    if let Some(hub) = &args.hub {
        text += &format!("hub = {hub:?}\n");
    }
    Config::parse(&text).map_err(|what| anyhow::anyhow!("{what}"))?;
    Ok(text)
}

/// What somebody wrote there on purpose.
fn refusals(wants: &[Want]) -> Vec<&str> {
    let other = |want: &Want| match want {
        Want::File { path, content, precious: true, .. } => {
            let there = files::read_if_there(Path::new(path), MAX_FILE).ok().flatten();
            there.filter(|there| there != content).map(|_| *path)
        }
        _ => None,
    };
    wants.iter().filter_map(other).collect()
}

/// Makes one thing so; whether it was not so before.
fn settle(want: &Want, dry_run: bool, changed: bool) -> anyhow::Result<bool> {
    let (missing, what) = match want {
        Want::Package { name, present } => (!present(), format!("install the package {name}")),
        Want::HostKey => (!Path::new(HOST_KEY).exists(), format!("make the key {HOST_KEY}")),
        Want::File { path, mode, content, .. } => {
            (!is_there(Path::new(path), *mode, content), format!("write {path}"))
        }
        Want::Running => {
            (changed || !running(), format!("enable and start {}", UNITS.join(" and ")))
        }
    };
    if !missing {
        return Ok(false);
    }
    println!("{}{what}", if dry_run { "would " } else { "" });
    if dry_run {
        return Ok(true);
    }
    match want {
        Want::Package { name, .. } => package(name)?,
        Want::HostKey => ssh_keygen()?,
        Want::File { path, mode, content, .. } => write(Path::new(path), *mode, content)?,
        Want::Running => start()?,
    }
    Ok(true)
}

fn found(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn has_nss_systemd() -> bool {
    let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    folders.map(|folder| folder.path()).any(|f| f.join("libnss_systemd.so.2").exists())
}

fn is_there(path: &Path, mode: u32, content: &[u8]) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    let same = files::read_limited(path, MAX_FILE).is_ok_and(|there| there == content);
    same && fs::metadata(path).is_ok_and(|m| m.permissions().mode() & 0o7777 == mode)
}

fn write(path: &Path, mode: u32, content: &[u8]) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("{} cannot be made", folder.display()))?;
    }
    files::write_atomic_mode(path, content, mode)
        .with_context(|| format!("{} cannot be written", path.display()))
}

fn package(name: &str) -> anyhow::Result<()> {
    if !found("apt-get") {
        bail!("this system has no apt-get; install {name} by hand, then try again");
    }
    let mut apt = Command::new("apt-get");
    apt.args(["install", "--yes", "--no-install-recommends", name]);
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    let by_hand = format!("try `apt-get update && apt-get install {name}`, then this again");
    nix::run(&mut apt).map(drop).context(by_hand)
}

fn ssh_keygen() -> anyhow::Result<()> {
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", HOST_KEY]);
    nix::run(&mut keygen).map(drop).context("install openssh-client, then try again")
}

fn systemctl(arguments: &[&str]) -> anyhow::Result<()> {
    nix::run(Command::new("systemctl").args(arguments)).map(drop)
}

fn running() -> bool {
    let is = |what: &str| UNITS.iter().all(|unit| systemctl(&[what, "--quiet", unit]).is_ok());
    is("is-active") && is("is-enabled")
}

fn start() -> anyhow::Result<()> {
    systemctl(&["daemon-reload"])?;
    let [agent, tunnel] = UNITS;
    let boot = ["afield-boot-check.service", "afield-boot-failed.service"];
    systemctl(&[&["enable", "--quiet", agent, tunnel][..], &boot].concat())?;
    // It is back when the agent says that it is ready.
    systemctl(&["restart", agent])
        .context("the agent does not start; `journalctl --unit afield-agent` says why")?;
    if systemctl(&["is-active", "--quiet", tunnel]).is_ok() {
        println!(
            "the tunnel goes on as it was started, since you may have come through it; \
             `systemctl restart afield-tunnel` gives it what is new"
        );
    }
    systemctl(&["start", tunnel])
        .context("the tunnel does not start; `journalctl --unit afield-tunnel` says why")?;
    // So that it reads its new file; running sessions go on.
    systemctl(&["reload-or-restart", "ssh.service"])
        .context("sshd is not reloaded; is openssh-server installed?")
}

/// Relays, reports and secrets know a host by this key.
fn tell_key() -> anyhow::Result<()> {
    let public = Path::new(HOST_KEY).with_extension("pub");
    if let Some(key) = files::read_if_there(&public, 4096)? {
        let key = String::from_utf8_lossy(&key);
        let key: Vec<&str> = key.split_whitespace().take(2).collect();
        println!("`public_key` of this host in tunnels.d must be: {}", key.join(" "));
    }
    Ok(())
}
