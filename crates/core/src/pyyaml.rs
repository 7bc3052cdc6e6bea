//! YAML as PyYAML's `yaml.safe_dump` writes it, byte for byte.
//!
//! The older tools write their generated files with PyYAML, and people compare and commit those files. So Afield
//! writes the same bytes: keys sorted, block style, two spaces, ASCII escapes, and lines folded after column 80.
//! The rules here were found by looking at what PyYAML 6.0 writes; `tests/data/pyyaml-vectors.json` holds them fast.
//!
//! Only what the fleet files need is here: no anchors, no tags, no flow style except `{}` and `[]`.

use std::collections::BTreeMap;

pub(crate) mod implicit;
mod scalar;

/// What can be written. Borrows its strings, so that a secret is not copied on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number or date, in the form in which it is written.
    Plain(String),
    /// Text; the style is chosen from the text and [`Strings`].
    Str(&'a str),
    /// A list; in a map it is not indented, as PyYAML does.
    List(Vec<Value<'a>>),
    /// A map, written in the order of the keys' code points.
    Map(BTreeMap<&'a str, Value<'a>>),
}

/// Which style strings ask for. A style that cannot carry a text gives way to double quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strings {
    /// What `yaml.safe_dump(data)` does: plain where possible, else single quotes, else double quotes.
    Shortest,
    /// As `Shortest`, but text of two lines or more is written as a `|` block (`generated-app-configs.yml`).
    LinesAsBlocks,
    /// What `yaml.safe_dump(data, default_style="|")` does: `|` for values, double quotes for keys
    /// (`generated-secrets.yml`). Meant for data of strings only; other scalars are written plain.
    AllAsBlocks,
}

/// Writes `value` as `yaml.safe_dump(value)` does.
pub fn safe_dump(value: &Value<'_>) -> String {
    dump(value, Strings::Shortest)
}

/// Writes `value` as PyYAML does with the given style for strings.
pub fn dump(value: &Value<'_>, strings: Strings) -> String {
    // Room enough that the text, which may be secret, is hardly ever moved and left behind in freed memory.
    let mut writer = Writer::new(String::with_capacity(2 * size_hint(value) + 256), strings);
    writer.node(value, Place::Root, None);
    writer.finish()
}

fn size_hint(value: &Value<'_>) -> usize {
    match value {
        Value::Str(text) => 2 * text.len() + 16,
        Value::List(items) => items.iter().map(size_hint).sum::<usize>() + 16,
        Value::Map(map) => {
            map.iter().map(|(key, value)| 2 * key.len() + 16 + size_hint(value)).sum()
        }
        _ => 24,
    }
}

/// Where a node stands; decides about indentation and the styles allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    ListItem,
    /// A key on one line with its colon.
    SimpleKey,
    /// A value, or a key that is too long or has several lines and stands after `? `.
    InMap,
}

/// The longest simple key that PyYAML writes is 127 characters, of which it counts five for the tag `!!str`.
const LONGEST_SIMPLE_KEY: usize = 122;
const INDENT: usize = 2;
const WIDTH: usize = 80;

/// The state of the line being written. Everything written is ASCII, so a byte is a column.
struct Writer {
    out: String,
    strings: Strings,
    column: usize,
    /// The last thing written was a blank, or the line is new: no blank is needed before the next word.
    after_blank: bool,
    /// Nothing but indentation and the marks `-`, `?`, `:` stands on this line so far.
    only_indent: bool,
    /// The document ends in a scalar whose end cannot be seen, so `...` must follow.
    open_ended: bool,
}

impl Writer {
    fn new(out: String, strings: Strings) -> Self {
        Self { out, strings, column: 0, after_blank: true, only_indent: true, open_ended: false }
    }

    fn finish(mut self) -> String {
        self.start_line(0);
        if self.open_ended {
            self.out.push_str("...\n");
        }
        self.out
    }

    /// `indent` is that of the collection this node is in; none at the root.
    fn node(&mut self, value: &Value<'_>, place: Place, indent: Option<usize>) {
        match value {
            Value::Null => self.word("null", place),
            Value::Bool(value) => self.word(if *value { "true" } else { "false" }, place),
            Value::Int(value) => self.word(&value.to_string(), place),
            Value::Plain(text) => self.word(text, place),
            Value::Str(text) => {
                self.string(text, place, indent.map_or(INDENT, |indent| indent + INDENT))
            }
            Value::List(items) if items.is_empty() => self.mark("[]", true, false),
            Value::Map(map) if map.is_empty() => self.mark("{}", true, false),
            Value::List(items) => self.list(items, place, indent),
            Value::Map(map) => self.map(map, indent),
        }
    }

    fn list(&mut self, items: &[Value<'_>], place: Place, outer: Option<usize>) {
        let beside_key = place == Place::InMap && !self.only_indent;
        let indent = outer.map_or(0, |outer| if beside_key { outer } else { outer + INDENT });
        for item in items {
            self.start_line(indent);
            self.mark("-", true, true);
            self.node(item, Place::ListItem, Some(indent));
        }
    }

    fn map(&mut self, map: &BTreeMap<&str, Value<'_>>, outer: Option<usize>) {
        let indent = outer.map_or(0, |outer| outer + INDENT);
        for (key, value) in map {
            self.start_line(indent);
            let simple = !key.is_empty()
                && key.chars().count() <= LONGEST_SIMPLE_KEY
                && !scalar::has_break(key);
            if simple {
                self.node(&Value::Str(key), Place::SimpleKey, Some(indent));
                self.mark(":", false, false);
            } else {
                self.mark("?", true, true);
                self.node(&Value::Str(key), Place::InMap, Some(indent));
                self.start_line(indent);
                self.mark(":", true, true);
            }
            self.node(value, Place::InMap, Some(indent));
        }
    }

    /// A word that needs no quotes.
    fn word(&mut self, word: &str, place: Place) {
        self.mark(word, true, false);
        self.open_ended = place == Place::Root;
    }

    /// Writes a mark such as `-`, `:` or a quote.
    fn mark(&mut self, mark: &str, needs_blank: bool, keeps_indent: bool) {
        if needs_blank && !self.after_blank {
            self.push(" ");
        }
        self.push(mark);
        self.after_blank = false;
        self.only_indent &= keeps_indent;
        self.open_ended = false;
    }

    /// Text as it is: it must be ASCII without line breaks.
    fn push(&mut self, text: &str) {
        self.column += text.len();
        self.out.push_str(text);
    }

    fn line_break(&mut self) {
        self.out.push('\n');
        self.column = 0;
        self.after_blank = true;
        self.only_indent = true;
    }

    /// Goes to column `indent`, on a new line unless this one has only indentation so far.
    fn start_line(&mut self, indent: usize) {
        let used = self.column > indent || (self.column == indent && !self.after_blank);
        if !self.only_indent || used {
            self.line_break();
        }
        if self.column < indent {
            self.out.extend(std::iter::repeat_n(' ', indent - self.column));
            self.column = indent;
            self.after_blank = true;
        }
    }
}
