//! The demo's own addresses, and the smallest HTTP client that can look at a page.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Longer than a page of the demo takes on loopback, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(2);
/// A page of the demo is shorter.
const LONGEST: u64 = 256 * 1024;

/// The second number of a loopback network (127.N.0.0/16) that nobody uses, so that two demos can run side by side.
pub fn free_block() -> Result<u8> {
    let free = |n: &u8| {
        let hub = [8470, 8471].map(|port| (Ipv4Addr::new(127, *n, 0, 100), port));
        let hosts = (1..=6).map(|host| (Ipv4Addr::new(127, *n, 0, host), 8080));
        hub.into_iter().chain(hosts).all(|at| TcpListener::bind(at).is_ok())
    };
    (77..=127).find(free).context(
        "something listens in every network from 127.77.0.0/16 to 127.127.0.0/16; end it first",
    )
}

/// The body of a page, if the server answers 200 in time.
pub fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.lines().next()?.split(' ').nth(1)?;
    (status == "200").then(|| body.to_owned())
}
