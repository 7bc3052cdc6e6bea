//! The program `afield-hub`.

use std::process::ExitCode;

use afield_hub::serve::{Serve, serve};
use clap::{Parser, Subcommand};

/// Hears hosts, hands out releases wave by wave, and shows how the fleet stands.
#[derive(Parser)]
#[command(version)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the repository, take reports and orders, sign assignments
    #[command(after_long_help = TEACH)]
    Serve(Serve),
}

const TEACH: &str = "\
For hosts (--listen):
  GET  /repository/…      the repository's files, with Range
  POST /v1/reports        signed reports of one host

For operators (--operator-listen):
  GET  /                  the page
  GET  /v1/status[/HOST]  the same as JSON
  POST /v1/orders         a signed order, as `afield rollout` sends it
  POST /v1/packages       what a host put onto a stick, as `afield bundle import` sends it
  GET  /healthz           200 if all is well, else 503 and the problems

What it may do:
  It hands out only what the release key signed, to the hosts that it was signed for. Orders count only
  with an operator's signature. Losing the database loses no host: the hub finds in the repository what it
  handed out. What is lost is the rollout under way (start it once more) and each host's last report (hosts
  report again by themselves).

What it does not do:
  TLS. Put it behind a relay's SSH tunnel or a reverse proxy. Nothing that hosts fetch needs secrecy of the
  way, since everything is signed; reports and the operators' page are readable by whoever reads the wire.

Example:
  afield-hub serve --repository /srv/afield/repository --trust-root /etc/afield/root.json \\
    --rollout-key /etc/afield/rollout.pem --database /var/lib/afield-hub/hub.sqlite

Exit status: 0 stopped as told, or nothing wrong with --dry-run; 1 something is wrong; 2 wrong usage.";

fn main() -> ExitCode {
    let Command::Serve(args) = Program::parse().command;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(serve(&args)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("afield-hub: {error:#}");
            ExitCode::FAILURE
        }
    }
}
