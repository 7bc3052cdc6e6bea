//! Sealing, and the proof that each recipient can open what was sealed.

use zeroize::Zeroizing;

use super::header::Stanza;
use super::keys::FileKey;
use super::{AgeError, Recipient, armor, header, payload};
use crate::secrets::{MAX_PLAINTEXT, Random};

/// A fresh age file, with what is needed to prove it.
pub struct Sealed {
    /// The file, armored.
    pub file: String,
    recipients: Vec<(Recipient, Zeroizing<[u8; 32]>)>,
}

/// Seals to all recipients.
pub fn encrypt(
    plain: &[u8],
    recipients: &[Recipient],
    random: Random<'_>,
) -> Result<Sealed, AgeError> {
    if recipients.is_empty() {
        return Err(AgeError::NoRecipients);
    }
    if plain.len() > MAX_PLAINTEXT {
        return Err(AgeError::TooLarge);
    }
    let mut file_key = FileKey::default();
    random(&mut *file_key);
    let mut stanzas: Vec<Stanza> = Vec::new();
    let mut used = Vec::new();
    for recipient in recipients {
        let mut ephemeral = Zeroizing::new([0; 32]);
        random(&mut *ephemeral);
        stanzas.push(recipient.wrap(&file_key, &ephemeral)?);
        used.push((*recipient, ephemeral));
    }
    let mut nonce = [0; payload::NONCE];
    random(&mut nonce);
    let mut binary = header::write(&stanzas, &file_key).into_bytes();
    binary.extend(payload::seal(&file_key, &nonce, plain)?);
    Ok(Sealed { file: armor(&binary), recipients: used })
}

impl Sealed {
    /// Proves that each recipient can open `file` (read back from where it was written) and gets `plain`; else gives
    /// the position of the first that cannot.
    ///
    /// Nobody's private key is here. But the point that a recipient computes from its private key and the ephemeral
    /// public key is the one computed from its public key and the ephemeral private key, which is. So each stanza is
    /// opened from that side, and the whole file with the key found in it.
    pub fn prove(&self, file: &[u8], plain: &[u8]) -> Result<(), usize> {
        for (number, (recipient, ephemeral)) in self.recipients.iter().enumerate() {
            let opened = super::open(file, |stanza| recipient.unwrap_as_sender(stanza, ephemeral));
            if opened.is_ok_and(|opened| *opened == *plain) {
                continue;
            }
            return Err(number);
        }
        Ok(())
    }
}
