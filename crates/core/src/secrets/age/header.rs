//! The header of an age file: stanzas, and the HMAC over them.

use data_encoding::{BASE64_NOPAD, Encoding};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::AgeError;
use super::keys::{FileKey, hkdf};

pub(super) const VERSION: &str = "age-encryption.org/v1\n";
const LINE: usize = 64;
/// Headers are a few hundred bytes; this is for a thousand recipients.
const MAX_HEADER: usize = 256 << 10;
const B64: Encoding = BASE64_NOPAD;

/// `-> kind arg arg …` and its body.
pub(super) struct Stanza {
    pub kind: String,
    pub args: Vec<String>,
    pub body: Vec<u8>,
}

pub(super) struct Header {
    pub stanzas: Vec<Stanza>,
    /// The bytes that the HMAC covers: up to and with `---`.
    covered: Vec<u8>,
    mac: Vec<u8>,
    /// Where the payload begins.
    pub length: usize,
}

impl Header {
    pub fn is_authentic(&self, key: &FileKey) -> bool {
        mac(key, &self.covered).verify_slice(&self.mac).is_ok()
    }
}

fn mac(key: &FileKey, covered: &[u8]) -> Hmac<Sha256> {
    let key = hkdf(&**key, &[], b"header");
    // A key of one block, filled with zeros, is the same HMAC key.
    let mut block = zeroize::Zeroizing::new([0; 64]);
    block[..32].copy_from_slice(&*key);
    Hmac::new(&(*block).into()).chain_update(covered)
}

/// Writes the header for these stanzas.
pub(super) fn write(stanzas: &[Stanza], key: &FileKey) -> String {
    let mut out = VERSION.to_owned();
    for stanza in stanzas {
        out += &format!("-> {} {}\n", stanza.kind, stanza.args.join(" "));
        let body = B64.encode(&stanza.body);
        for at in (0..=body.len()).step_by(LINE) {
            out += &body[at..body.len().min(at + LINE)];
            out.push('\n');
        }
    }
    out += "---";
    let mac = mac(key, out.as_bytes()).finalize().into_bytes();
    out + " " + &B64.encode(&mac) + "\n"
}

pub(super) fn parse(file: &[u8]) -> Result<Header, AgeError> {
    let damaged = AgeError::Damaged;
    if !file.starts_with(VERSION.as_bytes()) {
        return Err(AgeError::NoAge);
    }
    let mut stanzas = Vec::new();
    let mut at = VERSION.len();
    loop {
        let start = at;
        let line = next_line(file, &mut at)?;
        if let Some(mac) = line.strip_prefix("--- ") {
            let mac = B64
                .decode(mac.as_bytes())
                .map_err(|_| damaged("the header's check sum is no base64"))?;
            return Ok(Header { stanzas, covered: file[..start + 3].to_vec(), mac, length: at });
        }
        let words =
            line.strip_prefix("-> ").ok_or(damaged("a recipient does not begin with `->`"))?;
        let mut words = words.split(' ').map(str::to_owned);
        let kind = words.next().unwrap_or_default();
        let mut text = String::new();
        loop {
            let line = next_line(file, &mut at)?;
            if line.len() > LINE {
                return Err(damaged("a line of the header is too long"));
            }
            text += line;
            if line.len() < LINE {
                break;
            }
        }
        let body = B64.decode(text.as_bytes()).map_err(|_| damaged("a recipient is no base64"))?;
        stanzas.push(Stanza { kind, args: words.collect(), body });
    }
}

fn next_line<'a>(file: &'a [u8], at: &mut usize) -> Result<&'a str, AgeError> {
    let rest = &file[*at..];
    let end = rest
        .iter()
        .take(MAX_HEADER)
        .position(|b| *b == b'\n')
        .ok_or(AgeError::Damaged("the header has no end"))?;
    *at += end + 1;
    if *at > MAX_HEADER {
        return Err(AgeError::Damaged("the header is too long"));
    }
    std::str::from_utf8(&rest[..end]).map_err(|_| AgeError::Damaged("the header is not text"))
}
