//! Recipients and identities: how each wraps and unwraps the file key.

use chacha20poly1305::aead::Aead as _;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, Nonce};
use curve25519_dalek::MontgomeryPoint;
use data_encoding::BASE64_NOPAD;
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::AgeError;
use super::header::Stanza;
use crate::secrets::hostkey::{HostPrivate, HostPublic, KeyError};

pub(super) type FileKey = Zeroizing<[u8; 16]>;
type Key = Zeroizing<[u8; 32]>;

const X25519: &str = "X25519";
const X25519_LABEL: &[u8] = b"age-encryption.org/v1/X25519";
const SSH: &str = "ssh-ed25519";
const SSH_LABEL: &[u8] = b"age-encryption.org/v1/ssh-ed25519";

/// A key to seal to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipient {
    /// An SSH ed25519 key.
    Ssh(HostPublic),
    /// An age key (`age1…`).
    X25519([u8; 32]),
}

/// A private key to open with.
pub enum Identity {
    /// An SSH ed25519 key.
    Ssh(HostPrivate),
    /// An age key (`AGE-SECRET-KEY-1…`).
    X25519(Zeroizing<[u8; 32]>),
}

impl Recipient {
    /// Reads `ssh-ed25519 AAAA… [comment]` or `age1…`.
    pub fn parse(line: &str) -> Result<Self, AgeError> {
        let line = line.trim();
        if !line.starts_with("age1") {
            let key =
                HostPublic::from_openssh(line).map_err(|error| AgeError::Key(error.to_string()))?;
            return Ok(Self::Ssh(key));
        }
        let word = line.split_whitespace().next().unwrap_or_default();
        let bytes = from_bech32(word, "age")
            .ok_or_else(|| AgeError::Key("this is no age key".to_owned()))?;
        Ok(Self::X25519(*bytes))
    }

    /// Wraps the file key. `ephemeral` must be fresh random bytes.
    pub(super) fn wrap(&self, file_key: &FileKey, ephemeral: &Key) -> Result<Stanza, AgeError> {
        let share = MontgomeryPoint::mul_base_clamped(**ephemeral).to_bytes();
        let key = self
            .wrapping_key(ephemeral, &share)
            .ok_or(AgeError::Key("this public key is weak".to_owned()))?;
        let body = cipher(&key)
            .encrypt(&Nonce::default(), &file_key[..])
            .map_err(|_| AgeError::TooLarge)?;
        let share = BASE64_NOPAD.encode(&share);
        Ok(match self {
            Self::Ssh(key) => Stanza { kind: SSH.to_owned(), args: vec![tag(key), share], body },
            Self::X25519(_) => Stanza { kind: X25519.to_owned(), args: vec![share], body },
        })
    }

    /// What the owner of the key does with the stanza, done with the ephemeral secret instead: the same point.
    pub(super) fn unwrap_as_sender(&self, stanza: &Stanza, ephemeral: &Key) -> Option<FileKey> {
        let kind = if matches!(self, Self::Ssh(_)) { SSH } else { X25519 };
        let share = share(stanza, kind)?;
        if share != MontgomeryPoint::mul_base_clamped(**ephemeral).to_bytes() {
            return None;
        }
        if let Self::Ssh(key) = self
            && stanza.args[0] != tag(key)
        {
            return None;
        }
        unwrap_body(stanza, &self.wrapping_key(ephemeral, &share)?)
    }

    fn wrapping_key(&self, ephemeral: &Key, share: &[u8; 32]) -> Option<Key> {
        match self {
            Self::Ssh(key) => {
                let point = shared(&key.x25519(), ephemeral)?;
                let point = shared(&point, &tweak(key))?;
                Some(hkdf(&*point, &[&share[..], &key.x25519()].concat(), SSH_LABEL))
            }
            Self::X25519(key) => {
                let point = shared(key, ephemeral)?;
                Some(hkdf(&*point, &[&share[..], &key[..]].concat(), X25519_LABEL))
            }
        }
    }
}

impl Identity {
    /// Reads an age key file (lines; `#` is a comment) or an OpenSSH private key.
    pub fn parse(text: &str) -> Result<Self, AgeError> {
        let age_key = text.lines().map(str::trim).find(|line| line.starts_with("AGE-SECRET-KEY-1"));
        if let Some(line) = age_key {
            let lower = Zeroizing::new(line.to_ascii_lowercase());
            let key = from_bech32(&lower, "age-secret-key-");
            return key
                .map(Self::X25519)
                .ok_or_else(|| AgeError::Key("this is no age secret key".to_owned()));
        }
        let key =
            HostPrivate::from_openssh(text).map_err(|error| AgeError::Key(error.to_string()))?;
        Ok(Self::Ssh(key))
    }

    /// Whether [`Identity::parse`] fails only for want of the passphrase.
    pub fn needs_passphrase(text: &str) -> bool {
        !text.contains("AGE-SECRET-KEY-1")
            && HostPrivate::from_openssh(text).err() == Some(KeyError::Passphrase)
    }

    /// Reads an OpenSSH private key that has a passphrase.
    #[cfg(feature = "secrets-write")]
    pub fn parse_with(text: &str, passphrase: &[u8]) -> Result<Self, AgeError> {
        let key = HostPrivate::from_openssh_with(text, passphrase);
        Ok(Self::Ssh(key.map_err(|error| AgeError::Key(error.to_string()))?))
    }

    /// The public half.
    pub fn recipient(&self) -> Recipient {
        match self {
            Self::Ssh(key) => Recipient::Ssh(key.public()),
            Self::X25519(secret) => {
                Recipient::X25519(MontgomeryPoint::mul_base_clamped(**secret).to_bytes())
            }
        }
    }

    pub(super) fn unwrap(&self, stanza: &Stanza) -> Option<FileKey> {
        let secret = match self {
            Self::Ssh(key) => return unwrap_ssh(stanza, key),
            Self::X25519(secret) => secret,
        };
        let share = share(stanza, X25519)?;
        let own = MontgomeryPoint::mul_base_clamped(**secret).to_bytes();
        let point = shared(&share, secret)?;
        unwrap_body(stanza, &hkdf(&*point, &[share, own].concat(), X25519_LABEL))
    }
}

pub(super) fn unwrap_ssh(stanza: &Stanza, key: &HostPrivate) -> Option<FileKey> {
    let public = key.public();
    let share = share(stanza, SSH)?;
    if stanza.args[0] != tag(&public) {
        return None;
    }
    let point = shared(&share, &key.x25519())?;
    let point = shared(&point, &tweak(&public))?;
    unwrap_body(stanza, &hkdf(&*point, &[share, public.x25519()].concat(), SSH_LABEL))
}

/// The ephemeral share, if the stanza is of this kind and whole.
fn share(stanza: &Stanza, kind: &str) -> Option<[u8; 32]> {
    let wanted = if kind == SSH { 2 } else { 1 };
    if stanza.kind != kind || stanza.args.len() != wanted || stanza.body.len() != 32 {
        return None;
    }
    BASE64_NOPAD.decode(stanza.args[wanted - 1].as_bytes()).ok()?.try_into().ok()
}

/// X25519; nothing if the result is zero, as with points of small order.
fn shared(point: &[u8; 32], secret: &Key) -> Option<Key> {
    let product = Zeroizing::new(MontgomeryPoint(*point).mul_clamped(**secret).to_bytes());
    if product.iter().all(|b| *b == 0) { None } else { Some(product) }
}

fn cipher(key: &Key) -> ChaCha20Poly1305 {
    ChaCha20Poly1305::new((&**key).into())
}

fn unwrap_body(stanza: &Stanza, key: &Key) -> Option<FileKey> {
    let opened = Zeroizing::new(cipher(key).decrypt(&Nonce::default(), &stanza.body[..]).ok()?);
    let mut file_key = FileKey::default();
    if opened.len() != file_key.len() {
        return None;
    }
    file_key.copy_from_slice(&opened);
    Some(file_key)
}

/// The key as SSH writes it on the wire.
fn wire(key: &HostPublic) -> Vec<u8> {
    [&[0, 0, 0, 11][..], SSH.as_bytes(), &[0, 0, 0, 32], &key.to_bytes()].concat()
}

fn tag(key: &HostPublic) -> String {
    BASE64_NOPAD.encode(&Sha256::digest(wire(key))[..4])
}

fn tweak(key: &HostPublic) -> Key {
    hkdf(&[], &wire(key), SSH_LABEL)
}

/// HKDF-SHA-256 with 32 bytes of output (RFC 5869).
pub(super) fn hkdf(secret: &[u8], salt: &[u8], info: &[u8]) -> Key {
    let extracted = Zeroizing::new(hmac(salt, &[secret]));
    Zeroizing::new(hmac(&*extracted, &[info, &[1]]))
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut block = Zeroizing::new([0; 64]);
    // Keys longer than a block are hashed first (RFC 2104).
    match key.len() {
        0..=64 => block[..key.len()].copy_from_slice(key),
        _ => block[..32].copy_from_slice(&Sha256::digest(key)),
    }
    let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new(&(*block).into());
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

fn from_bech32(text: &str, prefix: &str) -> Option<Zeroizing<[u8; 32]>> {
    let (found, bytes) = bech32::decode(text).ok()?;
    let bytes = Zeroizing::new(bytes);
    let mut key = Zeroizing::new([0; 32]);
    if found.as_str() != prefix || bytes.len() != key.len() {
        return None;
    }
    key.copy_from_slice(&bytes);
    Some(key)
}
