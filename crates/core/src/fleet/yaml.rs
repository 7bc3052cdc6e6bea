//! YAML as PyYAML's `safe_load` reads it (YAML 1.1 scalars, merge keys), with places and within [`Limits`].
//!
//! Unlike PyYAML: duplicate keys are refused. Not read, but refused: tags other than those of plain data, and keys that
//! are not plain values.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Tag};

use super::codes::{self, Code};
use super::finding::Findings;
use super::json::MapBuilder;
use super::node::{Entries, Limits, Node, Value};
use super::scalar;
use super::span::{FileId, Located, Span};

/// Reads a file. A finding and none if it cannot be read; duplicate keys are findings, and the first is kept.
pub fn parse(text: &str, file: FileId, limits: Limits, findings: &mut Findings) -> Option<Node> {
    if text.len() > limits.bytes {
        let message = format!("the file has {} bytes; {} are allowed", text.len(), limits.bytes);
        findings.file(codes::LIMIT, file, message);
        return None;
    }
    let unseen_breaks = unseen_breaks(text);
    // YAML 1.1 takes NEL for a line end, as it takes LF.
    let text = &*match text.contains('\u{85}') {
        true => Cow::Owned(text.replace("\r\u{85}", "\n\n").replace('\u{85}', "\n")),
        false => Cow::Borrowed(text),
    };
    let options = granit_parser::options! {
        emit_comments: false,
        block_scalar_eof_without_line_feed: true,
        flow_nesting_limit: limits.depth,
        block_nesting_limit: limits.depth,
    };
    let mut reader = Reader {
        events: Parser::new_from_str_with_options(text, options),
        file,
        unseen_breaks,
        limits,
        nodes: 0,
        aliased: 0,
        kept: 0,
        anchors: HashMap::new(),
        open: Vec::new(),
        findings,
    };
    match reader.document() {
        Ok(node) => Some(node),
        Err(Stop { code, span, message }) => {
            findings.add(code, span, message);
            None
        }
    }
}

/// Why reading stopped.
struct Stop {
    code: Code,
    span: Span,
    message: String,
}

/// A node with its size, for the limit on aliases.
struct Anchored {
    node: Node,
    size: usize,
}

struct Reader<'a, 'f> {
    events: Parser<'a, granit_parser::StrInput<'a>>,
    file: FileId,
    unseen_breaks: Vec<usize>,
    limits: Limits,
    nodes: usize,
    aliased: usize,
    /// Values that anchors stand for, which are kept twice.
    kept: usize,
    anchors: HashMap<usize, Anchored>,
    /// Anchors of the lists and maps that are still open.
    open: Vec<usize>,
    findings: &'f mut Findings,
}

type Spanned<'a> = (Event<'a>, Span);

impl<'a> Reader<'a, '_> {
    fn document(&mut self) -> Result<Node, Stop> {
        let start = Span { file: self.file, line: 1, column: 1, length: 0 };
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                Event::StreamEnd => break,
                _ if root.is_some() => {
                    return Err(stop(
                        codes::UNSUPPORTED_YAML,
                        span,
                        "a second document begins here",
                    ));
                }
                event => root = Some(self.node(event, span, 0)?),
            }
        }
        Ok(root.unwrap_or(Node { span: start, value: Value::Null }))
    }

    fn next(&mut self) -> Result<Spanned<'a>, Stop> {
        match self.events.next_event() {
            Some(Ok((event, span))) => Ok((event, self.span(&span))),
            Some(Err(error)) => Err(self.scan_error(&error)),
            None => Ok((Event::StreamEnd, Span::whole(self.file))),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Stop> {
        self.nodes += 1;
        if self.nodes > self.limits.nodes || depth > self.limits.depth {
            let what = if depth > self.limits.depth { "levels" } else { "values" };
            return Err(stop(codes::LIMIT, span, &format!("the file has too many {what}")));
        }
        let before = self.nodes;
        let tag = event.tag().map(tag_name);
        let anchor = event.anchor_id();
        if let Some(id) = anchor {
            self.open.push(id);
        }
        let value = match event {
            Event::Scalar(text, style, ..) => scalar_value(&text, style, tag.as_deref(), span)?,
            Event::SequenceStart(..) => {
                structure_tag(tag.as_deref(), "seq", span)?;
                self.list(depth)?
            }
            Event::MappingStart(..) => {
                structure_tag(tag.as_deref(), "map", span)?;
                self.map(depth)?
            }
            Event::Alias(id) => return self.alias(id, span),
            _ => return Err(stop(codes::SYNTAX, span, "a value is expected here")),
        };
        let node = Node { span, value };
        if let Some(id) = anchor {
            self.open.retain(|open| *open != id);
            let size = self.nodes - before + 1;
            self.kept += size;
            if self.kept > self.limits.nodes {
                return Err(stop(codes::LIMIT, span, "anchors stand for too many values"));
            }
            self.anchors.insert(id, Anchored { node: node.clone(), size });
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<Node, Stop> {
        if self.open.contains(&id) {
            let message = "an alias inside the value that it stands for";
            return Err(stop(codes::UNSUPPORTED_YAML, span, message));
        }
        let Some(anchored) = self.anchors.get(&id) else {
            return Err(stop(codes::SYNTAX, span, "an alias without an anchor"));
        };
        self.aliased += anchored.size;
        self.nodes += anchored.size;
        if self.aliased > self.limits.aliased || self.nodes > self.limits.nodes {
            return Err(stop(codes::LIMIT, span, "aliases repeat too many values"));
        }
        Ok(Node { span, value: anchored.node.value.clone() })
    }

    fn list(&mut self, depth: usize) -> Result<Value, Stop> {
        let mut list = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(list)),
                (event, span) => list.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, Stop> {
        let mut own = MapBuilder::default();
        let mut merged: Entries = Vec::new();
        loop {
            let (event, place) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let merge = is_merge_key(&event);
            let key = self.node(event, place, depth + 1)?;
            let (event, span) = self.next()?;
            let node = self.node(event, span, depth + 1)?;
            if merge {
                merged.extend(merge_entries(node)?);
            } else {
                own.add(key_text(key)?, node, self.findings);
            }
        }
        // Own keys win over merged ones, and earlier merged ones over later.
        if !merged.is_empty() {
            let mut names: HashSet<String> =
                own.entries.iter().map(|(key, _)| key.value.clone()).collect();
            merged.retain(|(key, _)| names.insert(key.value.clone()));
            own.entries.extend(merged);
        }
        Ok(Value::Map(own.entries))
    }

    fn span(&self, span: &granit_parser::Span) -> Span {
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let one_line = span.start.line() == span.end.line();
        let length = if one_line { span.end.col().saturating_sub(span.start.col()) } else { 1 };
        Span {
            file: self.file,
            line: number(self.seen_line(span.start.line())),
            column: number(span.start.col()).saturating_add(1),
            length: number(length),
        }
    }

    /// The line as people and editors count.
    fn seen_line(&self, line: usize) -> usize {
        line - self.unseen_breaks.partition_point(|end| *end < line)
    }

    fn scan_error(&self, error: &ScanError) -> Stop {
        let at = error.marker();
        let span = self.span(&granit_parser::Span::empty(*at));
        stop(codes::SYNTAX, span, &error.info())
    }
}

fn stop(code: Code, span: Span, message: &str) -> Stop {
    Stop { code, span, message: message.to_owned() }
}

/// Lines, as YAML counts, that end in what only YAML takes for a line end: NEL, and CR without LF.
fn unseen_breaks(text: &str) -> Vec<usize> {
    let mut unseen = Vec::new();
    if !text.contains(['\r', '\u{85}']) {
        return unseen;
    }
    let mut line = 1;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' if chars.peek() == Some(&'\n') => continue,
            '\n' => {}
            '\r' | '\u{85}' => unseen.push(line),
            _ => continue,
        }
        line += 1;
    }
    unseen
}

/// The name of a tag of plain data, `!` for the tag that says nothing, or nothing for others.
fn tag_name(tag: &Tag) -> String {
    let (handle, suffix) = tag.parts();
    let whole = format!("{handle}{suffix}");
    let plain = whole.strip_prefix("tag:yaml.org,2002:");
    plain.unwrap_or(if whole == "!" { "!" } else { "" }).to_owned()
}

fn scalar_value(
    text: &str,
    style: ScalarStyle,
    tag: Option<&str>,
    span: Span,
) -> Result<Value, Stop> {
    let value = match tag {
        None if style == ScalarStyle::Plain => Some(scalar::resolve(text)),
        // Whatever the style: here PyYAML differs from the standard.
        Some("!") => Some(scalar::resolve(text)),
        None | Some("str") => Some(Value::Text(text.to_owned())),
        Some(tag) => scalar::tagged(text, tag),
    };
    value.ok_or_else(|| {
        let message = "a tag that plain data does not have, or a value that it does not fit";
        stop(codes::UNSUPPORTED_YAML, span, message)
    })
}

fn structure_tag(tag: Option<&str>, own: &str, span: Span) -> Result<(), Stop> {
    match tag {
        Some(tag) if tag != own && tag != "!" => {
            let message = "a tag that plain lists and maps do not have";
            Err(stop(codes::UNSUPPORTED_YAML, span, message))
        }
        _ => Ok(()),
    }
}

fn is_merge_key(event: &Event<'_>) -> bool {
    matches!(event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<")
}

/// The entries that `<<` brings in: those of a map, or of each map of a list, the first list entry winning.
fn merge_entries(node: Node) -> Result<Entries, Stop> {
    match node.value {
        Value::Map(entries) => Ok(entries),
        Value::List(list) => {
            let mut all = Vec::new();
            for node in list {
                match node.value {
                    Value::Map(entries) => all.extend(entries),
                    _ => return Err(stop(codes::SYNTAX, node.span, "`<<` takes maps only")),
                }
            }
            Ok(all)
        }
        _ => Err(stop(codes::SYNTAX, node.span, "`<<` takes a map or a list of maps")),
    }
}

/// A key as text. Numbers and the like were never meant as such: host 007 stays `007`.
fn key_text(key: Node) -> Result<Located<String>, Stop> {
    match key.value {
        Value::Text(text) => Ok(Located::new(text, key.span)),
        other => {
            let message =
                format!("a key has to be a text, and is {}; put it in quotes", other.kind());
            Err(stop(codes::WRONG_TYPE, key.span, &message))
        }
    }
}
