//! `cargo xtask`: the demo, the checks and the benches.

mod bench_fleet;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "The demo, the checks and the benches of Afield")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Time and memory of check, resolve and audit on a fleet of 10,000 hosts, beside a loader in Python
    BenchFleet(bench_fleet::Args),
}

fn main() -> anyhow::Result<()> {
    match Args::parse().task {
        Task::BenchFleet(args) => bench_fleet::run(&args),
    }
}
