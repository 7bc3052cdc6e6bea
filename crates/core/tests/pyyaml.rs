//! The YAML writer against what PyYAML 6.0.3 wrote, and against the golden app configs.

#![allow(clippy::unwrap_used)]

#[path = "secrets/support.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;

use afield_core::pyyaml::{Strings, Value, dump, safe_dump};
use serde_json::Value as Json;

fn borrow(json: &Json) -> Value<'_> {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(value) => Value::Int(value.as_i64().unwrap()),
        Json::String(text) => Value::Str(text),
        Json::Array(items) => Value::List(items.iter().map(borrow).collect()),
        Json::Object(map) => {
            Value::Map(map.iter().map(|(key, value)| (key.as_str(), borrow(value))).collect())
        }
    }
}

/// `AFIELD_PYYAML_VECTORS` may name a larger file, made by `data/make-pyyaml-vectors.py 100000 7`.
fn vectors() -> Vec<Json> {
    let path = std::env::var_os("AFIELD_PYYAML_VECTORS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/pyyaml-vectors.json")),
        PathBuf::from,
    );
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn same_bytes_as_pyyaml() {
    let vectors = vectors();
    assert!(vectors.len() > 700, "only {} vectors", vectors.len());
    for vector in &vectors {
        let value = borrow(&vector["value"]);
        for (name, style) in [
            ("shortest", Strings::Shortest),
            ("lines", Strings::LinesAsBlocks),
            ("blocks", Strings::AllAsBlocks),
        ] {
            let Some(want) = vector[name].as_str() else {
                continue;
            };
            assert_eq!(dump(&value, style), want, "style {name} of {}", vector["value"]);
        }
    }
}

#[test]
fn app_configs_of_the_golden_fleet() {
    let banner = "Bienvenue à l'hôpital — مرحبا\nWard \"A\": temp ≥ 38 °C → isolate 🏥\n";
    let common = "POSTGRES_IMAGE=ghcr.io/example/dhis2-db:13\nDHIS2_HOME=/opt/dhis2/config\n";
    let words = ["word"; 21].join(" ");
    let rows = [
        ("ghost-host", "for_unknown_host", "boo\n", "ghost"),
        ("prov-new", "for_unknown_host", "boo\n", "ghost"),
        ("lap-kabul", "looks_like_number", "007", "num"),
        ("vm-uat", "looks_like_number", "007", "num"),
        ("nuc-juba", "banner", banner, "banner.txt"),
        ("nuc-pap", "banner", banner, "banner.txt"),
        ("nuc-juba", "dhis2_common", common, "dhis2_common.env"),
        ("nuc-pap", "dhis2_common", common, "dhis2_common.env"),
        ("vm-prod", "dhis2_common", common, "dhis2_common.env"),
        ("vm-uat", "dhis2_common", common, "dhis2_common.env"),
        ("nuc-juba", "dhis2_juba", "SITE=juba\n", "dhis2_site"),
        ("nuc-pap", "dhis2_pap", "SITE=pap", "dhis2_site"),
        ("nuc-pap", "subdir_missing", "{}", "orthanc/modalities.json"),
        ("vm-uat", "long_line", &words, "long"),
        ("vm-uat", "one_line_accents", "café naïve", "accents"),
        ("vm-uat", "trailing_space", "a \nb\t\n", "trail"),
        ("vm-uat", "yes_no", "yes", "yesno"),
    ];
    let mut hosts: BTreeMap<&str, BTreeMap<&str, Value<'_>>> = BTreeMap::new();
    for (host, name, content, path) in rows {
        let entry = BTreeMap::from([("content", Value::Str(content)), ("path", Value::Str(path))]);
        hosts.entry(host).or_default().insert(name, Value::Map(entry));
    }
    let value =
        Value::Map(hosts.into_iter().map(|(host, configs)| (host, Value::Map(configs))).collect());
    assert_eq!(
        dump(&value, Strings::LinesAsBlocks),
        support::golden_text("outputs/python/generated-app-configs.yml")
    );
}

#[test]
fn nothing_is_an_empty_map() {
    assert_eq!(safe_dump(&Value::Map(BTreeMap::new())), "{}\n");
}
