//! Connecting to a relay, straight or through an HTTP proxy, until an SSH server has said its first words.
//!
//! The words are only peeked at: the connection is handed to OpenSSH as if it were new.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use afield_core::tunnel::Endpoint;
use afield_core::tunnel::config::Proxy;
use afield_core::tunnel::race::{Path, TRY_FOR};

/// A try that was given up is noticed this soon.
const LOOK_UP: Duration = Duration::from_millis(250);
/// A proxy's answer has at most this many bytes.
const MAX_ANSWER: usize = 8192;

/// One try: its end, and whether anyone still wants it.
pub(super) struct Try<'a> {
    until: Instant,
    within: Duration,
    given_up: &'a AtomicBool,
}

/// Why a try came to nothing.
pub(super) struct Lost {
    /// For people.
    pub why: String,
    /// The relay is there, and sends visitors away because too many come at once.
    pub full: bool,
}

impl From<String> for Lost {
    fn from(why: String) -> Self {
        Self { why, full: false }
    }
}

/// Connects within a time, says so, and waits for first words. The connection has no time limits left.
pub(super) fn dial(
    endpoint: &Endpoint,
    proxy: Option<&Proxy>,
    within: Duration,
    given_up: &AtomicBool,
    connected: impl FnOnce(),
) -> Result<TcpStream, Lost> {
    let mut one = Try { until: Instant::now() + within, within, given_up };
    let stream = match (endpoint.path, proxy) {
        (Path::Direct, _) => one.connect(&endpoint.host, endpoint.port)?,
        (Path::Proxy, None) => return Err("there is no proxy".to_owned().into()),
        (Path::Proxy, Some(proxy)) => {
            let through = |why: String| format!("the proxy {proxy}: {why}");
            let stream = one.connect(&proxy.host, proxy.port).map_err(through)?;
            one.ask_proxy(&stream, endpoint).map_err(through)?;
            stream
        }
    };
    connected();
    one.until = Instant::now() + TRY_FOR;
    one.first_words(&stream)?;
    let ready = || {
        stream.set_read_timeout(None)?;
        stream.set_write_timeout(None)?;
        // People type through it.
        stream.set_nodelay(true)
    };
    ready().map_err(|e: io::Error| e.to_string())?;
    Ok(stream)
}

/// What sshd says instead of its first words when it has no place (MaxStartups; from 9.8 on also a penalty).
const SENT_AWAY: [&[u8]; 2] = [b"Exce", b"Not "];

impl Try<'_> {
    fn connect(&self, host: &str, port: u16) -> Result<TcpStream, String> {
        let addresses = (host, port).to_socket_addrs().map_err(|e| e.to_string())?;
        let mut last = "the name has no address".to_owned();
        for address in addresses {
            let left = self.left()?;
            match TcpStream::connect_timeout(&address, left) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(LOOK_UP)).map_err(|e| e.to_string())?;
                    stream.set_write_timeout(Some(self.within)).map_err(|e| e.to_string())?;
                    return Ok(stream);
                }
                Err(e) => last = e.to_string(),
            }
        }
        Err(last)
    }

    /// CONNECT (RFC 9110 §9.3.6). Read byte by byte: what follows the answer is the relay's.
    fn ask_proxy(&self, mut stream: &TcpStream, endpoint: &Endpoint) -> Result<(), String> {
        let target = match endpoint.host.contains(':') {
            true => format!("[{}]:{}", endpoint.host, endpoint.port),
            false => format!("{}:{}", endpoint.host, endpoint.port),
        };
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        stream.write_all(request.as_bytes()).map_err(|e| e.to_string())?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            match stream.read(&mut byte) {
                Ok(0) => return Err("it closed the connection".into()),
                Ok(_) if answer.len() >= MAX_ANSWER => return Err("its answer has no end".into()),
                Ok(_) => answer.extend(byte),
                Err(e) if is_pause(&e) => drop(self.left()?),
                Err(e) => return Err(e.to_string()),
            }
        }
        let first = String::from_utf8_lossy(&answer);
        let first = first.lines().next().unwrap_or_default();
        match first.starts_with("HTTP/1.")
            && first.split(' ').nth(1).is_some_and(|c| c.starts_with('2'))
        {
            true => Ok(()),
            false => Err(format!("it answered {:?}", first.chars().take(80).collect::<String>())),
        }
    }

    /// Waits for `SSH-` (RFC 4253 §4.2) without taking it.
    fn first_words(&self, stream: &TcpStream) -> Result<(), Lost> {
        const WORDS: &[u8] = b"SSH-";
        let full = |why: &str| Lost { why: why.to_owned(), full: true };
        let mut seen = [0; WORDS.len()];
        loop {
            match stream.peek(&mut seen) {
                Ok(0) => return Err(full("it closed the connection")),
                Ok(_) if SENT_AWAY.contains(&&seen[..]) => {
                    return Err(full("it has no place: too many come at once"));
                }
                Ok(n) if seen.get(..n) != WORDS.get(..n) => {
                    let why = "what answers is no SSH server: a login page of the network?";
                    return Err(why.to_owned().into());
                }
                Ok(n) if n == WORDS.len() => return Ok(()),
                // The rest is on its way.
                Ok(_) => std::thread::sleep(Duration::from_millis(10)),
                Err(e) if is_pause(&e) => {}
                Err(e) => return Err(e.to_string().into()),
            }
            self.left().map_err(|_| "it accepts and says nothing".to_owned())?;
        }
    }

    fn left(&self) -> Result<Duration, String> {
        if self.given_up.load(Ordering::Relaxed) {
            return Err("it was given up".into());
        }
        let left = self.until.saturating_duration_since(Instant::now());
        match left.is_zero() {
            true => Err(format!("no answer within {:.0} s", self.within.as_secs_f32())),
            false => Ok(left),
        }
    }
}

fn is_pause(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}
