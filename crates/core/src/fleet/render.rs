//! `generated-app-configs.yml`, byte for byte as the older tool writes it, and plain values as PyYAML does.

use std::collections::BTreeMap;

use super::model::{Content, FileEntry, Fleet};
use super::node::Value;
use crate::pyyaml::{self, Strings};

/// The generated file: host → name → content and path, for all servers that a config names, known or not, but hosts
/// with `generate_configs` false.
pub fn app_configs(fleet: &Fleet) -> String {
    let mut hosts: BTreeMap<&str, BTreeMap<&str, &FileEntry>> = BTreeMap::new();
    for (name, entry) in &fleet.configs {
        for server in &entry.servers {
            let tunnel = server.value.parse().ok().and_then(|host| fleet.tunnels.get(&host));
            if tunnel.is_none_or(|tunnel| tunnel.generate_configs) {
                hosts.entry(&server.value).or_default().insert(name, entry);
            }
        }
    }
    let hosts = hosts.into_iter().map(|(host, configs)| {
        let configs = configs.into_iter().map(|(name, entry)| (name, config(entry)));
        (host, pyyaml::Value::Map(configs.collect()))
    });
    pyyaml::dump(&pyyaml::Value::Map(hosts.collect()), Strings::LinesAsBlocks)
}

fn config(entry: &FileEntry) -> pyyaml::Value<'_> {
    let content = match &entry.content {
        Some(Content::Text(text)) => pyyaml::Value::Str(text),
        Some(Content::Other(value)) => pyyaml::Value::Plain(plain(value)),
        None => pyyaml::Value::Null,
    };
    let path = pyyaml::Value::Str(&entry.path.value);
    pyyaml::Value::Map(BTreeMap::from([("content", content), ("path", path)]))
}

/// A plain value as PyYAML writes it.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Bool(true) => "true".to_owned(),
        Value::Bool(false) => "false".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => float(*number),
        Value::Big(text) | Value::Time(text) | Value::Text(text) => text.clone(),
        Value::Null | Value::List(_) | Value::Map(_) => "null".to_owned(),
    }
}

/// A number as Python's repr writes it: an exponent from 1e16 and below 1e-4; PyYAML wants a point before it.
fn float(number: f64) -> String {
    if number.is_nan() {
        return ".nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if number != 0.0 && !(-4..16).contains(&exponent) {
        let point = if digits.contains('.') { "" } else { ".0" };
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}{point}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{number}");
    if plain.contains('.') { plain } else { format!("{plain}.0") }
}

/// A key that sorts texts as people do: digits within them as numbers.
pub fn natural_key(text: &str) -> Vec<(String, Option<u128>)> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let word = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (before, after) = rest.split_at(word);
        // A leading zero is a number of its own.
        let end = match after.starts_with('0') {
            true => 1,
            false => after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len()),
        };
        let (number, after) = after.split_at(end);
        // A text that ends comes before one that goes on with a number.
        let number = (!number.is_empty()).then(|| number.parse().unwrap_or(u128::MAX));
        parts.push((before.to_owned(), number));
        rest = after;
    }
    parts
}
