//! What the agent says: to a person's terminal as lines, to systemd's journal with fields, so that
//! `journalctl AFIELD_HOST=… AFIELD_RELEASE=… AFIELD_STEP=…` finds it.

use std::cell::RefCell;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;

use afield_core::ids::ReleaseId;
use afield_core::plan::Step;

/// Where the journal takes messages with fields.
const SOCKET: &str = "/run/systemd/journal/socket";

/// How much a message matters, as syslog counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Something failed.
    Error = 3,
    /// Somebody should look at it.
    Warning = 4,
    /// What a person wants to see in the journal.
    Notice = 5,
    /// The rest.
    Info = 6,
}

#[derive(Debug, Clone, Default)]
struct Context {
    host: Option<String>,
    release: Option<ReleaseId>,
    step: Option<String>,
}

thread_local! {
    static CONTEXT: RefCell<Context> = RefCell::default();
}

/// Everything said from now on is about this host.
pub fn host(name: &str) {
    CONTEXT.with_borrow_mut(|context| context.host = Some(name.to_owned()));
}

/// What is said from now on belongs to this step on the way to this release.
pub fn step(step: &Step, release: Option<ReleaseId>) {
    let name = serde_json::to_value(step).ok();
    let name = name.and_then(|value| value["do"].as_str().map(str::to_owned));
    CONTEXT.with_borrow_mut(|context| (context.step, context.release) = (name, release));
}

/// Says something.
pub fn say(level: Level, message: &str) {
    say_with(level, message, &[]);
}

/// Says something, with further fields for the journal.
pub fn say_with(level: Level, message: &str, more: &[(&str, &str)]) {
    if !(stderr_is_the_journal() && send(level, message, more)) {
        eprintln!("afield-agent: {message}");
    }
}

/// systemd says so, by device and inode of what it connected.
fn stderr_is_the_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    std::fs::metadata("/proc/self/fd/2").is_ok_and(|m| stream == format!("{}:{}", m.dev(), m.ino()))
}

fn send(level: Level, message: &str, more: &[(&str, &str)]) -> bool {
    let text = CONTEXT.with_borrow(|context| entry(level, message, more, context));
    UnixDatagram::unbound().and_then(|socket| socket.send_to(&text, SOCKET)).is_ok()
}

fn entry(level: Level, message: &str, more: &[(&str, &str)], context: &Context) -> Vec<u8> {
    let mut out = Vec::new();
    field(&mut out, "MESSAGE", message);
    field(&mut out, "PRIORITY", &(level as u8).to_string());
    field(&mut out, "SYSLOG_IDENTIFIER", "afield-agent");
    if let Some(host) = &context.host {
        field(&mut out, "AFIELD_HOST", host);
    }
    if let Some(release) = context.release {
        field(&mut out, "AFIELD_RELEASE", &release.to_string());
    }
    if let Some(step) = &context.step {
        field(&mut out, "AFIELD_STEP", step);
    }
    for (name, value) in more {
        field(&mut out, name, value);
    }
    out
}

/// A value of more than one line is preceded by its length.
fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend(name.as_bytes());
    if value.contains('\n') {
        out.push(b'\n');
        out.extend((value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend(value.as_bytes());
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_two_lines_cannot_become_a_field() {
        let context = Context { host: Some("clinic".into()), release: None, step: None };
        let said = entry(Level::Error, "one\nPRIORITY=0", &[("AFIELD_EVENT", "stuck")], &context);
        let mut wanted = b"MESSAGE\n".to_vec();
        wanted.extend(14u64.to_le_bytes());
        wanted.extend(b"one\nPRIORITY=0\nPRIORITY=3\nSYSLOG_IDENTIFIER=afield-agent\n");
        wanted.extend(b"AFIELD_HOST=clinic\nAFIELD_EVENT=stuck\n");
        assert_eq!(said, wanted);
    }
}
