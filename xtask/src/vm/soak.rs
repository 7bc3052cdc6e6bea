//! `cargo soak`: the slow scenarios, round after round, each with another seed.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

use super::Set;

/// `cargo soak`.
#[derive(clap::Args)]
pub struct Args {
    /// The first seed; each round has the next one
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// After this time no scenario is begun, and the power cuts come to their end; one scenario is played at least
    #[arg(long, default_value_t = 1.0)]
    hours: f32,
}

/// What is told to the scenarios of one round.
pub struct Round {
    seed: u64,
    until: SystemTime,
}

impl Round {
    /// As environment.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        let until = self.until.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        [("AFIELD_VM_SEED", self.seed.to_string()), ("AFIELD_VM_UNTIL", until.to_string())]
    }
}

/// Plays every slow scenario, round after round, until the time is over or a round has a scenario that failed.
pub fn run(args: &Args) -> Result<()> {
    let hours = Duration::try_from_secs_f32(args.hours * 3600.0).context("--hours")?;
    let vm = super::Args { names: Vec::new(), list: false, slow: true, keep: false };
    let mut set = Set::prepare(&vm)?;
    let (began, until) = (Instant::now(), SystemTime::now() + hours);
    let mut seed = args.seed;
    loop {
        let left = hours.saturating_sub(began.elapsed());
        println!("round with seed {seed}, {:.0} min left", left.as_secs_f32() / 60.0);
        set.soak = Some(Round { seed, until });
        let late = set.play(Some(left), |scenario| scenario.slow);
        let late = late.with_context(|| {
            format!("AFIELD_VM_SEED={seed} cargo vm NAME plays a scenario of this round again")
        })?;
        late.iter().for_each(|late| println!("not played: {late}"));
        seed += 1;
        if began.elapsed() > hours {
            return Ok(());
        }
    }
}

/// What a scenario writes, told while it plays: it may play for hours.
pub struct Told {
    output: BufReader<File>,
    line: String,
}

impl Told {
    /// From the file that it writes to.
    pub fn of(output: &Path) -> Result<Self> {
        let file = File::open(output).with_context(|| output.display().to_string())?;
        Ok(Self { output: BufReader::new(file), line: String::new() })
    }

    /// Every line that was finished since.
    pub fn tell(&mut self) -> Result<()> {
        while self.output.read_line(&mut self.line)? > 0 && self.line.ends_with('\n') {
            if !self.line.trim().is_empty() {
                print!("     | {}", self.line);
            }
            self.line.clear();
        }
        Ok(())
    }
}
