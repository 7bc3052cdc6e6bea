//! Time and peak memory of `afield` on a large fleet folder, beside a loader in Python that does nothing but read it.

mod generate;
mod measure;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use measure::{Measured, measure};

/// The yardstick: reads every file as the older tools do, and checks nothing.
const YARDSTICK: &str = r#"
import json, os, sys, yaml
folder, fast = sys.argv[1], sys.argv[2] == "fast"
loader = yaml.CSafeLoader if fast else yaml.SafeLoader
for top, _, names in os.walk(folder):
    for name in sorted(names):
        path = os.path.join(top, name)
        if name.endswith(".json"):
            with open(path) as file:
                json.load(file)
        elif name.endswith("-configs.yml"):
            with open(path) as file:
                yaml.load(file, Loader=loader)
"#;

/// Arguments of `cargo bench-fleet`.
#[derive(clap::Args)]
pub struct Args {
    /// Hosts of the first fleet; a second one has twice as many
    #[arg(long, default_value_t = 10_000)]
    hosts: usize,
    /// Seed of the fleet
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Runs of each measurement; the fastest counts, as others share the machine
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Leave out the yardstick, which takes a minute
    #[arg(long)]
    no_python: bool,
}

/// Makes the fleets, measures, and prints a table.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let afield = build()?;
    let python = if args.no_python { None } else { python()? };
    println!("seed {}, fastest of {} runs", args.seed, args.runs.max(1));
    println!("{:>7}  {:32} {:>9} {:>9} {:>9}", "hosts", "what", "time", "cpu", "peak");
    for hosts in [args.hosts, args.hosts * 2] {
        let dir = tempfile::tempdir()?;
        generate::write(dir.path(), hosts, args.seed)?;
        let out = dir.path().join("audit");
        std::fs::create_dir(&out)?;
        let fleet = ["--fleet".as_ref(), dir.path().as_os_str()];
        let command = |last: &[&str]| {
            let mut command = Command::new(&afield);
            command.args(fleet).args(last);
            command
        };
        let audit = out.to_str().context("the temporary folder has an odd name")?;
        let rows: [(&str, &[&str]); 3] = [
            ("afield check", &["check", "--format", "json"]),
            ("afield show hosts (resolve all)", &["--json", "show", "hosts"]),
            ("afield access audit", &["access", "audit", "-o", audit]),
        ];
        for (what, arguments) in rows {
            print(hosts, what, &best(args.runs, || measure(command(arguments)))?);
        }
        if let Some(python) = &python {
            for (what, speed) in
                [("python, json + yaml", "slow"), ("python, json + libyaml", "fast")]
            {
                let script = [YARDSTICK, &dir.path().display().to_string(), speed];
                let mut yardstick = Command::new(python);
                yardstick.arg("-c").args(script);
                print(hosts, what, &measure(yardstick)?);
            }
        }
    }
    Ok(())
}

fn print(hosts: usize, what: &str, measured: &Measured) {
    let (time, cpu) = (measured.time.as_secs_f64(), measured.cpu.as_secs_f64());
    let peak = measured.peak as f64 / 1e6;
    println!("{hosts:>7}  {what:32} {time:>7.2} s {cpu:>7.2} s {peak:>6.0} MB");
}

/// The fastest of several runs, with the highest peak.
fn best(runs: usize, one: impl Fn() -> anyhow::Result<Measured>) -> anyhow::Result<Measured> {
    let mut best = one()?;
    for _ in 1..runs {
        let next = one()?;
        best = Measured {
            time: best.time.min(next.time),
            cpu: best.cpu.min(next.cpu),
            peak: best.peak.max(next.peak),
        };
    }
    Ok(best)
}

/// The command, as it is released.
fn build() -> anyhow::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(root)
        .args(["build", "--quiet", "--release", "--package", "afield-cli"])
        .status()?;
    ensure!(status.success(), "afield could not be built");
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    Ok(target.unwrap_or_else(|| root.join("target")).join("release/afield"))
}

/// A Python that has PyYAML: the system's, or one in a virtual environment below `target`. None if there is no way.
fn python() -> anyhow::Result<Option<PathBuf>> {
    let has_yaml = |python: &Path| {
        let status = Command::new(python).args(["-c", "import yaml; yaml.CSafeLoader"]).output();
        status.is_ok_and(|output| output.status.success())
    };
    let system = PathBuf::from("python3");
    if has_yaml(&system) {
        return Ok(Some(system));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent")?;
    let venv = root.join("target/bench-venv");
    let own = venv.join("bin/python");
    if !has_yaml(&own) {
        Command::new("python3").args(["-m", "venv"]).arg(&venv).output().ok();
        Command::new(&own).args(["-m", "pip", "install", "--quiet", "PyYAML"]).output().ok();
    }
    if !has_yaml(&own) {
        println!("(no Python with PyYAML is to be had: the yardstick is left out)");
        return Ok(None);
    }
    Ok(Some(own))
}
