//! App configs (`app_configs/master/**/*-configs.yml`) and secrets (`secrets/master/**/*-secrets.yml`).

use std::collections::BTreeMap;

use super::super::codes;
use super::super::finding::Findings;
use super::super::model::{Content, FileEntry, Unseen};
use super::super::node::{Fields, LIMITS, Node, Value};
use super::super::span::{Located, Span};
use super::super::yaml;
use super::Loader;

/// What the two kinds of files have apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Config,
    Secret,
}

impl Kind {
    /// The word in findings.
    fn word(self) -> &'static str {
        match self {
            Kind::Config => "app config",
            Kind::Secret => "secret",
        }
    }

    /// The key at the top of a file.
    fn top(self) -> &'static str {
        match self {
            Kind::Config => "configs",
            Kind::Secret => "secrets",
        }
    }
}

/// Reads both kinds.
pub(super) fn load(loader: &mut Loader<'_>) {
    for path in paths(loader, "app_configs/master/", "-configs.yml") {
        let bytes = loader.sources.files.get(&path).cloned().unwrap_or_default();
        file(loader, &path, &bytes, Kind::Config);
    }
    for path in paths(loader, "secrets/master/", "-secrets.yml") {
        let bytes = loader.sources.files.get(&path).cloned().unwrap_or_default();
        if !bytes.starts_with(VAULT) && !is_age(&bytes) {
            let file = loader.fleet.files.id(&path);
            let span = Span { file, line: 1, column: 1, length: 1 };
            loader.findings.add(codes::SECRET_IN_CLEAR, span, "this file is not encrypted");
            self::file(loader, &path, &bytes, Kind::Secret);
            continue;
        }
        sealed(loader, &path, &bytes);
    }
}

fn paths(loader: &Loader<'_>, folder: &str, end: &str) -> Vec<String> {
    let fits = |path: &&String| path.starts_with(folder) && path.ends_with(end);
    loader.sources.files.keys().filter(fits).cloned().collect()
}

/// How vault files begin.
const VAULT: &[u8] = b"$ANSIBLE_VAULT;";

/// Whether a file begins as one that is sealed with age, armored or not.
fn is_age(bytes: &[u8]) -> bool {
    let begins = [&b"age-encryption.org/v1"[..], b"-----BEGIN AGE ENCRYPTED FILE-----"];
    begins.iter().any(|begin| bytes.trim_ascii_start().starts_with(begin))
}

/// An encrypted file: the header of a vault is looked at, its inside only if the caller opened it.
fn sealed(loader: &mut Loader<'_>, path: &str, bytes: &[u8]) {
    let id = loader.fleet.files.id(path);
    let span = Span { file: id, line: 1, column: 1, length: 14 };
    if bytes.starts_with(VAULT)
        && let Err(why) = vault_form(bytes)
    {
        loader.findings.add(codes::BAD_VAULT_HEADER, span, why);
    }
    match loader.sources.opened_secrets.get(path) {
        Some(clear) => file(loader, path, clear, Kind::Secret),
        None => {
            loader.fleet.sealed.push(Located::new(path.to_owned(), span));
            let why = loader.sources.closed_secrets.get(path).cloned();
            let why = why.unwrap_or_else(|| {
                "it is encrypted, and neither a password nor a key was given".to_owned()
            });
            loader.fleet.unseen.push(Unseen { file: path.to_owned(), why });
        }
    }
}

/// The form of a vault file: a header, then hex lines (spec "fleet folder" §4).
fn vault_form(bytes: &[u8]) -> Result<(), &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "an encrypted file has only ASCII")?;
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or("").trim_end().split(';').collect();
    match header[..] {
        [_, "1.1", "AES256"] => {}
        [_, "1.2", "AES256", id] if !id.is_empty() => {}
        _ => return Err("its first line names neither version 1.1 nor 1.2 with AES256"),
    }
    let hex = |line: &str| line.trim_end().bytes().all(|c| c.is_ascii_hexdigit());
    match lines.clone().any(|line| !line.trim().is_empty()) && lines.all(hex) {
        true => Ok(()),
        false => Err("lines of hex digits have to follow the first line"),
    }
}

fn file(loader: &mut Loader<'_>, path: &str, bytes: &[u8], kind: Kind) {
    let Some((text, id)) = loader.text(path, bytes) else {
        return;
    };
    let findings = &mut loader.findings;
    let Some(root) = yaml::parse(&text, id, LIMITS, findings) else {
        return;
    };
    let Some(mut fields) = Fields::of(root, "the file", findings) else {
        return;
    };
    let Some(node) = fields.need(kind.top(), findings) else {
        return;
    };
    fields.finish(codes::IGNORED_FIELD, &[kind.top()], findings);
    let all = match kind {
        Kind::Config => &mut loader.fleet.configs,
        Kind::Secret => &mut loader.fleet.secrets,
    };
    for (name, node) in node.into_map(kind.top(), findings).unwrap_or_default() {
        add(all, name, node, kind, findings);
    }
}

fn add(
    all: &mut BTreeMap<String, FileEntry>,
    name: Located<String>,
    node: Node,
    kind: Kind,
    findings: &mut Findings,
) {
    if let Some(first) = all.get(&name.value) {
        let message = format!("there already is a {} called {:?}", kind.word(), name.value);
        findings.add(codes::FILE_TWICE, name.span, message).other(first.span, "first here");
        return;
    }
    if let Some(entry) = entry(node, &name, kind, findings) {
        all.insert(name.value, entry);
    }
}

fn entry(
    node: Node,
    name: &Located<String>,
    kind: Kind,
    findings: &mut Findings,
) -> Option<FileEntry> {
    let what = format!("the {} {}", kind.word(), name.value);
    let incomplete = |findings: &mut Findings, span: Span, why: &str| {
        let message = format!("{what} {why}");
        findings.add(codes::FILE_INCOMPLETE, span, message);
    };
    if !matches!(node.value, Value::Map(_)) {
        let why =
            format!("has to be a map with path, content and servers, and is {}", node.value.kind());
        incomplete(findings, name.span, &why);
        return None;
    }
    let mut fields = Fields::of(node, what.clone(), findings)?;
    let path = fields.take_any("path");
    let path = match path.map(|node| (node.span, node.value)) {
        Some((span, Value::Text(path))) if !path.is_empty() => Some(Located::new(path, span)),
        Some((span, Value::Text(_))) => {
            incomplete(findings, span, "has an empty path");
            None
        }
        Some((span, other)) => {
            incomplete(findings, span, &format!("needs a text as path, not {}", other.kind()));
            None
        }
        None => {
            incomplete(findings, name.span, "has no path");
            None
        }
    };
    let content = match fields.take_any("content") {
        Some(node) => content(node, kind, &what, findings),
        None => {
            incomplete(findings, name.span, "has no content");
            None
        }
    };
    let servers = fields.take_any("servers");
    let servers = match servers.map(|node| (node.span, node)) {
        Some((span, Node { value: Value::List(list), .. }))
            if list.is_empty() && kind == Kind::Config =>
        {
            incomplete(findings, span, "has no server");
            None
        }
        Some((_, node)) => node.into_texts(&format!("{what}: servers"), findings),
        None => {
            incomplete(findings, name.span, "has no servers");
            None
        }
    };
    if let (Kind::Secret, Some(node)) = (kind, fields.take("default_extract")) {
        default_extract(&node, &what, findings);
    }
    let content = content?;
    let content = (kind == Kind::Config).then_some(content);
    Some(FileEntry { span: name.span, path: path?, content, servers: servers? })
}

/// Content: a text that is not empty, or may be for secrets; other plain values are told, and kept for app configs.
fn content(node: Node, kind: Kind, what: &str, findings: &mut Findings) -> Option<Content> {
    let empty = match &node.value {
        Value::Null | Value::Bool(false) | Value::Int(0) => true,
        Value::Text(text) => text.is_empty() && kind == Kind::Config,
        Value::Float(number) => *number == 0.0,
        _ => false,
    };
    if empty {
        findings.add(codes::FILE_INCOMPLETE, node.span, format!("{what} has no content"));
        return None;
    }
    match (node.value, kind) {
        (Value::Text(text), _) => Some(Content::Text(text.into())),
        (value @ (Value::List(_) | Value::Map(_)), _) | (value, Kind::Secret) => {
            let message =
                format!("the content of {what} has to be a text, and is {}", value.kind());
            findings.add(codes::WRONG_TYPE, node.span, message);
            None
        }
        (value, Kind::Config) => {
            let message = format!("the content of {what} is {}", value.kind());
            findings.add(codes::CONTENT_NOT_TEXT, node.span, message);
            Some(Content::Other(value))
        }
    }
}

fn default_extract(node: &Node, what: &str, findings: &mut Findings) {
    let fine = match &node.value {
        Value::Bool(_) => true,
        Value::Text(text) => ["true", "false"].contains(&text.to_ascii_lowercase().as_str()),
        _ => false,
    };
    if !fine {
        let message = format!("{what} has a default_extract that is neither true nor false");
        findings.add(codes::BAD_DEFAULT_EXTRACT, node.span, message);
    }
}
