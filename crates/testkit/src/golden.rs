//! Where the golden data is: beside the clone, or where `AFIELD_SHARED` says.

use std::path::{Path, PathBuf};

/// The folder `shared/`; a test without it fails, and says so.
pub fn shared() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let given = std::env::var_os("AFIELD_SHARED").map(PathBuf::from);
    let all = [given, Some(beside), Some("/work/shared".into())];
    let found = all.into_iter().flatten().find(|dir| dir.join("golden").is_dir());
    found.expect("shared/golden is not there: set AFIELD_SHARED, or put shared/ beside the clone")
}

/// A path below `shared/golden`.
pub fn golden(path: &str) -> PathBuf {
    shared().join("golden").join(path)
}

/// The private key of someone in the golden fleet (`users/robot`, `vm-prod`), as OpenSSH keeps it; none for those that only
/// a token has.
pub fn private_key(name: &str) -> Option<String> {
    let all = std::fs::read(golden("inputs/throwaway-keys.json")).expect("the golden keys");
    let all: serde_json::Value = serde_json::from_slice(&all).expect("the golden keys are JSON");
    let body = all[name]["openssh_key_v1_base64"].as_str()?;
    let lines: Vec<String> =
        body.as_bytes().chunks(70).map(|l| String::from_utf8_lossy(l).into_owned()).collect();
    let lines = lines.join("\n");
    Some(format!(
        "-----BEGIN OPENSSH PRIVATE KEY-----\n{lines}\n-----END OPENSSH PRIVATE KEY-----\n"
    ))
}
