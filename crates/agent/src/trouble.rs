//! Trouble that is the host's own: a full disk, or one that broke. It says nothing about a release.

use std::io::{self, ErrorKind};

/// As programs that the agent runs call it.
const WORDS: [&str; 4] =
    ["No space left on device", "Read-only file system", "Input/output error", "disk I/O error"];

/// Several things that all failed by trouble of the host's own, in a sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Own(pub String);

/// Whether it failed by trouble of the host's own.
pub fn is_own(error: &anyhow::Error) -> bool {
    let kinds = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::ReadOnlyFilesystem];
    let io = |e: &io::Error| kinds.contains(&e.kind()) || is_io(e.raw_os_error());
    let errno = |e: &rustix::io::Errno| io(&io::Error::from(*e));
    error.chain().any(|cause| {
        cause.is::<Own>()
            || cause.downcast_ref().is_some_and(io)
            || cause.downcast_ref().is_some_and(errno)
            || WORDS.iter().any(|words| cause.to_string().contains(words))
    })
}

/// What a broken disk answers: EIO.
fn is_io(error: Option<i32>) -> bool {
    error == Some(rustix::io::Errno::IO.raw_os_error())
}
