//! SSH public keys as the fleet folder writes them: exactly a type and a body.

use data_encoding::BASE64_NOPAD;
use sha2::{Digest as _, Sha256};

/// A key that has the right form, and what is bad about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// Type and body, separated by one space.
    pub text: String,
    /// Its type.
    pub kind: KeyKind,
    /// What is bad about it, if anything.
    pub flaw: Option<Flaw>,
}

/// Type of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // The names are OpenSSH's.
pub enum KeyKind {
    Ed25519,
    EcdsaP256,
    Rsa,
    SkEd25519,
}

/// What is bad about a key that has the right form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// Too short, or of small order; says how.
    Weak(String),
    /// Its bytes are no key of its type; says why.
    Unusable(&'static str),
}

/// Form of one type: name, how the base64 begins, fewest and most further characters, fewest and most `=`.
struct Form {
    kind: KeyKind,
    name: &'static str,
    start: &'static str,
    body: std::ops::RangeInclusive<usize>,
    padding: std::ops::RangeInclusive<usize>,
}

/// Spec "fleet folder" §2. The upper bounds are OpenSSH's 16384 bit.
const FORMS: [Form; 4] = [
    Form {
        kind: KeyKind::Ed25519,
        name: "ssh-ed25519",
        start: "AAAAC3NzaC1lZDI1NTE5",
        body: 48..=48,
        padding: 0..=0,
    },
    Form {
        kind: KeyKind::EcdsaP256,
        name: "ecdsa-sha2-nistp256",
        start: "AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY",
        body: 108..=108,
        padding: 1..=1,
    },
    Form {
        kind: KeyKind::Rsa,
        name: "ssh-rsa",
        start: "AAAAB3NzaC1yc2E",
        body: 355..=4000,
        padding: 0..=2,
    },
    Form {
        kind: KeyKind::SkEd25519,
        name: "sk-ssh-ed25519@openssh.com",
        start: "AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29t",
        body: 58..=4000,
        padding: 0..=2,
    },
];

/// Reads a key; otherwise says what is wrong, as the end of a sentence.
pub fn parse(text: &str) -> Result<PublicKey, &'static str> {
    let Some((name, body)) = text.split_once(' ') else {
        return Err("it is not two words");
    };
    let Some(form) = FORMS.iter().find(|form| form.name == name) else {
        return Err("its first word is not one of the four types");
    };
    if body.contains(char::is_whitespace) {
        return Err("something follows the body; a comment is not allowed");
    }
    let Some(rest) = body.strip_prefix(form.start) else {
        return Err("its body does not begin as a key of this type does");
    };
    let bare = rest.trim_end_matches('=');
    if !bare.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'/' || c == b'+') {
        return Err("its body has a character that base64 does not have");
    }
    if !form.body.contains(&bare.len()) || !form.padding.contains(&(rest.len() - bare.len())) {
        return Err("its body does not have the length of a key of this type");
    }
    let flaw = flaw(form.kind, body);
    Ok(PublicKey { text: text.to_owned(), kind: form.kind, flaw })
}

/// Whether an option may be written before a key: `[a-zA-Z=@.,"-]*`.
pub fn option_is_fine(option: &str) -> bool {
    option.bytes().all(|c| c.is_ascii_alphabetic() || b"=@.,\"-".contains(&c))
}

fn flaw(kind: KeyKind, body: &str) -> Option<Flaw> {
    let Ok(bytes) = BASE64_NOPAD.decode(body.trim_end_matches('=').as_bytes()) else {
        return Some(Flaw::Unusable("its body is cut"));
    };
    let fields = match fields(&bytes) {
        Some(fields) => fields,
        None => return Some(Flaw::Unusable("a length inside does not fit")),
    };
    match (kind, &fields[..]) {
        (KeyKind::Ed25519, [_, point]) | (KeyKind::SkEd25519, [_, point, _]) => ed25519_flaw(point),
        (KeyKind::EcdsaP256, [_, b"nistp256", point]) if point.len() == 65 => None,
        (KeyKind::Rsa, [_, exponent, modulus]) => rsa_flaw(exponent, modulus),
        _ => Some(Flaw::Unusable("it does not have the parts of its type")),
    }
}

/// The fields of a key: each a length of four bytes and as many bytes.
fn fields(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (field, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        fields.push(field);
        bytes = rest;
    }
    Some(fields)
}

fn ed25519_flaw(point: &[u8]) -> Option<Flaw> {
    let Ok(point) = <&[u8; 32]>::try_from(point) else {
        return Some(Flaw::Unusable("it does not have 32 bytes"));
    };
    match ed25519_dalek::VerifyingKey::from_bytes(point) {
        Ok(key) if key.is_weak() => Some(Flaw::Weak("it is of small order".to_owned())),
        Ok(_) => None,
        Err(_) => Some(Flaw::Unusable("it is no point of the curve")),
    }
}

fn rsa_flaw(exponent: &[u8], modulus: &[u8]) -> Option<Flaw> {
    let modulus = modulus.strip_prefix(&[0]).unwrap_or(modulus);
    let zeros = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    let bits = modulus.len() * 8 - zeros.min(modulus.len() * 8);
    if exponent == [1] || exponent.is_empty() || exponent.last().is_some_and(|e| e % 2 == 0) {
        return Some(Flaw::Unusable("its exponent is not odd and above 1"));
    }
    (bits < 3072).then(|| Flaw::Weak(format!("it is RSA with {bits} bit")))
}

/// The fingerprint of a key as OpenSSH prints it: `SHA256:` and base64 without padding.
pub fn fingerprint(key: &str) -> String {
    let body = key.split(' ').nth(1).unwrap_or("").trim_end_matches('=');
    let bytes = BASE64_NOPAD.decode(body.as_bytes()).unwrap_or_default();
    format!("SHA256:{}", BASE64_NOPAD.encode(&Sha256::digest(bytes)))
}
