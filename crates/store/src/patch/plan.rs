//! What a patch says before its bytes: which hashes, which opened files, which copies.

use afield_core::release::PathInfo;

use super::bases::{Bases, Opened, Renamed, names};
use super::codec::{self, MAX_DEPTH, RATIO, Recipe};
use super::coder::Coder;
use super::number::Number;
use super::program::{Image, MAX_SEGMENTS};
use super::{PatchError, Source};

/// At most this many copies: they are held in memory.
pub const MAX_OPS: usize = 300_000;
/// At most this many compressed files are opened.
const MAX_OPENED: usize = 20_000;
/// At most this many ways to compress.
const MAX_RECIPES: u64 = 4096;

/// New bytes, then a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Op {
    /// Bytes that are new.
    pub fresh: u64,
    /// Bytes that follow them, from the bases.
    pub copy: u64,
    /// Address of the copy.
    pub from: u64,
    /// Whether all bytes of the copy are as in the base.
    pub exact: bool,
}

/// Bytes that the operations make, then a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Section {
    pub plain: u64,
    /// 0: what was begun last is complete, in the end the target itself. Else what follows is the content of
    /// something that is compressed with this recipe, counted from 1.
    pub step: u64,
}

/// A hash of base `base`, the `from`-th of its names, is read as that of the target's `to`-th name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pair {
    /// Which base.
    pub base: u64,
    /// Which of its names.
    pub from: u64,
    /// Which of the target's names.
    pub to: u64,
}

/// Everything but the bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub size: u64,
    pub pairs: Vec<Pair>,
    pub opened: Vec<Opened>,
    pub recipes: Vec<Recipe>,
    pub sections: Vec<Section>,
    pub ops: Vec<Op>,
    pub images: Vec<Image>,
}

impl Plan {
    /// Writes the plan, or reads it over what is there.
    pub fn code(&mut self, coder: &mut impl Coder) -> Result<(), PatchError> {
        let mut lengths = Number::new();
        self.size = lengths.code(coder, self.size)?;
        self.code_pairs(coder, &mut lengths)?;
        self.code_opened(coder, &mut lengths)?;
        self.code_sections(coder, &mut lengths)?;
        self.code_ops(coder, &mut lengths)?;
        self.code_images(coder, &mut lengths)
    }

    fn code_images(&mut self, c: &mut impl Coder, lengths: &mut Number) -> Result<(), PatchError> {
        resize(c, lengths, &mut self.images, MAX_OPENED)?;
        let (mut base, mut len, mut target) = (Number::new(), Number::new(), Number::new());
        let mut moved = Number::new();
        let (mut end, mut place) = (0, 0);
        for image in &mut self.images {
            image.base = add(end, base.code_signed(c, less(image.base, end))?)?;
            image.len = len.code(c, image.len)?;
            image.target = add(place, target.code_signed(c, less(image.target, place))?)?;
            (end, place) = (image.base, image.target);
            resize(c, lengths, &mut image.moved, MAX_SEGMENTS)?;
            for field in image.moved.iter_mut().flatten() {
                *field = moved.code_signed(c, *field)?;
            }
        }
        Ok(())
    }

    fn code_pairs(&mut self, c: &mut impl Coder, lengths: &mut Number) -> Result<(), PatchError> {
        resize(c, lengths, &mut self.pairs, 1 << 16)?;
        let (mut base, mut from, mut to) = (Number::new(), Number::new(), Number::new());
        let mut last = Pair::default();
        for pair in &mut self.pairs {
            pair.base = base.code(c, pair.base)?;
            pair.from = add(last.from, from.code_signed(c, less(pair.from, last.from))?)?;
            pair.to = add(last.to, to.code_signed(c, less(pair.to, last.to))?)?;
            last = *pair;
        }
        Ok(())
    }

    fn code_opened(&mut self, c: &mut impl Coder, lengths: &mut Number) -> Result<(), PatchError> {
        resize(c, lengths, &mut self.opened, MAX_OPENED)?;
        let (mut at, mut packed, mut raw) = (Number::new(), Number::new(), Number::new());
        let mut end = 0;
        for opened in &mut self.opened {
            opened.at = add(end, at.code_signed(c, less(opened.at, end))?)?;
            opened.packed = packed.code(c, opened.packed)?;
            opened.raw = raw.code(c, opened.raw)?;
            end = opened.at;
        }
        Ok(())
    }

    fn code_sections(
        &mut self,
        c: &mut impl Coder,
        lengths: &mut Number,
    ) -> Result<(), PatchError> {
        let n = lengths.code(c, self.recipes.len() as u64)?;
        if n > MAX_RECIPES {
            return Err(PatchError::TooLarge("it has too many parts"));
        }
        let mut numbers = Number::new();
        for k in 0..n as usize {
            let recipe = Recipe::code(self.recipes.get(k).copied(), c, &mut numbers)?;
            match self.recipes.get_mut(k) {
                Some(known) => *known = recipe,
                None => self.recipes.push(recipe),
            }
        }
        resize(c, lengths, &mut self.sections, 2 * MAX_OPENED)?;
        let (mut plain, mut step) = (Number::new(), Number::new());
        for section in &mut self.sections {
            section.plain = plain.code(c, section.plain)?;
            section.step = step.code(c, section.step)?;
        }
        Ok(())
    }

    fn code_ops(&mut self, c: &mut impl Coder, lengths: &mut Number) -> Result<(), PatchError> {
        resize(c, lengths, &mut self.ops, MAX_OPS)?;
        let (mut fresh, mut copy, mut from) = (Number::new(), Number::new(), Number::new());
        let mut exact = Number::new();
        let mut end = 0;
        for op in &mut self.ops {
            op.fresh = fresh.code(c, op.fresh)?;
            op.copy = copy.code(c, op.copy)?;
            op.exact = exact.code(c, u64::from(op.exact))? != 0;
            if op.copy > 0 {
                // Where the last copy would have gone on, had nothing been put in between.
                op.from = add(end, from.code_signed(c, less(op.from, end))?)?;
                end = add(op.from, op.copy as i64)?;
            }
        }
        Ok(())
    }

    /// The sum of the sections, if the operations make exactly that and nothing is too large.
    pub fn check(&self, info: &PathInfo, bases: &Bases) -> Result<(), PatchError> {
        if self.size != info.nar_size {
            return Err(PatchError::Size { signed: info.nar_size, found: self.size });
        }
        let left = self.made()?;
        let mut made = 0_u64;
        for op in &self.ops {
            if op.fresh == 0 && op.copy == 0 {
                return Err(PatchError::Looping);
            }
            made = sum(sum(made, op.fresh, left)?, op.copy, left)?;
            let end = op.from.checked_add(op.copy);
            if op.copy > 0 && end.is_none_or(|end| end > bases.len()) {
                return Err(PatchError::Corrupt("it copies from outside its bases"));
            }
        }
        if made != left {
            return Err(PatchError::Corrupt("its operations end before its target"));
        }
        Ok(())
    }

    /// How many bytes the sections say the operations make. What is opened can be larger than what is packed.
    fn made(&self) -> Result<u64, PatchError> {
        let most = self.size.saturating_mul(RATIO);
        self.sections.iter().try_fold(0, |made, section| sum(made, section.plain, most))
    }

    /// For each section that begins something, how many bytes of it the operations make, and the most memory that
    /// compressors take at once.
    pub fn contents(&self) -> Result<(Vec<u64>, u64), PatchError> {
        let unbalanced = PatchError::Corrupt("it ends what was not begun");
        let mut contents = vec![0; self.sections.len()];
        let (mut begun, mut ended): (Vec<(usize, u64)>, _) = (Vec::new(), false);
        // Backwards, so that a content is known when its beginning comes.
        let mut after = 0_u64;
        for (k, section) in self.sections.iter().enumerate().rev() {
            if section.step == 0 {
                begun.push((k, after));
            } else {
                let (_, end) = begun.pop().ok_or(PatchError::Corrupt("it begins too much"))?;
                contents[k] = after - end;
                if contents[k] == 0 {
                    return Err(PatchError::Looping);
                }
                ended |= begun.is_empty();
            }
            after = after.saturating_add(section.plain);
        }
        if begun.len() != 1 || ended {
            return Err(unbalanced);
        }
        let most = self.memory(&contents)?;
        Ok((contents, most))
    }

    fn memory(&self, contents: &[u64]) -> Result<u64, PatchError> {
        let (mut begun, mut now, mut most) = (Vec::new(), 0_u64, 0);
        for (section, content) in self.sections.iter().zip(contents) {
            if let Some(k) = section.step.checked_sub(1) {
                let recipe = self.recipes.get(usize::try_from(k).unwrap_or(usize::MAX));
                let recipe = recipe.ok_or(PatchError::Corrupt("a recipe that does not exist"))?;
                let takes = recipe.memory(*content);
                begun.push(takes);
                if begun.len() > MAX_DEPTH {
                    return Err(PatchError::TooLarge("it compresses what is compressed too often"));
                }
                now = now.saturating_add(takes);
                most = most.max(now);
            } else {
                now -= begun.pop().unwrap_or(0);
            }
        }
        if most > codec::MEMORY {
            return Err(PatchError::TooLarge("it compresses with more memory than there is"));
        }
        Ok(most)
    }

    /// Limits on what is opened, checked before anything is.
    pub fn check_opened(&self, bases: &Bases) -> Result<(), PatchError> {
        let mut raw = 0;
        for opened in &self.opened {
            if opened.raw > opened.packed.saturating_mul(RATIO) {
                return Err(PatchError::Bomb);
            }
            raw = sum(raw, opened.raw, bases.len().saturating_mul(32))?;
        }
        Ok(())
    }

    /// The hashes that are read as others.
    pub fn renamed(&self, target: &PathInfo, bases: &[Source]) -> Result<Renamed, PatchError> {
        let wrong = PatchError::Corrupt("it renames a reference that does not exist");
        let to = names(target);
        let bases: Vec<_> = bases.iter().map(|b| names(b.info)).collect();
        let mut renamed = Renamed::default();
        for pair in &self.pairs {
            let base = bases.get(pair.base as usize);
            let from = base.and_then(|b| b.get(pair.from as usize));
            match (from, to.get(pair.to as usize)) {
                (Some(from), Some(to)) => renamed.add(from.hash_part(), to.hash_part()),
                _ => return Err(wrong),
            }
        }
        Ok(renamed)
    }
}

/// Codes a list's length, and gives it that length.
fn resize<T: Clone + Default>(
    coder: &mut impl Coder,
    lengths: &mut Number,
    list: &mut Vec<T>,
    max: usize,
) -> Result<(), PatchError> {
    let n = lengths.code(coder, list.len() as u64)?;
    if n > max as u64 {
        return Err(PatchError::TooLarge("it has too many parts"));
    }
    list.resize(n as usize, T::default());
    Ok(())
}

fn less(a: u64, b: u64) -> i64 {
    a.wrapping_sub(b) as i64
}

fn add(a: u64, b: i64) -> Result<u64, PatchError> {
    a.checked_add_signed(b).ok_or(PatchError::Corrupt("an address below zero"))
}

fn sum(a: u64, b: u64, max: u64) -> Result<u64, PatchError> {
    a.checked_add(b).filter(|sum| *sum <= max).ok_or(PatchError::Bomb)
}
