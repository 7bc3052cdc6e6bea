//! Findings in the forms in which they are printed.

use std::path::Path;

use afield_core::fleet::{Finding, Severity, codes};
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde_json::{Value, json};

use crate::context::Folder;

/// Lines shown before and after the place.
const AROUND: usize = 1;

/// One finding as text with a source excerpt, the place marked, and the remedy.
pub fn text(finding: &Finding, folder: &Folder, base: &Path, color: bool) -> String {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let title = level.primary_title(&finding.message).id(finding.code.to_string());
    let mut group = Group::with_title(title);
    let path = folder.path(&finding.file, base).display().to_string();
    match Excerpt::of(folder, &finding.file, finding.line, finding.column, finding.length) {
        // What stands in an opened secret is not shown, only where.
        None => group = group.element(Origin::path(path).line(finding.line as usize)),
        Some(excerpt) => {
            let mark = AnnotationKind::Primary.span(excerpt.mark.clone());
            group = group.element(excerpt.snippet(path, mark));
        }
    }
    if let Some(other) = &finding.other {
        let path = folder.path(&other.file, base).display().to_string();
        match Excerpt::of(folder, &other.file, other.line, other.column, other.length) {
            None => group = group.element(Level::NOTE.message(format!("{}: {path}", other.label))),
            Some(excerpt) => {
                let mark = AnnotationKind::Context.span(excerpt.mark.clone()).label(&other.label);
                group = group.element(excerpt.snippet(path, mark));
            }
        }
    }
    group = group.element(Level::HELP.message(&finding.remedy));
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    renderer.render(&[group])
}

/// Some lines of a file and what to mark in them.
struct Excerpt {
    source: String,
    first: usize,
    mark: std::ops::Range<usize>,
}

impl Excerpt {
    /// Around a place; none if the whole file is meant or its text is not at hand.
    fn of(folder: &Folder, file: &str, line: u32, column: u32, length: u32) -> Option<Self> {
        if folder.sources.opened_secrets.contains_key(file) {
            return None;
        }
        let text = std::str::from_utf8(folder.sources.files.get(file)?).ok()?;
        let line = (line as usize).checked_sub(1).filter(|_| length > 0)?;
        let first = line.saturating_sub(AROUND);
        let mut source = String::new();
        let mut mark = 0..0;
        for (at, content) in text.lines().enumerate().skip(first).take(line - first + AROUND + 1) {
            if at == line {
                let byte = |chars: usize| {
                    content.char_indices().nth(chars).map_or(content.len(), |(at, _)| at)
                };
                let start = (column as usize).saturating_sub(1);
                let end = start + length as usize;
                mark = source.len() + byte(start)..source.len() + byte(end);
            }
            source.push_str(content);
            source.push('\n');
        }
        (!source.is_empty()).then_some(Self { source, first: first + 1, mark })
    }

    fn snippet<'a>(
        self,
        path: String,
        mark: annotate_snippets::Annotation<'a>,
    ) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
        Snippet::source(self.source).line_start(self.first).path(path).fold(false).annotation(mark)
    }
}

/// All findings as SARIF 2.1.0, for code scanning.
pub fn sarif(findings: &[Finding], folder: &Folder, base: &Path) -> Value {
    let rules: Vec<Value> = codes::TABLE.iter().map(rule).collect();
    let results: Vec<Value> = findings
        .iter()
        .map(|finding| {
            let text = format!("{}. {}", finding.message, finding.remedy);
            json!({
                "ruleId": finding.code,
                "level": finding.severity,
                "message": { "text": text },
                "locations": [{ "physicalLocation": {
                    "artifactLocation": { "uri": uri(&folder.path(&finding.file, base)) },
                    "region": {
                        "startLine": finding.line,
                        "startColumn": finding.column,
                        "endColumn": finding.column + finding.length.max(1),
                    },
                }}],
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "afield",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn rule(row: &codes::Row) -> Value {
    json!({
        "id": row.code,
        "shortDescription": { "text": row.title },
        "fullDescription": { "text": row.explanation },
        "help": { "text": row.remedy },
        "defaultConfiguration": { "level": row.severity },
    })
}

/// A relative path as a URI reference (RFC 3986).
fn uri(path: &Path) -> String {
    let mut out = String::new();
    for byte in path.to_string_lossy().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// One finding as a workflow command of GitHub Actions, which shows it beside the changed line.
pub fn github(finding: &Finding, folder: &Folder, base: &Path) -> String {
    let kind = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "notice",
    };
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let file = folder.path(&finding.file, base).display().to_string();
    let text = format!("{}\n{}", finding.message, finding.remedy);
    format!(
        "::{kind} file={},line={},col={},title={}::{}",
        property(&file),
        finding.line,
        finding.column,
        finding.code,
        data(&text)
    )
}
