//! Telling systemd how the agent is: ready, alive, and in a sentence. Without systemd nobody listens.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The agent gets on as long as something happens within this time beyond the longest activation.
const SLACK: Duration = Duration::from_secs(1800);

/// Sends `READY=1`, `STATUS=…` and the like.
pub fn tell(text: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let name = name.into_encoded_bytes();
    let address = match name.strip_prefix(b"@") {
        Some(hidden) => SocketAddr::from_abstract_name(hidden),
        None => SocketAddr::from_pathname(std::ffi::OsStr::new(&*String::from_utf8_lossy(&name))),
    };
    if let (Ok(socket), Ok(address)) = (UnixDatagram::unbound(), address) {
        // What systemd does not hear it does without.
        let _ = socket.send_to_addr(text.as_bytes(), &address);
    }
}

/// Keeps systemd's watchdog quiet for as long as the check-in gets on. What it watches for is a hang: a process that
/// never gets on is ended and started again.
#[derive(Debug)]
pub struct Heart {
    started: Instant,
    last: &'static AtomicU64,
}

static LAST: AtomicU64 = AtomicU64::new(0);

impl Heart {
    /// Starts, if systemd watches (`WATCHDOG_USEC`). `longest` is how long one step may take without a word.
    pub fn start(longest: Duration) -> Self {
        let heart = Self { started: Instant::now(), last: &LAST };
        let Some(every) = interval() else { return heart };
        let (started, last, limit) = (heart.started, heart.last, longest + SLACK);
        std::thread::spawn(move || {
            loop {
                let quiet = started.elapsed().as_secs() - last.load(Ordering::Relaxed);
                if quiet < limit.as_secs() {
                    tell("WATCHDOG=1");
                }
                std::thread::sleep(every);
            }
        });
        heart
    }

    /// Says that the check-in gets on.
    pub fn beat(&self) {
        self.last.store(self.started.elapsed().as_secs(), Ordering::Relaxed);
    }
}

/// A third of what systemd allows.
fn interval() -> Option<Duration> {
    let micros: u64 = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    Some(Duration::from_micros(micros / 3))
}
