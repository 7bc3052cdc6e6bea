//! Vault files against the vectors, and what is wrong with them.

use afield_core::secrets::MAX_PLAINTEXT;
use afield_core::secrets::vault::{self, VaultError};

use crate::fixtures::{MASTERS, PASSWORD, master_file};
use crate::support::golden_json;

#[test]
fn vault_reads_what_ansible_wrote_and_writes_the_same_with_its_salt() {
    let vectors = golden_json("outputs/vault/vault-vectors.json");
    for name in MASTERS {
        let text = master_file(name);
        let plain = vault::decrypt(&text, PASSWORD).unwrap();
        let vector = &vectors["files"][name];
        assert_eq!(plain.len() as u64, vector["plaintext_len"].as_u64().unwrap(), "{name}");
        let salt = data_encoding::HEXLOWER
            .decode(vector["salt_hex"].as_str().unwrap().as_bytes())
            .unwrap();
        let again = vault::encrypt(&plain, PASSWORD, None, &salt.try_into().unwrap()).unwrap();
        assert_eq!(again, text, "{name}");
    }
}

#[test]
fn vault_id_makes_version_1_2() {
    let text = vault::encrypt(b"x", PASSWORD, Some("prod"), &[7; 32]).unwrap();
    assert!(text.starts_with("$ANSIBLE_VAULT;1.2;AES256;prod\n"));
    assert_eq!(vault::vault_id(&text).unwrap(), Some("prod"));
    assert_eq!(**vault::decrypt(&text, PASSWORD).unwrap(), *b"x");
    let refused = vault::encrypt(b"x", PASSWORD, Some("a;b"), &[7; 32]);
    assert_eq!(refused.unwrap_err(), VaultError::VaultId("a;b".to_owned()));
}

#[test]
fn vault_plaintext_of_every_length_around_a_block() {
    for length in [0, 1, 15, 16, 17, 31, 32, 33] {
        let plain = vec![b'x'; length];
        let text = vault::encrypt(&plain, PASSWORD, None, &[length as u8; 32]).unwrap();
        assert!(text.lines().all(|line| line.len() <= 80) && text.ends_with('\n'));
        assert_eq!(**vault::decrypt(&text, PASSWORD).unwrap(), *plain);
        assert_eq!(**vault::decrypt(&text.replace('\n', "\r\n"), PASSWORD).unwrap(), *plain);
    }
}

#[test]
fn vault_wrong_password_and_tampering() {
    let good = vault::encrypt(b"the plaintext", PASSWORD, None, &[1; 32]).unwrap();
    assert_eq!(vault::decrypt(&good, b"wrong").unwrap_err(), VaultError::Wrong);
    assert_eq!(vault::decrypt(&good, b"").unwrap_err(), VaultError::EmptyPassword);
    // One hex digit of the ciphertext, then of the check sum.
    for from_end in [2, 66] {
        let at = good.trim_end().len() - from_end * 2;
        let mut bytes = good.clone().into_bytes();
        let at = if bytes[at] == b'3' { at + 1 } else { at };
        bytes[at] = if bytes[at] == b'1' { b'2' } else { b'1' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(vault::decrypt(&changed, PASSWORD).is_err(), "{changed}");
    }
}

#[test]
fn vault_truncated_at_every_byte() {
    let good = vault::encrypt(b"the plaintext", PASSWORD, None, &[1; 32]).unwrap();
    let end = good.trim_end().len();
    // PBKDF2 runs only for what still parses, so all cuts can be tried.
    for cut in 0..end {
        assert!(vault::decrypt(&good[..cut], PASSWORD).is_err(), "cut at {cut}");
    }
}

#[test]
fn vault_headers_that_are_refused() {
    for header in [
        "$ANSIBLE_VAULT;1.0;AES256",
        "$ANSIBLE_VAULT;1.1;AES",
        "$ANSIBLE_VAULT;1.2;AES256",
        "$ANSIBLE_VAULT",
    ] {
        let error = vault::decrypt(&format!("{header}\n00\n"), PASSWORD).unwrap_err();
        assert_eq!(error, VaultError::Header(header.to_owned()));
    }
    assert_eq!(vault::decrypt("secrets:\n", PASSWORD).unwrap_err(), VaultError::NoVault);
}

#[test]
fn vault_oversized() {
    let plain = vec![0; MAX_PLAINTEXT + 1];
    assert_eq!(vault::encrypt(&plain, PASSWORD, None, &[0; 32]).unwrap_err(), VaultError::TooLarge);
    let text = format!("$ANSIBLE_VAULT;1.1;AES256\n{}", "0".repeat(vault::MAX_FILE));
    assert_eq!(vault::decrypt(&text, PASSWORD).unwrap_err(), VaultError::TooLarge);
}
