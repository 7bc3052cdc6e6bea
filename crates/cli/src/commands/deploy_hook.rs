//! `afield deploy-hook`: asks hosts to rebuild, as the CI of an app's repository does after a push.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use afield_core::deploy_hook::{HookError, Targets, Through, inventory, targets};
use anyhow::{Context as _, anyhow};
use clap::Args;
use serde::Serialize;

use crate::context::Context;
use crate::exit::{CommandResult, Failure, Outcome};

/// GitHub's events have at most 25 MB.
const MAX_EVENT: u64 = 32 * 1024 * 1024;
/// Hosts that are asked at the same time.
const AT_ONCE: usize = 8;
/// What `robot` may run on every host.
const COMMAND: &str =
    "sudo --non-interactive systemctl --system start nixos_rebuild_config.service";

/// Arguments of `afield deploy-hook`; the older tool's names are taken too.
#[derive(Debug, Args)]
pub struct DeployHookArgs {
    /// The push: GitHub's or GitLab's event as JSON, or commit messages as text; `-` is standard input
    #[arg(long, alias = "eventlog", value_name = "FILE")]
    event: PathBuf,
    /// The relay's name or address
    #[arg(long, alias = "sshrelay_domain", value_name = "NAME")]
    relay: String,
    /// The account on the relay
    #[arg(long, alias = "sshrelay_user", default_value = "tunneller")]
    relay_user: String,
    /// The relay's port
    #[arg(long, alias = "sshrelay_port", default_value_t = 443)]
    relay_port: u16,
    /// robot's private key
    #[arg(long, alias = "keyfile", value_name = "FILE")]
    key: String,
    /// Hosts that are always asked, reached straight; separated by blanks
    #[arg(long, alias = "fixedhosts", value_name = "HOSTS", default_value = "")]
    fixed_hosts: String,
    /// Relay ports of hosts that are always asked; separated by blanks
    #[arg(
        long,
        alias = "fixedtunnelports",
        value_name = "PORTS",
        default_value = "",
        allow_hyphen_values = true
    )]
    fixed_ports: String,
    /// Seconds to wait for a connection
    #[arg(long, default_value_t = 120)]
    timeout: u32,
    /// A file with the host keys of relay and hosts; by default ssh's own
    #[arg(long, value_name = "FILE")]
    known_hosts: Option<String>,
    /// What to run on each host
    #[arg(long, default_value = COMMAND)]
    command: String,
    /// Only print the inventory, as JSON, which Ansible reads
    #[arg(long)]
    inventory: bool,
}

/// How it went on one host.
#[derive(Debug, Serialize)]
struct Answer {
    host: String,
    done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// Asks all hosts; those that cannot be reached are listed, and the others done all the same.
pub fn run(args: &DeployHookArgs, context: &mut Context) -> CommandResult {
    let through = Through {
        relay: args.relay.clone(),
        user: args.relay_user.clone(),
        port: args.relay_port,
        key: args.key.clone(),
        timeout: args.timeout,
    };
    check(&through, args.known_hosts.as_deref())?;
    let event = read_event(args)?;
    let targets = targets(&event, &args.fixed_hosts, &args.fixed_ports).map_err(|e| match e {
        HookError::Event(_) => Failure::failed(e),
        HookError::Port(_) | HookError::Host(_) => Failure::usage(e.to_string()),
    })?;
    if args.inventory {
        context.out.value(&inventory(&targets, &through))?;
        return Ok(Outcome::Done);
    }
    let answers = ask_all(&targets, &through, args);
    if context.out.json() {
        context.out.value(&serde_json::json!({ "hosts": answers }))?;
    } else if answers.is_empty() {
        context.out.line("no host is asked: no commit has a directive, and no host is fixed")?;
    } else {
        for answer in &answers {
            match &answer.why {
                None => context.out.line(&format!("{}: done", answer.host))?,
                Some(why) => context.out.line(&format!("{}: FAILED: {why}", answer.host))?,
            }
        }
    }
    Ok(match answers.iter().all(|answer| answer.done) {
        true => Outcome::Done,
        false => Outcome::Findings,
    })
}

/// These become words of a ProxyCommand, which a shell reads.
fn check(through: &Through, known_hosts: Option<&str>) -> Result<(), Failure> {
    let words = [&through.relay, &through.user, &through.key];
    let words = words.into_iter().map(String::as_str).chain(known_hosts);
    let fine = |c: char| c.is_ascii_alphanumeric() || "/._-:@+,=~".contains(c);
    for word in words {
        if word.is_empty() || word.starts_with('-') || !word.chars().all(fine) {
            return Err(Failure::usage(format!(
                "{word:?} has characters that a shell would read as its own"
            ))
            .hint("use letters, digits and / . _ - : @ + , = ~"));
        }
    }
    Ok(())
}

fn read_event(args: &DeployHookArgs) -> Result<String, Failure> {
    let file: Box<dyn std::io::Read> = match args.event.as_os_str() == "-" {
        true => Box::new(std::io::stdin()),
        false => {
            let path = args.event.display();
            Box::new(File::open(&args.event).with_context(|| path.to_string())?)
        }
    };
    let mut bytes = Vec::new();
    file.take(MAX_EVENT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_EVENT {
        let most = MAX_EVENT / 1024 / 1024;
        return Err(Failure::failed(anyhow!("the event has more than {most} MiB"))
            .hint("no forge sends that; is it the file of one push?"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Eight at a time; the answers are in the order of the hosts' names and ports.
fn ask_all(targets: &Targets, through: &Through, args: &DeployHookArgs) -> Vec<Answer> {
    let direct = targets.direct.iter().map(|host| (host.clone(), None));
    let ports = targets.ports.iter().map(|port| (format!("tunnelled_{port}"), Some(*port)));
    let all: Vec<(String, Option<i64>)> = direct.chain(ports).collect();
    let next = AtomicUsize::new(0);
    let answers = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(all.len()) {
            scope.spawn(|| {
                while let Some((at, (host, port))) = {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    all.get(at).map(|one| (at, one))
                } {
                    let why = ask(host, *port, through, args).err();
                    let answer = Answer { host: host.clone(), done: why.is_none(), why };
                    answers.lock().unwrap_or_else(|e| e.into_inner()).push((at, answer));
                }
            });
        }
    });
    let mut answers = answers.into_inner().unwrap_or_else(|e| e.into_inner());
    answers.sort_by_key(|(at, _)| *at);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

fn ask(
    host: &str,
    port: Option<i64>,
    through: &Through,
    args: &DeployHookArgs,
) -> Result<(), String> {
    let mut command = Command::new("ssh");
    let known = args
        .known_hosts
        .iter()
        .flat_map(|file| ["-o".to_owned(), format!("UserKnownHostsFile={file}")]);
    let known: Vec<String> = known.collect();
    command.args([
        "-o",
        "BatchMode=yes",
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        "ServerAliveInterval=10",
    ]);
    command.args(["-o", "ServerAliveCountMax=3", "-i", &through.key, "-l", "robot"]).args(&known);
    command.arg("-o").arg(format!("ConnectTimeout={}", through.timeout));
    match port {
        None => command.args(["--", host]),
        Some(port) => {
            let port = u16::try_from(port).ok().filter(|port| *port > 0);
            let port = port.ok_or("no such port: ports are from 1 to 65535")?;
            let proxy =
                through.proxy_command().replacen("ssh ", &format!("ssh {} ", known.join(" ")), 1);
            command.arg("-o").arg(format!("ProxyCommand={proxy}"));
            command.args(["-p", &port.to_string(), "--", "localhost"])
        }
    };
    command.arg(&args.command).stdin(Stdio::null());
    let done = command.output().map_err(|e| format!("ssh cannot be started: {e}"))?;
    let said = String::from_utf8_lossy(&done.stderr);
    let mut last = said.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let last = last.next().unwrap_or("it said nothing").to_owned();
    match done.status.code() {
        Some(0) => Ok(()),
        Some(255) => Err(format!("unreachable: {last}")),
        Some(code) => Err(format!("it was reached, and the command ended with {code}: {last}")),
        None => Err("ssh was killed".into()),
    }
}
