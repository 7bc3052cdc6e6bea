//! Every parser of secrets on changed input: no panic, no hang; bounded in time, the same each run.
//!
//! `AFIELD_FUZZ_ROUNDS=100000 cargo test -p afield-core mutations` runs for minutes.

use afield_core::secrets::age::{self, Identity, Recipient};
use afield_core::secrets::hostkey::{HostPrivate, HostPublic};
use afield_core::secrets::{master, sealed, vault};

use crate::fixtures::{PASSWORD, age_binary, age_file, hosts_of};
use crate::support::{Numbers, golden_text, private_key};

#[test]
fn mutations_never_panic() {
    let sealed_file = golden_text("outputs/python/generated-secrets.yml");
    let seeds: Vec<Vec<u8>> = vec![
        golden_text("outputs/errors-python/sec-duplicate/input/secrets-plain/a-secrets.yml")
            .into_bytes(),
        golden_text("inputs/secrets-plaintext/dhis2-secrets.yml").into_bytes(),
        golden_text("outputs/python/padded-plaintext/nuc-juba.yml").trim_end().as_bytes().to_vec(),
        vault::encrypt(b"plain", PASSWORD, Some("id"), &[3; 32]).unwrap().into_bytes(),
        sealed_file.as_bytes()[..2000].to_vec(),
        private_key("nuc-juba").into_bytes(),
        age_file(b"plain").0.file.into_bytes(),
        age_binary(b"plain"),
        hosts_of("inputs/org-config/json/tunnels.d")[0].public_key.clone().into_bytes(),
    ];
    let key = HostPrivate::from_openssh(&private_key("nuc-juba")).unwrap();
    let rounds =
        std::env::var("AFIELD_FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1000);
    let mut numbers = Numbers(42);
    for _ in 0..rounds {
        for seed in &seeds {
            let bytes = numbers.mutate(seed);
            let text = String::from_utf8_lossy(&bytes);
            let _ = master::parse("f", &text);
            let _ = sealed::tree(&bytes);
            let _ = sealed::open_for(&text, "nuc-juba", &key);
            let _ = vault::vault_id(&text);
            let _ = age::open_host(&bytes, &key);
            let _ = Identity::parse(&text);
            let _ = Identity::needs_passphrase(&text);
            let _ = Recipient::parse(&text);
            let _ = HostPrivate::from_openssh(&text);
            let _ = HostPublic::from_openssh(&text);
        }
        // Full decryption costs a key derivation each: one in ten.
        if numbers.below(10) == 0 {
            let _ = vault::decrypt(&String::from_utf8_lossy(&numbers.mutate(&seeds[3])), PASSWORD);
        }
    }
}
