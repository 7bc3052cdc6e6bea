//! The server, without rights: two kinds of address, GET alone, few connections, and each must keep moving.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;

use super::{Settings, Shelf, discover, is_local};
use crate::config::Config;

/// Connections at a time, and of one address.
const MOST: usize = 16;
const MOST_OF_ONE: usize = 4;
/// A request's head has at most this many bytes.
const MAX_HEAD: u64 = 4096;
/// A peer that does not move for so long is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;

/// Serves and looks for others, for ever.
pub fn run(config: &Config, settings: &Settings) -> anyhow::Result<()> {
    let shelf = Shelf::new(config.inside(&settings.shelf), settings);
    let address = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), settings.port);
    // A host may have no IPv6.
    let listener = TcpListener::bind(address)
        .or_else(|_| TcpListener::bind(("0.0.0.0", settings.port)))
        .with_context(|| format!("[lan] port {} is taken", settings.port))?;
    let _found = discover::start(config, settings)?;
    let open = Arc::new(Mutex::new(BTreeMap::<IpAddr, usize>::new()));
    for stream in listener.incoming() {
        // A connection that is gone already is nobody's loss.
        let Ok((stream, peer)) = stream.and_then(|s| s.peer_addr().map(|peer| (s, peer.ip())))
        else {
            continue;
        };
        let Some(place) = Place::take(&open, peer) else {
            continue;
        };
        let shelf = shelf.clone();
        std::thread::spawn(move || {
            // Whoever hangs up, or sends nonsense, is told nothing.
            let _ = answer(&stream, &shelf);
            drop(place);
        });
    }
    Ok(())
}

/// One of the few places; it is free again when dropped.
struct Place {
    open: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
    peer: IpAddr,
}

impl Place {
    fn take(open: &Arc<Mutex<BTreeMap<IpAddr, usize>>>, peer: IpAddr) -> Option<Self> {
        let mut all = open.lock().unwrap_or_else(PoisonError::into_inner);
        let (mine, total) = (all.get(&peer).copied().unwrap_or(0), all.values().sum::<usize>());
        if !is_local(peer) || total >= MOST || mine >= MOST_OF_ONE {
            return None;
        }
        all.insert(peer, mine + 1);
        Some(Self { open: Arc::clone(open), peer })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get_mut(&self.peer) {
            Some(n) if *n > 1 => *n -= 1,
            _ => drop(all.remove(&self.peer)),
        }
    }
}

fn answer(stream: &TcpStream, shelf: &Shelf) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let Some((path, from)) = request(stream)? else {
        return status(stream, "400 Bad Request");
    };
    if path == "/fetching" {
        let claim = serde_json::to_vec(&shelf.claimed().unwrap_or_default())?;
        let mut out = stream;
        write!(
            out,
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            claim.len()
        )?;
        return out.write_all(&claim);
    }
    let found = path.strip_prefix("/objects/").and_then(|hex| shelf.open(hex));
    match found {
        Some(file) => send(stream, file, from),
        None => status(stream, "404 Not Found"),
    }
}

/// The path, and the first byte that is wanted.
fn request(stream: &TcpStream) -> io::Result<Option<(String, u64)>> {
    let mut head = BufReader::new(stream.take(MAX_HEAD));
    let mut line = String::new();
    head.read_line(&mut line)?;
    let mut words = line.split_ascii_whitespace();
    let (Some("GET"), Some(path), Some(_)) = (words.next(), words.next(), words.next()) else {
        return Ok(None);
    };
    let path = path.to_owned();
    let mut from = 0;
    loop {
        line.clear();
        // A head that does not end within its limit is none.
        if head.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let header = line.trim_end().to_ascii_lowercase();
        if header.is_empty() {
            return Ok(Some((path, from)));
        }
        if let Some(range) = header.strip_prefix("range: bytes=") {
            // Only "from here on" is asked for; what is sent too much is the peer's to drop.
            let first = range.split('-').next().and_then(|n| n.parse().ok());
            let Some(first) = first else {
                return Ok(None);
            };
            from = first;
        }
    }
}

fn status(mut stream: &TcpStream, status: &str) -> io::Result<()> {
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}

fn send(mut stream: &TcpStream, mut file: std::fs::File, from: u64) -> io::Result<()> {
    let size = file.metadata()?.len();
    if from > 0 && from >= size {
        return status(stream, "416 Range Not Satisfiable");
    }
    file.seek(SeekFrom::Start(from))?;
    let head = match from {
        0 => "200 OK\r\n".to_owned(),
        _ => format!("206 Partial Content\r\ncontent-range: bytes {from}-{}/{size}\r\n", size - 1),
    };
    let left = size - from;
    write!(stream, "HTTP/1.1 {head}content-length: {left}\r\nconnection: close\r\n\r\n")?;
    let mut file = file.take(left);
    let mut buffer = vec![0; CHUNK];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..n])?;
    }
}
