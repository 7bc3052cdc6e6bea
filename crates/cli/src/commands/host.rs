//! `afield host add NAME`: a file below hosts/, an entry in tunnels.d with a free port, and a place in a wave.

use std::collections::BTreeSet;

use afield_core::fleet::{codes, keys};
use afield_core::ids::HostName;
use clap::{Args, Subcommand, ValueEnum};
use jsonc_parser::cst::CstInputValue;

use crate::changes::{Changes, listed};
use crate::context::{Context, Folder};
use crate::exit::{CommandResult, Failure};

/// Arguments of `afield host`.
#[derive(Debug, Args)]
pub struct HostArgs {
    #[command(subcommand)]
    command: HostCommand,
}

#[derive(Debug, Subcommand)]
enum HostCommand {
    /// Add a host
    Add(AddArgs),
}

#[derive(Debug, Args)]
struct AddArgs {
    /// The host
    name: HostName,
    /// Its wave
    #[arg(long, value_enum, default_value = "final")]
    wave: Wave,
    /// Its port on relays; 0 for no tunnel [default: the first that is free from 2000]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Its public key, `ssh-ed25519 …`; empty until it is installed
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// The file of json/tunnels.d that lists it [default: the only one]
    #[arg(long, value_name = "FILE")]
    tunnels: Option<String>,
    /// Begin with a copy of this host's file
    #[arg(long, value_name = "HOST")]
    like: Option<HostName>,
    /// Its time zone, if no other host's file is copied
    #[arg(long, value_name = "ZONE", default_value = "UTC", conflicts_with = "like")]
    time_zone: String,
    /// It runs Ubuntu with system-manager
    #[arg(long)]
    ubuntu: bool,
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Wave {
    First,
    Middle,
    Final,
    Latest,
}

impl Wave {
    fn attribute(self) -> &'static str {
        match self {
            Wave::First => "firstWave",
            Wave::Middle => "middleWave",
            Wave::Final => "finalWave",
            Wave::Latest => "latestWave",
        }
    }
}

/// Runs `afield host`.
pub fn run(args: &HostArgs, context: &mut Context) -> CommandResult {
    match &args.command {
        HostCommand::Add(args) => add(args, context),
    }
}

fn add(args: &AddArgs, context: &mut Context) -> CommandResult {
    let folder = context.folder()?;
    let name = args.name.as_str();
    let key = public_key(args)?;
    let (host_file, text) = (path(name, args.ubuntu), host_text(args, &folder)?);
    let tunnels = tunnels_file(args, &folder)?;
    let port = match args.port {
        Some(port) => port,
        None => free_port(&folder)?,
    };
    let mut changes = Changes::new(&folder);
    if folder.fleet.hosts.contains_key(&args.name) {
        return Err(Failure::refused(format!(
            "the host {name} is there already; nothing was changed"
        )));
    }
    changes.create(&host_file, text)?;
    changes.json(&tunnels, |json| {
        let entry = vec![
            ("remote_forward_port".to_owned(), CstInputValue::Number(port.to_string())),
            ("public_key".to_owned(), CstInputValue::String(key.clone())),
        ];
        json.insert(&["tunnels", "per-host"], name, CstInputValue::Object(entry))
    })?;
    changes.say(&tunnels, format!("{name} has port {port}"));
    changes.wave(args.wave.attribute(), name)?;
    if key.is_empty() {
        changes.leave(format!("put its public_key into {tunnels} once it is installed"));
    }
    if args.like.is_none() {
        changes.leave(format!("say in {host_file} what the host is: hardware, disk, services"));
    }
    // An empty key is told by `check` until there is one; so is a wave that could not be written here.
    changes.finish(context, &[codes::EMPTY_HOST_KEY, codes::NO_WAVE], args.dry_run)
}

fn path(host: &str, ubuntu: bool) -> String {
    format!("hosts/{}{host}.nix", if ubuntu { "ubuntu/" } else { "" })
}

fn public_key(args: &AddArgs) -> Result<String, Failure> {
    let Some(text) = &args.key else { return Ok(String::new()) };
    let key = text.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    match keys::parse(&key) {
        Ok(_) => Ok(key),
        Err(why) => Err(Failure::usage(format!("{text:?} is no SSH public key: {why}")).hint(
            "on the host it is in /etc/ssh/ssh_host_ed25519_key.pub, or where the tunnel's key is",
        )),
    }
}

/// The only file, or the one that was named.
fn tunnels_file(args: &AddArgs, folder: &Folder) -> Result<String, Failure> {
    const FOLDER: &str = "json/tunnels.d/";
    let files = folder.sources.files.keys().filter_map(|path| path.strip_prefix(FOLDER));
    let files: Vec<&str> = files.filter(|name| !name.contains('/')).collect();
    let given = args.tunnels.as_deref().map(|name| name.rsplit('/').next().unwrap_or(name));
    match (given, &files[..]) {
        (None, [only]) => Ok(format!("{FOLDER}{only}")),
        (None, _) => {
            Err(Failure::usage("it is not said which file of json/tunnels.d shall list the host")
                .hint(format!("give --tunnels with one of {}", listed(files.iter().copied()))))
        }
        (Some(given), _) if files.contains(&given) => Ok(format!("{FOLDER}{given}")),
        (Some(given), _) => {
            Err(Failure::usage(format!("there is no file {given} in json/tunnels.d"))
                .hint(format!("there are {}", listed(files.iter().copied()))))
        }
    }
}

fn free_port(folder: &Folder) -> Result<u16, Failure> {
    let taken: BTreeSet<u16> =
        folder.fleet.tunnels.values().map(|tunnel| tunnel.port.value).collect();
    (2000..=9999).find(|port| !taken.contains(port)).ok_or_else(|| {
        Failure::refused("no port from 2000 to 9999 is free")
            .hint("remove hosts that are gone, or give --port 0")
    })
}

fn host_text(args: &AddArgs, folder: &Folder) -> Result<String, Failure> {
    let name = args.name.as_str();
    if let Some(like) = &args.like {
        let host = folder
            .fleet
            .hosts
            .get(like)
            .ok_or_else(|| Failure::usage(format!("there is no host {like}")))?;
        let path = folder.dir.join(folder.fleet.files.name(host.span.file));
        let text = std::fs::read_to_string(&path)
            .map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))?;
        return Ok(text.replace(&format!("\"{like}\""), &format!("\"{name}\"")));
    }
    let zone = &args.time_zone;
    let fine = |c: char| c.is_ascii_alphanumeric() || "/_+-".contains(c);
    if zone.is_empty() || !zone.chars().all(fine) {
        return Err(Failure::usage(format!("{zone:?} is no time zone")).hint("such as Africa/Juba"));
    }
    let tunnel =
        if args.port == Some(0) { "" } else { "  settings.reverse_tunnel.enable = true;\n" };
    let settings = match args.ubuntu {
        // The distribution has the rest.
        true => String::new(),
        false => format!(
            "  time.timeZone = \"{zone}\";\n  settings.hardwarePlatform = config.settings.hardwarePlatforms.none;\n  \
             settings.boot.mode = \"none\";\n"
        ),
    };
    Ok(format!(
        "{{ config, ... }}:\n{{\n{settings}  settings.network.host_name = \"{name}\";\n{tunnel}}}\n"
    ))
}
