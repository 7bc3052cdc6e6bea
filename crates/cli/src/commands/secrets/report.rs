//! What a command that changes files tells: one line per file, or one JSON value.

use std::path::Path;

use serde::Serialize;

use crate::context::Context;

/// What was done, or would be with `--dry-run`.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    dry_run: bool,
    files: Vec<Change>,
}

#[derive(Debug, Serialize)]
struct Change {
    file: String,
    /// `encrypted`, `rekeyed`, `edited`, `unchanged`, …
    action: &'static str,
}

impl Report {
    /// An empty report.
    pub fn new(dry_run: bool) -> Self {
        Self { dry_run, files: Vec::new() }
    }

    /// Adds a file.
    pub fn add(&mut self, file: &Path, action: &'static str) {
        self.files.push(Change { file: file.display().to_string(), action });
    }

    /// Prints it.
    pub fn print(&self, context: &mut Context) -> std::io::Result<()> {
        if context.out.json() {
            return context.out.value(self);
        }
        for Change { file, action } in &self.files {
            let would = if self.dry_run { "would be " } else { "" };
            context.out.line(&format!("{file}: {would}{action}"))?;
        }
        Ok(())
    }
}
