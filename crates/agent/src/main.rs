//! `afield-agent`: see `--help`.

mod cli;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use afield_agent::config::Config;
use afield_agent::host::Host;
use afield_agent::mount::Mounted;
use afield_agent::reconcile;
use afield_agent::state::{StateError, Store};
use afield_agent::stick::Stick;
use afield_agent::{activate, boot_check, daemon, install, lan, repair, secrets, tunnel, upgrade};
use afield_core::report::Event;
use anyhow::Context as _;
use clap::{CommandFactory as _, Parser as _};

use cli::outcome::{print, say, to_json};
use cli::plan::plan;
use cli::status::status;
use cli::{Cli, Command, TunnelArgs};

/// A stick waits so long for a run that is under way.
const STICK_WAITS: Duration = Duration::from_secs(3600);

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
    if cli.command.knows_the_state()
        && let Ok(config) = Config::read(&cli.config)
    {
        upgrade::become_good(&config);
    }
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
        key: args.tunnel_key.clone(),
    })?;
    Ok(ExitCode::SUCCESS)
}
