//! Reads fleets from the golden folder, and makes small ones in memory.

#![allow(dead_code)] // Each test file uses its own part.

use std::fs;
use std::path::Path;

use afield_core::fleet::{Finding, Fleet, Sources, WAVES_FILE, WavesResult, load};
use jiff::civil::{Date, date};

/// The day on which all tests happen.
pub const TODAY: Date = date(2026, 11, 23);

#[path = "../../../testkit/src/golden.rs"]
mod found;

pub use found::shared;

/// A file below `shared/golden`, as text.
pub fn golden(path: &str) -> String {
    let path = shared().join("golden").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Files below a folder, by path relative to it.
pub fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                all.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    all.sort();
    all
}

/// The waves of the golden fleet, as Nix evaluates them.
pub const WAVES: &str = r#"{"finalWave":["nuc-juba","vm-prod"],"firstWave":["vm-uat","prov-new"],
    "latestWave":["relay-bru","relay-fra"],"middleWave":["nuc-pap","lap-kabul"],"stagingHosts":["vm-uat"]}"#;

/// The golden fleet, with its deployment services.
pub fn golden_sources() -> Sources {
    let mut sources = Sources::default();
    for (path, bytes) in files(&shared().join("golden/inputs/org-config")) {
        if Sources::is_host(&path) {
            sources.hosts.insert(path);
        } else if Sources::wanted(&path) {
            sources.files.insert(path, bytes);
        }
    }
    sources.waves = WavesResult::Json(WAVES.to_owned());
    let services = [
        ("nuc-juba", vec!["restart_reports", "update_dhis2_prod"]),
        ("nuc-pap", vec!["update_orthanc_prd"]),
    ];
    let services = services.into_iter().map(|(host, names)| {
        (host.parse().unwrap(), names.into_iter().map(str::to_owned).collect())
    });
    sources.services = Some(services.collect());
    sources
}

/// A real key of a host of the golden fleet.
pub const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIObEgebZ7pf+EN3bp+LEcqSvE490O7CMGJ8Ur8ekgPU0";

/// Another real key.
pub const KEY2: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGd/r5p9NAi01P8NYc1uHIaxDdQt7PqRfkA5wM3GvuNY";

/// A fleet of one host `h1` and one relay `r1` in which nothing is wrong.
pub fn clean() -> Sources {
    let mut sources = Sources::default();
    let relay = format!(
        r#"{{"public_key": "{KEY}", "relay_servers": {{"r1": {{"addresses": ["r1.example.org"]}}}}}}"#
    );
    let tunnels = format!(
        r#"{{"tunnels": {{"per-host": {{
  "h1": {{"remote_forward_port": 2100, "public_key": "{KEY}"}},
  "r1": {{"remote_forward_port": 0, "public_key": "{KEY2}"}}
}}}}}}"#
    );
    set(
        &mut sources,
        "json/users.json",
        r#"{"global_admins": [], "users": {"per-host": {}, "roles": {}}}"#,
    );
    set(&mut sources, "json/keys.json", r#"{"keys": {}}"#);
    set(&mut sources, "json/relay-servers.json", &relay);
    set(&mut sources, "json/tunnels.d/t.json", &tunnels);
    let waves = "{\n  firstWave = [ \"h1\" ];\n  latestWave = [ \"r1\" ];\n}\n";
    set(&mut sources, WAVES_FILE, waves);
    sources.hosts = ["hosts/h1.nix", "hosts/r1.nix"].map(str::to_owned).into();
    sources.waves = waves_json(&["h1"], &[], &[], &["r1"], &[]);
    sources
}

/// Waves as Nix gives them.
pub fn waves_json(
    first: &[&str],
    middle: &[&str],
    last: &[&str],
    latest: &[&str],
    staging: &[&str],
) -> WavesResult {
    let value = serde_json::json!({
        "firstWave": first, "middleWave": middle, "finalWave": last,
        "latestWave": latest, "stagingHosts": staging,
    });
    WavesResult::Json(value.to_string())
}

/// Puts a file in.
pub fn set(sources: &mut Sources, path: &str, text: &str) {
    sources.files.insert(path.to_owned(), text.as_bytes().to_vec());
}

/// Loads and checks.
pub fn check(sources: &Sources) -> (Fleet, Vec<Finding>) {
    load(sources).check(TODAY)
}

/// `CODE file:line` of each finding.
pub fn told(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(|f| format!("{} {}:{}", f.code, f.file, f.line)).collect()
}
