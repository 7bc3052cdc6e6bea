//! age files (age-encryption.org/v1), sealed to SSH ed25519 keys and to age's own X25519 keys.
//!
//! Written here and not taken from the crate `age`, which brings over a hundred crates to a host that needs one
//! stanza and one cipher. `age`, `rage` and Afield open each other's files; tests hold that.
//!
//! A file: header with one stanza per recipient, each wrapping the same 16-byte file key; an HMAC of the header; then
//! a nonce and chunks of 64 KiB, each ChaCha20-Poly1305, the last one marked.

use data_encoding::BASE64;
use zeroize::Zeroizing;

use super::hostkey::HostPrivate;
use super::sealed::{self, OpenError};
use super::{MAX_PLAINTEXT, SecretTree};

mod header;
mod keys;
mod payload;
mod write;

pub use keys::{Identity, Recipient};
pub use write::{Sealed, encrypt};

const ARMOR_BEGIN: &str = "-----BEGIN AGE ENCRYPTED FILE-----";
const ARMOR_END: &str = "-----END AGE ENCRYPTED FILE-----";
const ARMOR_LINE: usize = 64;
/// The largest age file that is read, in bytes: armor takes a third more than [`MAX_PLAINTEXT`].
pub const MAX_FILE: usize = 3 * MAX_PLAINTEXT / 2;

/// Why an age file cannot be made or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AgeError {
    /// No age file at all.
    #[error("this is no age file")]
    NoAge,
    /// The header or the armor is damaged.
    #[error("the age file is cut off or damaged: {0}")]
    Damaged(&'static str),
    /// No stanza for this key.
    #[error("the age file is not sealed to this key")]
    NotForKey,
    /// The header or content was changed.
    #[error("the age file was changed after it was sealed")]
    Changed,
    /// Larger than the limits.
    #[error("larger than {MAX_PLAINTEXT} bytes: too large")]
    TooLarge,
    /// Sealing to nobody.
    #[error("there is nobody to seal to")]
    NoRecipients,
    /// A key that cannot be used.
    #[error("{0}")]
    Key(String),
}

/// Whether the bytes begin like an age file, armored or not.
pub fn is_age(bytes: &[u8]) -> bool {
    bytes.starts_with(header::VERSION.as_bytes())
        || bytes.trim_ascii_start().starts_with(ARMOR_BEGIN.as_bytes())
}

/// Opens an age file with a private key.
pub fn decrypt(file: &[u8], identity: &Identity) -> Result<Zeroizing<Vec<u8>>, AgeError> {
    open(file, |stanza| identity.unwrap(stanza))
}

/// Opens a host's age file with the host's key.
pub fn open_host(file: &[u8], key: &HostPrivate) -> Result<SecretTree, OpenError> {
    let opened =
        open(file, |stanza| keys::unwrap_ssh(stanza, key)).map_err(|error| match error {
            AgeError::NotForKey => OpenError::WrongKey,
            AgeError::TooLarge => OpenError::TooLarge,
            _ => OpenError::Changed,
        })?;
    sealed::tree(&opened)
}

/// Opens with whatever finds the file key in a stanza.
fn open(
    file: &[u8],
    unwrap: impl Fn(&header::Stanza) -> Option<keys::FileKey>,
) -> Result<Zeroizing<Vec<u8>>, AgeError> {
    if file.len() > MAX_FILE {
        return Err(AgeError::TooLarge);
    }
    let binary = dearmor(file)?;
    let header = header::parse(&binary)?;
    let key = header.stanzas.iter().find_map(unwrap).ok_or(AgeError::NotForKey)?;
    if !header.is_authentic(&key) {
        return Err(AgeError::Changed);
    }
    payload::open(&key, &binary[header.length..])
}

fn armor(binary: &[u8]) -> String {
    let body = BASE64.encode(binary);
    let mut out = String::with_capacity(body.len() + body.len() / ARMOR_LINE + 80);
    out.push_str(ARMOR_BEGIN);
    for at in (0..body.len()).step_by(ARMOR_LINE) {
        out.push('\n');
        out.push_str(&body[at..body.len().min(at + ARMOR_LINE)]);
    }
    out.push('\n');
    out.push_str(ARMOR_END);
    out.push('\n');
    out
}

fn dearmor(file: &[u8]) -> Result<Vec<u8>, AgeError> {
    if file.starts_with(header::VERSION.as_bytes()) {
        return Ok(file.to_vec());
    }
    let text = std::str::from_utf8(file).map_err(|_| AgeError::NoAge)?.trim();
    let body = text.strip_prefix(ARMOR_BEGIN).ok_or(AgeError::NoAge)?;
    let body = body.strip_suffix(ARMOR_END).ok_or(AgeError::Damaged("its last line is missing"))?;
    let lines: String = body.lines().map(str::trim_end).collect();
    BASE64.decode(lines.as_bytes()).map_err(|_| AgeError::Damaged("it is no base64"))
}
