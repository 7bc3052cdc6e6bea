//! Nothing of the demo outlives it: neither a process nor, unless it is wanted, a file.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid,
};

/// Kills what it was told of when it is dropped, or when the demo is interrupted.
pub struct Teardown {
    left: Arc<Mutex<Left>>,
}

struct Left {
    folder: PathBuf,
    keep: bool,
    children: Vec<Child>,
}

impl Teardown {
    /// For a demo in this folder, which is removed at the end unless kept. From now on this process is the parent of
    /// every orphan that it leads to, so that no service of a host gets lost.
    pub fn new(folder: &Path, keep: bool) -> Result<Self> {
        set_child_subreaper(Some(getpid()))?;
        let left = Left { folder: folder.canonicalize()?, keep, children: Vec::new() };
        let teardown = Self { left: Arc::new(Mutex::new(left)) };
        teardown.on_interrupt()?;
        Ok(teardown)
    }

    /// Starts a program that ends with the demo.
    pub fn start(&self, command: &mut Command) -> Result<()> {
        let mut left = lock(&self.left);
        let child =
            command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
        left.children.push(child);
        Ok(())
    }

    /// Complains if a program that should still run has ended.
    pub fn all_alive(&self) -> Result<()> {
        for child in &mut lock(&self.left).children {
            if let Some(status) = child.try_wait()? {
                bail!("process {} of the demo ended with {status}", child.id());
            }
        }
        Ok(())
    }

    /// Ends everything, and says if something would not end.
    pub fn end(&self) -> Result<()> {
        lock(&self.left).end()
    }

    /// Ctrl-C and a polite kill leave nothing behind either.
    fn on_interrupt(&self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let left = Arc::clone(&self.left);
        std::thread::spawn(move || {
            let wanted = runtime.block_on(async {
                use tokio::signal::unix::{SignalKind, signal};
                let mut terminate = signal(SignalKind::terminate())?;
                tokio::select! {
                    _ = terminate.recv() => Ok(()),
                    pressed = tokio::signal::ctrl_c() => pressed,
                }
            });
            if let Err(error) = wanted {
                eprintln!("Ctrl-C will leave processes behind: {error}");
                return;
            }
            eprintln!("\nending the demo …");
            let code = match lock(&left).end() {
                Ok(()) => 130,
                Err(error) => {
                    eprintln!("error: {error:#}");
                    1
                }
            };
            std::process::exit(code);
        });
        Ok(())
    }
}

impl Drop for Teardown {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("error: {error:#}");
        }
    }
}

fn lock(left: &Mutex<Left>) -> MutexGuard<'_, Left> {
    left.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Left {
    fn end(&mut self) -> Result<()> {
        let mut children = std::mem::take(&mut self.children);
        for child in &children {
            signal(child.id(), Signal::TERM);
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        for child in &mut children {
            while child.try_wait()?.is_none() {
                if Instant::now() > deadline {
                    child.kill()?;
                    child.wait()?;
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        end_orphans(deadline + Duration::from_secs(5))?;
        if !self.keep && self.folder.exists() {
            remove(&self.folder)?;
        }
        Ok(())
    }
}

/// What hub and agents started and left behind: services, and activations that outlive their agent.
fn end_orphans(deadline: Instant) -> Result<()> {
    loop {
        let left = descendants()?;
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let pids: Vec<u32> = left.iter().map(|process| process.pid).collect();
            bail!("processes {pids:?} would not end");
        }
        for process in left {
            if !process.ended {
                signal(process.pid, Signal::KILL);
            } else if process.parent == std::process::id() {
                reap(process.pid)?;
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn reap(pid: u32) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    waitpid(pid, WaitOptions::NOHANG)?;
    Ok(())
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // One that has ended in the meantime is what is wanted.
        let _ = kill_process(pid, signal);
    }
}

/// A process and its parent.
struct Process {
    pid: u32,
    parent: u32,
    /// It has ended, and its parent has not asked how.
    ended: bool,
}

/// What descends from this process. Orphans do too: see [`Teardown::new`].
fn descendants() -> io::Result<Vec<Process>> {
    let mut others: Vec<Process> =
        std::fs::read_dir("/proc")?.filter_map(|entry| process(&entry.ok()?.path())).collect();
    let mut found: Vec<Process> = Vec::new();
    loop {
        let ours = |p: &Process| {
            p.parent == std::process::id() || found.iter().any(|parent| parent.pid == p.parent)
        };
        let (more, rest): (Vec<_>, Vec<_>) = others.into_iter().partition(ours);
        if more.is_empty() {
            return Ok(found);
        }
        found.extend(more);
        others = rest;
    }
}

/// A folder of /proc, if it is a process and still there.
fn process(folder: &Path) -> Option<Process> {
    let pid = folder.file_name()?.to_str()?.parse().ok()?;
    let stat = std::fs::read_to_string(folder.join("stat")).ok()?;
    // The name before the bracket may contain anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let ended = fields.next()? == "Z";
    let parent = fields.next()?.parse().ok()?;
    Some(Process { pid, parent, ended })
}

/// Nix makes its folders read-only, which only matters to others than root.
fn remove(folder: &Path) -> Result<()> {
    std::fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))
}
