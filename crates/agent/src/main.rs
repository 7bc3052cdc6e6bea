//! `afield-agent`: see `--help`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use afield_agent::config::Config;
use afield_agent::host::Host;
use afield_agent::mount::Mounted;
use afield_agent::reconcile::{self, Outcome};
use afield_agent::state::{StateError, Store};
use afield_agent::stick::Stick;
use afield_agent::{activate, boot_check, daemon, install, lan, observe, repair, secrets, tunnel};
use afield_core::report::Event;
use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

/// A stick waits so long for a run that is under way.
const STICK_WAITS: Duration = Duration::from_secs(3600);

/// Keeps this host at the release that it is assigned, or at the last good one.
///
/// Exit codes: 0 done, 1 failure, 2 wrong usage, 3 something was refused for safety and the host not changed.
#[derive(Debug, Parser)]
#[command(name = "afield-agent", version)]
struct Cli {
    /// The agent's configuration.
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/afield/agent.toml")]
    config: PathBuf,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check in once: fetch, verify, plan, apply, prove or roll back, report.
    Once {
        /// Only say what would be done (the same as `plan`).
        #[arg(long)]
        dry_run: bool,
        /// Fetch now, also outside of the site's time windows, beyond the bytes of its day, and on a metered link.
        #[arg(long, conflicts_with = "dry_run")]
        now: bool,
        /// Look here first: a folder with a bundle or a repository, or a bundle that is one file (docs/usb.md).
        #[arg(long, value_name = "DIR|FILE")]
        from: Option<PathBuf>,
    },
    /// Mount a stick that was plugged in, check in from it, and put reports onto it; started by udev (docs/usb.md).
    Stick {
        /// The stick's file system, as in `/dev/sdb1`.
        device: PathBuf,
        /// Where it is mounted, read-only until reports are written.
        #[arg(long, value_name = "DIR", default_value = "/run/afield/stick")]
        mount: PathBuf,
    },
    /// Help other hosts of the site: find them by mDNS, and serve what is kept for them (docs/lan.md).
    Lan,
    /// Check in for ever, with the configured pause between two check-ins.
    Run,
    /// Say what a check-in would do now, and stop.
    Plan,
    /// Say what runs here, what is under way, and what failed. Asks nobody.
    Status,
    /// Check the configuration file, as a build does before a host gets it.
    CheckConfig {
        /// The file; default: that of `--config`.
        file: Option<PathBuf>,
    },
    /// Open this host's secrets into memory, at boot or by hand. Asks nobody.
    Secrets(secrets::Args),
    /// Make this Debian or Ubuntu a host of the fleet: configuration, trust root, agent and its unit.
    Install(install::Args),
    /// Keep a reverse tunnel to every relay; runs for ever, as a user without rights.
    Tunnel(TunnelArgs),
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// At the end of a boot: judge the system that it started, if it is on trial.
    BootCheck,
    /// The detached part of an activation; started by the agent itself.
    #[command(hide = true)]
    Activate {
        /// The job's folder.
        folder: PathBuf,
    },
    /// Says that the agent ended in an orderly way; run by its unit.
    #[command(hide = true)]
    Ended,
    /// Becomes the ssh of a tunnel; started by `tunnel` itself.
    #[command(hide = true, name = tunnel::client::COMMAND)]
    TunnelSsh {
        /// The process that must be there, or ssh is not needed any more.
        parent: u32,
        /// Arguments of ssh.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
struct TunnelArgs {
    /// Relays and ports, as host data writes them; read again when it changes. TOML if its name says so. Given more than
    /// once, the first that is there counts.
    #[arg(long, value_name = "FILE", default_value = afield_core::accounts::TUNNEL)]
    tunnel_config: Vec<PathBuf>,
    /// The tunnel's own folder: pinned keys, and the ways that worked last.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/afield-tunnel")]
    tunnel_state: PathBuf,
    /// Where it says how each tunnel is doing.
    #[arg(long, value_name = "FILE", default_value = "/run/afield-tunnel/status.json")]
    tunnel_status: PathBuf,
    /// Only check the configuration.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("afield-agent: {e:#}");
            ExitCode::from(1)
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    match &cli.command {
        Command::Once { dry_run, from, now } => {
            let host = Host { go: *now, ..host(&cli.config)? };
            let host = match from {
                Some(path) => host.with_stick(Stick::open(path)?),
                None => host,
            };
            if *dry_run { plan(cli, &host) } else { once(cli, &host, || Ok(())) }
        }
        Command::Plan => plan(cli, &host(&cli.config)?),
        Command::Stick { device, mount } => plugged_in(cli, device, mount),
        Command::Lan => serve_lan(&Config::read(&cli.config)?),
        Command::Run => {
            daemon::run(&host(&cli.config)?, &cli.config);
            Ok(ExitCode::SUCCESS)
        }
        Command::Status => status(cli),
        Command::CheckConfig { file } => check_config(cli, file.as_deref().unwrap_or(&cli.config)),
        Command::Completions { shell } => {
            let name = "afield-agent";
            clap_complete::generate(*shell, &mut Cli::command(), name, &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Command::Activate { folder } => {
            activate::detached_main(folder)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Secrets(args) => {
            println!("{}", secrets::run(args, &cli.config)?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Install(args) => {
            Ok(if install::run(args)? { ExitCode::from(3) } else { ExitCode::SUCCESS })
        }
        Command::Ended => {
            // systemd says how it was; an agent that was killed did not end in an orderly way.
            if std::env::var("SERVICE_RESULT").is_ok_and(|result| result == "success") {
                repair::ended_well(&Config::read(&cli.config)?.state_dir())?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Tunnel(args) => run_tunnel(args),
        Command::BootCheck => {
            let well = boot_check::run(&host(&cli.config)?, &say())?;
            Ok(if well { ExitCode::SUCCESS } else { ExitCode::from(1) })
        }
        Command::TunnelSsh { parent, arguments } => {
            Err(tunnel::client::become_ssh(*parent, arguments))
        }
    }
}

fn host(config: &Path) -> anyhow::Result<Host> {
    Host::new(Config::read(config)?)
}

/// One check-in; if there is a stick, `writable` makes it so, and what the hub should know goes onto it.
fn once(
    cli: &Cli,
    host: &Host,
    writable: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    let outcome = reconcile::once(host, &say())?;
    let give = |stick: &Stick| writable().and_then(|()| stick.give(host));
    let given = host.stick.as_ref().map(|stick| give(stick).map_err(|e| format!("{e:#}")));
    if cli.json {
        println!("{}", to_json(&outcome, given.as_ref())?);
    } else {
        print(&outcome);
        match &given {
            Some(Ok(count)) => println!("{count} reports are on the stick, for the hub alone"),
            Some(Err(why)) => println!("note: {why}"),
            None => {}
        }
    }
    Ok(match outcome.event {
        _ if given.is_some_and(|g| g.is_err()) => ExitCode::from(1),
        Event::Healthy | Event::Updating { .. } => ExitCode::SUCCESS,
        Event::Refused { .. } => ExitCode::from(3),
        Event::Unhealthy | Event::RolledBack { .. } | Event::Stuck { .. } => ExitCode::from(1),
    })
}

/// A stick's visit: wait until no other run is under way, read, write, unmount.
fn plugged_in(cli: &Cli, device: &Path, at: &Path) -> anyhow::Result<ExitCode> {
    let host = host(&cli.config)?;
    let mounted = Mounted::read_only(device, &host.config.inside(at))?;
    let host = host.with_stick(Stick::open(&mounted.bundle()?)?);
    let code = loop {
        Store::wait(&host.config.state_dir(), STICK_WAITS)?;
        match once(cli, &host, || mounted.writable()) {
            // Another run was quicker to take the lock.
            Err(e) if matches!(e.downcast_ref(), Some(StateError::Locked)) => {}
            done => break done?,
        }
    };
    mounted.done()?;
    eprintln!("afield-agent: done; the stick can be pulled out");
    Ok(code)
}

/// Runs for ever, as a user without rights.
fn serve_lan(config: &Config) -> anyhow::Result<ExitCode> {
    let settings = config.lan.as_ref();
    let settings =
        settings.context("there is no [lan] in the configuration, so nothing is served")?;
    lan::run(config, settings)?;
    Ok(ExitCode::SUCCESS)
}

/// Says each new thing once, and progress in steps that a slow terminal can follow.
fn say() -> impl Fn(&str) {
    let last = std::cell::RefCell::new((String::new(), std::time::Instant::now()));
    move |text: &str| {
        let mut last = last.borrow_mut();
        let progress = text.starts_with("fetching:");
        if text == last.0 || (progress && last.1.elapsed() < Duration::from_secs(1)) {
            return;
        }
        eprintln!("afield-agent: {text}");
        *last = (text.to_owned(), std::time::Instant::now());
    }
}

fn plan(cli: &Cli, host: &Host) -> anyhow::Result<ExitCode> {
    let (plan, refusal) = reconcile::preview(host)?;
    let refused = refusal.as_ref().map(|r| (r.code(), r.to_string()));
    if cli.json {
        let refused =
            refused.as_ref().map(|(code, why)| serde_json::json!({"code": code, "why": why}));
        println!("{}", serde_json::json!({ "plan": plan, "refused": refused }));
    } else {
        if let Some((code, why)) = &refused {
            println!("refused ({code}): {why}");
        }
        println!("{}", plan.why);
        for (n, step) in plan.steps.iter().enumerate() {
            println!("{:3}. {}", n + 1, describe(step));
        }
    }
    Ok(if refusal.is_some() { ExitCode::from(3) } else { ExitCode::SUCCESS })
}

fn describe(step: &afield_core::plan::Step) -> String {
    use afield_core::plan::Step;
    match step {
        Step::Wait { wait, bytes } => format!("{wait}; {bytes} bytes are to come"),
        Step::Lack { needed, free } => format!("stop: {needed} bytes are needed, {free} are free"),
        Step::Fetch { missing, bytes } => {
            let patches = missing.iter().filter(|m| !m.bases.is_empty()).count();
            let n = missing.len();
            format!(
                "fetch {bytes} bytes in {n} objects, {patches} of them patches, and import them"
            )
        }
        Step::Begin { to, .. } => match to.release {
            Some(release) => format!("write down the attempt at release {release}"),
            None => "write down the attempt".into(),
        },
        Step::ApplyData { data } => format!("apply the host data {data}"),
        Step::Activate { system } => format!("activate {system}"),
        Step::Await { system } => format!("wait for the activation of {system}"),
        Step::Prove => "prove it by the checks, or roll back".into(),
        Step::Commit => "write it down as the last good state".into(),
        Step::GiveUp { why } => format!("give up, and tell: {why}"),
        Step::RollBack { why } => format!("roll back: {why}"),
        Step::LackBoot(lack) => {
            format!("stop: {} bytes are needed to boot it, {} are free", lack.needed, lack.free)
        }
        Step::Promote { system } => format!("make {system} what the machine starts by itself"),
        Step::Arm { system } => format!("give {system} the next boot on trial"),
        Step::Reboot { why } => format!("restart: {why}"),
        Step::WaitForWindow { why, window } => {
            format!(
                "wait until {} to restart, at most until {}: {why}",
                window.opens, window.closes
            )
        }
        Step::OnTrial => "judge the last good state by its first boot".into(),
        Step::Watch => "run the checks and report".into(),
    }
}

fn status(cli: &Cli) -> anyhow::Result<ExitCode> {
    let config = Config::read(&cli.config)?;
    let state = Store::peek(&config.state_dir())?;
    let current = observe::current_system(&config, &state);
    if cli.json {
        let status = serde_json::json!({
            "host": config.host, "current_system": current, "good": state.good,
            "attempt": state.attempt, "quarantined": state.quarantined,
            "fallback": state.fallback, "reboot_window": observe::window(&config, jiff::Timestamp::now()),
            "release_seen": state.release_seen, "last_report": state.last_report,
        });
        println!("{status}");
        return Ok(ExitCode::SUCCESS);
    }
    let release =
        |r: Option<afield_core::ids::ReleaseId>| r.map_or("none".into(), |r| r.to_string());
    println!("host          {}", config.host);
    println!("release       {}", release(state.good.release));
    println!("system        {}", current.map_or("none".into(), |c| c.to_string()));
    println!("newest seen   {}", release(state.release_seen));
    if let Some(attempt) = &state.attempt {
        println!(
            "under way     {:?} to release {}",
            attempt.direction,
            release(attempt.to.release)
        );
        if let Some(since) = attempt.waits {
            let window = observe::window(&config, jiff::Timestamp::now());
            println!(
                "waits         since {since} for a restart, from {} to {}",
                window.opens, window.closes
            );
        }
    }
    if let Some(fallback) = &state.fallback {
        println!(
            "falls back    to release {}, until the next boot",
            release(fallback.generation.release)
        );
    }
    for failed in &state.quarantined {
        println!("failed here   release {failed}");
    }
    Ok(ExitCode::SUCCESS)
}

fn check_config(cli: &Cli, file: &Path) -> anyhow::Result<ExitCode> {
    let config = Config::read(file)?;
    if cli.json {
        println!("{}", serde_json::to_string(&config)?);
    } else {
        println!("{}: in order, for the host {}", file.display(), config.host);
    }
    Ok(ExitCode::SUCCESS)
}

fn run_tunnel(args: &TunnelArgs) -> anyhow::Result<ExitCode> {
    if args.check {
        for path in &args.tunnel_config {
            tunnel::read_config(path)?;
            println!("{}: in order", path.display());
        }
        return Ok(ExitCode::SUCCESS);
    }
    tunnel::run(&tunnel::Places {
        configs: args.tunnel_config.clone(),
        state: args.tunnel_state.clone(),
        status: args.tunnel_status.clone(),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn to_json(outcome: &Outcome, stick: Option<&Result<usize, String>>) -> anyhow::Result<String> {
    Ok(serde_json::to_string(&serde_json::json!({
        "event": outcome.event, "checks": outcome.checks, "notes": outcome.notes,
        "good": outcome.good, "reports_sent": outcome.sent.as_ref().ok(),
        "hub_error": outcome.sent.as_ref().err(), "peak_memory_kib": peak_memory(),
        "stick_reports": stick.and_then(|s| s.as_ref().ok()),
        "stick_error": stick.and_then(|s| s.as_ref().err()),
    }))?)
}

/// What this process took at most, as the kernel counted; without that of Nix's programs.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

fn print(outcome: &Outcome) {
    for check in &outcome.checks {
        println!("{} {}: {}", if check.passed { "pass" } else { "FAIL" }, check.name, check.saw);
    }
    for note in &outcome.notes {
        println!("note: {note}");
    }
    match &outcome.event {
        Event::Healthy if outcome.good.release.is_none() => {
            println!("no release of the fleet runs here yet");
        }
        Event::Healthy => println!("healthy"),
        Event::Unhealthy => println!("UNHEALTHY"),
        Event::Updating { to, done, total } => {
            println!("updating to {to}: {done} of {total} bytes")
        }
        Event::RolledBack { from, why, .. } => println!("rolled back from release {from}: {why}"),
        Event::Stuck { from, why, .. } => println!("STUCK after release {from}: {why}"),
        Event::Refused { code, why } => println!("refused ({code}): {why}"),
    }
    if let Err(why) = &outcome.sent {
        println!("note: reports wait: {why}");
    }
}
