//! `afield secrets`, as an operator uses it, on a copy of the golden fleet.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use support::{
    PASSWORD, afield, fails, golden, golden_fleet, ok, run, scratch, success, write, write_key,
};

const VAULT: &str = "org-config/secrets/master/dhis2-secrets.yml";

fn plain(name: &str) -> String {
    fs::read_to_string(golden("inputs/secrets-plaintext").join(name)).unwrap()
}

/// Everything below a folder: path to bytes.
fn everything(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(everything(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            all.push((path, bytes));
        }
    }
    all.sort();
    all
}

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
    command
        .env("AFIELD_VAULT_PASSWORD", PASSWORD)
        .env("EDITOR", editor)
        .output()
        .unwrap()
}

#[test]
fn view_and_decrypt_show_the_plaintext() {
    let dir = scratch();
    golden_fleet(dir.path());
    assert_eq!(
        ok(dir.path(), &["secrets", "view", VAULT]),
        plain("dhis2-secrets.yml")
    );
    assert_eq!(
        ok(dir.path(), &["secrets", "decrypt", VAULT]),
        plain("dhis2-secrets.yml")
    );
    let json: serde_json::Value =
        serde_json::from_str(&ok(dir.path(), &["--json", "secrets", "view", VAULT])).unwrap();
    assert_eq!(json["text"].as_str().unwrap(), plain("dhis2-secrets.yml"));
}

#[test]
fn passwords_from_file_command_environment_and_none() {
    let dir = scratch();
    golden_fleet(dir.path());
    write(&dir.path().join("pw"), format!("{PASSWORD}\n"));
    for source in [["--password-file", "pw"], ["--password-command", "cat pw"]] {
        let output = afield(dir.path(), &["secrets", "view", VAULT])
            .args(source)
            .output()
            .unwrap();
        assert_eq!(success(output), plain("dhis2-secrets.yml"));
    }
    let output = afield(
        dir.path(),
        &["secrets", "view", VAULT, "--password-command", "exit 3"],
    )
    .output()
    .unwrap();
    assert!(fails(output, 1).contains("password command failed"));
    let output = afield(dir.path(), &["secrets", "view", VAULT])
        .env("AFIELD_VAULT_PASSWORD", "wrong")
        .output();
    let told = fails(output.unwrap(), 1);
    assert!(
        told.contains("the password is wrong") && told.contains("dhis2-secrets.yml"),
        "{told}"
    );
    // An argument is no way to give one.
    let output = afield(
        dir.path(),
        &["secrets", "view", VAULT, "--password", PASSWORD],
    )
    .output()
    .unwrap();
    fails(output, 2);
}

#[test]
fn decrypt_refuses_a_disk_and_takes_memory() {
    let dir = scratch();
    golden_fleet(dir.path());
    let told = fails(
        run(
            dir.path(),
            &["secrets", "decrypt", VAULT, "-o", "clear.yml"],
        ),
        3,
    );
    assert!(told.contains("would put plaintext on a disk"), "{told}");
    assert!(!dir.path().join("clear.yml").exists());
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let target = memory.path().join("clear.yml");
    ok(
        dir.path(),
        &["secrets", "decrypt", VAULT, "-o", target.to_str().unwrap()],
    );
    assert_eq!(
        fs::read_to_string(&target).unwrap(),
        plain("dhis2-secrets.yml")
    );
    assert_eq!(
        fs::metadata(&target).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn encrypt_all_or_none_and_dry_run() {
    let dir = scratch();
    for name in ["a.yml", "b.yml"] {
        write(&dir.path().join(name), "secrets: {}\n");
    }
    let before = everything(dir.path());
    ok(
        dir.path(),
        &["secrets", "encrypt", "--dry-run", "a.yml", "b.yml"],
    );
    fails(
        run(dir.path(), &["secrets", "encrypt", "a.yml", "missing.yml"]),
        1,
    );
    assert_eq!(everything(dir.path()), before);
    ok(
        dir.path(),
        &["secrets", "encrypt", "--vault-id", "prod", "a.yml", "b.yml"],
    );
    assert!(
        fs::read_to_string(dir.path().join("b.yml"))
            .unwrap()
            .starts_with("$ANSIBLE_VAULT;1.2;AES256;prod\n")
    );
    assert_eq!(
        ok(dir.path(), &["secrets", "view", "a.yml"]),
        "secrets: {}\n"
    );
    assert!(
        fails(run(dir.path(), &["secrets", "encrypt", "a.yml"]), 3).contains("encrypted already")
    );
}

#[test]
fn rekey_keeps_the_id_and_changes_nothing_if_one_password_is_wrong() {
    let dir = scratch();
    write(&dir.path().join("a.yml"), "a");
    write(&dir.path().join("b.yml"), "b");
    ok(
        dir.path(),
        &["secrets", "encrypt", "--vault-id", "prod", "a.yml"],
    );
    let other = afield(dir.path(), &["secrets", "encrypt", "b.yml"])
        .env("AFIELD_VAULT_PASSWORD", "other")
        .output();
    success(other.unwrap());
    let before = everything(dir.path());
    let rekey = |args: &[&str]| {
        let mut command = afield(dir.path(), &["secrets", "rekey"]);
        command
            .args(args)
            .env("AFIELD_VAULT_PASSWORD", PASSWORD)
            .env("AFIELD_VAULT_NEW_PASSWORD", "new");
        command.output().unwrap()
    };
    assert!(fails(rekey(&["a.yml", "b.yml"]), 1).contains("b.yml"));
    success(rekey(&["--dry-run", "a.yml"]));
    assert_eq!(everything(dir.path()), before);
    success(rekey(&["a.yml"]));
    assert!(
        fs::read_to_string(dir.path().join("a.yml"))
            .unwrap()
            .starts_with("$ANSIBLE_VAULT;1.2;AES256;prod\n")
    );
    let output = afield(dir.path(), &["secrets", "view", "a.yml"])
        .env("AFIELD_VAULT_PASSWORD", "new")
        .output();
    assert_eq!(success(output.unwrap()), "a");
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
    let told = fails(
        edit(
            dir.path(),
            "echo typed >> \"$1\"; echo swap > \"$1.swp\"; kill -9 $$",
        ),
        1,
    );
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
        ok(
            dir.path(),
            &["secrets", "view", &format!("{VAULT}.recovered.2")]
        )
        .ends_with("again\n")
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
    let script = format!(
        "echo typed >> \"$1\"; mv {0}/org-config {0}/moved",
        dir.path().display()
    );
    let told = fails(edit(dir.path(), &script), 1);
    let (_, place) = told.split_once("it is in memory in ").unwrap();
    let place = Path::new(place.lines().next().unwrap());
    let kept = fs::read_to_string(place.join("dhis2-secrets.yml")).unwrap();
    assert!(
        place.starts_with("/dev/shm") && kept.ends_with("\ntyped\n"),
        "{told}"
    );
    fs::remove_dir_all(place).unwrap();
}

/// A terminal: answers each question that ends in a colon and a blank with the next argument.
const TERMINAL: &str = r#"
import os, pty, signal, sys
signal.alarm(60)
answers, command = sys.argv[1].split(","), sys.argv[2:]
pid, fd = pty.fork()
if pid == 0:
    os.execv(command[0], command)
seen = b""
while True:
    try:
        part = os.read(fd, 65536)
    except OSError:
        break
    if not part:
        break
    seen += part
    if part.endswith(b": ") and answers:
        os.write(fd, answers.pop(0).encode() + b"\n")
sys.stdout.write(seen.decode().replace("\r\n", "\n"))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

fn on_a_terminal(dir: &Path, answers: &str, args: &[&str]) -> std::process::Output {
    let mut python = std::process::Command::new("python3");
    python
        .args(["-c", TERMINAL, answers, env!("CARGO_BIN_EXE_afield")])
        .args(args)
        .current_dir(dir);
    python.env_remove("AFIELD_VAULT_PASSWORD").output().unwrap()
}

#[test]
fn a_prompt_asks_and_does_not_show_the_answer() {
    let dir = scratch();
    golden_fleet(dir.path());
    let shown = success(on_a_terminal(
        dir.path(),
        PASSWORD,
        &["secrets", "view", VAULT],
    ));
    assert!(
        shown.contains("Vault password: \nsecrets:\n") && !shown.contains(PASSWORD),
        "{shown}"
    );
    success(on_a_terminal(
        dir.path(),
        &format!("{PASSWORD},new one,new one"),
        &["secrets", "rekey", VAULT],
    ));
    let output = on_a_terminal(
        dir.path(),
        "new one,next,other",
        &["secrets", "rekey", VAULT],
    );
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stdout).contains("the two answers differ"));
    success(on_a_terminal(
        dir.path(),
        "new one",
        &["secrets", "view", VAULT],
    ));
}

#[test]
fn edit_does_not_overwrite_somebody_elses_change() {
    let dir = scratch();
    golden_fleet(dir.path());
    let script = format!(
        "echo mine >> \"$1\"; echo theirs > {}/{VAULT}",
        dir.path().display()
    );
    assert!(fails(edit(dir.path(), &script), 1).contains("changed by somebody else"));
    assert_eq!(
        fs::read_to_string(dir.path().join(VAULT)).unwrap(),
        "theirs\n"
    );
    assert!(
        ok(
            dir.path(),
            &["secrets", "view", &format!("{VAULT}.recovered")]
        )
        .ends_with("mine\n")
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
    edit(
        dir.path(),
        "sed -i s/tok/needle_tok/ \"$1\"; echo '# needle' >> \"$1\"; exit 1",
    );
    edit(dir.path(), "echo '# needle' >> \"$1\"");
    ok(dir.path(), &["secrets", "seal"]);
    ok(dir.path(), &["secrets", "add-host-keys", "nuc-pap"]);
    for (path, bytes) in everything(&fleet) {
        let found = [&b"needle"[..], b"SMTP_PASS", b"tok_ghcr"];
        let clear = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        assert!(!found.into_iter().any(clear), "{}", path.display());
    }
}

#[test]
fn add_host_keys_stores_both() {
    let dir = scratch();
    let fleet = golden_fleet(dir.path());
    let before = everything(&fleet);
    ok(
        dir.path(),
        &["secrets", "add-host-keys", "nuc-pap", "--dry-run"],
    );
    assert_eq!(everything(&fleet), before);
    ok(dir.path(), &["secrets", "add-host-keys", "nuc-pap"]);
    let file = "org-config/secrets/master/encryption-keys/nuc-pap_encryption-secrets.yml";
    let text = ok(dir.path(), &["secrets", "view", file]);
    let contents: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("content: "))
        .collect();
    assert_eq!(contents.len(), 2);
    for key in &contents {
        let key = key.trim_matches('\'');
        assert!(
            key.len() == 128 && key.bytes().all(|b| b.is_ascii_hexdigit()),
            "{key}"
        );
    }
    assert_ne!(contents[0], contents[1]);
    assert!(
        text.contains("  nuc-pap-recovery-encryption-key:\n") && text.contains("    servers: []\n"),
        "{text}"
    );

    let told = fails(run(dir.path(), &["secrets", "add-host-keys", "nuc-pap"]), 3);
    assert!(told.contains("there already"), "{told}");
    let told = fails(
        run(
            dir.path(),
            &["secrets", "add-host-keys", "nuc-pap", "--file", VAULT],
        ),
        3,
    );
    assert!(
        told.contains("nuc-pap_encryption-secrets.yml:2: secret `nuc-pap-encryption-key`"),
        "{told}"
    );
    let told = fails(run(dir.path(), &["secrets", "add-host-keys", "nobody"]), 3);
    assert!(told.contains("not in tunnels.d"), "{told}");

    let old = plain("dhis2-secrets.yml");
    ok(
        dir.path(),
        &["secrets", "add-host-keys", "vm-uat", "--file", VAULT],
    );
    let new = ok(dir.path(), &["secrets", "view", VAULT]);
    assert!(
        new.starts_with(&old) && new.contains("  vm-uat-recovery-encryption-key:\n"),
        "{new}"
    );
}

#[test]
fn seal_and_view_with_the_hosts_key() {
    let dir = scratch();
    let fleet = golden_fleet(dir.path());
    let generated = fleet.join("secrets/generated/generated-secrets.yml");
    let before = fs::read(&generated).unwrap();
    let told = ok(dir.path(), &["secrets", "seal", "--dry-run"]);
    assert!(
        told.contains("would be sealed to 4 hosts, 3000 bytes each"),
        "{told}"
    );
    assert!(
        told.contains("prov-new: skipped, it has no public key yet"),
        "{told}"
    );
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
    write(
        &bad,
        "secrets:\n  x:\n    path: /etc/x\n    content: c\n    servers: [nobody]\n",
    );
    let before = everything(&fleet.join("secrets/generated"));
    assert!(
        fails(run(dir.path(), &["secrets", "seal"]), 3)
            .contains("bad-secrets.yml is not encrypted")
    );
    ok(dir.path(), &["secrets", "encrypt", bad.to_str().unwrap()]);
    let output = run(dir.path(), &["secrets", "seal"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(fails(output, 3).contains("nothing was sealed"));
    assert!(
        told.contains("secrets/master/bad-secrets.yml:3: `path` of secret `x`"),
        "{told}"
    );
    assert_eq!(everything(&fleet.join("secrets/generated")), before);
}
