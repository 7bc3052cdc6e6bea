//! The throwaway keys of the golden fleet.

use crate::golden::golden;

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
