//! `afield secrets seal` and `add-host-keys` on a copy of the golden fleet.

use std::fs;

use crate::support::{
    VAULT, everything, fails, golden, golden_fleet, ok, plain, run, scratch, write, write_key,
};

#[test]
fn add_host_keys_stores_both() {
    let dir = scratch();
    let fleet = golden_fleet(dir.path());
    let before = everything(&fleet);
    ok(dir.path(), &["secrets", "add-host-keys", "nuc-pap", "--dry-run"]);
    assert_eq!(everything(&fleet), before);
    ok(dir.path(), &["secrets", "add-host-keys", "nuc-pap"]);
    let file = "org-config/secrets/master/encryption-keys/nuc-pap_encryption-secrets.yml";
    let text = ok(dir.path(), &["secrets", "view", file]);
    let contents: Vec<&str> =
        text.lines().filter_map(|line| line.trim().strip_prefix("content: ")).collect();
    assert_eq!(contents.len(), 2);
    for key in &contents {
        let key = key.trim_matches('\'');
        assert!(key.len() == 128 && key.bytes().all(|b| b.is_ascii_hexdigit()), "{key}");
    }
    assert_ne!(contents[0], contents[1]);
    assert!(
        text.contains("  nuc-pap-recovery-encryption-key:\n") && text.contains("    servers: []\n"),
        "{text}"
    );

    let told = fails(run(dir.path(), &["secrets", "add-host-keys", "nuc-pap"]), 3);
    assert!(told.contains("there already"), "{told}");
    let told = fails(run(dir.path(), &["secrets", "add-host-keys", "nuc-pap", "--file", VAULT]), 3);
    assert!(
        told.contains("nuc-pap_encryption-secrets.yml:2: secret `nuc-pap-encryption-key`"),
        "{told}"
    );
    let told = fails(run(dir.path(), &["secrets", "add-host-keys", "nobody"]), 3);
    assert!(told.contains("not in tunnels.d"), "{told}");

    let old = plain("dhis2-secrets.yml");
    ok(dir.path(), &["secrets", "add-host-keys", "vm-uat", "--file", VAULT]);
    let new = ok(dir.path(), &["secrets", "view", VAULT]);
    assert!(new.starts_with(&old) && new.contains("  vm-uat-recovery-encryption-key:\n"), "{new}");
}

#[test]
fn seal_and_view_with_the_hosts_key() {
    let dir = scratch();
    let fleet = golden_fleet(dir.path());
    let generated = fleet.join("secrets/generated/generated-secrets.yml");
    let before = fs::read(&generated).unwrap();
    let told = ok(dir.path(), &["secrets", "seal", "--dry-run"]);
    assert!(told.contains("would be sealed to 4 hosts, 3000 bytes each"), "{told}");
    assert!(told.contains("prov-new: skipped, it has no public key yet"), "{told}");
    assert_eq!(fs::read(&generated).unwrap(), before);
    ok(dir.path(), &["secrets", "seal"]);
    assert_ne!(fs::read(&generated).unwrap(), before);
    let key = write_key("vm-uat", dir.path());
    let args = [
        "secrets",
        "view",
        generated.to_str().unwrap(),
        "--host",
        "vm-uat",
        "--identity",
        key.to_str().unwrap(),
    ];
    let want = fs::read_to_string(golden("outputs/python/padded-plaintext/vm-uat.yml")).unwrap();
    assert_eq!(ok(dir.path(), &args).trim_end(), want.trim_end());
    let wrong = write_key("vm-prod", dir.path());
    let args = [
        "secrets",
        "view",
        generated.to_str().unwrap(),
        "--host",
        "vm-uat",
        "--identity",
        wrong.to_str().unwrap(),
    ];
    assert!(fails(run(dir.path(), &args), 1).contains("not sealed to this host's key"));
}

#[test]
fn seal_refuses_with_file_and_line_and_writes_nothing() {
    let dir = scratch();
    let fleet = golden_fleet(dir.path());
    let bad = fleet.join("secrets/master/bad-secrets.yml");
    write(&bad, "secrets:\n  x:\n    path: /etc/x\n    content: c\n    servers: [nobody]\n");
    let before = everything(&fleet.join("secrets/generated"));
    assert!(
        fails(run(dir.path(), &["secrets", "seal"]), 3)
            .contains("bad-secrets.yml is not encrypted")
    );
    ok(dir.path(), &["secrets", "encrypt", bad.to_str().unwrap()]);
    let output = run(dir.path(), &["secrets", "seal"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(fails(output, 3).contains("nothing was sealed"));
    assert!(told.contains("secrets/master/bad-secrets.yml:3: `path` of secret `x`"), "{told}");
    assert_eq!(everything(&fleet.join("secrets/generated")), before);
}
