//! Key files: PKCS#8 PEM for the keys of trust (RFC 8410 §7), OpenSSH's own format for a host's key.

use std::io;
use std::path::{Path, PathBuf};

use afield_core::signed::{PublicKey, SecretKey};
use data_encoding::BASE64;

use crate::files;

/// A key file has at most this many bytes.
const MAX_KEY_FILE: u64 = 64 * 1024;
/// DER before the seed of an ed25519 key (RFC 8410 §7, version 1 without attributes).
const PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// Why a key file gave no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read or written.
    #[error("the key file {path} cannot be used")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds something else.
    #[error("{path} is not {wanted}: {why}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
        /// What is wrong.
        why: String,
    },
}

/// The 32-byte seed of a key of trust.
pub fn read_seed(path: &Path) -> Result<[u8; 32], KeyError> {
    let wrong = |why: &str| KeyError::Format {
        path: path.to_owned(),
        wanted: "an ed25519 key in PKCS#8 PEM, as `afield keys init` or `openssl genpkey -algorithm ed25519` write it",
        why: why.to_owned(),
    };
    let text = read_text(path)?;
    let body = text.trim().strip_prefix(BEGIN).and_then(|t| t.strip_suffix(END));
    let body: String =
        body.ok_or_else(|| wrong("no PRIVATE KEY block"))?.split_whitespace().collect();
    let der = BASE64.decode(body.as_bytes()).map_err(|e| wrong(&e.to_string()))?;
    let seed = der.strip_prefix(PKCS8.as_slice()).ok_or_else(|| wrong("another kind of key"))?;
    seed.try_into().map_err(|_| wrong("its seed has not 32 bytes"))
}

/// A key of trust.
pub fn read_secret(path: &Path) -> Result<SecretKey, KeyError> {
    Ok(SecretKey::from_seed(&read_seed(path)?))
}

/// Writes a key of trust, mode 0600; refuses to replace one.
pub fn write_seed(path: &Path, seed: &[u8; 32]) -> Result<(), KeyError> {
    let io = |source| KeyError::Io { path: path.to_owned(), source };
    if path.exists() {
        return Err(io(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a key already; move it away first if it is to be replaced",
        )));
    }
    let body = BASE64.encode(&[PKCS8.as_slice(), seed].concat());
    let pem = format!("{BEGIN}\n{body}\n{END}\n");
    files::write_atomic_mode(path, pem.as_bytes(), 0o600).map_err(io)
}

/// A host's key: an OpenSSH private key file, ed25519, without a passphrase.
pub fn read_host_key(path: &Path) -> Result<SecretKey, KeyError> {
    let wrong = |why: String| KeyError::Format {
        path: path.to_owned(),
        wanted: "an ed25519 key in OpenSSH's format without a passphrase (ssh-keygen -t ed25519)",
        why,
    };
    let text = read_text(path)?;
    let key =
        ssh_key::PrivateKey::from_openssh(text.as_bytes()).map_err(|e| wrong(e.to_string()))?;
    if key.is_encrypted() {
        return Err(wrong("it has a passphrase".into()));
    }
    let pair = key.key_data().ed25519().ok_or_else(|| wrong("it is of another kind".into()))?;
    let secret = SecretKey::from_seed(&pair.private.to_bytes());
    if secret.public() != PublicKey::from_bytes(pair.public.0) {
        return Err(wrong("its halves do not belong together".into()));
    }
    Ok(secret)
}

fn read_text(path: &Path) -> Result<String, KeyError> {
    let io = |source| KeyError::Io { path: path.to_owned(), source };
    let bytes = files::read_limited(path, MAX_KEY_FILE).map_err(io)?;
    String::from_utf8(bytes).map_err(|e| io(io::Error::other(e)))
}
