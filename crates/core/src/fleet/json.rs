//! JSON (RFC 8259) with places: duplicate keys refused, `_comment` dropped at any depth, within [`Limits`].

use std::collections::HashMap;

use super::codes;
use super::finding::Findings;
use super::node::{Limits, Node, Value};
use super::span::{FileId, Located, Span};

/// Reads a file. A finding and none if it is no JSON; duplicate keys are findings, and the first is kept.
pub fn parse(text: &str, file: FileId, limits: Limits, findings: &mut Findings) -> Option<Node> {
    if text.len() > limits.bytes {
        let message = format!("the file has {} bytes; {} are allowed", text.len(), limits.bytes);
        findings.file(codes::LIMIT, file, message);
        return None;
    }
    let mut parser =
        Parser { text, at: 0, line: 1, counted: (0, 1), file, limits, nodes: 0, findings };
    let parsed = parser.document();
    match parsed {
        Ok(node) => Some(node),
        Err(Stop { code, span, message }) => {
            findings.add(code, span, message);
            None
        }
    }
}

/// Why reading stopped.
struct Stop {
    code: codes::Code,
    span: Span,
    message: String,
}

struct Parser<'a, 'f> {
    text: &'a str,
    at: usize,
    line: u32,
    /// A position on this line and its column, so that no line is counted twice.
    counted: (usize, u32),
    file: FileId,
    limits: Limits,
    nodes: usize,
    findings: &'f mut Findings,
}

impl<'a> Parser<'a, '_> {
    fn document(&mut self) -> Result<Node, Stop> {
        // A byte order mark is what some editors leave; it says nothing.
        if self.text.starts_with('\u{feff}') {
            self.at = '\u{feff}'.len_utf8();
            self.counted = (self.at, 1);
        }
        self.space();
        let node = self.value(0)?;
        self.space();
        match self.peek() {
            None => Ok(node),
            Some(_) => Err(self.stop("something follows after the end of the value")),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, Stop> {
        self.nodes += 1;
        if self.nodes > self.limits.nodes || depth > self.limits.depth {
            let what = if depth > self.limits.depth { "levels" } else { "values" };
            let mut stop = self.stop(&format!("the file has too many {what}"));
            stop.code = codes::LIMIT;
            return Err(stop);
        }
        let start = self.at;
        let mut span = self.here();
        let value = match self.peek() {
            Some(b'{') => return self.map(span, depth),
            Some(b'[') => return self.list(span, depth),
            Some(b'"') => Value::Text(self.string()?),
            Some(b't') => self.word("true", Value::Bool(true))?,
            Some(b'f') => self.word("false", Value::Bool(false))?,
            Some(b'n') => self.word("null", Value::Null)?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(_) => return Err(self.stop("a value is expected here")),
            None => return Err(self.stop("the file ends where a value is expected")),
        };
        span.length = chars(&self.text[start..self.at]);
        Ok(Node { span, value })
    }

    fn list(&mut self, span: Span, depth: usize) -> Result<Node, Stop> {
        self.at += 1;
        self.space();
        let mut list = Vec::new();
        if self.eat(b']') {
            return Ok(Node { span, value: Value::List(list) });
        }
        loop {
            self.space();
            list.push(self.value(depth + 1)?);
            self.space();
            if self.eat(b']') {
                return Ok(Node { span, value: Value::List(list) });
            }
            if !self.eat(b',') {
                return Err(self.stop("a comma or ] is expected here"));
            }
        }
    }

    fn map(&mut self, span: Span, depth: usize) -> Result<Node, Stop> {
        self.at += 1;
        let mut map = MapBuilder::default();
        self.space();
        if self.eat(b'}') {
            return Ok(Node { span, value: Value::Map(map.entries) });
        }
        loop {
            self.space();
            let start = self.at;
            let mut place = self.here();
            if self.peek() != Some(b'"') {
                return Err(self.stop("a key in double quotes is expected here"));
            }
            let key = self.string()?;
            place.length = chars(&self.text[start..self.at]);
            self.space();
            if !self.eat(b':') {
                return Err(self.stop("a colon is expected here"));
            }
            self.space();
            let node = self.value(depth + 1)?;
            map.add(Located::new(key, place), node, self.findings);
            self.space();
            if self.eat(b'}') {
                return Ok(Node { span, value: Value::Map(map.entries) });
            }
            if !self.eat(b',') {
                return Err(self.stop("a comma or } is expected here"));
            }
        }
    }

    /// A string, at its opening quote.
    fn string(&mut self) -> Result<String, Stop> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            let plain = rest.iter().position(|c| matches!(c, b'"' | b'\\' | 0..=0x1f));
            let Some(plain) = plain else {
                return Err(self.stop("the file ends inside a text"));
            };
            // Both ends are at ASCII characters, so the slice is at character boundaries.
            out.push_str(&self.text[self.at..self.at + plain]);
            let byte = rest[plain];
            self.at += plain;
            match byte {
                b'"' => {
                    self.at += 1;
                    return Ok(out);
                }
                b'\\' => out.push(self.escape()?),
                _ => return Err(self.stop("a control character or line end inside a text")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Stop> {
        let byte = self.text.as_bytes().get(self.at + 1).copied();
        let plain = match byte {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            _ => return Err(self.stop("an unknown escape sequence")),
        };
        self.at += 2;
        Ok(plain)
    }

    fn unicode_escape(&mut self) -> Result<char, Stop> {
        let high = self.hex4()?;
        let code = match high {
            0xd800..=0xdbff => {
                let low = self.hex4()?;
                if !(0xdc00..=0xdfff).contains(&low) {
                    return Err(self.stop("half of a surrogate pair"));
                }
                0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)
            }
            _ => high,
        };
        char::from_u32(code).ok_or_else(|| self.stop("half of a surrogate pair"))
    }

    fn hex4(&mut self) -> Result<u32, Stop> {
        let digits = self.text.get(self.at..self.at + 6).and_then(|t| t.strip_prefix("\\u"));
        let all_hex = |d: &&str| d.bytes().all(|c| c.is_ascii_hexdigit());
        let Some(digits) = digits.filter(all_hex) else {
            return Err(self.stop("\\u and four hex digits are expected here"));
        };
        self.at += 6;
        Ok(u32::from_str_radix(digits, 16).unwrap_or(0))
    }

    fn number(&mut self) -> Result<Value, Stop> {
        let start = self.at;
        let source: &'a str = self.text;
        let rest = &source[start..];
        let end = rest
            .find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'))
            .unwrap_or(rest.len());
        let text = &rest[..end];
        let wrong = self.stop("not a number");
        let digits = text.strip_prefix('-').unwrap_or(text);
        let whole = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        // JSON wants at least one digit first, and no leading zero.
        if whole == 0 || (whole > 1 && digits.starts_with('0')) {
            return Err(wrong);
        }
        self.at += end;
        if whole == digits.len()
            && let Ok(value) = text.parse()
        {
            return Ok(Value::Int(value));
        }
        if digits[whole..].starts_with(".e") || digits.ends_with('.') || digits.contains(".E") {
            return Err(wrong);
        }
        match text.parse() {
            Ok(value) => Ok(Value::Float(value)),
            Err(_) => Err(wrong),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Stop> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.stop("a value is expected here"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn space(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b'\n' => {
                    self.line += 1;
                    self.counted = (self.at + 1, 1);
                }
                b' ' | b'\t' | b'\r' => {}
                _ => return,
            }
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.at += 1;
        }
        found
    }

    fn here(&mut self) -> Span {
        let (from, column) = self.counted;
        let column = column.saturating_add(chars(self.text.get(from..self.at).unwrap_or("")));
        self.counted = (self.at, column);
        Span { file: self.file, line: self.line, column, length: 1 }
    }

    fn stop(&mut self, message: &str) -> Stop {
        Stop { code: codes::SYNTAX, span: self.here(), message: message.to_owned() }
    }
}

fn chars(text: &str) -> u32 {
    u32::try_from(text.chars().count()).unwrap_or(u32::MAX)
}

/// Builds a map: drops `_comment`, keeps the first of two equal keys and reports the second.
#[derive(Default)]
pub struct MapBuilder {
    /// What has been added.
    pub entries: super::node::Entries,
    /// Only for large maps, where looking at each entry would cost quadratic time.
    index: HashMap<String, usize>,
}

impl MapBuilder {
    /// Adds an entry.
    pub fn add(&mut self, key: Located<String>, node: Node, findings: &mut Findings) {
        if let Some(first) = self.find(&key.value) {
            let first = self.entries[first].0.span;
            let message = format!("the key {:?} stands twice", key.value);
            findings.add(codes::DUPLICATE_KEY, key.span, message).other(first, "first here");
        } else if key.value != "_comment" {
            if !self.index.is_empty() {
                self.index.insert(key.value.clone(), self.entries.len());
            }
            self.entries.push((key, node));
            if self.entries.len() == 16 {
                let keys = self.entries.iter().enumerate();
                self.index = keys.map(|(at, (key, _))| (key.value.clone(), at)).collect();
            }
        }
    }

    fn find(&self, key: &str) -> Option<usize> {
        match self.index.is_empty() {
            false => self.index.get(key).copied(),
            true => self.entries.iter().position(|(other, _)| other.value == key),
        }
    }
}
