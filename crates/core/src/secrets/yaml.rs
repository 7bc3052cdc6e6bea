//! YAML as a tree with line numbers, for files that hold secrets: small limits, no tags, texts wiped when dropped.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Parser, ScalarStyle};
use zeroize::Zeroizing;

use crate::pyyaml::implicit;

/// Deeper files are refused; the formats here need five levels.
const MAX_DEPTH: usize = 16;
/// Bytes of text that aliases (`*name`) may add by repeating.
const MAX_REPEATED: usize = 16 << 20;

/// What is wrong with the file's YAML.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct YamlError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong; never the file's content.
    pub message: String,
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Counted from 1.
    pub line: usize,
    pub kind: Kind,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// Text, or an unquoted word that YAML 1.1 takes for something else (`word` is then true): `no`, `12`, `~`.
    Scalar {
        text: Zeroizing<String>,
        word: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// The text, if it is text.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, word: false } => Some(text),
            _ => None,
        }
    }

    pub fn map(&self) -> Option<&[(Node, Node)]> {
        match &self.kind {
            Kind::Map(entries) => Some(entries),
            _ => None,
        }
    }

    pub fn get(&self, name: &str) -> Option<&Node> {
        let entry = self.map()?.iter().find(|(key, _)| key.text() == Some(name))?;
        Some(&entry.1)
    }

    /// What it is, for messages.
    pub fn describe(&self) -> &'static str {
        match &self.kind {
            Kind::Scalar { word: false, .. } => "text",
            Kind::Scalar { text, .. } => match text.as_str() {
                "" | "~" | "null" | "Null" | "NULL" => "nothing",
                _ => "a number, date or yes/no (put it in quotes)",
            },
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
        }
    }

    fn size(&self) -> usize {
        64 + match &self.kind {
            Kind::Scalar { text, .. } => text.len(),
            Kind::List(items) => items.iter().map(Node::size).sum(),
            Kind::Map(entries) => entries.iter().map(|(k, v)| k.size() + v.size()).sum(),
        }
    }
}

/// A list or map whose end is not read yet.
struct Open {
    line: usize,
    anchor: usize,
    is_map: bool,
    nodes: Vec<Node>,
}

/// Reads one document. An empty file is an empty scalar word (nothing).
pub(super) fn parse(text: &str) -> Result<Node, YamlError> {
    let mut reader = Reader::default();
    for next in Parser::new_from_str(text) {
        let (event, span) = next.map_err(|error| YamlError {
            line: error.marker().line(),
            message: format!("this is not YAML: {}", error.info()),
        })?;
        let line = span.start.line();
        let at = |message: &str| YamlError { line, message: message.to_owned() };
        if event.tag().is_some_and(|tag| tag.core_suffix().is_none()) {
            return Err(at("YAML tags such as `!vault` are not allowed here"));
        }
        reader.event(event, line).map_err(at)?;
    }
    Ok(reader
        .root
        .unwrap_or(Node { line: 1, kind: Kind::Scalar { text: Zeroizing::default(), word: true } }))
}

#[derive(Default)]
struct Reader {
    root: Option<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    repeated: usize,
}

impl Reader {
    fn event(&mut self, event: Event<'_>, line: usize) -> Result<(), &'static str> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let word = match &tag {
                    // As PyYAML writes a quoted truth value: `!!bool "false"`.
                    Some(tag) => tag.core_suffix() != Some("str"),
                    None => style == ScalarStyle::Plain && implicit::is_other_type(&text),
                };
                let text = Zeroizing::new(match text {
                    Cow::Owned(text) => text,
                    Cow::Borrowed(text) => text.to_owned(),
                });
                let kind = Kind::Scalar { text, word };
                self.add(Node { line, kind }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => self.begin(line, anchor, false),
            Event::MappingStart(_, anchor, _) => self.begin(line, anchor, true),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else {
                    return Ok(());
                };
                let kind = match open.is_map {
                    true => Kind::Map(pairs(open.nodes)?),
                    false => Kind::List(open.nodes),
                };
                self.add(Node { line: open.line, kind }, open.anchor)
            }
            Event::Alias(id) => {
                let node =
                    self.anchors.get(&id).ok_or("an alias may not stand inside what it names")?;
                self.repeated += node.size();
                if self.repeated > MAX_REPEATED {
                    return Err("the aliases of this file repeat too much");
                }
                let node = node.clone();
                self.add(node, 0)
            }
            Event::DocumentStart(..) if self.root.is_some() => {
                Err("a second document (`---`) is not allowed")
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, line: usize, anchor: usize, is_map: bool) -> Result<(), &'static str> {
        if self.open.len() >= MAX_DEPTH {
            return Err("too many levels");
        }
        self.open.push(Open { line, anchor, is_map, nodes: Vec::new() });
        Ok(())
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), &'static str> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            Some(open) => open.nodes.push(node),
            None => self.root = Some(node),
        }
        Ok(())
    }
}

/// Keys and values. What `<<` brings in comes last, and only where there is no such key yet, as in PyYAML.
fn pairs(nodes: Vec<Node>) -> Result<Vec<(Node, Node)>, &'static str> {
    let mut entries = Vec::with_capacity(nodes.len() / 2);
    let mut merged = Vec::new();
    let mut nodes = nodes.into_iter();
    while let (Some(key), Some(value)) = (nodes.next(), nodes.next()) {
        match &key.kind {
            Kind::Scalar { text, word: true } if text.as_str() == "<<" => {
                merge(value, &mut merged)?
            }
            _ => entries.push((key, value)),
        }
    }
    if !merged.is_empty() {
        let name = |key: &Node| key.text().map(str::to_owned);
        let mut names: HashSet<Option<String>> = entries.iter().map(|(key, _)| name(key)).collect();
        entries.extend(merged.into_iter().filter(|(key, _)| names.insert(name(key))));
    }
    Ok(entries)
}

fn merge(value: Node, merged: &mut Vec<(Node, Node)>) -> Result<(), &'static str> {
    let maps = match value.kind {
        Kind::List(maps) => maps,
        _ => vec![value],
    };
    for map in maps {
        match map.kind {
            Kind::Map(entries) => merged.extend(entries),
            _ => return Err("`<<` takes a map or a list of maps"),
        }
    }
    Ok(())
}
