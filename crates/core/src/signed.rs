//! Signed documents: a JSON text with ed25519 signatures over exactly that text.
//!
//! The payload travels as a string, so that no canonical form of JSON is needed. What is signed is
//! `afield:<kind>:1\n` followed by the payload, so that a signature for one kind of document says nothing
//! about another. Release metadata is not signed this way but by TUF (`afield_store::trust`).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER};
use ed25519_dalek::{Signature as DalekSignature, Signer, SigningKey, VerifyingKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ids::InvalidId;

/// An envelope longer than this (bytes) is refused before it is parsed.
pub const MAX_ENVELOPE: usize = 1024 * 1024;
/// More signatures than this on one document are refused.
const MAX_SIGNATURES: usize = 32;

/// An ed25519 public key; text form `ed25519:<64 hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// From the 32 raw bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From the OpenSSH line `ssh-ed25519 AAAA… [comment]` (RFC 8709 §4).
    pub fn from_openssh(line: &str) -> Result<Self, InvalidId> {
        let wrong = || InvalidId {
            kind: "OpenSSH ed25519 public key",
            text: line.chars().take(80).collect(),
            rule: "it is ssh-ed25519 and 68 characters of base64",
        };
        let mut words = line.split_whitespace();
        let (Some("ssh-ed25519"), Some(body)) = (words.next(), words.next()) else {
            return Err(wrong());
        };
        let blob = BASE64.decode(body.as_bytes()).map_err(|_| wrong())?;
        let prefix = b"\0\0\0\x0bssh-ed25519\0\0\0\x20";
        let key = blob.strip_prefix(prefix.as_slice()).ok_or_else(wrong)?;
        Ok(Self(key.try_into().map_err(|_| wrong())?))
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(key) = VerifyingKey::from_bytes(&self.0) else {
            return false;
        };
        let Ok(signature) = DalekSignature::from_slice(signature) else {
            return false;
        };
        key.verify_strict(message, &signature).is_ok()
    }
}

impl FromStr for PublicKey {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let wrong = || InvalidId {
            kind: "public key",
            text: text.chars().take(80).collect(),
            rule: "it is ed25519: and 64 hex digits",
        };
        let hex = text.strip_prefix("ed25519:").ok_or_else(wrong)?;
        let bytes = HEXLOWER.decode(hex.as_bytes()).map_err(|_| wrong())?;
        Ok(Self(bytes.try_into().map_err(|_| wrong())?))
    }
}

impl TryFrom<String> for PublicKey {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> String {
        key.to_string()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}", HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A private key that signs documents; wiped from memory when dropped.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// From the 32-byte seed (RFC 8032 §5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// The same key, to open what was sealed to its public half.
    #[cfg(feature = "secrets")]
    pub fn identity(&self) -> crate::secrets::age::Identity {
        let key = crate::secrets::hostkey::HostPrivate::from_seed(self.0.as_bytes());
        crate::secrets::age::Identity::Ssh(key)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey of {}", self.public())
    }
}

/// A kind of document that is signed.
pub trait Document: Serialize + DeserializeOwned {
    /// Its name in the signed text; never reused for another meaning.
    const KIND: &'static str;
}

/// One signature with the key that is said to have made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Who signed.
    pub key: PublicKey,
    /// 64 bytes in hex.
    pub sig: String,
}

/// A document on its way: the text as it was signed, and the signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// [`Document::KIND`] of the payload.
    pub kind: String,
    /// The document as JSON text.
    pub payload: String,
    /// At least one.
    pub signatures: Vec<Signature>,
}

/// Why an envelope was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It is longer than [`MAX_ENVELOPE`].
    #[error("it has {0} bytes, more than the {MAX_ENVELOPE} that are read")]
    TooLong(usize),
    /// It is not the JSON of an envelope, or its payload not that of the document.
    #[error("it cannot be read: {0}")]
    Malformed(String),
    /// It is a signed document of another kind.
    #[error("it is a {found:?}, not a {wanted:?}")]
    WrongKind {
        /// What the envelope says it holds.
        found: String,
        /// What was asked for.
        wanted: &'static str,
    },
    /// The same key signed twice.
    #[error("the key {0} signed it twice")]
    DuplicateSignature(PublicKey),
    /// Too few valid signatures by trusted keys.
    #[error(
        "it has {valid} valid signature(s) by keys that are trusted for this, of {threshold} needed"
    )]
    Threshold {
        /// Valid signatures by trusted keys.
        valid: usize,
        /// How many are needed.
        threshold: usize,
    },
}

fn signed_bytes(kind: &str, payload: &str) -> Vec<u8> {
    format!("afield:{kind}:1\n{payload}").into_bytes()
}

impl Envelope {
    /// Signs a document.
    pub fn seal<D: Document>(document: &D, key: &SecretKey) -> Result<Self, serde_json::Error> {
        let payload = serde_json::to_string(document)?;
        let signature = key.0.sign(&signed_bytes(D::KIND, &payload));
        let sig = HEXLOWER.encode(&signature.to_bytes());
        let signatures = vec![Signature { key: key.public(), sig }];
        Ok(Self { kind: D::KIND.to_owned(), payload, signatures })
    }

    /// Reads an envelope; says nothing about who signed it.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, OpenError> {
        if bytes.len() > MAX_ENVELOPE {
            return Err(OpenError::TooLong(bytes.len()));
        }
        serde_json::from_slice(bytes).map_err(|e| OpenError::Malformed(e.to_string()))
    }

    /// The envelope as JSON.
    pub fn to_vec(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// The document, once `threshold` of the `trusted` keys are found to have signed it.
    pub fn open<D: Document>(
        &self,
        trusted: &[PublicKey],
        threshold: usize,
    ) -> Result<D, OpenError> {
        if self.kind != D::KIND {
            return Err(OpenError::WrongKind { found: self.kind.clone(), wanted: D::KIND });
        }
        let valid = self.valid_signers(trusted)?;
        if valid < threshold.max(1) {
            return Err(OpenError::Threshold { valid, threshold: threshold.max(1) });
        }
        serde_json::from_str(&self.payload).map_err(|e| OpenError::Malformed(e.to_string()))
    }

    fn valid_signers(&self, trusted: &[PublicKey]) -> Result<usize, OpenError> {
        if self.signatures.len() > MAX_SIGNATURES {
            let n = self.signatures.len();
            return Err(OpenError::Malformed(format!("{n} signatures, at most {MAX_SIGNATURES}")));
        }
        let message = signed_bytes(&self.kind, &self.payload);
        let mut seen = BTreeSet::new();
        let mut valid = 0;
        for signature in &self.signatures {
            if !seen.insert(signature.key) {
                return Err(OpenError::DuplicateSignature(signature.key));
            }
            let Ok(sig) = HEXLOWER.decode(signature.sig.as_bytes()) else {
                continue;
            };
            if trusted.contains(&signature.key) && signature.key.verifies(&message, &sig) {
                valid += 1;
            }
        }
        Ok(valid)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Note(String);
    impl Document for Note {
        const KIND: &'static str = "note";
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Other(String);
    impl Document for Other {
        const KIND: &'static str = "other";
    }

    fn key(n: u8) -> SecretKey {
        SecretKey::from_seed(&[n; 32])
    }

    #[test]
    fn only_trusted_untouched_documents_open() {
        let sealed = Envelope::seal(&Note("hello".into()), &key(1)).unwrap();
        let trusted = [key(1).public()];
        assert_eq!(sealed.open::<Note>(&trusted, 1), Ok(Note("hello".into())));
        let stranger = sealed.open::<Note>(&[key(2).public()], 1);
        assert_eq!(stranger, Err(OpenError::Threshold { valid: 0, threshold: 1 }));
        let mut changed = sealed.clone();
        changed.payload = changed.payload.replace("hello", "hallo");
        assert!(matches!(changed.open::<Note>(&trusted, 1), Err(OpenError::Threshold { .. })));
        assert!(matches!(sealed.open::<Other>(&trusted, 1), Err(OpenError::WrongKind { .. })));
        let mut relabelled = sealed;
        relabelled.kind = "other".into();
        assert!(matches!(relabelled.open::<Other>(&trusted, 1), Err(OpenError::Threshold { .. })));
    }

    #[test]
    fn one_key_does_not_count_twice() {
        let mut sealed = Envelope::seal(&Note("x".into()), &key(1)).unwrap();
        sealed.signatures.push(sealed.signatures[0].clone());
        let trusted = [key(1).public(), key(2).public()];
        let twice = sealed.open::<Note>(&trusted, 2);
        assert_eq!(twice, Err(OpenError::DuplicateSignature(key(1).public())));
        sealed.signatures.pop();
        let alone = sealed.open::<Note>(&trusted, 2);
        assert_eq!(alone, Err(OpenError::Threshold { valid: 1, threshold: 2 }));
    }
}
