//! `afield secrets edit`: what it shows the editor, and that nothing is lost or left in clear.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::support::{
    PASSWORD, VAULT, afield, everything, fails, golden_fleet, ok, plain, scratch, success, write,
};

/// An editor: a shell script that gets the file as `$1`.
fn editor(dir: &Path, script: &str) -> String {
    let path = dir.join("editor");
    write(&path, format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

fn edit(dir: &Path, script: &str) -> std::process::Output {
    let editor = editor(dir, script);
    let mut command = afield(dir, &["secrets", "edit", VAULT]);
    command.env("AFIELD_VAULT_PASSWORD", PASSWORD).env("EDITOR", editor).output().unwrap()
}

#[test]
fn edit_saves_and_shows_the_editor_a_private_file_in_memory_without_the_password() {
    let dir = scratch();
    golden_fleet(dir.path());
    let script = format!(
        "stat -f -c %T \"$1\" > {0}/fs; stat -c %a \"$1\" > {0}/mode; env > {0}/env; echo \"$1\" > {0}/place; echo '# more' >> \"$1\"",
        dir.path().display()
    );
    success(edit(dir.path(), &script));
    let told = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!((told("fs").trim(), told("mode").trim()), ("tmpfs", "600"));
    assert!(!told("env").contains(PASSWORD));
    assert!(
        !Path::new(told("place").trim()).parent().unwrap().exists(),
        "the private folder is still there"
    );
    assert_eq!(
        ok(dir.path(), &["secrets", "view", VAULT]),
        plain("dhis2-secrets.yml") + "# more\n"
    );
}

#[test]
fn edit_without_a_change_leaves_the_file() {
    let dir = scratch();
    golden_fleet(dir.path());
    let before = fs::read(dir.path().join(VAULT)).unwrap();
    assert!(success(edit(dir.path(), "exit 0")).contains("unchanged"));
    assert_eq!(fs::read(dir.path().join(VAULT)).unwrap(), before);
}

#[test]
fn edit_loses_nothing_when_the_editor_dies() {
    let dir = scratch();
    golden_fleet(dir.path());
    let before = fs::read(dir.path().join(VAULT)).unwrap();
    let told =
        fails(edit(dir.path(), "echo typed >> \"$1\"; echo swap > \"$1.swp\"; kill -9 $$"), 1);
    assert!(told.contains("dhis2-secrets.yml.recovered"), "{told}");
    assert_eq!(fs::read(dir.path().join(VAULT)).unwrap(), before);
    let recovered = format!("{VAULT}.recovered");
    assert_eq!(
        ok(dir.path(), &["secrets", "view", &recovered]),
        plain("dhis2-secrets.yml") + "typed\n"
    );
    let swap = format!("{VAULT}.recovered.dhis2-secrets.yml.swp");
    assert_eq!(ok(dir.path(), &["secrets", "view", &swap]), "swap\n");
    // A second time does not overwrite the first.
    fails(edit(dir.path(), "echo again >> \"$1\"; exit 1"), 1);
    assert!(
        ok(dir.path(), &["secrets", "view", &format!("{VAULT}.recovered.2")]).ends_with("again\n")
    );
    let told = fails(edit(dir.path(), "exit 1"), 1);
    assert!(told.contains("nothing was changed"), "{told}");
}

#[test]
fn edit_outlives_an_interrupt_while_the_editor_runs() {
    let dir = scratch();
    golden_fleet(dir.path());
    // The editor's parent is afield, or the shell that afield started.
    let script = "p=$PPID; [ \"$(cat /proc/$p/comm)\" = afield ] || p=$(cut -d' ' -f4 /proc/$p/stat)\n\
                  [ \"$(cat /proc/$p/comm)\" = afield ] || exit 9\n\
                  kill -INT $p; kill -HUP $p; kill -TERM $p; echo '# typed' >> \"$1\"";
    success(edit(dir.path(), script));
    assert!(ok(dir.path(), &["secrets", "view", VAULT]).ends_with("\n# typed\n"));
}

#[test]
fn edit_that_cannot_save_anywhere_keeps_the_text_in_memory_and_says_where() {
    let dir = scratch();
    golden_fleet(dir.path());
    let script = format!("echo typed >> \"$1\"; mv {0}/org-config {0}/moved", dir.path().display());
    let told = fails(edit(dir.path(), &script), 1);
    let (_, place) = told.split_once("it is in memory in ").unwrap();
    let place = Path::new(place.lines().next().unwrap());
    let kept = fs::read_to_string(place.join("dhis2-secrets.yml")).unwrap();
    assert!(place.starts_with("/dev/shm") && kept.ends_with("\ntyped\n"), "{told}");
    fs::remove_dir_all(place).unwrap();
}

#[test]
fn edit_does_not_overwrite_somebody_elses_change() {
    let dir = scratch();
    golden_fleet(dir.path());
    let script = format!("echo mine >> \"$1\"; echo theirs > {}/{VAULT}", dir.path().display());
    assert!(fails(edit(dir.path(), &script), 1).contains("changed by somebody else"));
    assert_eq!(fs::read_to_string(dir.path().join(VAULT)).unwrap(), "theirs\n");
    assert!(
        ok(dir.path(), &["secrets", "view", &format!("{VAULT}.recovered")]).ends_with("mine\n")
    );
}

#[test]
fn edit_tells_mistakes_at_once() {
    let dir = scratch();
    golden_fleet(dir.path());
    let output = edit(
        dir.path(),
        "printf 'secrets:\\n  a:\\n    path: ../x\\n    content: c\\n    servers: []\\n' > \"$1\"",
    );
    assert!(fails(output, 1).contains("dhis2-secrets.yml:3: `path` of secret `a`"));
}

#[test]
fn nothing_in_clear_is_left_on_the_disk() {
    let dir = scratch();
    let fleet = golden_fleet(dir.path());
    edit(dir.path(), "sed -i s/tok/needle_tok/ \"$1\"; echo '# needle' >> \"$1\"; exit 1");
    edit(dir.path(), "echo '# needle' >> \"$1\"");
    ok(dir.path(), &["secrets", "seal"]);
    ok(dir.path(), &["secrets", "add-host-keys", "nuc-pap"]);
    for (path, bytes) in everything(&fleet) {
        let found = [&b"needle"[..], b"SMTP_PASS", b"tok_ghcr"];
        let clear = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        assert!(!found.into_iter().any(clear), "{}", path.display());
    }
}
