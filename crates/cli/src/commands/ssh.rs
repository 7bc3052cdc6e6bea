//! `afield ssh`, `scp`, `forward` and `ssh-config`: the person's own OpenSSH, with the right way and the right key.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use afield_core::fleet::Resolver;
use afield_core::ids::HostName;
use afield_core::remote::{self, Route};
use anyhow::{Context as _, anyhow};
use clap::Args;

use super::connect::route;
use crate::context::{Context, Folder};
use crate::exit::{CommandResult, Failure, Outcome};
use crate::output::count;
use crate::{pinned, write};

/// Arguments of `afield ssh`.
#[derive(Debug, Args)]
pub struct SshArgs {
    /// The host, or user@host
    host: String,
    /// What to run there instead of a shell
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Arguments of `afield scp`.
#[derive(Debug, Args)]
pub struct ScpArgs {
    /// Options of scp, sources and target; one host of the fleet in them, as HOST:PATH or USER@HOST:PATH
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Arguments of `afield forward`.
#[derive(Debug, Args)]
pub struct ForwardArgs {
    /// The host, or user@host
    host: String,
    /// The port on the host
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// The port on this machine, if not the same
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    local: Option<u16>,
}

/// Arguments of `afield ssh-config`.
#[derive(Debug, Args)]
pub struct SshConfigArgs {
    /// The folder to write `config` and `known_hosts` into; by default ~/.ssh/afield
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// `afield ssh`.
pub fn ssh(args: &SshArgs, context: &mut Context) -> CommandResult {
    let (user, host) = user_and_host(&args.host)?;
    let end = End::of(&host, context)?;
    let mut command = end.command("ssh")?;
    command.args(user.iter().flat_map(|user| ["-l", user]));
    command.arg("--").arg(host.as_str()).args(&args.command);
    run(command)
}

/// `afield scp`.
pub fn scp(args: &ScpArgs, context: &mut Context) -> CommandResult {
    let folder = context.folder()?;
    let mut hosts: Vec<HostName> = args
        .arguments
        .iter()
        .filter_map(|argument| argument.split_once(':'))
        .filter_map(|(start, _)| user_and_host(start).ok())
        .map(|(_, host)| host)
        .filter(|host| folder.fleet.hosts.contains_key(host))
        .collect();
    hosts.dedup();
    let [host] = &hosts[..] else {
        return Err(Failure::usage("one host of the fleet is needed among the arguments")
            .hint("write it as HOST:PATH, as in `afield scp backup.tar clinic:/opt/`"));
    };
    let end = End::new(folder, host, context)?;
    let mut command = end.command("scp")?;
    command.args(&args.arguments);
    run(command)
}

/// `afield forward`.
pub fn forward(args: &ForwardArgs, context: &mut Context) -> CommandResult {
    let (user, host) = user_and_host(&args.host)?;
    let end = End::of(&host, context)?;
    let mut command = end.command("ssh")?;
    let local = args.local.unwrap_or(args.port);
    command.args(["-N", "-o", "ExitOnForwardFailure=yes"]);
    command.arg("-L").arg(format!("localhost:{local}:localhost:{}", args.port));
    command.args(user.iter().flat_map(|user| ["-l", user]));
    command.arg("--").arg(host.as_str());
    context.out.note(&format!("localhost:{local} is port {} of {host}, until Ctrl-C", args.port));
    run(command)
}

/// `afield ssh-config`.
pub fn config(args: &SshConfigArgs, context: &mut Context) -> CommandResult {
    let folder = context.folder()?;
    let dir = match (&args.out, std::env::var_os("HOME")) {
        (Some(out), _) => std::path::absolute(out)?,
        (None, Some(home)) => PathBuf::from(home).join(".ssh/afield"),
        (None, None) => return Err(Failure::usage("HOME is not set").hint("give --out DIR")),
    };
    let resolver = Resolver::new(&folder.fleet);
    let plans = folder.fleet.hosts.keys().filter_map(|host| resolver.host(host).ok());
    let (mut routes, mut without) = (Vec::new(), Vec::new());
    for plan in plans {
        match Route::of(&plan) {
            Ok(route) => routes.push(route),
            Err(why) => without.push(why.to_string()),
        }
    }
    std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let known_hosts = dir.join("known_hosts");
    let keys: String = routes.iter().map(Route::known_hosts).collect();
    let connect = connect_command(&folder)?;
    let proxy = |route: &Route| format!("{connect} {}", route.host);
    let text = remote::ssh_config(&routes, proxy, utf8(&known_hosts)?);
    write::replace(&known_hosts, keys.as_bytes(), false)?;
    write::replace(&dir.join("config"), text.as_bytes(), false)?;
    for why in without {
        context.out.note(&format!("left out: {why}"));
    }
    let file = dir.join("config");
    context.out.line(&format!("{}: {}", file.display(), count(routes.len(), "host")))?;
    context.out.line(&format!("put this first into ~/.ssh/config: Include {}", file.display()))?;
    Ok(Outcome::Done)
}

/// One host as OpenSSH gets it.
struct End {
    folder: Folder,
    route: Route,
    known_hosts: PathBuf,
}

impl End {
    fn of(host: &HostName, context: &mut Context) -> Result<Self, Failure> {
        Self::new(context.folder()?, host, context)
    }

    fn new(folder: Folder, host: &HostName, context: &mut Context) -> Result<Self, Failure> {
        let route = route(&folder, host, context)?;
        let known_hosts = pinned::known_hosts(&route.known_hosts())?;
        Ok(Self { folder, route, known_hosts })
    }

    /// ssh or scp, with what leads to the host.
    fn command(&self, program: &str) -> Result<Command, Failure> {
        let proxy = format!("{} {}", connect_command(&self.folder)?, self.route.host);
        let mut command = Command::new(program);
        for (key, value) in self.route.options(&proxy, utf8(&self.known_hosts)?) {
            command.arg("-o").arg(format!("{key}={value}"));
        }
        Ok(command)
    }
}

/// This program as a ProxyCommand, but for the host's name. ssh gives it to a shell, and expands %.
fn connect_command(folder: &Folder) -> Result<String, Failure> {
    let quote = |path: &Path| -> Result<String, Failure> {
        Ok(format!("'{}'", utf8(path)?.replace('\'', r"'\''").replace('%', "%%")))
    };
    let program = std::env::current_exe()?;
    Ok(format!("{} --fleet {} connect", quote(&program)?, quote(&folder.dir)?))
}

fn utf8(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| Failure::failed(anyhow!("{} is not UTF-8", path.display())))
}

fn user_and_host(text: &str) -> Result<(Option<&str>, HostName), Failure> {
    let (user, host) = match text.split_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, text),
    };
    if user.is_some_and(|user| user.is_empty() || user.starts_with('-')) {
        return Err(Failure::usage(format!("{text:?} has no user before the @")));
    }
    let host = host.parse().map_err(|e| Failure::usage(format!("{e}")))?;
    Ok((user, host))
}

/// Becomes it: the terminal, signals and the exit code are its own.
fn run(mut command: Command) -> CommandResult {
    let program = command.get_program().to_string_lossy().into_owned();
    let error = command.exec();
    Err(Failure::failed(
        anyhow::Error::new(error)
            .context(format!("{program} cannot be started; is OpenSSH installed?")),
    ))
}
