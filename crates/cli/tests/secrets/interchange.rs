//! Secrets, both ways with the real tools: ansible-vault (ansible-core), and PyNaCl with PyYAML as the older decrypter
//! uses them, and age files with rage (pyrage). They come from PyPI, once, into `target/secrets-venv`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{
    PASSWORD, golden, golden_fleet, ok, python_tool, scratch, success, write, write_key,
};

/// What older hosts do: box, secretbox, YAML; prints JSON of name to entry.
const DECRYPTER: &str = r#"
import base64, json, sys, yaml
from nacl.public import PrivateKey, SealedBox
from nacl.secret import SecretBox
from nacl.signing import SigningKey
file, host, key_file = sys.argv[1:]
lines = open(key_file).read().split("\n")
raw = base64.b64decode("".join(line for line in lines if line and not line.startswith("-----")))
# The unencrypted private part ends in: seed (32), public key (32), comment, padding.
at = raw.index(bytes([0, 0, 0, 64]), 100) + 4
private = SigningKey(raw[at:at + 32]).to_curve25519_private_key()
entry = yaml.safe_load(open(file))[host]
key = SealedBox(private).decrypt(base64.b64decode(entry["encrypted_key"]))
plain = SecretBox(key).decrypt(base64.b64decode(entry["encrypted_secrets"]))
print(json.dumps({"length": len(plain), "secrets": yaml.safe_load(plain)}))
"#;

fn ansible(dir: &Path, args: &[&str]) -> String {
    write(&dir.join("pw"), PASSWORD);
    let mut command = Command::new(python_tool("ansible-vault"));
    command.args(args).args(["--vault-password-file", "pw"]).current_dir(dir).env("HOME", dir);
    success(command.output().unwrap())
}

const TEXTS: [&str; 5] = ["", "x", "exactly sixteen.", "Clé — 鍵 🔑\nline two\r\n", "\n\n  \n"];

#[test]
fn ansible_reads_what_afield_encrypts() {
    let dir = scratch();
    for (number, text) in TEXTS.iter().enumerate() {
        for id in [None, Some("prod")] {
            let name = format!("{number}-{}.yml", id.unwrap_or("none"));
            write(&dir.path().join(&name), text);
            let id: Vec<&str> = id.iter().flat_map(|id| ["--vault-id", id]).collect();
            ok(dir.path(), &[&["secrets", "encrypt", &name][..], &id].concat());
            // `view` would go through a pager and adds line ends.
            ansible(dir.path(), &["decrypt", &name]);
            assert_eq!(fs::read_to_string(dir.path().join(&name)).unwrap(), *text, "{name}");
        }
    }
}

#[test]
fn afield_reads_what_ansible_encrypts() {
    let dir = scratch();
    for (number, text) in TEXTS.iter().enumerate() {
        // ansible-vault refuses to encrypt nothing.
        if text.is_empty() {
            continue;
        }
        let name = format!("{number}.yml");
        write(&dir.path().join(&name), text);
        ansible(dir.path(), &["encrypt", &name]);
        assert_eq!(ok(dir.path(), &["secrets", "decrypt", &name]), *text);
        ok(
            dir.path(),
            &["secrets", "rekey", &name, "--new-password-command", "printf 'correct horse'"],
        );
        ansible(dir.path(), &["decrypt", &name]);
        assert_eq!(fs::read_to_string(dir.path().join(&name)).unwrap(), *text);
    }
    write(&dir.path().join("id.yml"), "with an id");
    write(&dir.path().join("pw"), PASSWORD);
    let mut command = Command::new(python_tool("ansible-vault"));
    command.args(["encrypt", "id.yml", "--vault-id", "prod@pw", "--encrypt-vault-id", "prod"]);
    success(command.current_dir(dir.path()).env("HOME", dir.path()).output().unwrap());
    assert!(
        fs::read_to_string(dir.path().join("id.yml"))
            .unwrap()
            .starts_with("$ANSIBLE_VAULT;1.2;AES256;prod\n")
    );
    assert_eq!(ok(dir.path(), &["secrets", "view", "id.yml"]), "with an id");
}

#[test]
fn the_older_decrypter_opens_what_afield_seals() {
    let dir = scratch();
    let fleet = golden_fleet(dir.path());
    ok(dir.path(), &["secrets", "seal"]);
    let file = fleet.join("secrets/generated/generated-secrets.yml");
    for host in ["nuc-juba", "nuc-pap", "vm-prod", "vm-uat"] {
        let key = write_key(host, dir.path());
        let mut python = Command::new(python_tool("python"));
        let json = success(
            python.args(["-c", DECRYPTER]).arg(&file).arg(host).arg(&key).output().unwrap(),
        );
        let opened: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(opened["length"], 3000, "{host}");
        let all = golden(&format!("outputs/python/decrypted-extract-all/{host}"));
        let secrets = opened["secrets"].as_object().unwrap();
        assert!(!secrets.is_empty());
        for (name, secret) in secrets {
            let want = fs::read(all.join(secret["path"].as_str().unwrap())).unwrap();
            assert_eq!(secret["content"].as_str().unwrap().as_bytes(), want, "{host}: {name}");
        }
    }
}

const RAGE: &str = r#"
import pyrage, sys
what, key, source, target = sys.argv[1:]
data = open(source, "rb").read()
if what == "encrypt":
    out = pyrage.encrypt(data, [pyrage.ssh.Recipient.from_str(open(key).read())], armored=True)
else:
    text = open(key, "rb").read()
    identity = pyrage.x25519.Identity.from_str(text.decode().strip()) if text.startswith(b"AGE-") else pyrage.ssh.Identity.from_buffer(text)
    out = pyrage.decrypt(data, [identity])
open(target, "wb").write(out)
"#;

fn rage(dir: &Path, args: [&str; 4]) -> Vec<u8> {
    let mut python = Command::new(python_tool("python"));
    success(python.args(["-c", RAGE]).args(args).current_dir(dir).output().unwrap());
    fs::read(dir.join(args[3])).unwrap()
}

#[test]
fn rage_opens_what_afield_seals_with_age() {
    let dir = scratch();
    let fleet = golden_fleet(dir.path());
    write(&dir.path().join("age-key"), crate::support::AGE_SECRET);
    let operators = format!(
        "{}\n{}\n",
        crate::support::public_key("users/amara_okafor"),
        crate::support::AGE_PUBLIC
    );
    write(&fleet.join("secrets/operators.pub"), operators);
    ok(dir.path(), &["secrets", "seal", "--format", "age"]);
    write_key("users/amara_okafor", dir.path());
    for host in ["nuc-juba", "nuc-pap", "vm-prod", "vm-uat"] {
        write_key(host, dir.path());
        let file = format!("org-config/secrets/generated/age/{host}.age");
        let want =
            fs::read(golden(&format!("outputs/python/padded-plaintext/{host}.yml"))).unwrap();
        for key in [host, "users/amara_okafor", "age-key"] {
            assert_eq!(rage(dir.path(), ["decrypt", key, &file, "out"]), want, "{host} with {key}");
        }
    }
}

#[test]
fn afield_opens_what_rage_seals() {
    let dir = scratch();
    for text in [&b"x"[..], b"two\nlines\n", &[b'z'; 70_000]] {
        write(&dir.path().join("plain"), text);
        write(&dir.path().join("public"), crate::support::public_key("nuc-juba"));
        write_key("nuc-juba", dir.path());
        rage(dir.path(), ["encrypt", "public", "plain", "sealed"]);
        let shown = ok(dir.path(), &["secrets", "view", "sealed", "--identity", "nuc-juba"]);
        assert_eq!(shown.as_bytes(), text);
    }
}
