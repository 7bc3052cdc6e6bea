//! Host keys, sealing and opening.

use afield_core::secrets::hostkey::{HostPrivate, HostPublic, KeyError};
use afield_core::secrets::seal::{self, Skipped};
use afield_core::secrets::sealed::{self, OpenError};
use afield_core::secrets::{MAX_PLAINTEXT, PathProblem, check_path};

use crate::fixtures::{golden_hosts, masters};
use crate::support::{Numbers, golden, golden_json, golden_text, private_key};

#[test]
fn keys_convert_as_in_the_vectors() {
    for (host, vector) in
        golden_json("outputs/python/key-conversion-vectors.json").as_object().unwrap()
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
    assert_eq!(refused("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI!!!"), KeyError::Damaged("public"));
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
    assert_eq!(plan.unpacked_by_older_hosts, ["bool_false_is_still_extracted"]);
}

#[test]
fn padding_is_to_the_next_thousand_and_not_beyond_an_exact_one() {
    let length = |content: usize| {
        let text = format!(
            "secrets: {{s: {{path: p, content: {}, servers: [nuc-juba]}}}}\n",
            "x".repeat(content)
        );
        let secrets = afield_core::secrets::master::parse("f", &text).unwrap();
        let plan = seal::plan(&golden_hosts(), &secrets).unwrap();
        let padded = &plan.hosts["nuc-juba"].padded;
        let own = padded.iter().rposition(|b| *b != b'\n').unwrap() + 2;
        (own, padded.len())
    };
    let (own, padded) = length(10);
    assert_eq!(padded, 1000);
    let exact = 10 + 1000 - own;
    assert_eq!((length(exact), length(exact + 1)), ((1000, 1000), (1001, 2000)));
    assert_eq!((length(exact + 1000), length(exact + 999)), ((2000, 2000), (1999, 2000)));
}

#[test]
fn opens_what_the_older_tool_sealed() {
    let file = golden_text("inputs/org-config/secrets/generated/generated-secrets.yml");
    for host in ["nuc-juba", "nuc-pap", "vm-prod", "vm-uat", "relay-bru", "lap-kabul"] {
        let key = HostPrivate::from_openssh(&private_key(host)).unwrap();
        let tree = sealed::open_for(&file, host, &key).unwrap();
        let all = golden(&format!("outputs/python/decrypted-extract-all/{host}"));
        let files = std::fs::read_dir(&all).unwrap();
        let names = files.map(|file| file.unwrap().file_name());
        // Empty folders hold a dot file, since Git does not keep them.
        let count = names.filter(|name| !name.to_str().unwrap().starts_with('.')).count();
        assert_eq!(tree.secrets.len(), count, "{host}");
        for secret in &tree.secrets {
            let want = std::fs::read(all.join(&secret.path)).unwrap();
            assert_eq!(secret.content.as_bytes(), want, "{host}: {}", secret.path);
            // The boolean false is obeyed here; the older tool overlooked it.
            let unpacked =
                !matches!(secret.name.as_str(), "manual_only" | "bool_false_is_still_extracted");
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
        text.lines().map(|line| (line.len(), line.ends_with("|-") || line.ends_with(':'))).collect()
    };
    let golden_file = golden_text("outputs/python/generated-secrets.yml");
    assert_eq!(shape(&file), shape(&golden_file));
    assert_ne!(file, golden_file);
    for (host, entry) in &plan.hosts {
        let key = HostPrivate::from_openssh(&private_key(host)).unwrap();
        let padded = sealed::parse(&file).unwrap()[host].open_padded(&key).unwrap();
        assert_eq!(*padded, *entry.padded, "{host}");
    }
}

#[test]
fn rewriting_the_golden_file_gives_its_bytes() {
    let file = golden_text("outputs/python/generated-secrets.yml");
    let hosts = sealed::parse(&file).unwrap();
    let entries: Vec<_> =
        hosts.iter().map(|(host, sealed)| (host.as_str(), sealed.clone())).collect();
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
        assert_eq!(changed.open(&key).unwrap_err(), OpenError::Changed, "byte {at}");
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
    for (path, part) in
        [("/etc/shadow", "absolute"), ("../x", "leaves"), ("a/../../x", "leaves"), (".", "empty")]
    {
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
    for (bad, why) in
        [("", PathProblem::Empty), ("//", PathProblem::Absolute), ("a/", PathProblem::Folder)]
    {
        assert_eq!(check_path(bad), Err(why), "{bad}");
    }
    assert_eq!(check_path("a\0b"), Err(PathProblem::ZeroByte));
}
