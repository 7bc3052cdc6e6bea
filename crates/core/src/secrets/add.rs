//! Adding secrets to a master file's text, leaving the rest of it as the operators wrote it where that is possible.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::Extract;
use super::master::{self, MasterSecret, Problem};
use crate::pyyaml::{self, Value};

/// The two disk encryption keys of a host: the one it unlocks itself with, and the one that only operators have.
///
/// Names and paths are those of the older tool (`fleet-folder.md` §4, "add an encryption key").
pub fn host_keys(
    host: &str,
    key: &Zeroizing<String>,
    recovery: &Zeroizing<String>,
) -> Vec<MasterSecret> {
    let secret = |name: String, path: &str, content: &Zeroizing<String>, servers: Vec<String>| {
        MasterSecret {
            name,
            path: path.to_owned(),
            content: content.clone(),
            extract: Extract::Absent,
            servers,
            file: String::new(),
            line: 0,
        }
    };
    vec![
        secret(format!("{host}-encryption-key"), "keyfile", key, vec![host.to_owned()]),
        secret(format!("{host}-recovery-encryption-key"), "recovery-keyfile", recovery, Vec::new()),
    ]
}

/// Adds secrets at the end of a master file's text; an empty text becomes a new file.
///
/// What comes out is read again and compared, so that what was to be stored is stored. If appending does not do it
/// (`secrets: {}`, or another section after it), the file is written anew, without its comments.
pub fn add(
    file: &str,
    text: &str,
    new: &[MasterSecret],
) -> Result<Zeroizing<String>, Vec<Problem>> {
    let old = if text.trim().is_empty() { Vec::new() } else { master::parse(file, text)? };
    let twice = |secret: &&MasterSecret| new.iter().any(|other| other.name == secret.name);
    let problems: Vec<Problem> =
        old.iter().filter(twice).map(|secret| exists(file, secret)).collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    let all: Vec<&MasterSecret> = old.iter().chain(new).collect();
    let reads_back = |text: &Zeroizing<String>| match master::parse(file, text) {
        Ok(read) => {
            read.len() == all.len()
                && all.iter().all(|secret| read.iter().any(|other| same(secret, other)))
        }
        Err(_) => false,
    };
    if let Some(first) = old.first() {
        let line = text.lines().nth(first.line - 1).unwrap_or_default();
        let indent = &line[..line.len() - line.trim_start().len()];
        let appended =
            append(text, indent, &Zeroizing::new(pyyaml::safe_dump(&section(new.iter()))));
        if reads_back(&appended) {
            return Ok(appended);
        }
    }
    let whole = Value::Map(BTreeMap::from([("secrets", section(all.iter().copied()))]));
    let whole = Zeroizing::new(pyyaml::safe_dump(&whole));
    if reads_back(&whole) {
        return Ok(whole);
    }
    let message = "the secrets could not be added; add them with `afield secrets edit`".to_owned();
    Err(vec![Problem { file: file.to_owned(), line: 1, message }])
}

fn exists(file: &str, secret: &MasterSecret) -> Problem {
    let message = format!(
        "secret `{}` is there already; remove it first if it shall be replaced",
        secret.name
    );
    Problem { file: file.to_owned(), line: secret.line, message }
}

fn same(a: &MasterSecret, b: &MasterSecret) -> bool {
    (&a.name, &a.path, &a.content, &a.extract, &a.servers)
        == (&b.name, &b.path, &b.content, &b.extract, &b.servers)
}

fn append(text: &str, indent: &str, block: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(text.len() + 2 * block.len() + 1));
    out.push_str(text);
    if !text.ends_with('\n') {
        out.push('\n');
    }
    for line in block.lines() {
        if !line.is_empty() {
            out.push_str(indent);
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}

/// The map below `secrets:`.
fn section<'a>(secrets: impl Iterator<Item = &'a MasterSecret>) -> Value<'a> {
    let entries = secrets.map(|secret| {
        let servers = secret.servers.iter().map(|host| Value::Str(host)).collect();
        let mut entry = BTreeMap::from([
            ("path", Value::Str(&secret.path)),
            ("content", Value::Str(&secret.content)),
            ("servers", Value::List(servers)),
        ]);
        match &secret.extract {
            Extract::Absent => {}
            Extract::Bool(value) => drop(entry.insert("default_extract", Value::Bool(*value))),
            Extract::Text(text) => drop(entry.insert("default_extract", Value::Str(text))),
        }
        (secret.name.as_str(), Value::Map(entry))
    });
    Value::Map(entries.collect())
}
