//! What `afield-agent status` prints.

use std::process::ExitCode;

use afield_agent::config::Config;
use afield_agent::observe;
use afield_agent::state::Store;
use afield_agent::window::Holding;
use afield_core::ids::ReleaseId;

use super::Cli;

/// Says what runs here, what is under way, and what failed.
pub fn status(cli: &Cli) -> anyhow::Result<ExitCode> {
    let config = Config::read(&cli.config)?;
    let state = Store::peek(&config.state_dir())?;
    let current = observe::current_system(&config, &state);
    let holding = Holding::find(&config, &state, None);
    let window = holding.around(&config, jiff::Timestamp::now());
    if cli.json {
        let status = serde_json::json!({
            "host": config.host, "current_system": current, "good": state.good,
            "attempt": state.attempt, "quarantined": state.quarantined, "cut_off": state.cut_off,
            "fallback": state.fallback, "reboot_window": {
                "window": holding.window, "from": holding.from.to_string(),
                "opens": window.opens, "closes": window.closes,
            },
            "release_seen": state.release_seen, "last_report": state.last_report,
        });
        println!("{status}");
        return Ok(ExitCode::SUCCESS);
    }
    let release = |r: Option<ReleaseId>| r.map_or("none".into(), |r| r.to_string());
    println!("host          {}", config.host);
    println!("release       {}", release(state.good.release));
    println!("system        {}", current.map_or("none".into(), |c| c.to_string()));
    println!("newest seen   {}", release(state.release_seen));
    println!("restarts      {holding}; from {} to {}", window.opens, window.closes);
    if let Some(attempt) = &state.attempt {
        println!(
            "under way     {:?} to release {}",
            attempt.direction,
            release(attempt.to.release)
        );
        if let Some(since) = attempt.waits {
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
    for cut_off in state.cut_off.keys() {
        println!("to try again  release {cut_off}, when something can be reached");
    }
    for failed in &state.quarantined {
        println!("failed here   release {failed}");
    }
    Ok(ExitCode::SUCCESS)
}
