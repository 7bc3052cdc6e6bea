//! How a command ends: the one place that turns an error into words, a hint and an exit code.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | done, with findings of severity `error`; or the operation failed |
//! | 2 | wrong usage |
//! | 3 | refused for safety: nothing was changed |

use std::io::{self, Write as _};
use std::process::ExitCode;

/// How a command ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was done: exit code 0.
    Done,
    /// Everything was looked at and something is wrong, which has been printed: exit code 1.
    Findings,
}

/// What a command returns.
pub type CommandResult = Result<Outcome, Failure>;

/// Why a command ended early, and what the person may do about it.
#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    error: anyhow::Error,
    hint: Option<String>,
}

/// Kind of failure; it decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Failed,
    Usage,
    Refused,
}

impl Failure {
    /// The operation failed: exit code 1. The same as `?` on an error.
    pub fn failed(error: impl Into<anyhow::Error>) -> Self {
        Self { kind: Kind::Failed, error: error.into(), hint: None }
    }

    /// The arguments make no sense together: exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { kind: Kind::Usage, error: anyhow::Error::msg(message.into()), hint: None }
    }

    /// Going on would be dangerous, and nothing was changed: exit code 3.
    pub fn refused(message: impl Into<String>) -> Self {
        Self { kind: Kind::Refused, error: anyhow::Error::msg(message.into()), hint: None }
    }

    /// What went wrong and what may be done, in one line, for a command that goes on all the same.
    pub fn text(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{:#}; {hint}", self.error),
            None => format!("{:#}", self.error),
        }
    }

    /// Adds what the person may do about it, as a full sentence or a command line.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::failed(error)
    }
}

/// Prints a failure on standard error and gives the exit code of any result.
///
/// With `json` the failure is `{"error": "…", "hint": "…"}` on one line.
pub fn finish(result: CommandResult, json: bool) -> ExitCode {
    let failure = match result {
        Ok(Outcome::Done) => return ExitCode::SUCCESS,
        Ok(Outcome::Findings) => return ExitCode::from(1),
        Err(failure) => failure,
    };
    // The reader of a pipe went away (`afield check | head`): nobody is left to tell.
    if is_broken_pipe(&failure.error) {
        return ExitCode::SUCCESS;
    }
    let hint = failure.hint.or_else(|| default_hint(&failure.error));
    // A closed standard error is no reason to fail differently.
    let _ = print(&failure.error, hint.as_deref(), json);
    ExitCode::from(match failure.kind {
        Kind::Failed => 1,
        Kind::Usage => 2,
        Kind::Refused => 3,
    })
}

/// Prints clap's message, which is help on request or wrong usage.
pub fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS }
}

fn print(error: &anyhow::Error, hint: Option<&str>, json: bool) -> io::Result<()> {
    let mut err = io::stderr().lock();
    if json {
        let value = serde_json::json!({ "error": format!("{error:#}"), "hint": hint });
        return writeln!(err, "{value}");
    }
    writeln!(err, "afield: {error:#}")?;
    match hint {
        Some(hint) => writeln!(err, "  hint: {hint}"),
        None => Ok(()),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// A hint for kinds of errors that any command may meet.
fn default_hint(error: &anyhow::Error) -> Option<String> {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>())?;
    match io.kind() {
        io::ErrorKind::PermissionDenied => {
            Some("the file belongs to someone else, or the folder may not be written".to_owned())
        }
        io::ErrorKind::StorageFull => Some("the disk is full; nothing was replaced".to_owned()),
        _ => None,
    }
}
