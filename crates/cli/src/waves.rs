//! Evaluates `waves-and-staging-hosts.nix` with Nix.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use afield_core::fleet::{WAVES_FILE, WavesResult};

/// How long an evaluation may take; lists of names take 20 ms.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks Nix for the waves of a fleet folder.
///
/// The store is a dummy: nothing is built or fetched, and no daemon is needed, nor a store that can be written. The file
/// may come from somebody else's branch, so it reads the fleet folder and NIX_PATH, and nothing else.
pub fn evaluate(dir: &Path) -> WavesResult {
    evaluate_file(dir, &dir.join(WAVES_FILE))
}

/// The same for another file in the folder, which may become the waves.
pub fn evaluate_file(dir: &Path, file: &Path) -> WavesResult {
    let mut command = Command::new("nix-instantiate");
    command
        .args(["--eval", "--strict", "--json", "--store", "dummy://"])
        .args(["--option", "build-users-group", ""])
        .args(["--option", "substituters", ""])
        .args(["--option", "restrict-eval", "true"])
        .args(["--option", "allowed-uris", ""])
        .arg("-I")
        .arg(format!("fleet={}", dir.display()))
        .arg(file);
    match run(command) {
        Ok((status, stdout, _)) if status.success() => WavesResult::Json(stdout),
        Ok((_, _, stderr)) => {
            let (message, place) = error(&stderr);
            WavesResult::Failed(message, place)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            WavesResult::NotEvaluated("nix-instantiate is not on the PATH".to_owned())
        }
        Err(error) => WavesResult::NotEvaluated(format!("nix-instantiate: {error}")),
    }
}

/// Runs a command to its end and gives its status, output and errors; kills it when patience ends.
fn run(mut command: Command) -> io::Result<(ExitStatus, String, String)> {
    // Into files, so that neither pipe can fill up while the other is read.
    let (stdout, stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?)
        .spawn()?;
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((status, text(stdout)?, text(stderr)?));
        }
        if Instant::now() > end {
            child.kill()?;
            child.wait()?;
            let message = format!("no end after {} seconds", PATIENCE.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn text(mut file: File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(16 << 20).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The message of Nix, without its trace, and the first place that it names.
fn error(stderr: &str) -> (String, Option<(u32, u32)>) {
    let errors = stderr.lines().filter_map(|line| line.trim().strip_prefix("error:"));
    let message = errors.map(str::trim).rfind(|message| !message.is_empty());
    let message = message.or_else(|| stderr.trim().lines().next_back()).unwrap_or("no message");
    let place = stderr.lines().find_map(|line| {
        let (_, rest) = line.split_once(WAVES_FILE)?;
        let mut numbers = rest.strip_prefix(':')?.split(':');
        let line = numbers.next()?.trim().parse().ok()?;
        let column = numbers.next().and_then(|n| n.trim().parse().ok()).unwrap_or(1);
        Some((line, column))
    });
    (message.to_owned(), place)
}
