//! What a developer types in this repository: `cargo demo`, `cargo ci`, the benches, and what those are made of.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod agent_config;
#[cfg(feature = "delivery")]
mod bench_delivery;
mod bench_eval;
mod bench_fleet;
mod ci;
mod demo;
mod nix_tests;
mod one_source;
mod process;
mod setup;
mod ubuntu_systems;
mod vm;
mod vm_scripts;

/// Tasks of the repository that are no part of the product.
#[derive(Parser)]
#[command(name = "xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install the Debian packages that the demo and the tests need
    Setup(setup::Args),
    /// Show one change travel from the fleet folder to six hosts, one of which rolls back
    Demo(demo::Args),
    /// Run every check of the repository, as the build server does
    Ci(ci::Args),
    /// Play scenarios on real machines: systemd in containers, guests under qemu
    Vm(vm::Args),
    /// Play the long scenarios again and again, each time with another seed
    Soak(vm::soak::Args),
    /// Time and memory of check, resolve and audit on a fleet of 10,000 hosts, beside a loader in Python
    BenchFleet(bench_fleet::Args),
    /// Evaluate the Nix modules on the golden fleet; needs nixpkgs' `lib` in `NIXPKGS_LIB`
    NixTests(nix_tests::Args),
    /// Bytes that two generations of real packages cost to deliver, beside other tools
    #[cfg(feature = "delivery")]
    BenchDelivery(bench_delivery::Options),
    /// Applies one patch and tells its time and memory (a child of bench-delivery)
    #[cfg(feature = "delivery")]
    #[command(hide = true)]
    ApplyPatch(bench_delivery::apply::Options),
    /// CPU and memory of one evaluation for 100 hosts, against one evaluation a host
    BenchEval,
}

fn main() -> ExitCode {
    let done = match Args::parse().task {
        Task::Setup(args) => setup::run(&args),
        Task::Demo(args) => demo::run(&args),
        // Its last line is the count of what passed, also where something failed.
        Task::Ci(args) => match ci::run(&args) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Task::Vm(args) => vm::run(&args),
        Task::Soak(args) => vm::soak::run(&args),
        Task::BenchFleet(args) => bench_fleet::run(&args),
        #[cfg(feature = "delivery")]
        Task::BenchDelivery(options) => bench_delivery::run(&options),
        #[cfg(feature = "delivery")]
        Task::ApplyPatch(options) => bench_delivery::apply::run(&options),
        Task::NixTests(args) => nix_tests::run(&args),
        Task::BenchEval => bench_eval::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
