//! Columns of text for people.

/// How a cell looks where colour is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As any text.
    Plain,
    /// All is well.
    Good,
    /// Under way.
    Busy,
    /// Someone should look.
    Bad,
    /// Not so important.
    Dim,
}

/// One cell.
#[derive(Debug, Clone)]
pub struct Cell {
    text: String,
    tone: Tone,
}

/// A cell of plain text.
pub fn cell(text: impl Into<String>) -> Cell {
    let (text, tone) = (text.into(), Tone::Plain);
    Cell { text, tone }
}

impl Cell {
    /// The same with a tone.
    pub fn tone(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }
}

/// Text in a tone.
pub fn toned(text: &str, tone: Tone, color: bool) -> String {
    let code = match tone {
        Tone::Good => "32",
        Tone::Busy => "33",
        Tone::Bad => "31;1",
        Tone::Dim => "2",
        Tone::Plain => return text.to_owned(),
    };
    match color {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    }
}

/// Rows below a line of headings, each column as wide as its widest cell; the last is not filled up.
pub fn render(headings: &[&str], rows: &[Vec<Cell>], color: bool) -> String {
    let heads: Vec<Cell> = headings.iter().map(|h| cell(*h).tone(Tone::Dim)).collect();
    let all = || std::iter::once(&heads).chain(rows);
    let width = |column: usize| {
        let cells = all().filter_map(|row| row.get(column));
        cells.map(|c| c.text.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let mut out = String::new();
    for row in all() {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let fill = width.saturating_sub(cell.text.chars().count()) + 2;
            line.push_str(&toned(&cell.text, cell.tone, color));
            line.push_str(&" ".repeat(fill));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}
