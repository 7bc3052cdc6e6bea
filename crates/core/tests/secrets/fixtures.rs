//! The golden fleet's secrets and hosts, and an age file.

use afield_core::secrets::age::{self, Identity};
use afield_core::secrets::master::{self, MasterSecret};
use afield_core::secrets::seal::Host;
use afield_core::secrets::vault;

use crate::support::{Numbers, golden, golden_text, private_key};

pub const PASSWORD: &[u8] = b"correct horse";
pub const MASTERS: [&str; 3] = [
    "dhis2-secrets.yml",
    "docker_private_repo-secrets.yml",
    "encryption-keys/nuc-juba_encryption-secrets.yml",
];

pub fn master_file(name: &str) -> String {
    golden_text(&format!("inputs/org-config/secrets/master/{name}"))
}

pub fn masters() -> Vec<MasterSecret> {
    let read = |name: &&str| {
        let plain = vault::decrypt(&master_file(name), PASSWORD).unwrap();
        master::parse(name, std::str::from_utf8(&plain).unwrap()).unwrap()
    };
    MASTERS.iter().flat_map(read).collect()
}

pub fn hosts_of(folder: &str) -> Vec<Host> {
    let mut hosts = Vec::new();
    let files = std::fs::read_dir(golden(folder)).unwrap();
    for file in files {
        let text = std::fs::read(file.unwrap().path()).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
        for (name, host) in json["tunnels"]["per-host"].as_object().unwrap() {
            let public_key = host["public_key"].as_str().unwrap().to_owned();
            let generate = host["generate_secrets"].as_bool().unwrap_or(true);
            hosts.push(Host { name: name.clone(), public_key, generate });
        }
    }
    hosts
}

pub fn golden_hosts() -> Vec<Host> {
    hosts_of("inputs/org-config/json/tunnels.d")
}

/// A throwaway key, made with rage.
pub const AGE_KEY: &str =
    "AGE-SECRET-KEY-1ZDJ24PTWTZSDFVDD4WT2D5XYW3WJWXXGNSNQ5ME0MFQ2R9TN0GSQCD6CJE";

pub fn age_file(plain: &[u8]) -> (age::Sealed, Identity, Identity) {
    let host = Identity::parse(&private_key("nuc-juba")).unwrap();
    let operator = Identity::parse(&format!("# created\n{AGE_KEY}\n")).unwrap();
    let mut numbers = Numbers(5);
    let recipients = [host.recipient(), operator.recipient()];
    let sealed = age::encrypt(plain, &recipients, &mut |bytes| numbers.fill(bytes)).unwrap();
    (sealed, host, operator)
}

/// Without its armor.
pub fn age_binary(plain: &[u8]) -> Vec<u8> {
    let file = age_file(plain).0.file;
    let lines: Vec<&str> = file.lines().collect();
    data_encoding::BASE64.decode(lines[1..lines.len() - 1].concat().as_bytes()).unwrap()
}
