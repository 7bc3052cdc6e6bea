//! `generated-secrets.yml`: what is sealed to each host, and opening it with the host's SSH key.
//!
//! Per host `encrypted_key`, a NaCl sealed box of a fresh 32-byte key, and `encrypted_secrets`, the nonce and the
//! XSalsa20-Poly1305 box of the padded plaintext; both base64 (`fleet-folder.md` §4).

use std::collections::BTreeMap;

use crypto_secretbox::aead::Aead as _;
use crypto_secretbox::{KeyInit as _, XSalsa20Poly1305};
use data_encoding::BASE64;
use zeroize::Zeroizing;

use super::hostkey::HostPrivate;
use super::yaml::{self, Node, YamlError};
use super::{MAX_PLAINTEXT, Secret, SecretTree, entry};

/// Bytes of the sealed box: ephemeral key 32, tag 16, key 32.
pub const KEY_BOX: usize = 80;
/// Bytes that the box of the secrets adds to the plaintext: nonce 24, tag 16.
pub const OVERHEAD: usize = 40;
pub(super) const NONCE: usize = 24;
/// The largest `generated-secrets.yml` that is read, in bytes.
pub const MAX_FILE: usize = 256 << 20;

/// Why sealed secrets cannot be opened. Names the host's entry, never its content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The file, or the opened plaintext, is no YAML that fits.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// An entry of the file is not as it must be.
    #[error("line {line}: host `{host}`: {what}")]
    Entry {
        /// Counted from 1.
        line: usize,
        /// Which host.
        host: String,
        /// What is wrong.
        what: &'static str,
    },
    /// Another key, or another file.
    #[error("the secrets are not sealed to this host's key, or `encrypted_key` was changed")]
    WrongKey,
    /// The key was right and the box was not.
    #[error("`encrypted_secrets` was changed or cut off after it was sealed")]
    Changed,
    /// Larger than [`MAX_PLAINTEXT`] or [`MAX_FILE`].
    #[error("the sealed secrets are too large")]
    TooLarge,
    /// What was sealed is not a map of secrets.
    #[error("line {line} of the opened secrets: {what}")]
    Content {
        /// Counted from 1, in the plaintext.
        line: usize,
        /// What is wrong; never content.
        what: String,
    },
}

/// One host's entry, still sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The sealed box of the key: [`KEY_BOX`] bytes.
    pub key: Vec<u8>,
    /// Nonce and box of the padded plaintext.
    pub secrets: Vec<u8>,
}

/// Reads the file: host to its entry.
pub fn parse(text: &str) -> Result<BTreeMap<String, Sealed>, OpenError> {
    if text.len() > MAX_FILE {
        return Err(OpenError::TooLarge);
    }
    let root = yaml::parse(text)?;
    let at = |line, message: &str| YamlError { line, message: message.to_owned() };
    let Some(entries) = root.map() else {
        return Err(at(root.line, "the file must be a map of hosts").into());
    };
    if let Some((name, _)) = entry::repeated(entries).first() {
        return Err(at(name.line, "this host stands twice").into());
    }
    let mut hosts = BTreeMap::new();
    for (name, body) in entries {
        let host = name.text().ok_or_else(|| at(name.line, "a host name must be text"))?;
        let field = |field: &'static str| {
            bytes(body, field).map_err(|what| OpenError::Entry {
                line: name.line,
                host: host.to_owned(),
                what,
            })
        };
        let sealed = Sealed { key: field("encrypted_key")?, secrets: field("encrypted_secrets")? };
        hosts.insert(host.to_owned(), sealed);
    }
    Ok(hosts)
}

fn bytes(body: &Node, field: &'static str) -> Result<Vec<u8>, &'static str> {
    let is_key = field == "encrypted_key";
    let text = body.get(field).and_then(Node::text);
    let text = text.ok_or(if is_key {
        "`encrypted_key` is missing"
    } else {
        "`encrypted_secrets` is missing"
    })?;
    unwrapped(text).ok_or(if is_key {
        "`encrypted_key` is no base64"
    } else {
        "`encrypted_secrets` is no base64"
    })
}

/// The bytes of base64 in lines.
fn unwrapped(text: &str) -> Option<Vec<u8>> {
    let compact: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    BASE64.decode(&compact).ok()
}

/// Opens the entry of `host` in the file. A host that is not in the file has no secrets.
pub fn open_for(text: &str, host: &str, key: &HostPrivate) -> Result<SecretTree, OpenError> {
    match parse(text)?.get(host) {
        Some(sealed) => sealed.open(key),
        None => Ok(SecretTree::default()),
    }
}

impl Sealed {
    /// An entry from the base64 of its two fields.
    pub fn from_base64(key: &str, secrets: &str) -> Result<Self, OpenError> {
        let key = unwrapped(key).ok_or(OpenError::WrongKey)?;
        let secrets = unwrapped(secrets).ok_or(OpenError::Changed)?;
        Ok(Self { key, secrets })
    }

    /// Opens the entry with the host's key.
    pub fn open(&self, key: &HostPrivate) -> Result<SecretTree, OpenError> {
        tree(&self.open_padded(key)?)
    }

    /// The sealed bytes, with their padding.
    pub fn open_padded(&self, key: &HostPrivate) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        if self.key.len() != KEY_BOX {
            return Err(OpenError::WrongKey);
        }
        if self.secrets.len() > MAX_PLAINTEXT + OVERHEAD {
            return Err(OpenError::TooLarge);
        }
        let secret = crypto_box::SecretKey::from(*key.x25519());
        let opened = secret.unseal(&self.key).map_err(|_| OpenError::WrongKey)?;
        let mut symmetric = Zeroizing::new([0; 32]);
        let opened = Zeroizing::new(opened);
        if opened.len() != symmetric.len() {
            return Err(OpenError::WrongKey);
        }
        symmetric.copy_from_slice(&opened);
        let (nonce, data) = self.secrets.split_at_checked(NONCE).ok_or(OpenError::Changed)?;
        let cipher = XSalsa20Poly1305::new((&*symmetric).into());
        cipher.decrypt(nonce.into(), data).map(Zeroizing::new).map_err(|_| OpenError::Changed)
    }
}

/// Reads the opened plaintext: name to content, default_extract and path.
pub fn tree(plaintext: &[u8]) -> Result<SecretTree, OpenError> {
    let wrong = |(line, what)| OpenError::Content { line, what };
    if plaintext.len() > MAX_PLAINTEXT {
        return Err(OpenError::TooLarge);
    }
    let text =
        std::str::from_utf8(plaintext).map_err(|_| wrong((1, "it is not UTF-8".to_owned())))?;
    let root = yaml::parse(text).map_err(|error| wrong((error.line, error.message)))?;
    let entries =
        root.map().ok_or_else(|| wrong((root.line, "it is not a map of secrets".to_owned())))?;
    if let Some((name, first)) = entry::repeated(entries).first() {
        return Err(wrong((name.line, format!("the secret of line {first} stands here again"))));
    }
    let mut secrets = Vec::with_capacity(entries.len());
    for (name, body) in entries {
        let entry = entry::read(name, body).map_err(wrong)?;
        let extract = entry.extract.unpacks();
        secrets.push(Secret {
            name: entry.name,
            path: entry.path,
            content: entry.content,
            extract,
        });
    }
    secrets.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(SecretTree { secrets })
}
