//! `cargo bench-tunnel`: how long until a login works again after a fault, ours beside autossh with the options of the
//! older unit, at the same time and over the same kind of network, with real sshd relays; an hour of seeded faults;
//! and with `--scale` many tunnels at one relay, with `--idle` what tunnels cost that nobody uses.
//!
//! Does nothing without `--run`, since `cargo test --all-targets` starts it too. Needs root and autossh.
#![allow(clippy::unwrap_used, reason = "a bench ends where it goes wrong")]

mod faults;
mod hour;
mod idle;
mod lane;
mod scale;
mod usage;

use clap::Parser;

#[derive(Parser)]
struct Args {
    /// Measure.
    #[arg(long)]
    run: bool,
    /// Each fault once, none that takes ten minutes, and five minutes of seeded faults.
    #[arg(long)]
    quick: bool,
    /// How often each fault is made.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Only faults whose name contains this, and no seeded ones.
    #[arg(long)]
    only: Option<String>,
    /// Contests side by side; each has three hosts and three relays, which mostly wait.
    #[arg(long, default_value_t = 12)]
    at_once: usize,
    /// Minutes of seeded faults.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// The seed of these faults.
    #[arg(long, default_value_t = 20_261_128)]
    seed: u64,
    /// Only this: so many tunnels at one relay, and all of them again after it restarts.
    #[arg(long, value_name = "TUNNELS")]
    scale: Option<u16>,
    /// Only this: what three tunnels cost in so many idle minutes.
    #[arg(long, value_name = "MINUTES")]
    idle: Option<u64>,
    /// Taken for cargo, which passes it on.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let args = Args::parse();
    if !args.run {
        println!("nothing is measured without --run; see `cargo bench-tunnel`");
        return;
    }
    if let Some(tunnels) = args.scale {
        return scale::run(tunnels);
    }
    if let Some(minutes) = args.idle {
        return idle::run(minutes.max(1));
    }
    let (runs, minutes) = match args.quick {
        true => (1, 5),
        false => (args.runs, args.minutes),
    };
    let wanted: Vec<_> = faults::FAULTS
        .into_iter()
        .filter(|(name, _)| args.only.as_ref().is_none_or(|only| name.contains(only)))
        .filter(|(_, fault)| !args.quick || *fault != faults::Fault::Cut(600))
        .collect();
    std::thread::scope(|scope| {
        let hour = args.only.is_none().then(|| scope.spawn(|| hour::run(minutes, args.seed)));
        faults::run(&wanted, runs, args.at_once);
        if let Some(told) = hour.and_then(|hour| hour.join().ok()) {
            print!("{told}");
        }
    });
}
