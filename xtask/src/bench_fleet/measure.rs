//! Time and peak memory of a program.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

/// What a program took.
pub struct Measured {
    /// Wall clock.
    pub time: Duration,
    /// Time of the processors, its children's included, which others on the machine lengthen less.
    pub cpu: Duration,
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
    let folder = format!("/proc/{}", child.id());
    let (mut peak, mut cpu) = (0, Duration::ZERO);
    let status = loop {
        peak = peak.max(high_water(&folder).unwrap_or(0));
        cpu = cpu.max(cpu_time(&folder).unwrap_or_default());
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let time = begin.elapsed();
    let text = std::fs::read_to_string(errors.path())?;
    ensure!(status.success(), "{name} ended with {status}: {}", text.trim());
    Ok(Measured { time, cpu, peak })
}

/// `VmHWM` of a process, in bytes.
fn high_water(folder: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("{folder}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

/// User and system time of a process and of its children that ended (proc(5), fields 14 to 17 of `stat`).
fn cpu_time(folder: &str) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("{folder}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    let fields = fields.split_whitespace().skip(11).take(4);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    // A tick is 10 ms on all Linux architectures that we build for.
    Some(Duration::from_millis(ticks * 10))
}
