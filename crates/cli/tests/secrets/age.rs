//! `afield secrets` with age files: sealing, editing, and moving there from ansible-vault.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{
    AGE_PUBLIC, AGE_SECRET, afield, fails, golden, golden_fleet, ok, run, scratch, success, write,
    write_key,
};

const MASTER: &str = "org-config/secrets/master/dhis2-secrets.yml";

/// A golden fleet whose operator has the throwaway age key, in `key`.
fn fleet_with_operator(dir: &Path) -> PathBuf {
    let fleet = golden_fleet(dir);
    write(&fleet.join("secrets/operators.pub"), format!("# who may read\n{AGE_PUBLIC}\n"));
    write(&dir.join("key"), format!("{AGE_SECRET}\n"));
    fleet
}

fn padded(host: &str) -> String {
    fs::read_to_string(golden(&format!("outputs/python/padded-plaintext/{host}.yml"))).unwrap()
}

fn plain() -> String {
    fs::read_to_string(golden("inputs/secrets-plaintext/dhis2-secrets.yml")).unwrap()
}

#[test]
fn seal_writes_both_formats_once_there_are_operators() {
    let dir = scratch();
    let fleet = fleet_with_operator(dir.path());
    let stale = fleet.join("secrets/generated/age/gone.age");
    write(&stale, "old");
    ok(dir.path(), &["secrets", "seal", "--dry-run"]);
    assert!(stale.exists() && !stale.with_file_name("vm-uat.age").exists());
    let told = ok(dir.path(), &["secrets", "seal"]);
    assert!(
        told.contains("generated-secrets.yml: written") && told.contains("vm-uat.age: written"),
        "{told}"
    );
    assert!(!stale.exists(), "a host without secrets keeps no file");
    for host in ["nuc-juba", "nuc-pap", "vm-prod", "vm-uat"] {
        let file = format!("org-config/secrets/generated/age/{host}.age");
        let key = write_key(host, dir.path());
        assert_eq!(
            ok(dir.path(), &["secrets", "view", &file, "--identity", key.to_str().unwrap()]),
            padded(host)
        );
        assert_eq!(ok(dir.path(), &["secrets", "view", &file, "--identity", "key"]), padded(host));
    }
    let sizes: Vec<u64> = ["nuc-juba", "nuc-pap", "vm-prod", "vm-uat"]
        .map(|host| {
            fs::metadata(fleet.join(format!("secrets/generated/age/{host}.age"))).unwrap().len()
        })
        .to_vec();
    assert!(sizes.iter().all(|size| *size == sizes[0]), "sizes tell something: {sizes:?}");
}

#[test]
fn migrate_tries_first_then_does_it_file_by_file() {
    let dir = scratch();
    let fleet = fleet_with_operator(dir.path());
    let before = fs::read(fleet.join("secrets/master/dhis2-secrets.yml")).unwrap();
    for dry in [
        &["secrets", "migrate", "-i", "key"][..],
        &["secrets", "migrate", "-i", "key", "--dry-run"],
    ] {
        let told = ok(dir.path(), dry);
        assert!(told.contains("nothing was changed"), "{told}");
        assert!(
            told.contains("vm-prod: proved, it can open the same 3000 bytes (5 secrets)"),
            "{told}"
        );
    }
    assert_eq!(fs::read(fleet.join("secrets/master/dhis2-secrets.yml")).unwrap(), before);
    assert!(!fleet.join("secrets/generated/age").exists());

    // One file, then the rest: with a mixture everything still works.
    ok(dir.path(), &["secrets", "migrate", MASTER, "-i", "key", "--apply"]);
    assert!(
        fs::read_to_string(dir.path().join(MASTER))
            .unwrap()
            .starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n")
    );
    let docker =
        fs::read_to_string(fleet.join("secrets/master/docker_private_repo-secrets.yml")).unwrap();
    assert!(docker.starts_with("$ANSIBLE_VAULT"));
    ok(dir.path(), &["secrets", "seal", "-i", "key"]);
    ok(dir.path(), &["secrets", "migrate", "-i", "key", "--apply"]);

    // From now on without the vault password.
    let output = afield(dir.path(), &["secrets", "seal", "-i", "key"]).output().unwrap();
    success(output);
    let told = ok(dir.path(), &["secrets", "migrate", "-i", "key"]);
    assert!(told.contains("age files already"), "{told}");
    for host in ["nuc-juba", "nuc-pap", "vm-prod", "vm-uat"] {
        let key = write_key(host, dir.path());
        let file = format!("org-config/secrets/generated/age/{host}.age");
        assert_eq!(
            ok(dir.path(), &["secrets", "view", &file, "--identity", key.to_str().unwrap()]),
            padded(host)
        );
    }
    assert_eq!(ok(dir.path(), &["secrets", "view", MASTER, "-i", "key"]), plain());
}

#[test]
fn migrate_refuses_who_would_lock_everybody_out() {
    let dir = scratch();
    let fleet = fleet_with_operator(dir.path());
    let stranger = write_key("relay-bru", dir.path());
    let told = fails(
        run(dir.path(), &["secrets", "migrate", "--apply", "-i", stranger.to_str().unwrap()]),
        3,
    );
    assert!(told.contains("not among the operators"), "{told}");
    fails(run(dir.path(), &["secrets", "migrate", "--apply"]), 2);
    write(&fleet.join("secrets/operators.pub"), "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQCw me\n");
    let told = fails(run(dir.path(), &["secrets", "migrate", "--apply", "-i", "key"]), 1);
    assert!(told.contains("operators.pub:1") && told.contains("ssh-rsa"), "{told}");
    fs::remove_file(fleet.join("secrets/operators.pub")).unwrap();
    assert!(
        fails(run(dir.path(), &["secrets", "migrate", "-i", "key"]), 1).contains("it lists whom")
    );
    assert!(fs::read_to_string(dir.path().join(MASTER)).unwrap().starts_with("$ANSIBLE_VAULT"));
}

#[test]
fn age_files_are_edited_rekeyed_and_extended() {
    let dir = scratch();
    let fleet = fleet_with_operator(dir.path());
    ok(dir.path(), &["secrets", "migrate", "-i", "key", "--apply"]);
    let edit = |script: &str| {
        let mut command = afield(dir.path(), &["secrets", "edit", MASTER, "-i", "key"]);
        command.env("EDITOR", script).output().unwrap()
    };
    success(edit("echo '# more' | tee -a"));
    assert_eq!(ok(dir.path(), &["secrets", "view", MASTER, "-i", "key"]), plain() + "# more\n");
    let told = fails(edit("echo lost | tee -a /dev/null >"), 1);
    assert!(
        told.contains("dhis2-secrets.yml:1:"),
        "what is no secrets file is told at once: {told}"
    );

    // A second operator: re-sealed, both can read.
    let second = write_key("nuc-pap", dir.path());
    write(
        &fleet.join("secrets/operators.pub"),
        format!("{AGE_PUBLIC}\n{}\n", crate::support::public_key("nuc-pap")),
    );
    ok(dir.path(), &["secrets", "rekey", MASTER, "-i", "key"]);
    ok(dir.path(), &["secrets", "view", MASTER, "-i", second.to_str().unwrap()]);

    ok(dir.path(), &["secrets", "add-host-keys", "vm-prod", "-i", "key"]);
    let file = "org-config/secrets/master/encryption-keys/vm-prod_encryption-secrets.yml";
    assert!(ok(dir.path(), &["secrets", "view", file, "-i", "key"]).contains("recovery-keyfile"));

    write(&dir.path().join("new.yml"), "secrets: {}\n");
    ok(
        dir.path(),
        &[
            "secrets",
            "encrypt",
            "--age",
            "--operators",
            "org-config/secrets/operators.pub",
            "new.yml",
        ],
    );
    assert_eq!(ok(dir.path(), &["secrets", "view", "new.yml", "-i", "key"]), "secrets: {}\n");
    let told = fails(run(dir.path(), &["secrets", "view", "new.yml", "-i", "missing"]), 1);
    assert!(told.contains("missing"), "{told}");
}

/// A throwaway operator's key, made by `ssh-keygen -t ed25519 -N "a pass phrase"`.
const WITH_PASSPHRASE: &str = concat!(
    "b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABDk71A8t0x/Z4+Qz0SOPaozAAAAEAAAAAEAAAAzAAAAC3NzaC1l",
    "ZDI1NTE5AAAAILtUX8uke4uXKPWgk7+xcDBfNFBWkhBfIJ/ZBddjV/ZHAAAAkB2iCkR/+80sC6evv4nfhU4JaZ75gBeXDSFmkdqYGhnYDLYTx6rD",
    "5Wnen4i/qV4Ef/WyRsXU8xm87XZ/fQ1+O+aIqofLH6dIgWC9TS1fZgZj+QcGJu96uqkstp8oHrl+PYN5/KC41pUGG24KWO8RLt/9GNsNNOMjktf+",
    "hLfdKywujvWTZfvqFSSsm3GUteANbQ==",
);
const WITH_PASSPHRASE_PUBLIC: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILtUX8uke4uXKPWgk7+xcDBfNFBWkhBfIJ/ZBddjV/ZH";

#[test]
fn an_operators_key_may_have_a_passphrase() {
    let dir = scratch();
    write(&dir.path().join("operators"), WITH_PASSPHRASE_PUBLIC);
    write(&dir.path().join("id"), crate::support::openssh_file(WITH_PASSPHRASE));
    write(&dir.path().join("a.yml"), "secrets: {}\n");
    ok(dir.path(), &["secrets", "encrypt", "--age", "--operators", "operators", "a.yml"]);
    let view = |passphrase: &str| {
        let mut command = afield(dir.path(), &["secrets", "view", "a.yml", "-i", "id"]);
        command.env("AFIELD_IDENTITY_PASSPHRASE", passphrase).output().unwrap()
    };
    assert_eq!(success(view("a pass phrase")), "secrets: {}\n");
    assert!(fails(view("wrong"), 1).contains("passphrase of the private key is wrong"));
}
