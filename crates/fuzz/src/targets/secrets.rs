//! Secrets: files that come by Git and by the repository, and private keys as people and hosts have them.

use afield_core::secrets::age::{self, Identity, Recipient};
use afield_core::secrets::hostkey::{HostPrivate, HostPublic};
use afield_core::secrets::{master, sealed, vault};
use afield_core::signed;
use serde_json::Value;

use super::{golden, golden_files, target};
use crate::Target;
use crate::mutate::Random;

const PASSWORD: &[u8] = b"correct horse";
const YAML: &[&str] = &[
    "secrets:\n",
    "- ",
    "|\n",
    "&a ",
    "*a",
    "!vault ",
    "---\n",
    "servers: []\n",
    "default_extract: ",
];
const VAULT: &[&str] =
    &["$ANSIBLE_VAULT;1.1;AES256\n", "$ANSIBLE_VAULT;1.2;AES256;id\n", "0a", "30", ";"];
const AGE: &[&str] = &[
    "age-encryption.org/v1\n",
    "-> ssh-ed25519 ",
    "-> X25519 ",
    "--- ",
    "-----BEGIN AGE ENCRYPTED FILE-----\n",
    "-----END AGE ENCRYPTED FILE-----\n",
];
const PEM: &[&str] = &[
    "-----BEGIN OPENSSH PRIVATE KEY-----\n",
    "-----END OPENSSH PRIVATE KEY-----\n",
    "AGE-SECRET-KEY-1",
    "=",
];

pub(crate) fn targets() -> Vec<Target> {
    vec![
        target(
            "master",
            2000,
            YAML,
            || golden_files("inputs/secrets-plaintext", ".yml"),
            || {
                Box::new(|input| {
                    let _ = master::parse("f", &String::from_utf8_lossy(input));
                })
            },
        ),
        target(
            "opened",
            2000,
            YAML,
            || golden_files("outputs/python/padded-plaintext", ".yml"),
            || Box::new(|input| drop(sealed::tree(input))),
        ),
        target(
            "sealed",
            500,
            &["encrypted_key: |-\n", "encrypted_secrets: ", "? ", "="],
            sealed_seeds,
            || {
                let key = host_key();
                Box::new(move |input| {
                    drop(sealed::open_for(&String::from_utf8_lossy(input), "nuc-juba", &key))
                })
            },
        ),
        // Each whole vault file costs a key derivation.
        target("vault", 150, VAULT, vault_seeds, || {
            Box::new(|input| {
                let text = String::from_utf8_lossy(input);
                let _ = vault::vault_id(&text);
                // Authenticated: what opens is what was sealed.
                if let Ok(plain) = vault::decrypt(&text, PASSWORD) {
                    assert!(plain.len() <= input.len());
                }
            })
        }),
        target("age", 1000, AGE, age_seeds, || {
            let key = host_key();
            let identity = Identity::parse(&private_key("nuc-juba")).unwrap();
            Box::new(move |input| {
                let _ = age::open_host(input, &key);
                if let Ok(plain) = age::decrypt(input, &identity) {
                    assert!(plain.len() <= input.len());
                }
            })
        }),
        target("ssh-private", 2000, PEM, private_seeds, || {
            Box::new(|input| {
                let text = String::from_utf8_lossy(input);
                let _ = HostPrivate::from_openssh(&text);
                let _ = Identity::parse(&text);
                Identity::needs_passphrase(&text);
            })
        }),
        target("recipient", 3000, &["ssh-ed25519 ", "age1", " "], recipient_seeds, || {
            Box::new(|input| {
                let text = String::from_utf8_lossy(input);
                let _ = HostPublic::from_openssh(&text);
                let _ = Recipient::parse(&text);
                let _ = signed::PublicKey::from_openssh(&text);
                let _ = text.parse::<signed::PublicKey>();
            })
        }),
    ]
}

fn keys() -> Value {
    serde_json::from_slice(&golden("inputs/throwaway-keys.json")).unwrap()
}

/// A throwaway private key as an OpenSSH file.
fn private_key(name: &str) -> String {
    let keys = keys();
    let body = keys[name]["openssh_key_v1_base64"].as_str().unwrap();
    let lines: Vec<&str> =
        (0..body.len()).step_by(70).map(|at| &body[at..body.len().min(at + 70)]).collect();
    let kind = "OPENSSH PRIVATE KEY";
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"))
}

fn host_key() -> HostPrivate {
    HostPrivate::from_openssh(&private_key("nuc-juba")).unwrap()
}

fn sealed_seeds() -> Vec<Vec<u8>> {
    vec![golden("outputs/python/generated-secrets.yml")]
}

fn vault_seeds() -> Vec<Vec<u8>> {
    let seal = |id| vault::encrypt(b"secrets: {}\n", PASSWORD, id, &[3; 32]).unwrap().into_bytes();
    vec![seal(None), seal(Some("prod"))]
}

fn age_seeds() -> Vec<Vec<u8>> {
    let to = [Identity::parse(&private_key("nuc-juba")).unwrap().recipient()];
    let mut random = Random(5);
    let mut seal = |plain: &[u8]| {
        let fill =
            &mut |bytes: &mut [u8]| bytes.iter_mut().for_each(|b| *b = random.number() as u8);
        age::encrypt(plain, &to, fill).unwrap().file
    };
    let armored = seal(b"s: {path: p, content: c}\n");
    let lines: Vec<&str> = armored.lines().collect();
    let binary =
        data_encoding::BASE64.decode(lines[1..lines.len() - 1].concat().as_bytes()).unwrap();
    vec![armored.into_bytes(), binary, seal(b"").into_bytes()]
}

fn private_seeds() -> Vec<Vec<u8>> {
    let keys = keys();
    let names = keys
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, key)| key["openssh_key_v1_base64"].is_string());
    names.take(4).map(|(name, _)| private_key(name).into_bytes()).collect()
}

fn recipient_seeds() -> Vec<Vec<u8>> {
    let ssh = keys()["nuc-juba"]["public"].as_str().unwrap().as_bytes().to_vec();
    let age = b"age1j7xzgtkgclrxauqn4mk9x49k74zcmrcdn9m9psrvwncptv2m6ershwetwj".to_vec();
    vec![ssh, age, format!("ed25519:{}", "5a".repeat(32)).into_bytes()]
}
