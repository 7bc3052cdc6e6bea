//! Secrets against the golden data: vault files, host keys, sealed secrets, age files, and what must be refused.
//!
//! The mutation test runs for some seconds; `AFIELD_FUZZ_ROUNDS=100000 cargo test -p afield-core mutations` for minutes.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use afield_core::secrets::add;
use afield_core::secrets::age::{self, AgeError, Identity, Recipient};
use afield_core::secrets::hostkey::{HostPrivate, HostPublic, KeyError};
use afield_core::secrets::master::{self, MasterSecret};
use afield_core::secrets::seal::{self, Host, Skipped};
use afield_core::secrets::sealed::{self, OpenError};
use afield_core::secrets::vault::{self, VaultError};
use afield_core::secrets::{MAX_PLAINTEXT, PathProblem, check_path};
use common::{Numbers, golden, golden_json, golden_text, private_key};

const PASSWORD: &[u8] = b"correct horse";
const MASTERS: [&str; 3] = [
    "dhis2-secrets.yml",
    "docker_private_repo-secrets.yml",
    "encryption-keys/nuc-juba_encryption-secrets.yml",
];

fn master_file(name: &str) -> String {
    golden_text(&format!("inputs/org-config/secrets/master/{name}"))
}

fn masters() -> Vec<MasterSecret> {
    let read = |name: &&str| {
        let plain = vault::decrypt(&master_file(name), PASSWORD).unwrap();
        master::parse(name, std::str::from_utf8(&plain).unwrap()).unwrap()
    };
    MASTERS.iter().flat_map(read).collect()
}

fn hosts_of(folder: &str) -> Vec<Host> {
    let mut hosts = Vec::new();
    let files = std::fs::read_dir(golden(folder)).unwrap();
    for file in files {
        let text = std::fs::read(file.unwrap().path()).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
        for (name, host) in json["tunnels"]["per-host"].as_object().unwrap() {
            let public_key = host["public_key"].as_str().unwrap().to_owned();
            let generate = host["generate_secrets"].as_bool().unwrap_or(true);
            hosts.push(Host {
                name: name.clone(),
                public_key,
                generate,
            });
        }
    }
    hosts
}

fn golden_hosts() -> Vec<Host> {
    hosts_of("inputs/org-config/json/tunnels.d")
}

// --- vault files

#[test]
fn vault_reads_what_ansible_wrote_and_writes_the_same_with_its_salt() {
    let vectors = golden_json("outputs/vault/vault-vectors.json");
    for name in MASTERS {
        let text = master_file(name);
        let plain = vault::decrypt(&text, PASSWORD).unwrap();
        let vector = &vectors["files"][name];
        assert_eq!(
            plain.len() as u64,
            vector["plaintext_len"].as_u64().unwrap(),
            "{name}"
        );
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
        assert_eq!(
            **vault::decrypt(&text.replace('\n', "\r\n"), PASSWORD).unwrap(),
            *plain
        );
    }
}

#[test]
fn vault_wrong_password_and_tampering() {
    let good = vault::encrypt(b"the plaintext", PASSWORD, None, &[1; 32]).unwrap();
    assert_eq!(
        vault::decrypt(&good, b"wrong").unwrap_err(),
        VaultError::Wrong
    );
    assert_eq!(
        vault::decrypt(&good, b"").unwrap_err(),
        VaultError::EmptyPassword
    );
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
        assert!(
            vault::decrypt(&good[..cut], PASSWORD).is_err(),
            "cut at {cut}"
        );
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
    assert_eq!(
        vault::decrypt("secrets:\n", PASSWORD).unwrap_err(),
        VaultError::NoVault
    );
}

#[test]
fn vault_oversized() {
    let plain = vec![0; MAX_PLAINTEXT + 1];
    assert_eq!(
        vault::encrypt(&plain, PASSWORD, None, &[0; 32]).unwrap_err(),
        VaultError::TooLarge
    );
    let text = format!("$ANSIBLE_VAULT;1.1;AES256\n{}", "0".repeat(vault::MAX_FILE));
    assert_eq!(
        vault::decrypt(&text, PASSWORD).unwrap_err(),
        VaultError::TooLarge
    );
}

// --- host keys

#[test]
fn keys_convert_as_in_the_vectors() {
    for (host, vector) in golden_json("outputs/python/key-conversion-vectors.json")
        .as_object()
        .unwrap()
    {
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        let line = format!("ssh-ed25519 {}", vector["openssh_public"].as_str().unwrap());
        let public = HostPublic::from_openssh(&line).unwrap();
        assert_eq!(
            hex(&public.x25519()),
            vector["curve25519_public_hex"].as_str().unwrap(),
            "{host}"
        );
        let private = HostPrivate::from_openssh(&private_key(host)).unwrap();
        assert_eq!(
            hex(&*private.x25519()),
            vector["curve25519_private_hex"].as_str().unwrap(),
            "{host}"
        );
        assert_eq!(private.public(), public, "{host}");
    }
}

#[test]
fn keys_that_are_refused() {
    let refused = |line: &str| HostPublic::from_openssh(line).unwrap_err();
    assert_eq!(refused(""), KeyError::Damaged("public"));
    assert_eq!(
        refused("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI!!!"),
        KeyError::Damaged("public")
    );
    assert_eq!(
        refused("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQCw"),
        KeyError::Type("ssh-rsa".to_owned())
    );
    let identity =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    assert_eq!(refused(identity), KeyError::Weak);
    let good = golden_json("inputs/throwaway-keys.json")["nuc-juba"]["public"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(HostPublic::from_openssh(&format!("{good} a comment here")).is_ok());
    let private = HostPrivate::from_openssh("-----BEGIN OPENSSH PRIVATE KEY-----\n");
    assert_eq!(private.err(), Some(KeyError::Damaged("private")));
}

// --- sealing and opening

#[test]
fn padded_plaintext_byte_for_byte() {
    let plan = seal::plan(&golden_hosts(), &masters()).unwrap();
    let names: Vec<&str> = plan.hosts.keys().map(String::as_str).collect();
    assert_eq!(names, ["nuc-juba", "nuc-pap", "vm-prod", "vm-uat"]);
    for (host, entry) in &plan.hosts {
        let want = golden_text(&format!("outputs/python/padded-plaintext/{host}.yml"));
        assert_eq!(std::str::from_utf8(&entry.padded).unwrap(), want, "{host}");
    }
    assert_eq!(plan.skipped.get("lap-kabul"), Some(&Skipped::TurnedOff));
    assert_eq!(plan.skipped.get("prov-new"), Some(&Skipped::NoKey));
    assert_eq!(
        plan.unpacked_by_older_hosts,
        ["bool_false_is_still_extracted"]
    );
}

#[test]
fn opens_what_the_older_tool_sealed() {
    let file = golden_text("inputs/org-config/secrets/generated/generated-secrets.yml");
    for host in [
        "nuc-juba",
        "nuc-pap",
        "vm-prod",
        "vm-uat",
        "relay-bru",
        "lap-kabul",
    ] {
        let key = HostPrivate::from_openssh(&private_key(host)).unwrap();
        let tree = sealed::open_for(&file, host, &key).unwrap();
        let all = golden(&format!("outputs/python/decrypted-extract-all/{host}"));
        let files = std::fs::read_dir(&all).unwrap();
        let names = files.map(|file| file.unwrap().file_name());
        // Empty folders hold a dot file, since Git does not keep them.
        let count = names
            .filter(|name| !name.to_str().unwrap().starts_with('.'))
            .count();
        assert_eq!(tree.secrets.len(), count, "{host}");
        for secret in &tree.secrets {
            let want = std::fs::read(all.join(&secret.path)).unwrap();
            assert_eq!(secret.content.as_bytes(), want, "{host}: {}", secret.path);
            // The boolean false is obeyed here; the older tool overlooked it.
            let unpacked = !matches!(
                secret.name.as_str(),
                "manual_only" | "bool_false_is_still_extracted"
            );
            assert_eq!(secret.extract, unpacked, "{host}: {}", secret.name);
        }
    }
}

#[test]
fn sealed_file_has_the_golden_layout_and_opens() {
    let plan = seal::plan(&golden_hosts(), &masters()).unwrap();
    let mut numbers = Numbers(1);
    let file = seal::seal(&plan, &mut |bytes| numbers.fill(bytes)).unwrap();
    let shape = |text: &str| -> Vec<(usize, bool)> {
        text.lines()
            .map(|line| (line.len(), line.ends_with("|-") || line.ends_with(':')))
            .collect()
    };
    let golden_file = golden_text("outputs/python/generated-secrets.yml");
    assert_eq!(shape(&file), shape(&golden_file));
    assert_ne!(file, golden_file);
    for (host, entry) in &plan.hosts {
        let key = HostPrivate::from_openssh(&private_key(host)).unwrap();
        let padded = sealed::parse(&file).unwrap()[host]
            .open_padded(&key)
            .unwrap();
        assert_eq!(*padded, *entry.padded, "{host}");
    }
}

#[test]
fn rewriting_the_golden_file_gives_its_bytes() {
    let file = golden_text("outputs/python/generated-secrets.yml");
    let hosts = sealed::parse(&file).unwrap();
    let entries: Vec<_> = hosts
        .iter()
        .map(|(host, sealed)| (host.as_str(), sealed.clone()))
        .collect();
    assert_eq!(seal::write(&entries), file);
    assert_eq!(
        seal::write(&[]),
        golden_text("outputs/errors-python/sec-empty-servers-ok/generated-secrets.yml")
    );
}

#[test]
fn sealed_to_another_host_tampered_cut_and_oversized() {
    let file = golden_text("outputs/python/generated-secrets.yml");
    let sealed = sealed::parse(&file).unwrap()["nuc-juba"].clone();
    let key = HostPrivate::from_openssh(&private_key("nuc-juba")).unwrap();
    let other = HostPrivate::from_openssh(&private_key("nuc-pap")).unwrap();
    assert_eq!(sealed.open(&other).unwrap_err(), OpenError::WrongKey);
    for at in [0, 24, 40, sealed.secrets.len() - 1] {
        let mut changed = sealed.clone();
        changed.secrets[at] ^= 1;
        assert_eq!(
            changed.open(&key).unwrap_err(),
            OpenError::Changed,
            "byte {at}"
        );
    }
    let mut cut = sealed.clone();
    cut.secrets.truncate(10);
    assert_eq!(cut.open(&key).unwrap_err(), OpenError::Changed);
    cut.key.truncate(79);
    assert_eq!(cut.open(&key).unwrap_err(), OpenError::WrongKey);
    let mut large = sealed;
    large.secrets.resize(MAX_PLAINTEXT + 41, 0);
    assert_eq!(large.open(&key).unwrap_err(), OpenError::TooLarge);
}

#[test]
fn sealed_content_that_leaves_the_folder_is_refused_by_the_host_too() {
    for (path, part) in [
        ("/etc/shadow", "absolute"),
        ("../x", "leaves"),
        ("a/../../x", "leaves"),
        (".", "empty"),
    ] {
        let error =
            sealed::tree(format!("s:\n  content: x\n  path: {path}\n").as_bytes()).unwrap_err();
        assert!(
            error.to_string().contains(part) && error.to_string().contains("line 3"),
            "{error}"
        );
    }
    assert!(sealed::tree(b"a: {content: x, path: a}\na: {content: y, path: b}\n").is_err());
}

#[test]
fn paths() {
    for good in ["a", "a/b.env", "./a", "..a", "a..", "note_ünïcode.txt"] {
        assert_eq!(check_path(good), Ok(()), "{good}");
    }
    for (bad, why) in [
        ("", PathProblem::Empty),
        ("//", PathProblem::Absolute),
        ("a/", PathProblem::Folder),
    ] {
        assert_eq!(check_path(bad), Err(why), "{bad}");
    }
    assert_eq!(check_path("a\0b"), Err(PathProblem::ZeroByte));
}

// --- master files: the golden error cases, and more

fn refused(text: &str) -> String {
    let problems = match master::parse("f.yml", text) {
        Ok(secrets) => seal::plan(&golden_hosts(), &secrets)
            .err()
            .unwrap_or_default(),
        Err(problems) => problems,
    };
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

fn golden_case(case: &str) -> String {
    let folder = format!("outputs/errors-python/{case}/input/secrets-plain");
    let mut files: Vec<_> = std::fs::read_dir(golden(&folder))
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    files.sort();
    let hosts = hosts_of(&format!("outputs/errors-python/{case}/input/tunnels.d"));
    let mut secrets = Vec::new();
    for file in files {
        let name = file.to_str().unwrap();
        match master::parse(name, &golden_text(&format!("{folder}/{name}"))) {
            Ok(found) => secrets.extend(found),
            Err(problems) => {
                return problems
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join("\n");
            }
        }
    }
    match seal::plan(&hosts, &secrets) {
        Ok(plan) => format!("ok: {:?} {:?}", plan.hosts.keys(), plan.skipped),
        Err(problems) => problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n"),
    }
}

#[test]
fn golden_error_cases() {
    for (case, want) in [
        (
            "sec-duplicate",
            "b-secrets.yml:2: secret `dup` stands also in a-secrets.yml:2",
        ),
        (
            "sec-no-content",
            "a-secrets.yml:2: secret `s` has no `content`",
        ),
        (
            "sec-not-mapping",
            "a-secrets.yml:2: secret `s` must be a map with path, content and servers, not text",
        ),
        (
            "sec-null-section",
            "a-secrets.yml:1: `secrets:` holds nothing; write `secrets: {}`",
        ),
        (
            "sec-path-empty",
            "a-secrets.yml:3: `path` of secret `s`: the path is empty",
        ),
        (
            "sec-unknown-server",
            "a-secrets.yml:2: secret `s` names host `zz`, which is not in tunnels.d",
        ),
        ("sec-empty-servers-ok", "ok: []"),
        (
            "key-bad-base64",
            "cannot seal to host `a1` with its public_key in tunnels.d: this is no OpenSSH public key",
        ),
        ("key-rsa", "this is a key of type ssh-rsa"),
        ("key-trailing-comment", "ok: [\"a1\"]"),
        ("key-whitespace", "ok: [] {\"a1\": NoKey}"),
    ] {
        let told = golden_case(case);
        assert!(told.contains(want), "{case}: {told}");
    }
}

#[test]
fn master_refusals_name_the_line() {
    let entry = |lines: &str| {
        refused(&format!(
            "# comment\nsecrets:\n  s:\n    servers: []\n{lines}"
        ))
    };
    for (lines, want) in [
        (
            "    path: /x\n    content: c\n",
            "f.yml:5: `path` of secret `s`: the path is absolute",
        ),
        (
            "    path: a/../b\n    content: c\n",
            "f.yml:5: `path` of secret `s`: the path leaves",
        ),
        ("    content: c\n", "f.yml:3: secret `s` has no `path`"),
        (
            "    path: p\n    content: 12\n",
            "f.yml:6: `content` of secret `s` is a number",
        ),
        (
            "    path: p\n    content:\n",
            "f.yml:6: `content` of secret `s` is nothing",
        ),
        (
            "    path: p\n    content: c\n    default_extract: 3\n",
            "f.yml:7: `default_extract` of secret `s` must be",
        ),
        (
            "    path: p\n    content: c\n  s:\n    path: q\n    content: c\n    servers: []\n",
            "f.yml:7: secret `s` stands twice",
        ),
        ("    path: p\n    content: !vault c\n", "f.yml:6: YAML tags"),
        (
            "    path: p\n    content: *x\n",
            "f.yml:6: this is not YAML",
        ),
    ] {
        let told = entry(lines);
        assert!(told.contains(want), "{lines}: {told}");
    }
    assert!(
        refused("secrets: {s: {path: p, content: c, servers: x}}")
            .contains("`servers` of secret `s` is text")
    );
    assert!(
        refused("secrets: {s: {path: p, content: c, servers: [no]}}").contains("not a host name")
    );
    assert!(refused("configs: {}").contains("there is no map `secrets:`"));
}

#[test]
fn master_takes_anchors_and_all_spellings_of_default_extract() {
    let text = "x: &hosts [nuc-pap]\nsecrets:\n  a: {path: a, content: c, servers: *hosts, default_extract: FALSE}\n  \
                b: {path: b, content: c, servers: *hosts, default_extract: 'fAlse'}\n  c: {path: c, content: c, servers: *hosts, default_extract: no}\n  \
                d: {path: d, content: c, servers: *hosts, default_extract: true}\n  e: {path: e, content: c, servers: *hosts}\n";
    let secrets = master::parse("f.yml", text).unwrap();
    let unpacks: Vec<bool> = secrets
        .iter()
        .map(|secret| secret.extract.unpacks())
        .collect();
    assert_eq!(unpacks, [false, false, false, true, true]);
    let plan = seal::plan(&golden_hosts(), &secrets).unwrap();
    let sealed = sealed::tree(&plan.hosts["nuc-pap"].padded).unwrap();
    assert_eq!(
        sealed
            .secrets
            .iter()
            .map(|secret| secret.extract)
            .collect::<Vec<_>>(),
        unpacks
    );
}

#[test]
fn aliases_that_explode_are_refused() {
    let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..12 {
        let before = level - 1;
        text += &format!(
            "a{level}: &a{level} [{}]\n",
            vec![format!("*a{before}"); 10].join(",")
        );
    }
    let start = Instant::now();
    assert!(
        refused(&text).contains("repeat too much"),
        "{}",
        refused(&text)
    );
    assert!(start.elapsed() < Duration::from_secs(20));
    assert!(refused(&format!("secrets: {}", "[".repeat(100_000))).contains("f.yml:1:"));
}

// --- adding

fn keys_for(host: &str) -> Vec<MasterSecret> {
    let text = |text: &str| zeroize::Zeroizing::new(text.repeat(64));
    add::host_keys(host, &text("AB"), &text("CD"))
}

#[test]
fn host_keys_in_a_new_file_are_as_the_older_tool_wrote_them_but_with_the_recovery_key() {
    let text = add::add("f.yml", "", &keys_for("nuc-juba")).unwrap();
    let older = golden_text("outputs/python/add_encryption_key/file-after-decrypt.yml");
    let lost = "content: nuc-juba-recovery-encryption-key";
    assert_eq!(
        *text,
        older.replace(lost, &format!("content: {}", "CD".repeat(64)))
    );
}

#[test]
fn adding_keeps_comments_where_it_can() {
    let old = "# keep me\nsecrets:\n    a:\n        path: a # and me\n        content: |+\n          x\n\n        servers: []";
    let text = add::add("f.yml", old, &keys_for("h1")).unwrap();
    assert!(
        text.starts_with(old) && text.contains("\n    h1-recovery-encryption-key:\n"),
        "{}",
        *text
    );
    assert_eq!(master::parse("f", &text).unwrap().len(), 3);
    let again = add::add("f.yml", &text, &keys_for("h1")).unwrap_err();
    assert!(
        again[0]
            .to_string()
            .contains("f.yml:9: secret `h1-encryption-key` is there already"),
        "{}",
        again[0]
    );
    for old in [
        "secrets: {}\n",
        "secrets: {a: {path: a, content: b, servers: []}}\nother: 1\n",
    ] {
        let text = add::add("f.yml", old, &keys_for("h1")).unwrap();
        let read = master::parse("f", &text).unwrap();
        assert_eq!(
            *read
                .iter()
                .find(|s| s.name == "h1-recovery-encryption-key")
                .unwrap()
                .content,
            "CD".repeat(64)
        );
    }
}

// --- age

/// A throwaway key, made with rage.
const AGE_KEY: &str = "AGE-SECRET-KEY-1ZDJ24PTWTZSDFVDD4WT2D5XYW3WJWXXGNSNQ5ME0MFQ2R9TN0GSQCD6CJE";

fn age_file(plain: &[u8]) -> (age::Sealed, Identity, Identity) {
    let host = Identity::parse(&private_key("nuc-juba")).unwrap();
    let operator = Identity::parse(&format!("# created\n{AGE_KEY}\n")).unwrap();
    let mut numbers = Numbers(5);
    let recipients = [host.recipient(), operator.recipient()];
    let sealed = age::encrypt(plain, &recipients, &mut |bytes| numbers.fill(bytes)).unwrap();
    (sealed, host, operator)
}

/// Without its armor.
fn age_binary(plain: &[u8]) -> Vec<u8> {
    let file = age_file(plain).0.file;
    let lines: Vec<&str> = file.lines().collect();
    data_encoding::BASE64
        .decode(lines[1..lines.len() - 1].concat().as_bytes())
        .unwrap()
}

#[test]
fn age_opens_for_each_recipient_and_the_proof_agrees() {
    for length in [0, 1, 3000, 65_535, 65_536, 65_537, 200_000] {
        let plain = vec![b'p'; length];
        let (sealed, host, operator) = age_file(&plain);
        for identity in [&host, &operator] {
            assert_eq!(
                *age::decrypt(sealed.file.as_bytes(), identity).unwrap(),
                plain,
                "{length}"
            );
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
    let other = age::encrypt(b"plain", &[stranger.recipient()], &mut |bytes| {
        numbers.fill(bytes)
    })
    .unwrap();
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
    assert_eq!(
        age::decrypt(&too_large, &host).unwrap_err(),
        AgeError::TooLarge
    );
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
    assert_eq!(
        age::open_host(sealed.file.as_bytes(), &other).unwrap_err(),
        OpenError::WrongKey
    );
}

#[test]
fn age_recipients_that_are_refused() {
    for line in ["", "ssh-rsa AAAA", "age1qqqq", "AGE-SECRET-KEY-1QQ"] {
        assert!(
            matches!(Recipient::parse(line), Err(AgeError::Key(_))),
            "{line}"
        );
    }
    let nobody = age::encrypt(b"x", &[], &mut |_| ());
    assert_eq!(nobody.err(), Some(AgeError::NoRecipients));
}

// --- mutations: no panic, no hang; bounded in time, the same each run

#[test]
fn mutations_never_panic() {
    let sealed_file = golden_text("outputs/python/generated-secrets.yml");
    let seeds: Vec<Vec<u8>> = vec![
        golden_text("outputs/errors-python/sec-duplicate/input/secrets-plain/a-secrets.yml")
            .into_bytes(),
        golden_text("inputs/secrets-plaintext/dhis2-secrets.yml").into_bytes(),
        golden_text("outputs/python/padded-plaintext/nuc-juba.yml")
            .trim_end()
            .as_bytes()
            .to_vec(),
        vault::encrypt(b"plain", PASSWORD, Some("id"), &[3; 32])
            .unwrap()
            .into_bytes(),
        sealed_file.as_bytes()[..2000].to_vec(),
        private_key("nuc-juba").into_bytes(),
        age_file(b"plain").0.file.into_bytes(),
        age_binary(b"plain"),
        hosts_of("inputs/org-config/json/tunnels.d")[0]
            .public_key
            .clone()
            .into_bytes(),
    ];
    let key = HostPrivate::from_openssh(&private_key("nuc-juba")).unwrap();
    let rounds = std::env::var("AFIELD_FUZZ_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1000);
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
            let _ = vault::decrypt(
                &String::from_utf8_lossy(&numbers.mutate(&seeds[3])),
                PASSWORD,
            );
        }
    }
}
