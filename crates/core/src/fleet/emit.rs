//! Writes block maps as PyYAML's emitter does with `safe_dump` and its defaults: indent 2, width 80, ASCII.
//!
//! Byte for byte, so the steps follow that emitter's behaviour, odd as some of it is. Texts of several lines become
//! literal blocks (`|`) where that is possible, as the older tool asked for.

use super::scalar::needs_quotes;

const WIDTH: usize = 80;
const INDENT: usize = 2;

/// A value to write.
pub(super) enum Out<'a> {
    /// A map, in the order in which it is written.
    Map(Vec<(&'a str, Out<'a>)>),
    /// A text.
    Text(&'a str),
    /// A number, truth value or date, in the form in which it is written.
    Plain(String),
}

/// The document.
pub(super) fn document(root: &Out<'_>) -> String {
    let mut emitter = Emitter { out: String::new(), column: 0, fresh: true };
    match root {
        Out::Map(entries) if !entries.is_empty() => emitter.map(entries, 0),
        Out::Map(_) => emitter.write("{}"),
        Out::Text(text) => emitter.text(text, INDENT, true),
        Out::Plain(text) => emitter.write(text),
    }
    if emitter.column > 0 {
        emitter.line_break();
    }
    emitter.out
}

struct Emitter {
    out: String,
    column: usize,
    /// Nothing but spaces and indicators stands on this line yet.
    fresh: bool,
}

impl Emitter {
    fn map(&mut self, entries: &[(&str, Out<'_>)], indent: usize) {
        for (key, value) in entries {
            self.indent(indent);
            if simple_key(key) {
                self.text(key, indent + INDENT, false);
                self.write(":");
            } else {
                self.write("? ");
                self.text(key, indent + INDENT, true);
                self.indent(indent);
                self.write(":");
                // A map begins on the line of its colon here.
                self.fresh = matches!(value, Out::Map(_));
            }
            match value {
                Out::Map(entries) if entries.is_empty() => self.write(" {}"),
                Out::Map(entries) => self.map(entries, indent + INDENT),
                Out::Text(text) => {
                    self.write(" ");
                    self.text(text, indent + INDENT, true);
                }
                Out::Plain(text) => {
                    self.write(" ");
                    self.write(text);
                }
            }
        }
    }

    /// A text in the style that PyYAML chooses; `split` allows to fold it.
    fn text(&mut self, text: &str, indent: usize, split: bool) {
        let form = Form::of(text);
        let literal = split && text.strip_suffix('\n').unwrap_or(text).contains('\n');
        if !literal && form.plain && !needs_quotes(text) {
            self.plain(text, indent, split);
        } else if literal && form.block {
            self.literal(text, indent);
        } else if form.single && !literal {
            self.single(text, indent, split);
        } else {
            self.double(text, indent, split);
        }
    }

    fn plain(&mut self, text: &str, indent: usize, split: bool) {
        for (at, word) in words(text).enumerate() {
            // Folded at a single space once the line is too long, not before.
            if word == " " && at > 0 && self.column > WIDTH && split {
                self.indent(indent);
            } else {
                self.write(word);
            }
        }
    }

    fn single(&mut self, text: &str, indent: usize, split: bool) {
        self.write("'");
        let mut done = 0;
        for word in words(text) {
            let (start, end) = (done, done + word.len());
            done = end;
            if word.starts_with(' ') {
                let fold = word.len() == 1 && start != 0 && end != text.len();
                match fold && self.column > WIDTH && split {
                    true => self.indent(indent),
                    false => self.write(word),
                }
            } else if word.starts_with('\n') {
                (0..=word.len()).for_each(|_| self.line_break());
                self.indent(indent);
            } else {
                self.write(&word.replace('\'', "''"));
            }
        }
        self.write("'");
    }

    fn double(&mut self, text: &str, indent: usize, split: bool) {
        self.write("\"");
        let chars: Vec<char> = text.chars().collect();
        let mut pending = String::new();
        for (at, c) in chars.iter().copied().enumerate() {
            let plain = matches!(c, ' '..='~') && c != '"' && c != '\\';
            if !plain {
                self.write(&pending);
                pending.clear();
                self.write(&escape(c));
            }
            let may_fold = at > 0 && at + 1 < chars.len() && (c == ' ' || pending.is_empty());
            // The emitter counts from behind an escaped character, which is one too few.
            let length = (self.column + pending.len()).saturating_sub(usize::from(!plain));
            if may_fold && length > WIDTH && split {
                self.write(&pending);
                pending.clear();
                self.write("\\");
                self.indent(indent);
                let next = if plain { at } else { at + 1 };
                if chars.get(next) == Some(&' ') {
                    self.write("\\");
                }
            }
            if plain {
                pending.push(c);
            }
        }
        self.write(&pending);
        self.write("\"");
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.write("|");
        if text.starts_with([' ', '\n']) {
            self.write("2");
        }
        if !text.ends_with('\n') {
            self.write("-");
        } else if text == "\n" || text.ends_with("\n\n") {
            self.write("+");
        }
        self.line_break();
        for (at, line) in text.split('\n').enumerate() {
            if at > 0 {
                self.line_break();
            }
            if !line.is_empty() {
                self.indent(indent);
                self.write(line);
            }
        }
        if !text.ends_with('\n') {
            self.line_break();
        }
    }

    fn indent(&mut self, indent: usize) {
        if !self.fresh || self.column > indent {
            self.line_break();
        }
        while self.column < indent {
            self.out.push(' ');
            self.column += 1;
        }
    }

    fn line_break(&mut self) {
        self.out.push('\n');
        self.column = 0;
        self.fresh = true;
    }

    /// Writes ASCII.
    fn write(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
        self.fresh &= text.is_empty();
    }
}

/// Runs of one kind: of spaces, of line ends, and of everything else.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let kind = |c: char| match c {
        ' ' => 0,
        '\n' => 1,
        _ => 2,
    };
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = kind(rest.chars().next()?);
        let end = rest.find(|c| kind(c) != first).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        Some(word)
    })
}

/// Whether a key stands before its colon on one line: PyYAML counts 5 for its hidden tag, and allows less than 128.
fn simple_key(key: &str) -> bool {
    !key.is_empty()
        && key.chars().count() + 5 < 128
        && !key.contains(['\n', '\u{85}', '\u{2028}', '\u{2029}'])
}

/// The styles in which a text can be written without loss.
struct Form {
    plain: bool,
    single: bool,
    block: bool,
}

impl Form {
    fn of(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let is_break = |c: char| matches!(c, '\n' | '\u{85}' | '\u{2028}' | '\u{2029}');
        let is_space = |c: Option<&char>| {
            c.is_none_or(|c| is_break(*c) || matches!(c, '\0' | ' ' | '\t' | '\r'))
        };
        let mut indicator = text.starts_with("---") || text.starts_with("...");
        let (mut special, mut breaks, mut break_space, mut space_break) =
            (false, false, false, false);
        for (at, c) in chars.iter().copied().enumerate() {
            let before = at.checked_sub(1).and_then(|at| chars.get(at).copied());
            let spaced = is_space(chars.get(at + 1));
            indicator |= match (at, c) {
                (0, '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>') => true,
                (0, '\'' | '"' | '%' | '@' | '`') => true,
                (0, '?' | ':' | '-') => spaced,
                (_, ':') => spaced,
                (_, '#') => is_space(before.as_ref()),
                _ => false,
            };
            special |= c != '\n' && !matches!(c, ' '..='~');
            breaks |= is_break(c);
            break_space |= c == ' ' && before.is_some_and(is_break);
            space_break |= is_break(c) && before == Some(' ');
        }
        let edge = |c: Option<&char>| c.is_some_and(|c| *c == ' ' || is_break(*c));
        let edges = edge(chars.first()) || edge(chars.last());
        let lossless = !space_break && !special;
        Self {
            plain: !edges && !break_space && lossless && !breaks && !indicator,
            single: !break_space && lossless,
            block: lossless && chars.last() != Some(&' '),
        }
    }
}

fn escape(c: char) -> String {
    let short = match c {
        '\0' => '0',
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\u{b}' => 'v',
        '\u{c}' => 'f',
        '\r' => 'r',
        '\u{1b}' => 'e',
        '"' => '"',
        '\\' => '\\',
        '\u{85}' => 'N',
        '\u{a0}' => '_',
        '\u{2028}' => 'L',
        '\u{2029}' => 'P',
        _ => {
            let code = c as u32;
            return match code {
                0..=0xff => format!("\\x{code:02X}"),
                0x100..=0xffff => format!("\\u{code:04X}"),
                _ => format!("\\U{code:08X}"),
            };
        }
    };
    format!("\\{short}")
}
