//! The fleet folder: what anybody may write who may open a pull request.

use std::collections::BTreeSet;

use afield_core::deploy_hook;
use afield_core::fleet::{
    Sources, WAVES_FILE, WavesResult, audit, keys, load, parse, render, resolve,
};
use jiff::civil::date;

use super::{golden, golden_files, target};
use crate::Target;

const ORG: &str = "inputs/org-config";
const YAML: &[&str] = &[
    "- ",
    "? ",
    ": ",
    "|\n",
    ">-\n",
    "|2-",
    "&a ",
    "*a",
    "<<: *a",
    "!!str ",
    "!!int ",
    "!x ",
    "---\n",
    "...\n",
    "%YAML 1.1\n",
    "#",
    "0x",
    "1:30",
    ".inf",
    "2026-11-23",
    "~",
    "[[[[[[[[",
    "{{{{",
    "\\x",
    "\\N",
    "configs:\n",
    "secrets:\n",
];
const JSON: &[&str] = &[
    "_comment",
    "enable_roles",
    "enable_roles_with_profile",
    "per-host",
    "global_admins",
    "expires",
    "public_keys",
    "reverse_tunnels",
    "[[[[[[[[",
    "{\"a\":",
    "\\ud83c\\udfe5",
    "2000",
    "admin",
];

pub(crate) fn targets() -> Vec<Target> {
    vec![
        target(
            "json",
            3000,
            JSON,
            || golden_files(ORG, ".json"),
            || {
                Box::new(|input| {
                    parse::json(&String::from_utf8_lossy(input));
                })
            },
        ),
        target(
            "yaml",
            3000,
            YAML,
            || golden_files(ORG, "-configs.yml"),
            || {
                Box::new(|input| {
                    parse::yaml(&String::from_utf8_lossy(input));
                })
            },
        ),
        target("fleet", 250, JSON, fleet_seeds, || {
            let clean = golden_sources();
            Box::new(move |input| fleet(&clean, input))
        }),
        target("waves", 2000, &["firstWave", "stagingHosts", "nuc-juba"], waves_seeds, || {
            let clean = golden_sources();
            Box::new(move |input| {
                let mut sources = clean.clone();
                sources.files.retain(|path, _| path == WAVES_FILE);
                sources.waves = WavesResult::Json(String::from_utf8_lossy(input).into_owned());
                check(&sources);
            })
        }),
        target(
            "ssh-public",
            5000,
            &["ssh-ed25519 ", "ssh-rsa ", "AAAAB3NzaC1yc2E", "=", " "],
            public_keys,
            || {
                Box::new(|input| {
                    let text = String::from_utf8_lossy(input);
                    if let Ok(key) = keys::parse(&text) {
                        assert_eq!(key.text, text, "a key is kept as it is");
                    }
                    keys::fingerprint(&text);
                    keys::option_is_fine(&text);
                })
            },
        ),
        target("deploy-hook", 2000, &["(py:", ")", "message"], hook_seeds, || {
            Box::new(|input| {
                let text = String::from_utf8_lossy(input);
                if let Ok(messages) = deploy_hook::messages(&text) {
                    messages.iter().for_each(|message| drop(deploy_hook::ports(message)));
                }
                let _ = deploy_hook::targets(&text, "a,b", "2001 2002");
            })
        }),
    ]
}

/// The golden fleet.
fn golden_sources() -> Sources {
    let root = afield_testkit::golden::golden(ORG);
    let mut sources = Sources::default();
    let mut open = vec![root.clone()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                open.push(path);
            } else if Sources::is_host(&name) {
                sources.hosts.insert(name);
            } else if Sources::wanted(&name) {
                sources.files.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    sources.waves = WavesResult::Json(String::from_utf8(waves_seeds().remove(0)).unwrap());
    sources
}

/// One file of the folder: the number of the file, then what stands in it.
fn fleet_seeds() -> Vec<Vec<u8>> {
    let files = golden_sources().files;
    let numbered = files.values().enumerate().filter(|(_, bytes)| bytes.len() < crate::LONGEST);
    numbered.map(|(at, bytes)| [&[at as u8][..], bytes].concat()).collect()
}

fn fleet(clean: &Sources, input: &[u8]) {
    let Some((number, bytes)) = input.split_first() else { return };
    let mut sources = clean.clone();
    let paths: Vec<String> = sources.files.keys().cloned().collect();
    sources.files.insert(paths[usize::from(*number) % paths.len()].clone(), bytes.to_vec());
    check(&sources);
}

/// Everything that commands do with a folder: no panic, findings in order, and a plan or a reason for each host.
fn check(sources: &Sources) {
    let (fleet, findings) = load(sources).check(date(2026, 11, 23));
    assert!(findings.windows(2).all(|f| (&f[0].file, f[0].line) <= (&f[1].file, f[1].line)));
    assert!(findings.iter().all(|f| f.line >= 1 && f.column >= 1 && !f.remedy.is_empty()));
    let resolved = resolve(&fleet);
    let missing = fleet.hosts.len() - resolved.plans.len();
    assert!(missing == 0 || !resolved.findings.is_empty(), "a host has neither plan nor reason");
    let _ =
        audit::audit(&fleet, date(2026, 11, 23)).map(|audit| audit.csv(audit::Table::Effective));
    render::app_configs(&fleet);
}

fn waves_seeds() -> Vec<Vec<u8>> {
    let waves = br#"{"finalWave":["nuc-juba","vm-prod"],"firstWave":["vm-uat","prov-new"],"latestWave":["relay-bru","relay-fra"],"middleWave":["nuc-pap","lap-kabul"],"stagingHosts":["vm-uat"]}"#;
    vec![waves.to_vec()]
}

fn public_keys() -> Vec<Vec<u8>> {
    let text = String::from_utf8(golden("inputs/org-config/json/keys.json")).unwrap();
    let texts: BTreeSet<&str> = text.split('"').filter(|text| text.contains("AAAA")).collect();
    texts.into_iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn hook_seeds() -> Vec<Vec<u8>> {
    golden_files("outputs/deploy-inventory", "event.json")
}
