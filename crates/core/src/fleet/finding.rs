//! Findings: what is wrong, where, and what to do.

use serde::Serialize;

use super::codes::{Code, Severity};
use super::span::{FileId, Files, Span};

/// One thing that is wrong, with the names resolved. Serialises as the JSON that `afield check` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable code, such as AF0101.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, with the names involved.
    pub message: String,
    /// The file, relative to the fleet folder.
    pub file: String,
    /// Line, from 1; 1 also if the whole file is meant.
    pub line: u32,
    /// Column in characters, from 1; 1 also if the whole file is meant.
    pub column: u32,
    /// What to do about it.
    pub remedy: String,
    /// How many characters the place has on its line; 0 if the whole file is meant.
    #[serde(skip)]
    pub length: u32,
    /// Another place that belongs to it, such as the first of two definitions.
    #[serde(skip)]
    pub other: Option<Other>,
}

/// A second place of a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// The file, relative to the fleet folder.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// How many characters the place has on its line.
    pub length: u32,
    /// What is there.
    pub label: String,
}

/// Collects findings while files are read and rules are looked at.
#[derive(Debug, Default)]
pub struct Findings {
    list: Vec<Raw>,
}

#[derive(Debug)]
struct Raw {
    code: Code,
    span: Span,
    message: String,
    remedy: Option<String>,
    other: Option<(Span, String)>,
}

/// A finding just added; more can be said about it.
pub struct Added<'a>(&'a mut Raw);

impl Added<'_> {
    /// Says what to do about it, more exactly than the code's own remedy.
    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        self.0.remedy = Some(remedy.into());
        self
    }

    /// Points at a second place and says what is there.
    pub fn other(self, span: Span, label: impl Into<String>) -> Self {
        self.0.other = Some((span, label.into()));
        self
    }
}

impl Findings {
    /// Adds a finding.
    pub fn add(&mut self, code: Code, span: Span, message: impl Into<String>) -> Added<'_> {
        let raw = Raw { code, span, message: message.into(), remedy: None, other: None };
        self.list.push(raw);
        let last = self.list.len() - 1;
        Added(&mut self.list[last])
    }

    /// Adds a finding about a whole file.
    pub fn file(&mut self, code: Code, file: FileId, message: impl Into<String>) -> Added<'_> {
        self.add(code, Span::whole(file), message)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All findings with the names of their files, in the order of [`sort`].
    pub fn finish(self, files: &Files) -> Vec<Finding> {
        let mut list: Vec<Finding> = self.list.into_iter().map(|raw| raw.finish(files)).collect();
        sort(&mut list);
        list
    }
}

/// Sorts by file, line, column and code, and drops what is said twice.
pub fn sort(list: &mut Vec<Finding>) {
    list.sort_by(|a, b| {
        (&a.file, a.line, a.column, a.code, &a.message)
            .cmp(&(&b.file, b.line, b.column, b.code, &b.message))
    });
    list.dedup();
}

impl Raw {
    fn finish(self, files: &Files) -> Finding {
        let row = self.code.row();
        Finding {
            code: self.code,
            severity: row.severity,
            message: self.message,
            file: files.name(self.span.file).to_owned(),
            line: self.span.line.max(1),
            column: self.span.column.max(1),
            remedy: self.remedy.unwrap_or_else(|| row.remedy.to_owned()),
            length: self.span.length,
            other: self.other.map(|(span, label)| Other {
                file: files.name(span.file).to_owned(),
                line: span.line.max(1),
                column: span.column.max(1),
                length: span.length,
                label,
            }),
        }
    }
}
