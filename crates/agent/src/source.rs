//! Places to fetch from: web servers and folders. None is trusted.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use afield_store::archive::Index;
use afield_store::{fault, files};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use ureq::tls::{RootCerts, TlsConfig, parse_pem};

/// How long to wait for a connection, and for an answer to begin.
const ANSWER: Duration = Duration::from_secs(60);
/// One answer may take this long; a longer transfer goes on with a new request where it stopped.
const TRANSFER: Duration = Duration::from_secs(300);
/// Where systems keep the certificates that they trust.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Why something was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The source has no such file.
    #[error("{place} has no {name}")]
    NotThere {
        /// The source.
        place: String,
        /// The file.
        name: String,
    },
    /// The source sends more than there can be.
    #[error("{place} sends more than the {max} bytes that {name} can have")]
    TooLong {
        /// The source.
        place: String,
        /// The file.
        name: String,
        /// The limit.
        max: u64,
    },
    /// The source has less than there must be.
    #[error("{place} has only {there} of the {size} bytes of {name}")]
    Truncated {
        /// The source.
        place: String,
        /// The file.
        name: String,
        /// Bytes that it has, as far as it says.
        there: u64,
        /// Bytes that were signed.
        size: u64,
    },
    /// The source does not answer, or badly.
    #[error("{place} does not give {name}: {why}")]
    Failed {
        /// The source.
        place: String,
        /// The file.
        name: String,
        /// What happened.
        why: String,
    },
}

/// One place.
#[derive(Debug, Clone)]
pub enum Source {
    /// A web server.
    Http {
        /// The address, without a slash at its end.
        base: String,
        /// The client, which keeps connections open.
        client: ureq::Agent,
    },
    /// A folder: a stick, or a share.
    Folder(PathBuf),
    /// One file that holds a repository: a bundle.
    Archive(Arc<Index>),
}

/// An answer on its way.
struct Body {
    reader: Box<dyn Read>,
    /// Where in the file it starts.
    start: u64,
    /// How much the source says will come.
    length: Option<u64>,
}

/// A web client with the agent's limits.
pub fn client() -> ureq::Agent {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = fs::read(CERTIFICATES).unwrap_or_default();
    let roots: Vec<_> = parse_pem(&roots)
        .filter_map(|item| match item {
            Ok(ureq::tls::PemItem::Certificate(c)) => Some(c),
            _ => None,
        })
        .collect();
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(provider)
        .root_certs(RootCerts::from(roots))
        .build();
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(ANSWER))
        .timeout_recv_response(Some(ANSWER))
        .timeout_recv_body(Some(TRANSFER))
        .max_redirects(3)
        .user_agent(concat!("afield-agent/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls)
        .build()
        .new_agent()
}

impl Source {
    /// A source from its address in the configuration.
    pub fn new(address: &str, client: &ureq::Agent) -> Self {
        match address.strip_prefix("file://") {
            Some(path) => Self::Folder(path.into()),
            None => {
                let base = address.trim_end_matches('/').to_owned();
                Self::Http { base, client: client.clone() }
            }
        }
    }

    /// What a person names: a folder, or a bundle that is one file.
    pub fn at(path: &Path) -> io::Result<Self> {
        if path.is_dir() {
            return Ok(Self::Folder(path.to_owned()));
        }
        let file = open_file(path)?;
        Ok(Self::Archive(Arc::new(Index::open(path, file)?)))
    }

    /// The place, as a person would name it.
    pub fn place(&self) -> String {
        match self {
            Self::Http { base, .. } => base.clone(),
            Self::Folder(path) => path.display().to_string(),
            Self::Archive(index) => index.path().display().to_string(),
        }
    }

    /// A whole small file of at most `max` bytes.
    pub fn get(&self, name: &str, max: u64) -> Result<Vec<u8>, SourceError> {
        let mut body = self.open(name, 0, max)?.reader;
        let mut bytes = Vec::new();
        let read = (&mut body).take(max + 1).read_to_end(&mut bytes);
        read.map_err(|e| self.failed(name, &e))?;
        if bytes.len() as u64 > max {
            return Err(self.too_long(name, max));
        }
        Ok(bytes)
    }

    /// Brings the file `path` to `size` bytes, from where it stands. Never writes beyond `size`.
    pub fn resume(
        &self,
        name: &str,
        path: &Path,
        size: u64,
        mut progress: impl FnMut(u64),
    ) -> Result<(), SourceError> {
        loop {
            let before = len(path);
            if before >= size {
                return Ok(());
            }
            match self.go_on(name, path, before, size, &mut progress) {
                Ok(()) => {}
                // As long as each request brings something, the next one may bring the rest.
                Err(_) if len(path) > before => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn go_on(
        &self,
        name: &str,
        path: &Path,
        from: u64,
        size: u64,
        progress: &mut impl FnMut(u64),
    ) -> Result<(), SourceError> {
        let here = |e: io::Error| self.failed(name, &e);
        let Body { mut reader, start, length } = self.open(name, from, size)?;
        if let Some(there) = length.map(|l| start + l).filter(|there| *there < size) {
            return Err(self.truncated(name, there, size));
        }
        let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(here)?;
        io::copy(&mut (&mut reader).take(from - start), &mut io::sink()).map_err(here)?;
        let mut body = (&mut reader).take(size - from);
        let mut buffer = vec![0; 64 * 1024];
        let mut done = from;
        loop {
            let n = body.read(&mut buffer).map_err(here)?;
            if n == 0 {
                break;
            }
            file.write_all(&buffer[..n]).map_err(here)?;
            fault::point("fetch:chunk");
            done += n as u64;
            progress(done);
        }
        file.sync_all().map_err(here)?;
        if done == from {
            return Err(self.truncated(name, done, size));
        }
        // Without a length it may go on for ever; an honest source ends here.
        if done == size && length.is_none() && reader.read(&mut [0]).is_ok_and(|n| n > 0) {
            files::remove_if_there(path).map_err(here)?;
            return Err(self.too_long(name, size));
        }
        Ok(())
    }

    /// A body that starts at `from`, or earlier if the source cannot do that.
    fn open(&self, name: &str, from: u64, max: u64) -> Result<Body, SourceError> {
        match self {
            Self::Folder(folder) => {
                let mut file = open_inside(folder, name).map_err(|e| match e.kind() {
                    io::ErrorKind::NotFound => self.not_there(name),
                    _ => self.failed(name, &e),
                })?;
                let length = file.metadata().map_err(|e| self.failed(name, &e))?.len();
                if length > max {
                    return Err(self.too_long(name, max));
                }
                file.seek(SeekFrom::Start(from)).map_err(|e| self.failed(name, &e))?;
                let length = Some(length.saturating_sub(from));
                Ok(Body { reader: Box::new(file), start: from, length })
            }
            Self::Archive(index) => {
                let found = index.read(name, from).map_err(|e| self.failed(name, &e))?;
                let (reader, length) = found.ok_or_else(|| self.not_there(name))?;
                if length > max {
                    return Err(self.too_long(name, max));
                }
                let length = Some(length.saturating_sub(from));
                Ok(Body { reader: Box::new(reader), start: from, length })
            }
            Self::Http { base, client } => self.request(base, client, name, from, max),
        }
    }

    fn request(
        &self,
        base: &str,
        client: &ureq::Agent,
        name: &str,
        from: u64,
        max: u64,
    ) -> Result<Body, SourceError> {
        let mut request = client.get(format!("{base}/{name}"));
        if from > 0 {
            request = request.header("range", format!("bytes={from}-"));
        }
        let response = request.call().map_err(|e| self.failed(name, &e))?;
        let start = match response.status().as_u16() {
            200 => 0,
            206 => from,
            416 => return Err(self.truncated(name, from, max)),
            404 | 410 => return Err(self.not_there(name)),
            other => return Err(self.failed(name, &format!("status {other}"))),
        };
        let header = |n: &str| response.headers().get(n).and_then(|v| v.to_str().ok());
        let range = header("content-range");
        if start > 0 && !range.is_some_and(|r| r.starts_with(&format!("bytes {from}-"))) {
            return Err(self.failed(name, &"it answers with another range than was asked for"));
        }
        let length = header("content-length").and_then(|l| l.parse::<u64>().ok());
        if length.is_some_and(|l| l > max - start) {
            return Err(self.too_long(name, max));
        }
        let reader = response.into_body().into_with_config().limit(max + 2).reader();
        Ok(Body { reader: Box::new(reader), start, length })
    }

    fn truncated(&self, name: &str, there: u64, size: u64) -> SourceError {
        SourceError::Truncated { place: self.place(), name: name.to_owned(), there, size }
    }

    fn not_there(&self, name: &str) -> SourceError {
        SourceError::NotThere { place: self.place(), name: name.to_owned() }
    }

    fn too_long(&self, name: &str, max: u64) -> SourceError {
        SourceError::TooLong { place: self.place(), name: name.to_owned(), max }
    }

    fn failed(&self, name: &str, why: &dyn std::fmt::Display) -> SourceError {
        SourceError::Failed { place: self.place(), name: name.to_owned(), why: why.to_string() }
    }
}

/// Opens a file below a folder that may be hostile: no link leads out of it, and nothing but a file is opened, since a
/// pipe or a device would keep the agent waiting.
fn open_inside(folder: &Path, name: &str) -> io::Result<File> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty())?;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    only_a_file(rustix::fs::openat2(folder, name, READ, Mode::empty(), inside)?.into())
}

/// Opens a file that a person named.
fn open_file(path: &Path) -> io::Result<File> {
    only_a_file(rustix::fs::open(path, READ, Mode::empty())?.into())
}

const READ: OFlags =
    OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

fn only_a_file(file: File) -> io::Result<File> {
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no file")),
    }
}

/// Length of a file; 0 if it is not there.
pub fn len(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |m| m.len())
}
