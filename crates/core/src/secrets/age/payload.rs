//! The payload of an age file: a nonce, then chunks of 64 KiB (STREAM).

use chacha20poly1305::aead::Aead as _;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, Nonce};
use zeroize::Zeroizing;

use super::AgeError;
use super::keys::{FileKey, hkdf};

const CHUNK: usize = 64 << 10;
const TAG: usize = 16;
pub(super) const NONCE: usize = 16;

fn cipher(key: &FileKey, nonce: &[u8]) -> ChaCha20Poly1305 {
    ChaCha20Poly1305::new((&*hkdf(&**key, nonce, b"payload")).into())
}

/// Eleven bytes of counter, and whether this is the last chunk.
fn chunk_nonce(number: usize, last: bool) -> Nonce {
    let mut nonce = [0; 12];
    nonce[3..11].copy_from_slice(&(number as u64).to_be_bytes());
    nonce[11] = u8::from(last);
    nonce.into()
}

pub(super) fn seal(key: &FileKey, nonce: &[u8; NONCE], plain: &[u8]) -> Result<Vec<u8>, AgeError> {
    let cipher = cipher(key, nonce);
    let mut out = nonce.to_vec();
    let count = plain.len().div_ceil(CHUNK).max(1);
    for number in 0..count {
        let chunk = &plain[number * CHUNK..plain.len().min((number + 1) * CHUNK)];
        let sealed = cipher.encrypt(&chunk_nonce(number, number + 1 == count), chunk);
        out.extend(sealed.map_err(|_| AgeError::TooLarge)?);
    }
    Ok(out)
}

pub(super) fn open(key: &FileKey, payload: &[u8]) -> Result<Zeroizing<Vec<u8>>, AgeError> {
    let (nonce, data) =
        payload.split_at_checked(NONCE).ok_or(AgeError::Damaged("it has no content"))?;
    let cipher = cipher(key, nonce);
    let mut out = Zeroizing::new(Vec::with_capacity(data.len()));
    let count = data.len().div_ceil(CHUNK + TAG).max(1);
    for number in 0..count {
        let chunk = &data[number * (CHUNK + TAG)..data.len().min((number + 1) * (CHUNK + TAG))];
        let opened = cipher.decrypt(&chunk_nonce(number, number + 1 == count), chunk);
        let opened = Zeroizing::new(opened.map_err(|_| AgeError::Changed)?);
        // Only a file without content may end in an empty chunk.
        if opened.is_empty() && number > 0 {
            return Err(AgeError::Changed);
        }
        out.extend_from_slice(&opened);
    }
    Ok(out)
}
