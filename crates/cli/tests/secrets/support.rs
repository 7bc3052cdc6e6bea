//! What the tests of the secrets commands share: the program, a copy of the golden fleet, and real tools from PyPI.

#![allow(clippy::unwrap_used, dead_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// The password of the golden vault files.
pub const PASSWORD: &str = "correct horse";

pub use afield_testkit::golden::golden;

/// A folder of a test, on a disk, removed at its end.
pub fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Writes a file, with its folders.
pub fn write(path: &Path, text: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Copies a folder; what comes out can be written to.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::write(&target, fs::read(&path).unwrap()).unwrap();
        }
    }
}

/// A copy of the golden fleet in `dir`; gives its `org-config`.
pub fn golden_fleet(dir: &Path) -> PathBuf {
    let fleet = dir.join("org-config");
    copy(&golden("inputs/org-config"), &fleet);
    fleet
}

/// Writes a throwaway private key as an OpenSSH file.
pub fn write_key(name: &str, dir: &Path) -> PathBuf {
    let path = dir.join(name);
    write(&path, openssh_file(&private_body(name)));
    path
}

fn private_body(name: &str) -> String {
    let text = fs::read_to_string(golden("inputs/throwaway-keys.json")).unwrap();
    let keys: serde_json::Value = serde_json::from_str(&text).unwrap();
    keys[name]["openssh_key_v1_base64"].as_str().unwrap().to_owned()
}

/// An OpenSSH private key file around its base64.
pub fn openssh_file(body: &str) -> String {
    let lines: Vec<&str> =
        (0..body.len()).step_by(70).map(|at| &body[at..body.len().min(at + 70)]).collect();
    let kind = "OPENSSH PRIVATE KEY";
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"))
}

/// A throwaway age key pair, made with rage.
pub const AGE_SECRET: &str =
    "AGE-SECRET-KEY-1ZDJ24PTWTZSDFVDD4WT2D5XYW3WJWXXGNSNQ5ME0MFQ2R9TN0GSQCD6CJE";
/// Its public half.
pub const AGE_PUBLIC: &str = "age1j7xzgtkgclrxauqn4mk9x49k74zcmrcdn9m9psrvwncptv2m6ershwetwj";

/// A throwaway public key, as in `authorized_keys`.
pub fn public_key(name: &str) -> String {
    let text = fs::read_to_string(golden("inputs/throwaway-keys.json")).unwrap();
    let keys: serde_json::Value = serde_json::from_str(&text).unwrap();
    keys[name]["public"].as_str().unwrap().to_owned()
}

/// `afield` with a clean environment; without a terminal, as far as a test can do that.
pub fn afield(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_afield"));
    command.args(args).current_dir(dir).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    command.stdin(Stdio::null());
    command
}

/// Runs it with the golden password in the environment.
pub fn run(dir: &Path, args: &[&str]) -> Output {
    afield(dir, args).env("AFIELD_VAULT_PASSWORD", PASSWORD).output().unwrap()
}

/// Runs it, expects exit code 0, gives standard output.
pub fn ok(dir: &Path, args: &[&str]) -> String {
    success(run(dir, args))
}

/// Expects exit code 0, gives standard output.
pub fn success(output: Output) -> String {
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}{err}", output.status);
    out.into_owned()
}

/// Expects this exit code, gives standard error.
pub fn fails(output: Output, code: i32) -> String {
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        output.status.code(),
        Some(code),
        "{}{err}",
        String::from_utf8_lossy(&output.stdout)
    );
    err
}

/// The programs of a Python environment below `target/`, with the real ansible-vault, PyNaCl and pyrage. It is made
/// once, with packages from PyPI; two test programs at once wait for each other.
pub fn python_tool(name: &str) -> PathBuf {
    static VENV: OnceLock<PathBuf> = OnceLock::new();
    let venv = VENV.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().to_path_buf();
        let venv = target.join("secrets-venv");
        let lock = fs::File::create(target.join("secrets-venv.lock")).unwrap();
        lock.lock().unwrap();
        if !venv.join("complete").exists() {
            success(
                Command::new("python3")
                    .args(["-m", "venv", "--clear"])
                    .arg(&venv)
                    .output()
                    .unwrap(),
            );
            let packages =
                ["ansible-core==2.19.14", "PyNaCl==1.6.2", "PyYAML==6.0.3", "pyrage==1.4.0"];
            let mut pip = Command::new(venv.join("bin/pip"));
            success(pip.args(["install", "-q"]).args(packages).output().unwrap());
            fs::write(venv.join("complete"), "").unwrap();
        }
        venv
    });
    venv.join("bin").join(name)
}

/// A vault file of the golden fleet.
pub const VAULT: &str = "org-config/secrets/master/dhis2-secrets.yml";

/// The plaintext of a golden vault file.
pub fn plain(name: &str) -> String {
    fs::read_to_string(golden("inputs/secrets-plaintext").join(name)).unwrap()
}

/// Everything below a folder: path to bytes.
pub fn everything(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
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
