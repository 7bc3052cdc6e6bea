//! The tree that JSON and YAML are both read into: plain values with their places.

use super::codes::{self, Code};
use super::finding::Findings;
use super::span::{Located, Span};

/// Limits of one file; see the explanation of AF0003.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a file.
    pub bytes: usize,
    /// Levels of lists and maps.
    pub depth: usize,
    /// Values in a file.
    pub nodes: usize,
    /// Values that YAML aliases repeat.
    pub aliased: usize,
}

/// The limits that [`super::load`] uses.
pub const LIMITS: Limits =
    Limits { bytes: 64 << 20, depth: 64, nodes: 2_000_000, aliased: 100_000 };

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it begins.
    pub span: Span,
    /// The value.
    pub value: Value,
}

/// A value of JSON or YAML.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// A whole number that is too large for that, in decimal digits.
    Big(String),
    /// A number with a fraction or exponent.
    Float(f64),
    /// A YAML date or time, in the form in which PyYAML writes it.
    Time(String),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file, each key once, without `_comment`.
    Map(Vec<(Located<String>, Node)>),
}

impl Value {
    /// What it is, as a person would say it.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "a truth value",
            Value::Int(_) | Value::Big(_) | Value::Float(_) => "a number",
            Value::Time(_) => "a date",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

/// The entries of a map.
pub type Entries = Vec<(Located<String>, Node)>;

impl Node {
    /// The map; otherwise a finding that says what `what` should be.
    pub fn into_map(self, what: &str, findings: &mut Findings) -> Option<Entries> {
        match self.value {
            Value::Map(entries) => Some(entries),
            other => {
                wrong_type(findings, self.span, what, "a map", &other);
                None
            }
        }
    }

    /// The list; otherwise a finding.
    pub fn into_list(self, what: &str, findings: &mut Findings) -> Option<Vec<Node>> {
        match self.value {
            Value::List(list) => Some(list),
            other => {
                wrong_type(findings, self.span, what, "a list", &other);
                None
            }
        }
    }

    /// The text; otherwise a finding.
    pub fn into_text(self, what: &str, findings: &mut Findings) -> Option<Located<String>> {
        match self.value {
            Value::Text(text) => Some(Located::new(text, self.span)),
            other => {
                wrong_type(findings, self.span, what, "a text", &other);
                None
            }
        }
    }

    /// The texts of a list; a finding for each value that is none.
    pub fn into_texts(self, what: &str, findings: &mut Findings) -> Option<Vec<Located<String>>> {
        let list = self.into_list(what, findings)?;
        let each = format!("each value of {what}");
        Some(list.into_iter().filter_map(|node| node.into_text(&each, findings)).collect())
    }

    /// The truth value; otherwise a finding.
    pub fn into_bool(self, what: &str, findings: &mut Findings) -> Option<bool> {
        match self.value {
            Value::Bool(value) => Some(value),
            other => {
                wrong_type(findings, self.span, what, "true or false", &other);
                None
            }
        }
    }

    /// The whole number; otherwise a finding.
    pub fn into_int(self, what: &str, findings: &mut Findings) -> Option<Located<i128>> {
        match self.value {
            Value::Int(value) => Some(Located::new(value, self.span)),
            other => {
                wrong_type(findings, self.span, what, "a whole number", &other);
                None
            }
        }
    }
}

/// Adds the finding for a value of the wrong type.
pub fn wrong_type(findings: &mut Findings, span: Span, what: &str, wanted: &str, got: &Value) {
    let message = format!("{what} has to be {wanted}, and is {}", got.kind());
    findings.add(codes::WRONG_TYPE, span, message);
}

/// A map whose fields are taken out one by one.
pub struct Fields {
    what: String,
    span: Span,
    entries: Entries,
}

impl Fields {
    /// The fields of a node; a finding and none if it is no map. `what` names it in findings.
    pub fn of(node: Node, what: impl Into<String>, findings: &mut Findings) -> Option<Self> {
        let what = what.into();
        let span = node.span;
        Some(Self { entries: node.into_map(&what, findings)?, what, span })
    }

    /// What the map is called in findings.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Where the map begins.
    pub fn span(&self) -> Span {
        self.span
    }

    /// Takes a field out. A field that is `null` is as if it were not there.
    pub fn take(&mut self, name: &str) -> Option<Node> {
        let at = self.entries.iter().position(|(key, _)| key.value == name)?;
        let (_, node) = self.entries.swap_remove(at);
        (node.value != Value::Null).then_some(node)
    }

    /// Takes a field out, even if it is `null`.
    pub fn take_any(&mut self, name: &str) -> Option<Node> {
        let at = self.entries.iter().position(|(key, _)| key.value == name)?;
        Some(self.entries.swap_remove(at).1)
    }

    /// Takes a mandatory field out; a finding if it is missing.
    pub fn need(&mut self, name: &str, findings: &mut Findings) -> Option<Node> {
        let node = self.take_any(name);
        if node.is_none() {
            let message = format!("{} has no field `{name}`", self.what);
            findings.add(codes::MISSING_FIELD, self.span, message);
        }
        node
    }

    /// Adds a finding of the given code for each field that is left.
    pub fn finish(self, code: Code, known: &[&str], findings: &mut Findings) {
        for (key, _) in self.entries {
            let message = format!("{} has no field called {:?}", self.what, key.value);
            let remedy = match nearest(&key.value, known) {
                Some(near) => format!("Is `{near}` meant? A remark goes under `_comment`."),
                None => format!("The fields here are {}.", known.join(", ")),
            };
            findings.add(code, key.span, message).remedy(remedy);
        }
    }
}

/// The known name that is at most two edits away, for a helpful remedy.
///
/// Among very many names none is looked for: it would take longer than everything else.
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    if known.len() > 3000 {
        return None;
    }
    let alike = known.iter().filter(|candidate| candidate.len().abs_diff(name.len()) <= 2);
    let close = alike.map(|candidate| (distance(name, candidate), *candidate));
    close.filter(|(edits, _)| *edits <= 2).min().map(|(_, candidate)| candidate)
}

/// Edit distance (Levenshtein) of two short names; long ones count as far.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > 64 || b.len() > 64 {
        return usize::MAX;
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
