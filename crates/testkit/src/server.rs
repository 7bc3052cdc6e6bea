//! A web server for a repository, and a hub that takes reports. It can lie, and it writes down what it was
//! asked. Not the real hub, but stricter: a report that is not signed by its host, or out of order, panics.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use afield_core::ids::HostName;
use afield_core::report::Report;
use afield_core::signed::{Envelope, PublicKey};

/// How the server lies about files whose name contains a text.
#[derive(Debug, Clone)]
pub enum Lie {
    /// It ends the connection after so many bytes of the body, this many times.
    Cut {
        /// Bytes that are sent.
        after: u64,
        /// How often; then it is honest.
        times: usize,
    },
    /// It says that the file is this.
    Content(Vec<u8>),
    /// It sends zeros without end, and no length.
    Endless,
    /// It says that there is no such file.
    Gone,
    /// It sends one byte, waits, and sends the next.
    Trickle,
    /// It answers 200 with the whole file, whatever range was asked for.
    IgnoresRange,
}

/// One request, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET` or `POST`.
    pub method: String,
    /// The path, without the first slash.
    pub path: String,
    /// First byte asked for.
    pub from: u64,
    /// The byte behind the last one that was asked for, if it is not the file's end.
    pub to: Option<u64>,
}

#[derive(Debug, Default)]
struct Shared {
    lies: BTreeMap<String, Lie>,
    requests: Vec<Request>,
    reports: VecDeque<Report>,
    keys: BTreeMap<HostName, PublicKey>,
    seq: u64,
    hub_is_down: bool,
    silent: bool,
    disliked: Option<u64>,
}

/// The server; it stops with the test's process.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

impl Server {
    /// Serves a folder.
    pub fn start(folder: &Path) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), folder)
    }

    /// Serves a folder there, in whichever network that is.
    pub fn on(listener: TcpListener, folder: &Path) -> Self {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Mutex::new(Shared::default()));
        let (folder, for_thread) = (folder.to_owned(), Arc::clone(&shared));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (folder, shared) = (folder.clone(), Arc::clone(&for_thread));
                // A client that hangs up is none of the server's business.
                std::thread::spawn(move || drop(serve(&stream, &folder, &shared)));
            }
        });
        Self { address, shared }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap()
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lies from now on about files whose path contains `name`.
    pub fn lie(&self, name: &str, lie: Lie) {
        self.lock().lies.insert(name.to_owned(), lie);
    }

    /// Is honest again.
    pub fn be_honest(&self) {
        self.lock().lies.clear();
    }

    /// Hangs up on everybody, as if nothing were there; or is there again.
    pub fn be_silent(&self, silent: bool) {
        self.lock().silent = silent;
    }

    /// Takes reports of this host.
    pub fn know(&self, host: &str, key: PublicKey) {
        self.lock().keys.insert(host.parse().unwrap(), key);
    }

    /// Answers 503 to reports, or takes them again.
    pub fn hub_is_down(&self, down: bool) {
        self.lock().hub_is_down = down;
    }

    /// Answers 400 to every batch with this report in it.
    pub fn dislike(&self, seq: u64) {
        self.lock().disliked = Some(seq);
    }

    /// What was asked since the last call.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.lock().requests)
    }

    /// What was reported since the last call.
    pub fn reports(&self) -> Vec<Report> {
        self.lock().reports.drain(..).collect()
    }
}

fn serve(stream: &TcpStream, folder: &Path, shared: &Mutex<Shared>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || shared.lock().unwrap().silent {
            return stream.shutdown(std::net::Shutdown::Both);
        }
        let mut words = line.split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let path = words.next().unwrap_or_default().trim_start_matches('/').to_owned();
        let (mut from, mut to, mut length) = (0, None, 0);
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let header = header.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(range) = header.strip_prefix("range: bytes=") {
                let (first, last) = range.split_once('-').unwrap();
                from = first.parse().unwrap();
                to = (!last.is_empty()).then(|| last.parse::<u64>().unwrap() + 1);
            }
            if let Some(n) = header.strip_prefix("content-length: ") {
                length = n.parse().unwrap();
            }
        }
        let request = Request { method: method.clone(), path: path.clone(), from, to };
        shared.lock().unwrap().requests.push(request);
        if method == "POST" {
            let mut body = vec![0; length];
            reader.read_exact(&mut body)?;
            take_reports(stream, shared, &body)?;
        } else if !send(stream, folder, shared, &path, from, to)? {
            return stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

/// Answers a GET; false if the connection is to be cut.
fn send(
    mut stream: &TcpStream,
    folder: &Path,
    shared: &Mutex<Shared>,
    path: &str,
    from: u64,
    to: Option<u64>,
) -> std::io::Result<bool> {
    let file: PathBuf = folder.join(path);
    let mut bytes = std::fs::read(file).ok();
    let (mut cut, mut from, mut to, mut trickle) = (None, from, to, false);
    let size = bytes.as_ref().map_or(0, |b| b.len() as u64);
    let asked = to.unwrap_or(size).min(size).saturating_sub(from);
    {
        let lies = &mut shared.lock().unwrap().lies;
        match lies.iter_mut().find(|(name, _)| path.contains(name.as_str())).map(|(_, l)| l) {
            Some(Lie::Cut { after, times }) if *times > 0 && asked > *after => {
                *times -= 1;
                cut = Some(*after);
            }
            Some(Lie::Content(lie)) => bytes = Some(lie.clone()),
            Some(Lie::Gone) => bytes = None,
            Some(Lie::Trickle) => trickle = true,
            Some(Lie::IgnoresRange) => (from, to) = (0, None),
            Some(Lie::Endless) => {
                let head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
                stream.write_all(head)?;
                return endless(stream);
            }
            _ => {}
        }
    }
    let Some(bytes) = bytes else {
        let head = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(head)?;
        return Ok(true);
    };
    let total = bytes.len() as u64;
    if from > 0 && from >= total {
        let head = b"HTTP/1.1 416 Range Not Satisfiable\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(head)?;
        return Ok(true);
    }
    let end = to.unwrap_or(total).min(total);
    let head = match (from, to) {
        (0, None) => format!("HTTP/1.1 200 OK\r\ncontent-length: {total}\r\n\r\n"),
        _ => format!(
            "HTTP/1.1 206 Partial Content\r\ncontent-length: {}\r\ncontent-range: bytes {from}-{}/{total}\r\n\r\n",
            end - from,
            end - 1
        ),
    };
    stream.write_all(head.as_bytes())?;
    let rest = &bytes[usize::try_from(from).unwrap()..usize::try_from(end).unwrap()];
    if trickle {
        // So slow is the lie; nobody waits for it.
        for byte in rest {
            stream.write_all(&[*byte])?;
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        return Ok(true);
    }
    let sent = cut.map_or(rest.len(), |c| rest.len().min(usize::try_from(c).unwrap()));
    stream.write_all(&rest[..sent])?;
    Ok(cut.is_none())
}

/// 64 MiB are endless enough for anything that is tested here.
fn endless(mut stream: &TcpStream) -> std::io::Result<bool> {
    let zeros = [0; 64 * 1024];
    for _ in 0..1024 {
        stream.write_all(&zeros)?;
    }
    Ok(false)
}

fn take_reports(
    mut stream: &TcpStream,
    shared: &Mutex<Shared>,
    body: &[u8],
) -> std::io::Result<()> {
    let mut shared = shared.lock().unwrap();
    if shared.hub_is_down {
        let head = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
        return stream.write_all(head);
    }
    let envelopes: Vec<Envelope> = serde_json::from_slice(body).unwrap();
    let keys: Vec<PublicKey> = shared.keys.values().copied().collect();
    let open = |e: Envelope| e.open(&keys, 1).expect("a report is signed by its host");
    let reports: Vec<Report> = envelopes.into_iter().map(open).collect();
    if reports.iter().any(|r| Some(r.seq) == shared.disliked) {
        let head = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
        return stream.write_all(head);
    }
    for report in reports {
        if report.seq > shared.seq {
            shared.seq = report.seq;
            shared.reports.push_back(report);
        }
    }
    let answer = format!("{{\"accepted\":1,\"seq\":{}}}", shared.seq);
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", answer.len());
    stream.write_all(head.as_bytes())?;
    stream.write_all(answer.as_bytes())
}
