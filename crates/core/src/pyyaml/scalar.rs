//! How a text is written: which styles can carry it, and the four ways to write it.

use super::{Place, Strings, WIDTH, Writer, implicit};

/// What YAML takes for a line break.
const BREAKS: [char; 4] = ['\n', '\u{85}', '\u{2028}', '\u{2029}'];
/// What ends a word for the rules about `:` and `#`.
const BLANKS: [char; 8] = ['\0', ' ', '\t', '\r', '\n', '\u{85}', '\u{2028}', '\u{2029}'];

pub(super) fn has_break(text: &str) -> bool {
    text.contains(BREAKS)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Single,
    Double,
    Block,
}

/// Which styles a text could have, before its place and its look of another type are considered.
struct Allowed {
    plain: bool,
    single: bool,
    block: bool,
}

fn allowed(text: &str) -> Allowed {
    let printable = text.chars().all(|c| c == '\n' || (' '..='~').contains(&c));
    if !printable || text.contains(" \n") {
        return Allowed { plain: false, single: false, block: false };
    }
    let single = !text.contains("\n ");
    let edges = [text.chars().next(), text.chars().next_back()];
    let bare = edges.iter().all(|c| !matches!(c, Some(' ' | '\n')));
    Allowed {
        plain: single && bare && !text.contains('\n') && !has_indicator(text),
        single,
        block: !text.is_empty() && !text.ends_with(' '),
    }
}

/// Whether a text, written without quotes, would be taken for YAML's own marks.
fn has_indicator(text: &str) -> bool {
    if text.starts_with("---") || text.starts_with("...") {
        return true;
    }
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    let mut first = true;
    while let Some(c) = rest.next() {
        let ends_word = rest.peek().is_none_or(|next| BLANKS.contains(next));
        let marks = match c {
            ':' => ends_word,
            '#' => BLANKS.contains(&before),
            ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@'
            | '`' => first,
            '?' | '-' => first && ends_word,
            _ => false,
        };
        if marks {
            return true;
        }
        (before, first) = (c, false);
    }
    false
}

fn choose(text: &str, strings: Strings, place: Place) -> Style {
    let allowed = allowed(text);
    let wants_block = match strings {
        Strings::Shortest => false,
        Strings::LinesAsBlocks => lines(text) > 1,
        Strings::AllAsBlocks => true,
    };
    if wants_block {
        return if allowed.block && place != Place::SimpleKey {
            Style::Block
        } else {
            Style::Double
        };
    }
    // A simple key is never empty and has one line, so that it needs no rule of its own.
    if allowed.plain && !implicit::is_other_type(text) {
        Style::Plain
    } else if allowed.single {
        Style::Single
    } else {
        Style::Double
    }
}

/// The number of lines as Python's `str.splitlines` counts them.
fn lines(text: &str) -> usize {
    let ends_line = |c: char| {
        BREAKS.contains(&c) || matches!(c, '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}')
    };
    let one_each = text.replace("\r\n", "\n");
    one_each.chars().filter(|c| ends_line(*c)).count() + usize::from(!one_each.ends_with(ends_line))
}

impl Writer {
    pub(super) fn string(&mut self, text: &str, place: Place, indent: usize) {
        let split = place != Place::SimpleKey;
        match choose(text, self.strings, place) {
            Style::Plain => {
                self.mark("", true, false);
                self.folded(text, false, split, indent);
                self.open_ended = place == Place::Root;
            }
            Style::Single => {
                self.mark("'", true, false);
                self.folded(text, true, split, indent);
                self.mark("'", false, false);
            }
            Style::Double => self.double_quoted(text, split, indent),
            Style::Block => self.block(text, indent),
        }
    }

    /// Plain or single-quoted text: folds at a single blank after column 80, doubles line breaks, and, if quoted,
    /// doubles quotes.
    fn folded(&mut self, text: &str, quoted: bool, split: bool, indent: usize) {
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let kind = |c: char| (c == ' ', c == '\n');
            let (run, after) =
                rest.split_at(rest.find(|c| kind(c) != kind(first)).unwrap_or(rest.len()));
            let at_edge = rest.len() == text.len() || after.is_empty();
            match first {
                ' ' if run.len() == 1 && self.column > WIDTH && split && !at_edge => {
                    self.start_line(indent)
                }
                '\n' => {
                    for _ in 0..=run.len() {
                        self.line_break();
                    }
                    self.start_line(indent);
                }
                _ if quoted => self.push(&run.replace('\'', "''")),
                _ => self.push(run),
            }
            rest = after;
        }
        self.after_blank = false;
        self.only_indent = false;
    }

    /// Double-quoted text: everything but printable ASCII is escaped; folds with `\` after column 80.
    fn double_quoted(&mut self, text: &str, split: bool, indent: usize) {
        self.mark("\"", true, false);
        let chars: Vec<char> = text.chars().collect();
        // What lies in `start..at` is looked at but not written yet.
        let mut start = 0;
        for (at, &c) in chars.iter().enumerate() {
            if needs_escape(c) {
                self.push_chars(&chars[start.min(at)..at]);
                self.push(&escape(c));
                start = at + 1;
            }
            let pending = at.saturating_sub(start);
            let may_fold = at > 0 && at + 1 < chars.len() && (c == ' ' || pending == 0);
            if may_fold && split && self.overflows(start, at) {
                self.push_chars(&chars[start.min(at)..at]);
                start = start.max(at);
                self.push("\\");
                self.start_line(indent);
                self.after_blank = false;
                self.only_indent = false;
                if chars.get(start) == Some(&' ') {
                    self.push("\\");
                }
            }
        }
        self.push_chars(&chars[start.min(chars.len())..]);
        self.mark("\"", false, false);
    }

    /// Whether the line is over-long with the pending text. After an escape the pending text counts as -1.
    fn overflows(&self, start: usize, at: usize) -> bool {
        self.column + at > WIDTH + start
    }

    fn push_chars(&mut self, chars: &[char]) {
        self.column += chars.len();
        self.out.extend(chars);
    }

    /// A `|` block: the text line by line, with the hints that keep its first blanks and last line breaks.
    fn block(&mut self, text: &str, indent: usize) {
        self.mark("|", true, false);
        if text.starts_with([' ', '\n']) {
            self.push("2");
        }
        let keep = text == "\n" || text.ends_with("\n\n");
        if !text.ends_with('\n') {
            self.push("-");
        } else if keep {
            self.push("+");
        }
        self.open_ended = keep;
        self.line_break();
        for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            if !line.is_empty() {
                self.start_line(indent);
                self.out.push_str(line);
            }
            self.line_break();
        }
    }
}

fn needs_escape(c: char) -> bool {
    matches!(c, '"' | '\\') || !(' '..='~').contains(&c)
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
            let code = u32::from(c);
            return match code {
                0..=0xff => format!("\\x{code:02X}"),
                0x100..=0xffff => format!("\\u{code:04X}"),
                _ => format!("\\U{code:08X}"),
            };
        }
    };
    format!("\\{short}")
}
