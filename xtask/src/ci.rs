//! `cargo ci`: every check of the repository, one after the other, and where the time went.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::process::{self, Programs, find};
use crate::{demo, nix_tests, setup, vm};

mod docs;
mod graph;
mod workspace;

use workspace::Workspace;

/// `cargo ci`.
#[derive(clap::Args)]
pub struct Args {
    /// Only these stages
    #[arg(long, value_delimiter = ',', value_name = "STAGE")]
    only: Vec<String>,
    /// Name the stages and end
    #[arg(long)]
    list: bool,
}

/// What a stage could not look at, for the summary; empty if it did all that it is for.
type Skipped = Vec<String>;

struct Stage {
    name: &'static str,
    what: &'static str,
    run: fn() -> Result<Skipped>,
}

/// In this order: what is quick and often wrong comes first, what needs the built programs last.
const STAGES: &[Stage] = &[
    Stage { name: "setup", what: "Debian packages and cargo tools", run: set_up },
    Stage {
        name: "fmt",
        what: "the code is formatted",
        run: || cargo(&["fmt", "--all", "--check"]),
    },
    Stage {
        name: "graph",
        what: "which crate depends on which",
        run: || graph::check(&Workspace::load()?),
    },
    Stage { name: "deny", what: "licences and bans", run: deny },
    Stage {
        name: "clippy",
        what: "no warning anywhere",
        run: || {
            cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--all-features",
                "--",
                "-D",
                "warnings",
            ])
        },
    },
    Stage { name: "test", what: "the tests of all crates", run: test },
    Stage {
        name: "docs",
        what: "every command shown in the documents exists",
        run: || docs::check(&Programs::build(false)?),
    },
    Stage { name: "nix", what: "the Nix modules, on the golden fleet", run: nix },
    Stage {
        name: "demo",
        what: "cargo demo --once, with the programs that the tests use",
        run: || demo::run(&demo::Args::in_ci()).map(|()| Vec::new()),
    },
    Stage { name: "vm", what: "cargo vm: scenarios on real machines", run: vm::in_ci },
];

/// nixpkgs' `lib` is no part of the repository, and cannot be fetched where CI runs.
fn nix() -> Result<Skipped> {
    if std::env::var_os("NIXPKGS_LIB").is_none() {
        return Ok(vec![
            "the Nix tests: NIXPKGS_LIB is not set; it names a checkout of nix-community/nixpkgs.lib".into(),
        ]);
    }
    nix_tests::run(&nix_tests::Args::default()).map(|()| Vec::new())
}

struct Done {
    name: &'static str,
    took: Duration,
    result: Result<Skipped>,
}

/// Runs the stages, all of them even if one fails, and says how each went.
pub fn run(args: &Args) -> Result<ExitCode> {
    if args.list {
        for stage in STAGES {
            println!("{:8} {}", stage.name, stage.what);
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(unknown) = args.only.iter().find(|name| STAGES.iter().all(|s| s.name != **name)) {
        bail!("there is no stage {unknown}; `cargo ci --list` names them");
    }
    let chosen = |stage: &&Stage| args.only.is_empty() || args.only.iter().any(|n| n == stage.name);
    let done: Vec<Done> = STAGES.iter().filter(chosen).map(play).collect();
    summary(&done);
    let failed = done.iter().any(|stage| stage.result.is_err());
    Ok(ExitCode::from(u8::from(failed)))
}

fn play(stage: &Stage) -> Done {
    println!("\n=== {}: {}", stage.name, stage.what);
    let started = Instant::now();
    let result = (stage.run)();
    if let Err(error) = &result {
        eprintln!("{}: {error:#}", stage.name);
    }
    Done { name: stage.name, took: started.elapsed(), result }
}

fn summary(done: &[Done]) {
    println!("\n=== where the time went");
    for stage in done {
        let verdict = if stage.result.is_ok() { "passed" } else { "FAILED" };
        println!("{:8} {verdict} {:7.1} s", stage.name, stage.took.as_secs_f32());
    }
    let all: Duration = done.iter().map(|stage| stage.took).sum();
    println!("{:8}        {:7.1} s", "in all", all.as_secs_f32());
    for stage in done {
        for skipped in stage.result.iter().flatten() {
            println!("skipped in {}: {skipped}", stage.name);
        }
    }
    let passed = done.iter().filter(|stage| stage.result.is_ok()).count();
    println!("{passed} passed, {} failed", done.len() - passed);
}

fn cargo(args: &[&str]) -> Result<Skipped> {
    process::run(Command::new("cargo").current_dir(process::root()).args(args))?;
    Ok(Vec::new())
}

fn set_up() -> Result<Skipped> {
    setup::ensure(false)?;
    if find("cargo-deny").is_none() {
        // It runs once and needs no speed: unoptimised it is there in a third of the time.
        cargo(&["install", "cargo-deny", "--version", "0.20.2", "--locked", "--debug"])?;
    }
    Ok(Vec::new())
}

/// No advisory database can be fetched on the machines that run this.
fn deny() -> Result<Skipped> {
    cargo(&["deny", "--all-features", "check", "licenses", "bans"])?;
    Ok(vec!["advisories: their database cannot be fetched here".into()])
}

fn test() -> Result<Skipped> {
    let has_faults = Workspace::load()?.has_feature("afield-agent", "faults");
    let features: &[&str] = if has_faults { &["--features", "afield-agent/faults"] } else { &[] };
    let mut skipped = Vec::new();
    if find("cargo-nextest").is_some() {
        cargo(
            &[&["nextest", "run", "--workspace", "--no-fail-fast", "--no-tests", "pass"], features]
                .concat(),
        )?;
        // What nextest does not run.
        cargo(&[&["test", "--workspace", "--doc"], features].concat())?;
    } else {
        cargo(&[&["test", "--workspace"], features].concat())?;
        skipped.push("cargo-nextest is not installed: cargo test ran the tests".into());
    }
    if !has_faults {
        skipped.push("afield-agent has no feature `faults`: no fault was injected".into());
    }
    Ok(skipped)
}
