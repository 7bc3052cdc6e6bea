//! Builds all systems at once, keeps going where one fails, and tells whose build failed and why.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};

use afield_core::ids::{HostName, StorePath};
use afield_core::report::MAX_LOG_LINES;
use serde::Deserialize;

use super::reason::{Reason, strip_ansi};
use super::{NixError, System, parallel, print, processors, program, run, start_error};
use crate::progress::Progress;

/// Nix's numbers for kinds of activities and results (Nix source, `libutil/logging.hh`; unchanged since 2.0).
const BUILDS: u64 = 104;
const BUILD: u64 = 105;
const LOG_LINE: u64 = 101;
const PROGRESS: u64 = 105;

/// How to build.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// Builds at a time; Nix's own setting if none.
    pub jobs: Option<u32>,
    /// Folder of links, one a host, that keep what was built from Nix's garbage collection; none: nothing is kept.
    pub roots: Option<&'a Path>,
}

/// Builds systems. Returned are the hosts whose build failed, and why.
pub fn realise(
    systems: &BTreeMap<HostName, System>,
    options: Options<'_>,
    progress: &Progress,
) -> Result<BTreeMap<HostName, Reason>, NixError> {
    let errors = build(systems, options.jobs, progress)?;
    let invalid = invalid(systems)?;
    let mut failed = BTreeMap::new();
    for (host, system) in systems {
        if invalid.contains(&system.out) {
            failed.insert(host.clone(), blame(system, &errors)?);
        }
    }
    if let Some(roots) = options.roots {
        let built = systems.iter().filter(|(host, _)| !failed.contains_key(*host));
        keep(&built.collect::<Vec<_>>(), roots)?;
    }
    Ok(failed)
}

/// An error that Nix told during a build.
struct BuildError {
    text: String,
    /// The derivations that it names.
    names: Vec<StorePath>,
    log: Vec<String>,
}

fn build(
    systems: &BTreeMap<HostName, System>,
    jobs: Option<u32>,
    progress: &Progress,
) -> Result<Vec<BuildError>, NixError> {
    if systems.is_empty() {
        return Ok(Vec::new());
    }
    let mut command = program("nix-store");
    command.args(["--realise", "--keep-going", "--log-format", "internal-json"]);
    if let Some(jobs) = jobs {
        command.args(["--max-jobs", &jobs.to_string()]);
    }
    command.args(systems.values().map(|s| s.drv.as_str()));
    follow(&mut command, progress)
}

/// Runs a build and reads what it tells on the way. Whether it worked, the store knows better than the status.
fn follow(command: &mut Command, progress: &Progress) -> Result<Vec<BuildError>, NixError> {
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| start_error(command, e))?;
    let mut log = Log::default();
    if let Some(err) = child.stderr.take() {
        let mut reader = BufReader::new(err);
        let mut line = Vec::new();
        // A line of a build's log may be endless; what is beyond the limit comes as a line of its own.
        while let Ok(1..) = reader.by_ref().take(1 << 20).read_until(b'\n', &mut line) {
            log.line(&String::from_utf8_lossy(&line), progress);
            line.clear();
        }
    }
    child.wait().map_err(|e| start_error(command, e))?;
    Ok(log.errors)
}

/// What was read of Nix's log.
#[derive(Default)]
struct Log {
    /// Builds that run or ran: their activity's number, and the derivation.
    builds: BTreeMap<u64, StorePath>,
    /// The activity whose results count all builds.
    total: Option<u64>,
    /// Last lines of each derivation's log.
    tails: BTreeMap<StorePath, VecDeque<String>>,
    errors: Vec<BuildError>,
}

/// A line of `--log-format internal-json`.
#[derive(Debug, Deserialize)]
struct Event {
    action: String,
    #[serde(default)]
    id: u64,
    #[serde(default, rename = "type")]
    kind: u64,
    #[serde(default)]
    level: u64,
    #[serde(default)]
    msg: String,
    #[serde(default)]
    fields: Vec<serde_json::Value>,
}

impl Log {
    fn line(&mut self, line: &str, progress: &Progress) {
        let line = line.trim_end();
        match line.strip_prefix("@nix ").map(serde_json::from_str) {
            Some(Ok(event)) => self.event(&event, progress),
            Some(Err(_)) => {}
            None if line.trim_start().starts_with("error:") => self.error(line),
            None => {}
        }
    }

    fn event(&mut self, event: &Event, progress: &Progress) {
        let number = |i: usize| event.fields.get(i).and_then(serde_json::Value::as_u64);
        let text = event.fields.first().and_then(serde_json::Value::as_str);
        match (event.action.as_str(), event.kind) {
            ("start", BUILDS) => self.total = Some(event.id),
            ("start", BUILD) => {
                if let Some(Ok(drv)) = text.map(str::parse::<StorePath>) {
                    progress.at(&format!("building {}", drv.name().trim_end_matches(".drv")));
                    self.builds.insert(event.id, drv);
                }
            }
            ("result", PROGRESS) if self.total == Some(event.id) => {
                if let (Some(done), Some(expected)) = (number(0), number(1)) {
                    progress.set(done, expected);
                }
            }
            ("result", LOG_LINE) => {
                if let (Some(drv), Some(text)) = (self.builds.get(&event.id), text) {
                    let tail = self.tails.entry(drv.clone()).or_default();
                    tail.push_back(afield_core::report::clip(&strip_ansi(text)));
                    if tail.len() > MAX_LOG_LINES {
                        tail.pop_front();
                    }
                }
            }
            ("msg", _) if event.level == 0 => self.error(&event.msg),
            _ => {}
        }
    }

    fn error(&mut self, text: &str) {
        let mut reason = Reason::parse(text).text;
        let plain = strip_ansi(text);
        let names = derivations(&plain);
        // Nix from 2.31 on: "Cannot build '….drv'." and the reason on a line of its own.
        let why = plain.lines().find_map(|l| l.trim().strip_prefix("Reason: "));
        if let Some(why) = why {
            reason = format!("{} {why}", reason.replace(".drv'.", ".drv':"));
        }
        let log = names.iter().find_map(|name| self.tails.get(name));
        self.errors.push(BuildError {
            text: reason.trim_end_matches([';', '.']).to_owned(),
            names,
            log: log.into_iter().flatten().cloned().collect(),
        });
    }
}

/// The derivations that a text names.
fn derivations(text: &str) -> Vec<StorePath> {
    let words = text.split(|c: char| c.is_whitespace() || "'\"^!,;:*".contains(c));
    words
        .map(|w| w.trim_end_matches('.'))
        .filter(|w| w.ends_with(".drv"))
        .filter_map(|w| w.parse().ok())
        .collect()
}

/// The error that kept a system from being built: the first one about a derivation that it needs.
fn blame(system: &System, errors: &[BuildError]) -> Result<Reason, NixError> {
    let mut query = program("nix-store");
    query.args(["--query", "--requisites", system.drv.as_str()]);
    let text = print(&mut query, "listing what the system is built from")?;
    let needs = |name: &StorePath| text.lines().any(|l| l == name.as_str());
    let own = errors.iter().find(|e| e.names.iter().any(needs));
    // One about no derivation is about all of them, such as a full disk.
    let all = || errors.iter().find(|e| e.names.is_empty());
    let Some(error) = own.or_else(all).or(errors.last()) else {
        return Ok(Reason::new("Nix built nothing and gave no reason"));
    };
    let mut reason = Reason::new(short(&error.text));
    reason.log.clone_from(&error.log);
    Ok(reason)
}

/// Without the folder and the hash of store paths, which say nothing to a person.
fn short(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("/nix/store/") {
        out.push_str(before);
        rest = match after.split_at_checked(33) {
            Some((hash, name)) if hash.ends_with('-') => name,
            _ => after,
        };
    }
    out.push_str(rest);
    out
}

/// Which systems are not in the store.
fn invalid(systems: &BTreeMap<HostName, System>) -> Result<Vec<StorePath>, NixError> {
    if systems.is_empty() {
        return Ok(Vec::new());
    }
    let mut command = program("nix-store");
    command.args(["--check-validity", "--print-invalid"]);
    command.args(systems.values().map(|s| s.out.as_str()));
    let output = run(&mut command)?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(NixError::Failed {
            what: "asking what was built".to_owned(),
            reason: Reason::from_stderr(&output.stderr),
        });
    }
    let paths = text.lines().map(str::parse);
    paths.collect::<Result<_, _>>().map_err(|_| NixError::answer("asking what was built", &text))
}

/// Links each host's system in a folder, as a root of Nix's garbage collection.
fn keep(built: &[(&HostName, &System)], roots: &Path) -> Result<(), NixError> {
    let results = parallel(built, processors(), |(host, system)| {
        let mut command = program("nix-store");
        command.args(["--realise", "--add-root"]);
        command.arg(roots.join(host.as_str()));
        command.arg(format!("{}!out", system.drv));
        print(&mut command, "keeping what was built from garbage collection")
    });
    results.into_iter().try_for_each(|r| r.map(drop))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const DRV: &str = "/nix/store/00000000000000000000000000000000-app.drv";

    #[test]
    fn a_failed_build_keeps_its_last_lines() {
        let progress = Progress::steps("test", 0);
        let mut log = Log::default();
        let start = format!(
            r#"@nix {{"action":"start","type":105,"id":7,"level":3,"fields":["{DRV}","",1,1]}}"#
        );
        log.line(&start, &progress);
        for n in 0..30 {
            let line =
                format!(r#"@nix {{"action":"result","type":101,"id":7,"fields":["line {n}"]}}"#);
            log.line(&line, &progress);
        }
        log.line("@nix broken", &progress);
        let msg = format!(
            r#"@nix {{"action":"msg","level":0,"msg":"error: builder for '{DRV}' failed with exit code 3;\nlast 10 log lines:"}}"#
        );
        log.line(&msg, &progress);
        assert_eq!(log.errors.len(), 1);
        let error = &log.errors[0];
        assert_eq!(error.names, [DRV.parse().unwrap()]);
        assert_eq!(error.log.len(), MAX_LOG_LINES);
        assert_eq!(error.log.last().unwrap(), "line 29");
        assert_eq!(short(&error.text), "builder for 'app.drv' failed with exit code 3");
    }
}
