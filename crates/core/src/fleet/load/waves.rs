//! `waves-and-staging-hosts.nix`, as Nix evaluated it, with places found in its text.

use std::collections::HashMap;

use super::super::codes;
use super::super::json;
use super::super::model::Waves;
use super::super::node::{Fields, LIMITS, Node};
use super::super::sources::{WAVES_FILE, WavesResult};
use super::super::span::{FileId, Located, Span};
use super::Loader;

/// Reads the waves, or says why not.
pub(super) fn load(loader: &mut Loader<'_>) {
    let file = loader.fleet.files.id(WAVES_FILE);
    let findings = &mut loader.findings;
    match &loader.sources.waves {
        WavesResult::Missing => {
            findings.file(codes::MISSING_FILE, file, format!("there is no file {WAVES_FILE}"));
        }
        WavesResult::Failed(message, place) => {
            let (line, column) = place.unwrap_or_default();
            let span = Span { file, line, column, length: 1 };
            findings.add(codes::WAVES_FAILED, span, message.clone());
        }
        WavesResult::NotEvaluated(why) => {
            let message = format!("the waves were not evaluated: {why}");
            findings.file(codes::NOT_LOOKED_INTO, file, message);
        }
        WavesResult::Json(text) => {
            let source = loader.sources.files.get(WAVES_FILE).cloned().unwrap_or_default();
            let places = Places::new(&String::from_utf8_lossy(&source), file);
            let Some(node) = json::parse(text, file, LIMITS, findings) else {
                return;
            };
            loader.fleet.waves = waves(node, places, file, findings);
        }
    }
}

fn waves(
    node: Node,
    mut places: Places,
    file: FileId,
    findings: &mut super::super::finding::Findings,
) -> Option<Waves> {
    // Places in Nix's JSON mean nothing to the reader; they are replaced by those in the file.
    let mut inner = super::super::finding::Findings::default();
    let mut waves = Waves::default();
    let mut lists = Vec::new();
    let fields = Fields::of(node, WAVES_FILE, &mut inner);
    let mut bad = fields.is_none();
    if let Some(mut fields) = fields {
        for name in Waves::ATTRIBUTES.iter().chain(&["stagingHosts"]) {
            let list =
                fields.need(name, &mut inner).and_then(|node| node.into_texts(name, &mut inner));
            bad |= list.is_none();
            lists.push(list.unwrap_or_default());
        }
    }
    if bad || !inner.is_empty() {
        findings.file(
            codes::WAVES_SHAPE,
            file,
            "the file does not evaluate to five lists of host names",
        );
    }
    let mut lists = lists.into_iter().map(|list| {
        let located = |name: Located<String>| places.next(name.value);
        list.into_iter().map(located).collect::<Vec<_>>()
    });
    for wave in &mut waves.waves {
        *wave = lists.next().unwrap_or_default();
    }
    waves.staging = lists.next().unwrap_or_default();
    (!bad).then_some(waves)
}

/// Where each name stands as a text in a Nix file, in the order of the file.
///
/// A guess, since only Nix knows which text becomes which value; good enough to point at.
struct Places {
    file: FileId,
    texts: HashMap<String, Vec<Span>>,
    used: HashMap<String, usize>,
}

impl Places {
    fn new(source: &str, file: FileId) -> Self {
        let mut texts: HashMap<String, Vec<Span>> = HashMap::new();
        for (row, line) in source.lines().enumerate() {
            let code = line.split('#').next().unwrap_or("");
            let mut column = 1;
            for (part, text) in code.split('"').enumerate() {
                let length = text.chars().count() as u32;
                if part % 2 == 1 {
                    let at =
                        Span { file, line: row as u32 + 1, column: column - 1, length: length + 2 };
                    texts.entry(text.to_owned()).or_default().push(at);
                }
                column += length + 1;
            }
        }
        Self { file, texts, used: HashMap::new() }
    }

    /// A name with the next place where it stands; the last one again if it is used more often than written.
    fn next(&mut self, name: String) -> Located<String> {
        let used = self.used.entry(name.clone()).or_default();
        let places = self.texts.get(&name).map_or(&[][..], Vec::as_slice);
        let span = places.get(*used).or(places.last()).copied();
        *used += 1;
        Located::new(name, span.unwrap_or(Span::whole(self.file)))
    }
}
