//! Objects: immutable files named by their SHA-256. Here they are made and, on the host, proved.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use afield_core::ids::ObjectId;
use afield_core::release::{MAX_DOCUMENT, ObjectRef, PathInfo};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::nar::{self, NarError};

/// Largest window that a decoder on a host allots, log2 of bytes (8 MiB).
const WINDOW_LOG: u32 = 23;
/// zstd level for objects: about as small as 22, at a fraction of its memory.
const LEVEL: i32 = 19;

/// Why an object was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// Reading it failed.
    #[error("the object {id} cannot be read")]
    Io {
        /// Which.
        id: ObjectId,
        /// Why.
        source: io::Error,
    },
    /// Its bytes are not those that its name stands for.
    #[error("the object {wanted} has the content of {found}: it was swapped or damaged on the way")]
    Swapped {
        /// The address that was asked for.
        wanted: ObjectId,
        /// The address of what came.
        found: ObjectId,
    },
    /// Its length is another than the signed one.
    #[error("the object {id} has {found} bytes, and {wanted} were signed")]
    Length {
        /// Which.
        id: ObjectId,
        /// Signed length.
        wanted: u64,
        /// Length of what came.
        found: u64,
    },
    /// It unpacks to something that is not the store path's archive.
    #[error("the object {id} does not hold the archive that was signed")]
    Nar {
        /// Which.
        id: ObjectId,
        /// What is wrong with it.
        source: NarError,
    },
    /// A document that cannot be read.
    #[error("the document {id} cannot be read: {why}")]
    Document {
        /// Which.
        id: ObjectId,
        /// What is wrong with it.
        why: String,
    },
}

/// Compresses a stream into `out`; returns the object's reference.
pub fn pack(mut from: impl Read, out: impl Write) -> io::Result<ObjectRef> {
    let counted = Hashing { inner: out, hash: Sha256::new(), size: 0 };
    let mut encoder = zstd::Encoder::new(counted, LEVEL)?;
    encoder.window_log(WINDOW_LOG)?;
    io::copy(&mut from, &mut encoder)?;
    let done = encoder.finish()?;
    let id = ObjectId::from_bytes(done.hash.finalize().into());
    Ok(ObjectRef { id, size: done.size })
}

/// Writes objects one after the other: a pack. Returns its reference, and where each of them begins.
pub fn join<R: Read>(
    pieces: impl IntoIterator<Item = io::Result<R>>,
    out: impl Write,
) -> io::Result<(ObjectRef, Vec<u64>)> {
    let mut counted = Hashing { inner: out, hash: Sha256::new(), size: 0 };
    let mut offsets = Vec::new();
    for piece in pieces {
        offsets.push(counted.size);
        io::copy(&mut piece?, &mut counted)?;
    }
    counted.flush()?;
    let id = ObjectId::from_bytes(counted.hash.finalize().into());
    Ok((ObjectRef { id, size: counted.size }, offsets))
}

/// A document as an object: JSON, zstd.
pub fn pack_document<T: Serialize>(document: &T) -> io::Result<(ObjectRef, Vec<u8>)> {
    let json = serde_json::to_vec(document)?;
    let mut bytes = Vec::new();
    let object = pack(json.as_slice(), &mut bytes)?;
    Ok((object, bytes))
}

/// A document out of the bytes of its object, which are proved first.
pub fn open_document<T: DeserializeOwned>(
    object: &ObjectRef,
    bytes: &[u8],
) -> Result<T, ObjectError> {
    prove_slice(bytes, object)?;
    let id = object.id;
    let wrong = |why: String| ObjectError::Document { id, why };
    let mut json = Vec::new();
    let decoder = decoder(bytes).map_err(|e| wrong(e.to_string()))?;
    let n =
        decoder.take(MAX_DOCUMENT + 1).read_to_end(&mut json).map_err(|e| wrong(e.to_string()))?;
    if n as u64 > MAX_DOCUMENT {
        return Err(wrong(format!("it unpacks to more than {MAX_DOCUMENT} bytes")));
    }
    serde_json::from_slice(&json).map_err(|e| wrong(e.to_string()))
}

/// The archive inside an object, as a stream.
pub fn unpack(file: File) -> io::Result<impl Read> {
    decoder(BufReader::new(file))
}

fn decoder<R: io::BufRead>(from: R) -> io::Result<zstd::Decoder<'static, R>> {
    let mut decoder = zstd::Decoder::with_buffer(from)?.single_frame();
    decoder.window_log_max(WINDOW_LOG)?;
    Ok(decoder)
}

/// Proves that a file holds the object, and the object the archive of a store path.
pub fn prove(path: &Path, object: &ObjectRef, info: &PathInfo) -> Result<(), ObjectError> {
    let id = object.id;
    let io = |source| ObjectError::Io { id, source };
    prove_bytes(path, object)?;
    let nar = unpack(File::open(path).map_err(io)?).map_err(io)?;
    nar::prove(nar, info.nar_size, info.nar_hash).map_err(|source| ObjectError::Nar { id, source })
}

/// Proves that bytes in memory have an object's length and hash.
pub fn prove_slice(bytes: &[u8], object: &ObjectRef) -> Result<(), ObjectError> {
    let (id, found) = (object.id, bytes.len() as u64);
    if found != object.size {
        return Err(ObjectError::Length { id, wanted: object.size, found });
    }
    let found = ObjectId::of(bytes);
    if found != id {
        return Err(ObjectError::Swapped { wanted: id, found });
    }
    Ok(())
}

/// Proves that a file has an object's length and hash.
pub fn prove_bytes(path: &Path, object: &ObjectRef) -> Result<(), ObjectError> {
    let id = object.id;
    let io = |source| ObjectError::Io { id, source };
    let mut file = File::open(path).map_err(io)?;
    let found = file.metadata().map_err(io)?.len();
    if found != object.size {
        return Err(ObjectError::Length { id, wanted: object.size, found });
    }
    let mut hashing = Hashing { inner: io::sink(), hash: Sha256::new(), size: 0 };
    io::copy(&mut file, &mut hashing).map_err(io)?;
    let found = ObjectId::from_bytes(hashing.hash.finalize().into());
    if found != id {
        return Err(ObjectError::Swapped { wanted: id, found });
    }
    Ok(())
}

/// Passes bytes on, and hashes and counts them.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
    size: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hash.update(&bytes[..n]);
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
