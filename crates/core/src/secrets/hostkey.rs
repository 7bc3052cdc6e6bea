//! A host's SSH key as a key to seal to: ed25519 to X25519 (`fleet-folder.md` §4.5).

use ed25519_dalek::{SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha512};
use ssh_key::private::KeypairData;
use zeroize::Zeroizing;

/// The largest private key file that is read, in bytes; an ed25519 key has about 400.
const MAX_KEY_FILE: usize = 16 << 10;
/// More rounds of the passphrase's derivation would take minutes.
#[cfg(feature = "secrets-write")]
const MAX_ROUNDS: u32 = 1000;

/// Why a key cannot be used to seal or open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is no OpenSSH key.
    #[error("this is no OpenSSH {0} key, or it is damaged")]
    Damaged(&'static str),
    /// A key of another type.
    #[error("this is a key of type {0}: secrets can only be sealed to ssh-ed25519 keys")]
    Type(String),
    /// The private key has a passphrase.
    #[error("this private key has a passphrase (a host's key must be usable without a person)")]
    Passphrase,
    /// The passphrase does not open the private key.
    #[error("the passphrase of the private key is wrong, or the key is damaged")]
    WrongPassphrase,
    /// A point to which anybody could open what is sealed.
    #[error(
        "this public key is a weak point: whatever is sealed to it is open to anybody; make a new key"
    )]
    Weak,
}

/// The public half of a host's ed25519 key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostPublic(VerifyingKey);

impl HostPublic {
    /// Reads `ssh-ed25519 AAAA… [comment]`; a comment is ignored.
    pub fn from_openssh(line: &str) -> Result<Self, KeyError> {
        let mut words = line.split_whitespace();
        let (Some(kind), Some(body)) = (words.next(), words.next()) else {
            return Err(KeyError::Damaged("public"));
        };
        if kind != "ssh-ed25519" {
            return Err(if kind.contains(|c: char| !c.is_ascii_graphic()) || kind.len() > 40 {
                KeyError::Damaged("public")
            } else {
                KeyError::Type(kind.to_owned())
            });
        }
        let key = ssh_key::PublicKey::from_openssh(&format!("{kind} {body}"));
        let bytes = key.ok().and_then(|key| key.key_data().ed25519().map(|key| key.0));
        Self::from_bytes(&bytes.ok_or(KeyError::Damaged("public"))?)
    }

    /// Takes the 32 bytes of an ed25519 public key.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::Damaged("public"))?;
        if key.is_weak() { Err(KeyError::Weak) } else { Ok(Self(key)) }
    }

    /// The 32 bytes of the ed25519 key.
    pub fn to_bytes(self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The same point for X25519: u = (1 + y) / (1 - y).
    pub fn x25519(&self) -> [u8; 32] {
        self.0.to_montgomery().to_bytes()
    }
}

fn read(pem: &str) -> Result<ssh_key::PrivateKey, KeyError> {
    let damaged = KeyError::Damaged("private");
    if pem.len() > MAX_KEY_FILE {
        return Err(damaged);
    }
    ssh_key::PrivateKey::from_openssh(pem).map_err(|_| damaged)
}

/// The private half of a host's ed25519 key; wiped when dropped.
pub struct HostPrivate {
    seed: Zeroizing<[u8; 32]>,
}

impl HostPrivate {
    /// Reads an OpenSSH private key file (`-----BEGIN OPENSSH PRIVATE KEY-----`) without a passphrase.
    pub fn from_openssh(pem: &str) -> Result<Self, KeyError> {
        Self::from_key(&read(pem)?)
    }

    /// Reads an OpenSSH private key file that has a passphrase, as people's keys should.
    #[cfg(feature = "secrets-write")]
    pub fn from_openssh_with(pem: &str, passphrase: &[u8]) -> Result<Self, KeyError> {
        let key = read(pem)?;
        if !key.is_encrypted() {
            return Self::from_key(&key);
        }
        // The number of rounds stands in the file; ssh-keygen writes 16 or 24.
        if matches!(key.kdf(), ssh_key::Kdf::Bcrypt { rounds, .. } if *rounds > MAX_ROUNDS) {
            return Err(KeyError::Damaged("private"));
        }
        Self::from_key(&key.decrypt(passphrase).map_err(|_| KeyError::WrongPassphrase)?)
    }

    fn from_key(key: &ssh_key::PrivateKey) -> Result<Self, KeyError> {
        match key.key_data() {
            KeypairData::Encrypted(_) => Err(KeyError::Passphrase),
            KeypairData::Ed25519(pair) => {
                let key = Self::from_seed(pair.private.as_ref());
                if key.public().to_bytes() == pair.public.0 {
                    Ok(key)
                } else {
                    Err(KeyError::Damaged("private"))
                }
            }
            _ => Err(KeyError::Type(key.algorithm().as_str().to_owned())),
        }
    }

    /// Takes the 32-byte seed of an ed25519 key.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self { seed: Zeroizing::new(*seed) }
    }

    /// The public half.
    pub fn public(&self) -> HostPublic {
        HostPublic(SigningKey::from_bytes(&self.seed).verifying_key())
    }

    /// The X25519 secret: the first half of SHA-512 of the seed, clamped.
    pub fn x25519(&self) -> Zeroizing<[u8; 32]> {
        let hash = Zeroizing::new(<[u8; 64]>::from(Sha512::digest(*self.seed)));
        let mut scalar = Zeroizing::new([0; 32]);
        scalar.copy_from_slice(&hash[..32]);
        scalar[0] &= 248;
        scalar[31] &= 127;
        scalar[31] |= 64;
        scalar
    }
}
