//! ansible-vault files, versions 1.1 and 1.2 (`fleet-folder.md` §4, "Vault files").
//!
//! `$ANSIBLE_VAULT;1.1;AES256`, then lines of 80 hex digits: hex of (hex salt \n hex hmac \n hex ciphertext).

use aes::Aes256;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit as _, StreamCipher as _};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::MAX_PLAINTEXT;

const MARK: &str = "$ANSIBLE_VAULT";
const CIPHER: &str = "AES256";
const ROUNDS: u32 = 10_000;
const LINE: usize = 80;
const BLOCK: usize = 16;
/// The largest vault file, in bytes: hex of hex takes four bytes for one.
pub const MAX_FILE: usize = 5 * MAX_PLAINTEXT;

/// Why a vault file cannot be read or made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// No `$ANSIBLE_VAULT` header.
    #[error("line 1: this is no vault file (it does not begin with `$ANSIBLE_VAULT;`)")]
    NoVault,
    /// A version or cipher that ansible no longer writes.
    #[error(
        "line 1: vault header `{0}` is not known: Afield reads versions 1.1 and 1.2 with AES256"
    )]
    Header(String),
    /// A line is not hex, or a part is missing.
    #[error("line {line}: the vault file is cut off or damaged: {what}")]
    Damaged {
        /// Counted from 1.
        line: usize,
        /// What was expected.
        what: &'static str,
    },
    /// The HMAC does not fit.
    #[error("the password is wrong, or the vault file was changed after it was encrypted")]
    Wrong,
    /// Too large.
    #[error("larger than {MAX_PLAINTEXT} bytes: too large for a vault file here")]
    TooLarge,
    /// An empty password.
    #[error("the password is empty")]
    EmptyPassword,
    /// A label that the header cannot carry.
    #[error("the vault id `{0}` may not be empty nor contain `;` or blanks")]
    VaultId(String),
}

/// Whether the text begins like a vault file.
pub fn is_vault(text: &[u8]) -> bool {
    text.starts_with(MARK.as_bytes())
}

/// The vault id in the header of a file of version 1.2.
pub fn vault_id(text: &str) -> Result<Option<&str>, VaultError> {
    let first = text.lines().next().unwrap_or_default().trim_end();
    let mut words = first.split(';').map(str::trim);
    if words.next() != Some(MARK) {
        return Err(VaultError::NoVault);
    }
    let known = match (words.next(), words.next(), words.next(), words.next()) {
        (Some("1.1"), Some(CIPHER), None, _) => Some(None),
        (Some("1.2"), Some(CIPHER), Some(id), None) if !id.is_empty() => Some(Some(id)),
        _ => None,
    };
    known.ok_or_else(|| {
        VaultError::Header(first.chars().filter(|c| !c.is_control()).take(60).collect())
    })
}

/// Decrypts a vault file of either version; the password is checked with the HMAC, in constant time.
pub fn decrypt(text: &str, password: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    if password.is_empty() {
        return Err(VaultError::EmptyPassword);
    }
    if text.len() > MAX_FILE {
        return Err(VaultError::TooLarge);
    }
    vault_id(text)?;
    let [salt, mac, mut data] = body(text)?;
    let keys = Keys::derive(password, &salt);
    keys.hmac().chain_update(&*data).verify_slice(&mac).map_err(|_| VaultError::Wrong)?;
    keys.cipher().apply_keystream(&mut data);
    let damaged = |what| VaultError::Damaged { line: 2, what };
    let pad = data.last().map_or(0, |last| usize::from(*last));
    let kept = data.len().saturating_sub(pad);
    let whole = data.len() % BLOCK == 0 && (1..=BLOCK).contains(&pad);
    if !whole || data[kept..].iter().any(|b| usize::from(*b) != pad) {
        return Err(damaged("wrong padding"));
    }
    data.truncate(kept);
    Ok(data)
}

/// Encrypts as version 1.1, or as 1.2 with a vault id. `salt` must be fresh random bytes each time.
pub fn encrypt(
    plain: &[u8],
    password: &[u8],
    id: Option<&str>,
    salt: &[u8; 32],
) -> Result<String, VaultError> {
    if password.is_empty() {
        return Err(VaultError::EmptyPassword);
    }
    if plain.len() > MAX_PLAINTEXT {
        return Err(VaultError::TooLarge);
    }
    let mut out = match id {
        None => format!("{MARK};1.1;{CIPHER}\n"),
        Some(id) if id.is_empty() || id.contains([';', ' ', '\t', '\r', '\n']) => {
            return Err(VaultError::VaultId(id.to_owned()));
        }
        Some(id) => format!("{MARK};1.2;{CIPHER};{id}\n"),
    };
    let pad = BLOCK - plain.len() % BLOCK;
    let mut data = Zeroizing::new(Vec::with_capacity(plain.len() + pad));
    data.extend_from_slice(plain);
    data.resize(plain.len() + pad, pad as u8);
    let keys = Keys::derive(password, salt);
    keys.cipher().apply_keystream(&mut data);
    let mac = keys.hmac().chain_update(&*data).finalize().into_bytes();
    let inner = [HEXLOWER.encode(salt), HEXLOWER.encode(&mac), HEXLOWER.encode(&data)].join("\n");
    let outer = HEXLOWER.encode(inner.as_bytes());
    for line in outer.as_bytes().chunks(LINE) {
        out.extend(line.iter().map(|b| char::from(*b)));
        out.push('\n');
    }
    Ok(out)
}

/// The salt, HMAC and ciphertext of a vault file.
fn body(text: &str) -> Result<[Zeroizing<Vec<u8>>; 3], VaultError> {
    let mut outer = Vec::with_capacity(text.len() / 2);
    let mut last = 1;
    for (at, line) in text.lines().enumerate().skip(1) {
        let line = line.trim();
        let bytes = HEXLOWER_PERMISSIVE.decode(line.as_bytes());
        outer.extend(bytes.map_err(|_| VaultError::Damaged {
            line: at + 1,
            what: "the line must have pairs of hex digits only",
        })?);
        last = at + 1;
    }
    let damaged = |what| VaultError::Damaged { line: last, what };
    let mut parts = outer.split(|b| *b == b'\n').map(|part| {
        let bytes = HEXLOWER_PERMISSIVE.decode(part.trim_ascii());
        bytes.map(Zeroizing::new).map_err(|_| damaged("a part is not hex"))
    });
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(salt), Some(mac), Some(data), None) => {
            let parts = [salt?, mac?, data?];
            if parts[0].is_empty() || parts[1].len() != 32 || parts[2].is_empty() {
                return Err(damaged("the salt, check sum or ciphertext is incomplete"));
            }
            Ok(parts)
        }
        _ => Err(damaged("it must hold salt, check sum and ciphertext")),
    }
}

/// 32 bytes AES key, 32 bytes HMAC key, 16 bytes counter start.
struct Keys(Zeroizing<[u8; 80]>);

impl Keys {
    fn derive(password: &[u8], salt: &[u8]) -> Self {
        let mut keys = Zeroizing::new([0; 80]);
        pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, ROUNDS, &mut *keys);
        Self(keys)
    }

    fn cipher(&self) -> Ctr128BE<Aes256> {
        let (key, rest) = self.0.split_at(32);
        let (mut k, mut iv) = (Zeroizing::new([0; 32]), [0; BLOCK]);
        k.copy_from_slice(key);
        iv.copy_from_slice(&rest[32..]);
        Ctr128BE::new(&(*k).into(), &iv.into())
    }

    fn hmac(&self) -> Hmac<Sha256> {
        let mut key = Zeroizing::new([0; 64]);
        key[..32].copy_from_slice(&self.0[32..64]);
        // A key of one block is used as it is, so that this is the HMAC with the 32-byte key.
        Hmac::new(&(*key).into())
    }
}
