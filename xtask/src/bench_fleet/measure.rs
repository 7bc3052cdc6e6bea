//! Time and peak memory of a program.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

/// What a program took.
pub struct Measured {
    /// Wall clock.
    pub time: Duration,
    /// Peak of resident memory, in bytes; what was allocated in the last millisecond may be missing.
    pub peak: u64,
}

/// Runs a program to its end; its output is thrown away.
pub fn measure(mut command: Command) -> anyhow::Result<Measured> {
    let name = format!("{:?}", command.get_program());
    let errors = tempfile::NamedTempFile::new()?;
    let begin = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors.reopen()?)
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    let status_file = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let status = loop {
        peak = peak.max(high_water(&status_file).unwrap_or(0));
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let time = begin.elapsed();
    let text = std::fs::read_to_string(errors.path())?;
    ensure!(
        status.success(),
        "{name} ended with {status}: {}",
        text.trim()
    );
    Ok(Measured { time, peak })
}

/// `VmHWM` of a process, in bytes.
fn high_water(path: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}
