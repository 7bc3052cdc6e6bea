//! What a command prints: text for people or one JSON value for programs, with or without colour.

use std::io::{self, IsTerminal as _, Write};

use serde::Serialize;

use crate::cli::ColorWhen;

/// Standard output, with the choices of the global arguments.
pub struct Output {
    json: bool,
    color: bool,
    sink: Box<dyn Write>,
}

impl Output {
    /// To standard output. `no_color` is whether the variable NO_COLOR is set and not empty (no-color.org).
    pub fn stdout(json: bool, when: ColorWhen, no_color: bool) -> Self {
        let color = match when {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto => !no_color && io::stdout().is_terminal(),
        };
        Self { json, color, sink: Box::new(io::BufWriter::new(io::stdout())) }
    }

    /// Whether `--json` was given.
    pub fn json(&self) -> bool {
        self.json
    }

    /// Whether to colour.
    pub fn color(&self) -> bool {
        self.color
    }

    /// Prints text as it is; the caller ends lines.
    pub fn text(&mut self, text: &str) -> io::Result<()> {
        self.bytes(text.as_bytes())
    }

    /// Prints a line.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        self.sink.write_all(text.as_bytes())?;
        self.bytes(b"\n")
    }

    /// Prints bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sink.write_all(bytes)
    }

    /// Hands on what is still kept back; once at the end is enough.
    pub fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }

    /// Tells the person something on standard error; nothing is lost if nobody listens.
    pub fn note(&mut self, text: &str) {
        // In the order in which they were said, if both go to one place.
        let _ = self.sink.flush();
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// Prints one JSON value, indented, and a line end.
    pub fn value(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut self.sink, value)?;
        self.bytes(b"\n")
    }
}

/// So many of something, as `1 host` and `2 hosts`.
#[must_use]
pub fn count(number: usize, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}
