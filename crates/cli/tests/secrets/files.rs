//! `afield secrets` on vault files, as an operator uses it, and where passwords come from.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::support::{
    PASSWORD, VAULT, afield, everything, fails, golden_fleet, ok, plain, run, scratch, success,
    write,
};

#[test]
fn view_and_decrypt_show_the_plaintext() {
    let dir = scratch();
    golden_fleet(dir.path());
    assert_eq!(ok(dir.path(), &["secrets", "view", VAULT]), plain("dhis2-secrets.yml"));
    assert_eq!(ok(dir.path(), &["secrets", "decrypt", VAULT]), plain("dhis2-secrets.yml"));
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
        let output = afield(dir.path(), &["secrets", "view", VAULT]).args(source).output().unwrap();
        assert_eq!(success(output), plain("dhis2-secrets.yml"));
    }
    let output = afield(dir.path(), &["secrets", "view", VAULT, "--password-command", "exit 3"])
        .output()
        .unwrap();
    assert!(fails(output, 1).contains("password command failed"));
    let output = afield(dir.path(), &["secrets", "view", VAULT])
        .env("AFIELD_VAULT_PASSWORD", "wrong")
        .output();
    let told = fails(output.unwrap(), 1);
    assert!(told.contains("the password is wrong") && told.contains("dhis2-secrets.yml"), "{told}");
    // An argument is no way to give one.
    let output =
        afield(dir.path(), &["secrets", "view", VAULT, "--password", PASSWORD]).output().unwrap();
    fails(output, 2);
}

#[test]
fn decrypt_refuses_a_disk_and_takes_memory() {
    let dir = scratch();
    golden_fleet(dir.path());
    let told = fails(run(dir.path(), &["secrets", "decrypt", VAULT, "-o", "clear.yml"]), 3);
    assert!(told.contains("would put plaintext on a disk"), "{told}");
    assert!(!dir.path().join("clear.yml").exists());
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let target = memory.path().join("clear.yml");
    ok(dir.path(), &["secrets", "decrypt", VAULT, "-o", target.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(&target).unwrap(), plain("dhis2-secrets.yml"));
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn encrypt_all_or_none_and_dry_run() {
    let dir = scratch();
    for name in ["a.yml", "b.yml"] {
        write(&dir.path().join(name), "secrets: {}\n");
    }
    let before = everything(dir.path());
    ok(dir.path(), &["secrets", "encrypt", "--dry-run", "a.yml", "b.yml"]);
    fails(run(dir.path(), &["secrets", "encrypt", "a.yml", "missing.yml"]), 1);
    assert_eq!(everything(dir.path()), before);
    ok(dir.path(), &["secrets", "encrypt", "--vault-id", "prod", "a.yml", "b.yml"]);
    assert!(
        fs::read_to_string(dir.path().join("b.yml"))
            .unwrap()
            .starts_with("$ANSIBLE_VAULT;1.2;AES256;prod\n")
    );
    assert_eq!(ok(dir.path(), &["secrets", "view", "a.yml"]), "secrets: {}\n");
    assert!(
        fails(run(dir.path(), &["secrets", "encrypt", "a.yml"]), 3).contains("encrypted already")
    );
}

#[test]
fn rekey_keeps_the_id_and_changes_nothing_if_one_password_is_wrong() {
    let dir = scratch();
    write(&dir.path().join("a.yml"), "a");
    write(&dir.path().join("b.yml"), "b");
    ok(dir.path(), &["secrets", "encrypt", "--vault-id", "prod", "a.yml"]);
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
    let shown = success(on_a_terminal(dir.path(), PASSWORD, &["secrets", "view", VAULT]));
    assert!(shown.contains("Vault password: \nsecrets:\n") && !shown.contains(PASSWORD), "{shown}");
    success(on_a_terminal(
        dir.path(),
        &format!("{PASSWORD},new one,new one"),
        &["secrets", "rekey", VAULT],
    ));
    let output = on_a_terminal(dir.path(), "new one,next,other", &["secrets", "rekey", VAULT]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stdout).contains("the two answers differ"));
    success(on_a_terminal(dir.path(), "new one", &["secrets", "view", VAULT]));
}
