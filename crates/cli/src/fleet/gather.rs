//! Brings the fleet folder's files, and what only Nix knows of it, to `afield_core::fleet`.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use afield_core::fleet::{Sources, WAVES_FILE, WavesResult};
use afield_store::files::read_limited;

use crate::nix::reason::Reason;

/// Larger files are named as unreadable, bytes.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// Reads a fleet folder.
pub fn gather(fleet_dir: &Path) -> io::Result<Sources> {
    let mut sources = Sources::default();
    for folder in ["json", "app_configs/master", "secrets/master", "hosts"] {
        walk(fleet_dir, folder, &mut sources)?;
    }
    let waves = fleet_dir.join(WAVES_FILE);
    if waves.is_file() {
        take(fleet_dir, WAVES_FILE, &mut sources);
        sources.waves = evaluate(&waves);
    }
    Ok(sources)
}

fn walk(root: &Path, folder: &str, sources: &mut Sources) -> io::Result<()> {
    let entries = match fs::read_dir(root.join(folder)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let path = format!("{folder}/{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(root, &path, sources)?;
        } else if Sources::is_host(&path) && kind.is_file() {
            sources.hosts.insert(path);
        } else if Sources::wanted(&path) {
            take(root, &path, sources);
        }
    }
    Ok(())
}

fn take(root: &Path, path: &str, sources: &mut Sources) {
    match read_limited(&root.join(path), MAX_FILE) {
        Ok(bytes) => drop(sources.files.insert(path.to_owned(), bytes)),
        Err(error) => drop(
            sources
                .unreadable
                .insert(path.to_owned(), error.to_string()),
        ),
    }
}

/// What the wave file evaluates to.
fn evaluate(path: &Path) -> WavesResult {
    let mut command = Command::new("nix-instantiate");
    command.args(["--eval", "--strict", "--json"]).arg(path);
    match command.output() {
        Ok(output) if output.status.success() => {
            WavesResult::Json(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(output) => {
            let reason = Reason::from_stderr(&output.stderr);
            let line = reason.at.as_ref().and_then(|at| at.rsplit_once(':'));
            let line = line.and_then(|(_, line)| line.parse().ok());
            WavesResult::Failed(reason.text, line.map(|line| (line, 1)))
        }
        Err(error) => {
            WavesResult::NotEvaluated(format!("nix-instantiate cannot be started: {error}"))
        }
    }
}
