//! age files.

use afield_core::secrets::age::{self, AgeError, Identity, Recipient};
use afield_core::secrets::hostkey::HostPrivate;
use afield_core::secrets::seal;
use afield_core::secrets::sealed::{self, OpenError};

use crate::fixtures::{age_binary, age_file, golden_hosts, masters};
use crate::support::{Numbers, golden_text, private_key};

#[test]
fn age_opens_for_each_recipient_and_the_proof_agrees() {
    for length in [0, 1, 3000, 65_535, 65_536, 65_537, 200_000] {
        let plain = vec![b'p'; length];
        let (sealed, host, operator) = age_file(&plain);
        for identity in [&host, &operator] {
            assert_eq!(*age::decrypt(sealed.file.as_bytes(), identity).unwrap(), plain, "{length}");
        }
        assert_eq!(sealed.prove(sealed.file.as_bytes(), &plain), Ok(()));
        assert_eq!(sealed.prove(sealed.file.as_bytes(), b"other"), Err(0));
        let stranger = Identity::parse(&private_key("nuc-pap")).unwrap();
        assert_eq!(
            age::decrypt(sealed.file.as_bytes(), &stranger).unwrap_err(),
            AgeError::NotForKey
        );
    }
}

#[test]
fn age_proof_fails_for_a_file_of_somebody_else() {
    let (sealed, ..) = age_file(b"plain");
    let stranger = Identity::parse(&private_key("nuc-pap")).unwrap();
    let mut numbers = Numbers(9);
    let other =
        age::encrypt(b"plain", &[stranger.recipient()], &mut |bytes| numbers.fill(bytes)).unwrap();
    assert_eq!(sealed.prove(other.file.as_bytes(), b"plain"), Err(0));
}

#[test]
fn age_tampered_truncated_and_oversized() {
    let (_, host, _) = age_file(b"");
    let binary = age_binary(b"the plaintext");
    assert_eq!(**age::decrypt(&binary, &host).unwrap(), *b"the plaintext");
    for at in 0..binary.len() {
        let mut changed = binary.clone();
        changed[at] ^= 1;
        assert!(age::decrypt(&changed, &host).is_err(), "byte {at}");
        assert!(age::decrypt(&binary[..at], &host).is_err(), "cut at {at}");
    }
    let too_large = vec![0; age::MAX_FILE + 1];
    assert_eq!(age::decrypt(&too_large, &host).unwrap_err(), AgeError::TooLarge);
    assert_eq!(age::decrypt(b"hello", &host).unwrap_err(), AgeError::NoAge);
}

#[test]
fn age_chunks_cannot_be_dropped() {
    let (_, host, _) = age_file(b"");
    let binary = age_binary(&[b'x'; 150_000]);
    let last_chunk = 150_000 % 65_536 + 16;
    assert_eq!(
        age::decrypt(&binary[..binary.len() - last_chunk], &host).unwrap_err(),
        AgeError::Changed
    );
}

#[test]
fn age_host_file_opens_as_a_tree() {
    let plan = seal::plan(&golden_hosts(), &masters()).unwrap();
    let (sealed, ..) = age_file(&plan.hosts["nuc-juba"].padded);
    let key = HostPrivate::from_openssh(&private_key("nuc-juba")).unwrap();
    let old = golden_text("outputs/python/generated-secrets.yml");
    let tree = age::open_host(sealed.file.as_bytes(), &key).unwrap();
    assert_eq!(tree, sealed::open_for(&old, "nuc-juba", &key).unwrap());
    let other = HostPrivate::from_openssh(&private_key("nuc-pap")).unwrap();
    assert_eq!(age::open_host(sealed.file.as_bytes(), &other).unwrap_err(), OpenError::WrongKey);
}

#[test]
fn age_recipients_that_are_refused() {
    for line in ["", "ssh-rsa AAAA", "age1qqqq", "AGE-SECRET-KEY-1QQ"] {
        assert!(matches!(Recipient::parse(line), Err(AgeError::Key(_))), "{line}");
    }
    let nobody = age::encrypt(b"x", &[], &mut |_| ());
    assert_eq!(nobody.err(), Some(AgeError::NoRecipients));
}
