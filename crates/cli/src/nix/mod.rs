//! Nix, seen from outside: evaluate all hosts, build them, and read what their closures are.
//!
//! Only Nix's programs are called, with the configuration and the store that the person has (`NIX_CONFIG`,
//! `NIX_REMOTE`, a daemon or none). What is called exists since Nix 2.4 and is tried with 2.8 and a current one.

pub mod build;
pub mod closure;
pub mod eval;
pub mod reason;

use std::io;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use afield_core::ids::StorePath;

use crate::exit::Failure;
use reason::Reason;

/// A host's system as Nix evaluated it; not yet built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// The derivation.
    pub drv: StorePath,
    /// What it will be: the store path of the toplevel.
    pub out: StorePath,
}

/// Why a program of Nix gave no answer at all.
#[derive(Debug, thiserror::Error)]
pub enum NixError {
    /// The program is not there.
    #[error("Nix's program {program} cannot be started")]
    Start {
        /// Which.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nix said no.
    #[error("{what}: {reason}")]
    Failed {
        /// What was to be done.
        what: String,
        /// What Nix said.
        reason: Reason,
    },
    /// Nix said something that is not understood.
    #[error("{what}: Nix answered {answer:?}, which is not understood")]
    Answer {
        /// What was to be done.
        what: String,
        /// The start of the answer.
        answer: String,
    },
}

impl NixError {
    fn answer(what: &str, answer: &str) -> Self {
        let (what, answer) = (what.to_owned(), answer.chars().take(200).collect());
        NixError::Answer { what, answer }
    }

    /// As the end of a command, with what to do about it.
    pub fn into_failure(self) -> Failure {
        let hint = match &self {
            NixError::Start { source, .. } if source.kind() == io::ErrorKind::NotFound => Some(
                "Nix is needed where releases are made: apt install nix-bin, or see nixos.org/download",
            ),
            NixError::Failed { reason, .. } => reason.remedy(),
            _ => None,
        };
        let failure = Failure::failed(self);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// A program of Nix, with nothing on its standard input.
fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.stdin(Stdio::null());
    command
}

/// `nix`, with the features that its newer commands are behind.
fn nix() -> Command {
    let mut command = program("nix");
    command.args(["--extra-experimental-features", "nix-command flakes"]);
    command
}

/// Runs a program to its end; also if it fails.
fn run(command: &mut Command) -> Result<Output, NixError> {
    command.output().map_err(|source| start_error(command, source))
}

fn start_error(command: &Command, source: io::Error) -> NixError {
    let program = command.get_program().to_string_lossy().into_owned();
    NixError::Start { program, source }
}

/// What a program prints; an error if it fails. `what` is what it does, for that error.
fn print(command: &mut Command, what: &str) -> Result<String, NixError> {
    let output = run(command)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    Err(NixError::Failed { what: what.to_owned(), reason: Reason::from_stderr(&output.stderr) })
}

/// Does something with each item on a few threads at once; the results are in the order of the items.
pub fn parallel<T: Sync, R: Send>(
    items: &[T],
    threads: usize,
    act: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, items.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    let result = act(item);
                    let mut done = done.lock().unwrap_or_else(|e| e.into_inner());
                    done.push((index, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(|e| e.into_inner());
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

/// How many processors there are to use.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}
