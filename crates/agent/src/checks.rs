//! Step 9: whether what must hold does hold. An exit status of an activation is no evidence; this is.

use std::fs::File;
use std::io::Read as _;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use afield_core::host_data::{Check, Probe};
use afield_core::report::{CheckResult, clip, tail};

use crate::activate::tail_of;
use crate::host::Host;

/// Of a body or file, this much is searched.
const MAX_SEARCHED: u64 = 64 * 1024;
/// How often a running command is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Runs the checks, each with its tries.
pub fn run(host: &Host, checks: &[Check]) -> Vec<CheckResult> {
    checks.iter().map(|check| run_one(host, check)).collect()
}

fn run_one(host: &Host, check: &Check) -> CheckResult {
    let most = check.tries.max(1);
    let mut tries = 0;
    loop {
        tries += 1;
        let found = probe(host, check);
        let (passed, saw) = match found {
            Ok(saw) => (true, saw),
            Err(saw) => (false, saw),
        };
        if passed || tries >= most {
            return CheckResult { name: check.name.clone(), passed, saw: clip(&saw), tries };
        }
        std::thread::sleep(check.pause.duration());
    }
}

/// Last lines of the logs of checks that failed.
pub fn logs(host: &Host, checks: &[Check], results: &[CheckResult]) -> Vec<String> {
    let failed = |c: &&Check| results.iter().any(|r| r.name == c.name && !r.passed);
    checks.iter().filter(failed).flat_map(|check| log_of(host, check)).collect()
}

fn log_of(host: &Host, check: &Check) -> Vec<String> {
    if let Some(log) = &check.log {
        return tail(&tail_of(&host.config.inside(Path::new(log))));
    }
    if let Probe::Unit { unit } = &check.probe {
        let mut journal = Command::new("journalctl");
        journal.args(["--no-pager", "--lines=20", "--output=cat", "--unit", unit]);
        let output = journal.stdin(Stdio::null()).output();
        return output.map(|o| tail(&String::from_utf8_lossy(&o.stdout))).unwrap_or_default();
    }
    Vec::new()
}

/// What was seen: as `Ok` if it is what should be.
fn probe(host: &Host, check: &Check) -> Result<String, String> {
    let deadline = check.deadline.duration();
    match &check.probe {
        Probe::Http { url, status, contains } => {
            http(host, url, *status, contains.as_deref(), deadline)
        }
        Probe::Tcp { address } => tcp(address, deadline),
        Probe::Command { command } => run_command(host, command, deadline),
        Probe::Unit { unit } => {
            let command = ["systemctl", "is-active", "--quiet", unit].map(str::to_owned);
            let active = run_command(host, &command, deadline);
            active.map(|_| format!("{unit} is active")).map_err(|_| format!("{unit} is not active"))
        }
        Probe::File { path, contains } => {
            file(&host.config.inside(Path::new(path)), contains.as_deref())
        }
    }
}

fn http(
    host: &Host,
    url: &str,
    wanted: u16,
    contains: Option<&str>,
    deadline: Duration,
) -> Result<String, String> {
    let request = host.client.get(url).config().timeout_global(Some(deadline)).build();
    let response = request.call().map_err(|e| format!("{url}: {e}"))?;
    let status = response.status().as_u16();
    if status != wanted {
        return Err(format!("{url}: status {status}, not {wanted}"));
    }
    let body = response.into_body().into_reader();
    found_in(body, contains).map_err(|why| format!("{url}: {why}"))?;
    Ok(format!("{url}: status {status}"))
}

fn tcp(address: &str, deadline: Duration) -> Result<String, String> {
    let found = address.to_socket_addrs().map_err(|e| format!("{address}: {e}"))?;
    let mut last = format!("{address}: no address");
    for one in found {
        match TcpStream::connect_timeout(&one, deadline) {
            Ok(_) => return Ok(format!("{address}: open")),
            Err(e) => last = format!("{address}: {e}"),
        }
    }
    Err(last)
}

fn run_command(host: &Host, command: &[String], deadline: Duration) -> Result<String, String> {
    let Some((program, args)) = command.split_first() else {
        return Err("the command is empty".into());
    };
    let mut run = if host.config.is_machine() {
        Command::new(program)
    } else {
        let mut chroot = Command::new("chroot");
        chroot.arg(&host.config.root).arg(program);
        chroot
    };
    run.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = run.spawn().map_err(|e| format!("{program}: {e}"))?;
    let until = Instant::now() + deadline;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(format!("{program}: {status}")),
            Ok(Some(status)) => return Err(format!("{program}: {status}")),
            Err(e) => return Err(format!("{program}: {e}")),
            Ok(None) if Instant::now() > until => {
                // It may have ended by itself meanwhile.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{program}: no end after {} s", deadline.as_secs()));
            }
            Ok(None) => std::thread::sleep(LOOK),
        }
    }
}

fn file(path: &Path, contains: Option<&str>) -> Result<String, String> {
    let shown = path.display();
    let file = File::open(path).map_err(|e| format!("{shown}: {e}"))?;
    found_in(file, contains).map_err(|why| format!("{shown}: {why}"))?;
    Ok(format!("{shown}: there"))
}

fn found_in(from: impl std::io::Read, contains: Option<&str>) -> Result<(), String> {
    let Some(wanted) = contains else {
        return Ok(());
    };
    let mut bytes = Vec::new();
    from.take(MAX_SEARCHED).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if String::from_utf8_lossy(&bytes).contains(wanted) {
        return Ok(());
    }
    Err(format!("it does not contain {wanted:?}"))
}
