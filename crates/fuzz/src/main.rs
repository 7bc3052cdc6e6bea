//! `cargo fuzz-stable`: the targets by hand.

use std::path::{Path, PathBuf};

use afield_fuzz::stable::{Meter, run, try_input};
use anyhow::{Context as _, Result, bail};
use peak_alloc::PeakAlloc;

#[global_allocator]
static PEAK: PeakAlloc = PeakAlloc;

const USAGE: &str =
    "usage: list | run TARGET [ROUNDS [SEED]] | try TARGET FILE | corpus TARGET DIR";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let meter = Meter { reset: || PEAK.reset_peak_usage(), peak: || PEAK.peak_usage() };
    let keep = tempfile::tempdir()?.keep();
    let result = match args[..] {
        ["-h" | "--help"] => {
            println!("cargo fuzz-stable: one fuzz target by hand (docs/fuzzing.md)\n\n{USAGE}");
            return Ok(());
        }
        ["list"] => {
            afield_fuzz::all().iter().for_each(|target| println!("{}", target.name));
            return Ok(());
        }
        ["corpus", target, dir] => return corpus(target, Path::new(dir)),
        ["try", target, file] => {
            let input = std::fs::read(file).with_context(|| file.to_owned())?;
            try_input(&afield_fuzz::find(target)?, &input, &meter, &keep)
        }
        ["run", target, ref rest @ ..] if rest.len() <= 2 => {
            let number =
                |at: usize, default: u64| rest.get(at).map_or(Ok(default), |text| text.parse());
            let (rounds, seed) = (number(0, 100_000)?, number(1, 1)?);
            println!("{target}: {rounds} rounds, seed {seed}");
            run(&afield_fuzz::find(target)?, seed, usize::try_from(rounds)?, &meter, &keep)
        }
        _ => bail!("{USAGE}"),
    };
    match result {
        Ok(()) => Ok(()),
        Err(found) => bail!("{}; the input is in {}", found.what, found.file.display()),
    }
}

/// Writes a target's seeds and regression inputs as files, for a driver that wants a folder.
fn corpus(target: &str, dir: &Path) -> Result<()> {
    let target = afield_fuzz::find(target)?;
    std::fs::create_dir_all(dir)?;
    let inputs = (target.seeds)().into_iter().chain(afield_fuzz::stable::regressions(target.name));
    for (at, input) in inputs.enumerate() {
        let path: PathBuf = dir.join(format!("seed-{at:03}"));
        std::fs::write(&path, input).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
