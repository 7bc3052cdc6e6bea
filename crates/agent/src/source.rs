//! Places to fetch from: web servers and folders. None is trusted.

use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use afield_store::archive::Index;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use ureq::tls::{RootCerts, TlsConfig, parse_pem};

use crate::through_relay::Ways;

/// How long to wait for a connection, and for an answer to begin.
const ANSWER: Duration = Duration::from_secs(60);
/// One answer may take this long; a longer transfer goes on with a new request where it stopped.
const TRANSFER: Duration = Duration::from_secs(300);
/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;
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

/// Part of a file.
#[derive(Debug, Clone)]
pub struct Stretch<'a> {
    /// The file.
    pub name: &'a str,
    /// Which bytes.
    pub range: Range<u64>,
    /// Length of the whole file.
    pub size: u64,
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
pub fn client(ways: &Arc<Ways>) -> ureq::Agent {
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
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(ANSWER))
        .timeout_recv_response(Some(ANSWER))
        .timeout_recv_body(Some(TRANSFER))
        .max_redirects(3)
        .user_agent(concat!("afield-agent/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls)
        .build();
    ways.client(config)
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
        let mut body = self.open(name, 0..max, max)?.reader;
        let mut bytes = Vec::new();
        let read = (&mut body).take(max + 1).read_to_end(&mut bytes);
        read.map_err(|e| self.failed(name, &e))?;
        if bytes.len() as u64 > max {
            return Err(self.too_long(name, max));
        }
        Ok(bytes)
    }

    /// Asks once for a stretch of a file, and gives its bytes to `sink` as they come. An error may follow after some.
    pub fn read<E: From<SourceError>>(
        &self,
        stretch: &Stretch<'_>,
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let Stretch { name, range, size } = stretch;
        let here = |e: io::Error| self.failed(name, &e);
        let Body { mut reader, start, length } = self.open(name, range.clone(), *size)?;
        if let Some(there) = length.map(|l| start + l).filter(|there| *there < range.end) {
            return Err(self.truncated(name, there, *size).into());
        }
        io::copy(&mut (&mut reader).take(range.start - start), &mut io::sink()).map_err(here)?;
        let mut buffer = vec![0; CHUNK];
        let mut at = range.start;
        while at < range.end {
            let most = buffer.len().min(usize::try_from(range.end - at).unwrap_or(CHUNK));
            let n = reader.read(&mut buffer[..most]).map_err(here)?;
            if n == 0 {
                return Err(self.truncated(name, at, *size).into());
            }
            at += n as u64;
            // Without a length it may go on for ever; an honest source ends here.
            let endless = at == *size && length.is_none();
            if endless && reader.read(&mut [0]).is_ok_and(|n| n > 0) {
                return Err(self.too_long(name, *size).into());
            }
            sink(&buffer[..n])?;
        }
        Ok(())
    }

    /// A body that starts where `range` does, or earlier if the source cannot do that. The file has at most `size` bytes.
    fn open(&self, name: &str, range: Range<u64>, size: u64) -> Result<Body, SourceError> {
        match self {
            Self::Folder(folder) => {
                let mut file = open_inside(folder, name).map_err(|e| match e.kind() {
                    io::ErrorKind::NotFound => self.not_there(name),
                    _ => self.failed(name, &e),
                })?;
                let length = file.metadata().map_err(|e| self.failed(name, &e))?.len();
                if length > size {
                    return Err(self.too_long(name, size));
                }
                let start = range.start;
                file.seek(SeekFrom::Start(start)).map_err(|e| self.failed(name, &e))?;
                let length = Some(length.saturating_sub(start));
                Ok(Body { reader: Box::new(file), start, length })
            }
            Self::Archive(index) => {
                let found = index.read(name, range.start).map_err(|e| self.failed(name, &e))?;
                let (reader, length) = found.ok_or_else(|| self.not_there(name))?;
                if length > size {
                    return Err(self.too_long(name, size));
                }
                let length = Some(length.saturating_sub(range.start));
                Ok(Body { reader: Box::new(reader), start: range.start, length })
            }
            Self::Http { base, client } => self.request(base, client, name, range, size),
        }
    }

    fn request(
        &self,
        base: &str,
        client: &ureq::Agent,
        name: &str,
        range: Range<u64>,
        size: u64,
    ) -> Result<Body, SourceError> {
        let (from, to) = (range.start, range.end);
        let mut request = client.get(format!("{base}/{name}"));
        if to < size {
            request = request.header("range", format!("bytes={from}-{}", to - 1));
        } else if from > 0 {
            request = request.header("range", format!("bytes={from}-"));
        }
        let response = request.call().map_err(|e| self.failed(name, &e))?;
        let (start, most) = match response.status().as_u16() {
            200 => (0, size),
            206 => (from, to - from),
            416 => return Err(self.truncated(name, from, size)),
            404 | 410 => return Err(self.not_there(name)),
            other => return Err(self.failed(name, &format!("status {other}"))),
        };
        let header = |n: &str| response.headers().get(n).and_then(|v| v.to_str().ok());
        let told = header("content-range");
        if start > 0 && !told.is_some_and(|r| r.starts_with(&format!("bytes {from}-"))) {
            return Err(self.failed(name, &"it answers with another range than was asked for"));
        }
        let length = header("content-length").and_then(|l| l.parse::<u64>().ok());
        if length.is_some_and(|l| l > most) {
            return Err(self.too_long(name, size));
        }
        let reader = response.into_body().into_with_config().limit(most + 2).reader();
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
