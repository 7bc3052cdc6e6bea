//! Files that are made from what is compressed in them.

use std::io::Write as _;

use super::{Closed, MAX_DIFF, Planner, same};
use crate::patch::bases::Opened;
use crate::patch::codec::{MAX_DEPTH, Recipe};
use crate::patch::diff::{Match, diff};
use crate::patch::make::text::{Inner, Text};
use crate::patch::plan::Section;
use crate::patch::tree::Entry;
use crate::patch::{PatchError, codec};

/// So few bytes around something compressed are not worth a search.
const MIN_FRAME: usize = 64;

impl Planner<'_, '_> {
    /// Whether there may be something compressed in a file.
    pub(super) fn may_open(&mut self, file: &Entry) -> Result<bool, PatchError> {
        if file.len > MAX_DIFF {
            return Ok(false);
        }
        let start = self.target(file.at, file.len.min(0x206))?;
        Ok(codec::likely(&start) || start.starts_with(b"07070") || start.ends_with(b"HdrS"))
    }

    /// What is compressed in a file of the target, with recipes that make it again.
    pub(super) fn open(
        &mut self,
        file: &Entry,
        base: Option<&Text>,
    ) -> Result<Option<(Text, Vec<Recipe>)>, PatchError> {
        if !self.may_open(file)? {
            return Ok(None);
        }
        let mut text = Text::open(self.target(file.at, file.len)?, MAX_DEPTH);
        base.iter().for_each(|base| text.prune(base));
        let recipes = text.prove(&mut self.counts);
        Ok((!text.inner.is_empty()).then_some((text, recipes)))
    }

    /// Plans a file of the target from what is in it.
    pub(super) fn closed(
        &mut self,
        file: &Entry,
        text: &Text,
        recipes: &[Recipe],
        base: Option<(&Text, u64)>,
    ) -> Result<(), PatchError> {
        let start = self.kept_len;
        self.inside(text, &mut recipes.iter(), base)?;
        let made = (start, self.kept_len);
        self.closed.push(Closed { at: file.at, len: file.len, made });
        Ok(())
    }

    /// Plans a text: what is compressed in it against what is compressed in its partner, the rest against all of
    /// that.
    fn inside(
        &mut self,
        text: &Text,
        recipes: &mut std::slice::Iter<Recipe>,
        base: Option<(&Text, u64)>,
    ) -> Result<(), PatchError> {
        let cuts: Vec<_> = text.inner.iter().map(|i| (i.at + i.header, i.at + i.len)).collect();
        let (mut plain, mut done) = (Vec::new(), 0);
        for (from, to) in cuts {
            plain.extend_from_slice(&text.bytes[done..from]);
            done = to;
        }
        plain.extend_from_slice(&text.bytes[done..]);
        let old = match base {
            Some((base, from)) => self.base(from, base.bytes.len() as u64)?,
            None => Vec::new(),
        };
        let from = base.map_or(0, |(_, from)| from);
        if text.inner.is_empty() {
            self.image(&old, from, &plain);
        }
        let mut frame = Frame::new(self, &old, &plain)?;
        let mut at = 0;
        for inner in &text.inner {
            let until = frame.done + inner.at + inner.header - at;
            self.piece(&mut frame, &old, &plain, from, until)?;
            at = inner.at + inner.len;
            let partner = base.and_then(|(b, from)| b.like(inner).map(|i| (i, from + i.at as u64)));
            self.inner(inner, recipes, partner)?;
        }
        self.piece(&mut frame, &old, &plain, from, plain.len())
    }

    /// Plans a compressed part and its end.
    fn inner(
        &mut self,
        inner: &Inner,
        recipes: &mut std::slice::Iter<Recipe>,
        partner: Option<(&Inner, u64)>,
    ) -> Result<(), PatchError> {
        self.step(recipes.next().copied());
        let base = match partner {
            Some((old, at)) => {
                let raw = old.text.bytes.len() as u64;
                let opened = Opened { at, packed: old.len as u64, raw };
                let start = self.bases.len();
                self.bases.open(&opened, self.scratch)?;
                self.opened.push(opened);
                Some((&old.text, start))
            }
            None => None,
        };
        self.inside(&inner.text, recipes, base)?;
        self.step(None);
        Ok(())
    }

    /// Ends the present section with the start of a compressed content, or with the end of the last one.
    pub(super) fn step(&mut self, recipe: Option<Recipe>) {
        let step = recipe.map_or(0, |recipe| {
            let known = self.recipes.iter().position(|r| *r == recipe);
            let k = known.unwrap_or_else(|| {
                self.recipes.push(recipe);
                self.recipes.len() - 1
            });
            k as u64 + 1
        });
        self.sections.push(Section { plain: self.made - self.stepped, step });
        self.stepped = self.made;
    }

    /// Plans the plain bytes of a text up to `until`.
    fn piece(
        &mut self,
        frame: &mut Frame,
        old: &[u8],
        plain: &[u8],
        from: u64,
        until: usize,
    ) -> Result<(), PatchError> {
        self.kept.write_all(&plain[frame.done..until]).map_err(PatchError::Scratch)?;
        self.kept_len += (until - frame.done) as u64;
        while let Some(m) = frame.next(until) {
            self.fresh((m.new - frame.done) as u64);
            frame.done = m.new + m.len;
            let old = &old[m.old..m.old + m.len];
            self.nearly(&plain[m.new..frame.done], old, from + m.old as u64);
        }
        self.fresh((until - frame.done) as u64);
        frame.done = until;
        Ok(())
    }
}

/// How the plain bytes of a text come out of its base, piece by piece.
struct Frame {
    matches: std::vec::IntoIter<Match>,
    /// What is left of a copy that goes on in the next piece.
    rest: Option<Match>,
    done: usize,
}

impl Frame {
    fn new(planner: &Planner, old: &[u8], plain: &[u8]) -> Result<Self, PatchError> {
        let deadline = planner.deadline;
        let matches = if plain.len() <= MIN_FRAME {
            // A few bytes of a header: what stands at the same place.
            let len = same(plain.iter(), old.iter());
            Vec::from_iter((len > 0).then_some(Match { new: 0, old: 0, len }))
        } else {
            diff(old, plain, || deadline.check())?
        };
        Ok(Self { matches: matches.into_iter(), rest: None, done: 0 })
    }

    /// The next copy that begins before `until`, cut off there.
    fn next(&mut self, until: usize) -> Option<Match> {
        let m = self.rest.take().or_else(|| self.matches.next())?;
        if m.new >= until {
            self.rest = Some(m);
            return None;
        }
        let len = m.len.min(until - m.new);
        if len < m.len {
            let rest = Match { new: m.new + len, old: m.old + len, len: m.len - len };
            self.rest = Some(rest);
        }
        Some(Match { len, ..m })
    }
}
