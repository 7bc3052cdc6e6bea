//! `cargo vm`: the scenarios of `crates/vm/tests/vm`, each in a process of its own, one after the other.

pub mod soak;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::process::{self, Programs, executable};
use crate::setup;

/// A scenario that takes longer is ended.
const LIMIT: Duration = Duration::from_secs(3600);
/// The same for those that are known to take long.
const SLOW_LIMIT: Duration = Duration::from_secs(6 * 3600);
/// In `cargo ci` no scenario is begun after this time; what is left is named.
const CI_BUDGET: Duration = Duration::from_secs(25 * 60);
/// Of a failed scenario's output this much is shown.
const SHOWN: usize = 40;

/// `cargo vm`.
#[derive(clap::Args)]
pub struct Args {
    /// Only scenarios whose name contains one of these
    names: Vec<String>,
    /// Name the scenarios and end
    #[arg(long)]
    list: bool,
    /// Also those that take long
    #[arg(long)]
    slow: bool,
    /// Leave the machine of a failed scenario as it is until Enter is pressed
    #[arg(long)]
    keep: bool,
}

struct Scenario {
    /// `module::function`; both are the same mostly.
    name: String,
    slow: bool,
}

/// Plays what was asked for; an error if a scenario failed.
pub fn run(args: &Args) -> Result<()> {
    if args.list {
        for scenario in chosen(&build()?.scenarios, args)? {
            println!("{}{}", short(&scenario.name), if scenario.slow { " (slow)" } else { "" });
        }
        return Ok(());
    }
    Set::prepare(args)?.play(None, |_| true).map(drop)
}

/// Scenarios, ready to be played.
struct Set {
    program: PathBuf,
    programs: PathBuf,
    scenarios: Vec<Scenario>,
    keep: bool,
    soak: Option<soak::Round>,
}

impl Set {
    fn prepare(args: &Args) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            bail!("containers and guests need root");
        }
        let Built { scenarios: program, programs } = build()?;
        let scenarios = chosen(&program, args)?;
        setup::ensure_machines()?;
        let programs = stripped(&programs)?;
        Ok(Self { program, programs, scenarios, keep: args.keep, soak: None })
    }

    /// Names those that the budget left no time for.
    fn play(
        &self,
        budget: Option<Duration>,
        which: impl Fn(&Scenario) -> bool,
    ) -> Result<Vec<String>> {
        let started = Instant::now();
        let (mut passed, mut failed, mut late) = (0, Vec::new(), Vec::new());
        for scenario in self.scenarios.iter().filter(|scenario| which(scenario)) {
            // A set in which nothing was played must not pass.
            let is_late = budget.is_some_and(|budget| started.elapsed() > budget);
            if is_late && (passed > 0 || !failed.is_empty()) {
                late.push(format!("{}: no time was left", short(&scenario.name)));
            } else if self.play_one(scenario)? {
                passed += 1;
            } else {
                failed.push(short(&scenario.name));
            }
        }
        let took = started.elapsed().as_secs_f32();
        println!("{passed} scenarios passed, {} failed, in {took:.0} s", failed.len());
        if !failed.is_empty() {
            bail!("failed: {}", failed.join(", "));
        }
        Ok(late)
    }
}

/// The stage of `cargo ci`: the short set. What cannot run here is named.
pub fn in_ci() -> Result<Vec<String>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(vec!["every scenario: containers need root".into()]);
    }
    let set = Set::prepare(&Args { names: Vec::new(), list: false, slow: false, keep: false })?;
    let mut skipped = set.play(Some(CI_BUDGET), |_| true)?;
    skipped.push("slow scenarios: `cargo vm --slow` plays them".into());
    Ok(skipped)
}

struct Built {
    scenarios: PathBuf,
    programs: Programs,
}

/// Everything in one build: what they share is compiled once. The agent has its fault points.
fn build() -> Result<Built> {
    let what = ["--package", "afield-vm", "--bins", "--test", "vm"];
    let features = ["--features", "afield-agent/faults,afield-vm/scenarios"];
    let messages =
        process::cargo_messages(&[&["build"], Programs::PACKAGES, &what, &features].concat())?;
    let scenarios = executable(&messages, "vm").context("cargo built no scenarios")?;
    Ok(Built { scenarios, programs: Programs::among(&messages)? })
}

/// A folder with the programs for the machines, without what only a debugger needs.
fn stripped(built: &Programs) -> Result<PathBuf> {
    let folder = built.agent.with_file_name("vm-programs");
    fs::create_dir_all(&folder)?;
    for program in [&built.agent, &built.hub, &built.afield] {
        let to = folder.join(program.file_name().context("a program has a name")?);
        let mut strip = Command::new("strip");
        process::run(strip.arg("-o").arg(&to).arg(program))?;
    }
    Ok(folder)
}

fn chosen(program: &Path, args: &Args) -> Result<Vec<Scenario>> {
    let list = |more: &[&str]| -> Result<Vec<String>> {
        let mut list = Command::new(program);
        let text = process::output(list.args(["--list", "--format", "terse"]).args(more))?;
        let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
        Ok(names.map(str::to_owned).collect())
    };
    let slow = list(&["--ignored"])?;
    let scenario = |name: String| Scenario { slow: slow.contains(&name), name };
    let mut all: Vec<Scenario> = list(&[])?.into_iter().map(scenario).collect();
    for name in &args.names {
        if !all.iter().any(|scenario| scenario.name.contains(name)) {
            bail!("no scenario's name contains {name:?}; `cargo vm --list` names them");
        }
    }
    // Who names a slow one wants it.
    let named = |s: &Scenario| args.names.iter().any(|name| s.name.contains(name));
    let wanted = |s: &Scenario| match args.names.is_empty() {
        true => args.slow || args.list || !s.slow,
        false => named(s),
    };
    all.retain(wanted);
    Ok(all)
}

fn short(name: &str) -> &str {
    match name.split_once("::") {
        Some((module, function)) if module == function => module,
        _ => name,
    }
}

impl Set {
    /// Plays one; whether it passed.
    fn play_one(&self, scenario: &Scenario) -> Result<bool> {
        let name = short(&scenario.name);
        let logs = process::root().join("target/vm-logs").join(name.replace("::", "-"));
        if logs.exists() {
            fs::remove_dir_all(&logs)?;
        }
        fs::create_dir_all(&logs)?;
        let output = logs.join("output.log");
        let mut command = Command::new(&self.program);
        command.args(["--exact", &scenario.name, "--include-ignored", "--nocapture"]);
        command.env("AFIELD_VM_PROGRAMS", &self.programs).env("AFIELD_VM_LOGS", &logs);
        // The line that failed says enough.
        command.env("RUST_BACKTRACE", "0");
        if let Some(round) = &self.soak {
            command.envs(round.environment());
        }
        if self.keep {
            command.env("AFIELD_VM_KEEP", "1");
        } else {
            let file = File::create(&output)?;
            command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        }
        let started = Instant::now();
        let child = command.spawn().context("the scenario cannot be started")?;
        let limit = if scenario.slow { SLOW_LIMIT } else { LIMIT };
        let mut told = self.soak.as_ref().map(|_| soak::Told::of(&output)).transpose()?;
        let ended = within(child, (!self.keep).then_some(limit), || {
            told.as_mut().map_or(Ok(()), soak::Told::tell)
        })?;
        let passed = ended.is_some_and(|status| status.success());
        let verdict = if passed { "ok  " } else { "FAIL" };
        println!("{verdict} {:6.1} s  {name}", started.elapsed().as_secs_f32());
        if !passed {
            show(&output, ended, &logs);
        }
        Ok(passed)
    }
}

/// How it ended; none if it had to be ended. Meanwhile `look` is called again and again, and once after the end.
fn within(
    mut child: Child,
    limit: Option<Duration>,
    mut look: impl FnMut() -> Result<()>,
) -> Result<Option<ExitStatus>> {
    let started = Instant::now();
    loop {
        look()?;
        if let Some(status) = child.try_wait()? {
            look()?;
            return Ok(Some(status));
        }
        if limit.is_some_and(|limit| started.elapsed() > limit) {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn show(output: &Path, ended: Option<ExitStatus>, logs: &Path) {
    let text = fs::read_to_string(output).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    for line in &lines[lines.len().saturating_sub(SHOWN)..] {
        println!("     | {line}");
    }
    if ended.is_none() {
        println!("     it took too long and was ended");
    }
    println!("     logs: {}", logs.display());
}
