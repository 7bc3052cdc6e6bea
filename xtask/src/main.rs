//! `cargo xtask`: the demo, the checks and the benches.

mod bench_delivery;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "The demo, the checks and the benches of Afield")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Bytes, time and memory of an update, beside what others need for it.
    BenchDelivery(bench_delivery::Options),
    /// Applies one patch and tells its time and memory (a child of bench-delivery).
    #[command(hide = true)]
    ApplyPatch(bench_delivery::apply::Options),
}

fn main() -> anyhow::Result<()> {
    match Args::parse().task {
        Task::BenchDelivery(options) => bench_delivery::run(&options),
        Task::ApplyPatch(options) => bench_delivery::apply::run(&options),
    }
}
