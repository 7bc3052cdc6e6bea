//! The system's OpenSSH client on a connection that stands.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use afield_core::tunnel::ssh::{self, Watcher, Word};
use afield_core::tunnel::{Config, Event, Relay};
use anyhow::Context as _;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// The hidden command that [`become_ssh`] is behind.
pub const COMMAND: &str = "tunnel-ssh";
/// A longer line of OpenSSH is cut.
const MAX_LINE: u64 = 4096;

/// What a client says.
pub(super) enum Said {
    /// Something for the link.
    Event(Event),
    /// Somebody came through the tunnel.
    Visitor,
}

/// A running client. Dropping it ends it.
pub(super) struct Client {
    child: Arc<Mutex<Child>>,
}

impl Client {
    /// Starts it; what becomes of it is told through `tell`, from a thread of its own.
    pub fn start(
        config: &Config,
        relay: &Relay,
        known_hosts: &Path,
        control: Option<&Path>,
        stream: TcpStream,
        round: u64,
        tell: impl Fn(Said) + Send + 'static,
    ) -> anyhow::Result<Self> {
        let known_hosts = known_hosts.to_str().context("the state folder's path is not UTF-8")?;
        let control = control.and_then(free);
        let other = OwnedFd::from(stream.try_clone()?);
        let mut child = Command::new(std::env::current_exe()?)
            .args([COMMAND, &std::process::id().to_string(), "--"])
            .args(ssh::arguments(config, relay, known_hosts, control))
            .stdin(OwnedFd::from(stream))
            .stdout(other)
            .stderr(Stdio::piped())
            .spawn()
            .context("ssh cannot be started")?;
        let words = child.stderr.take().context("ssh has no standard error")?;
        let child = Arc::new(Mutex::new(child));
        let waited = child.clone();
        let mut watcher = Watcher::new(config.forwards.len());
        std::thread::spawn(move || {
            let mut words = BufReader::new(words);
            let mut line = Vec::new();
            while words.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                match watcher.line(&String::from_utf8_lossy(&line)) {
                    Some(Word::Open) => tell(Said::Event(Event::Opened { round })),
                    Some(Word::Visitor) => tell(Said::Visitor),
                    None => {}
                }
                line.clear();
            }
            // Nobody else has its standard error: it has ended, or is about to.
            let _ = waited.lock().unwrap_or_else(PoisonError::into_inner).wait();
            tell(Said::Event(Event::Ended { round, cause: watcher.cause() }));
        });
        Ok(Self { child })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        // Killing one that has ended and was waited for is nothing.
        let _ = child.kill();
    }
}

/// sun_path of unix(7), less what OpenSSH puts behind it while it makes the socket.
const MAX_CONTROL: usize = 80;

/// A control socket's path that can be used: an ssh that was killed has left its socket, and the next would do without.
/// Without a socket there is no way through the relay for others, and the tunnel itself goes on.
fn free(path: &Path) -> Option<&str> {
    let text = path.to_str().filter(|text| text.len() < MAX_CONTROL && !text.contains('"'))?;
    afield_store::files::remove_if_there(path).ok()?;
    Some(text)
}

/// Turns this process into ssh, which then ends with its parent: a client that outlived a killed agent would hold the
/// ports on the relay against its successor. Returns only if it fails.
pub fn become_ssh(parent: u32, arguments: &[String]) -> anyhow::Error {
    if let Err(e) = set_parent_process_death_signal(Some(Signal::TERM)) {
        return anyhow::Error::new(e).context("prctl");
    }
    // The parent may have ended before that.
    if getppid().map(Pid::as_raw_nonzero).map(|p| p.get().unsigned_abs()) != Some(parent) {
        return anyhow::anyhow!("the agent that started this is gone");
    }
    anyhow::Error::new(Command::new("ssh").args(arguments).exec())
        .context("ssh cannot be started; is OpenSSH installed?")
}
