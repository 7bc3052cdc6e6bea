//! Zstandard frames (RFC 8878), as the library and `zstd` write them. Other versions of the library choose
//! differently at some levels: what this one cannot make again stays closed.

use std::io::{self, BufRead, Read, Write as _};

use zstd::stream::write::Encoder;
use zstd::zstd_safe::CParameter;

use super::{Closer, FIELDS};

pub const MAGIC: &[u8] = &[0x28, 0xB5, 0x2F, 0xFD];
/// Larger windows are not made, as a power of two.
const MAX_WINDOW: u32 = 25;
/// Level, window, chain and hash tables (powers of two) of this library for long contents.
const LEVELS: [(u32, u32, u32); 22] = [
    (19, 13, 14),
    (20, 15, 16),
    (21, 16, 17),
    (21, 18, 18),
    (21, 18, 19),
    (21, 18, 19),
    (21, 19, 20),
    (21, 19, 20),
    (22, 20, 21),
    (22, 21, 22),
    (22, 21, 22),
    (22, 22, 23),
    (22, 22, 22),
    (22, 22, 23),
    (22, 23, 23),
    (22, 22, 22),
    (23, 23, 22),
    (23, 23, 22),
    (23, 24, 22),
    (25, 25, 23),
    (26, 26, 24),
    (27, 27, 25),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe {
    /// 1 to 22.
    level: u64,
    checksum: bool,
    /// Whether the frame names the length of its content, and by how much that is more than what the patch makes
    /// of it as it is.
    length: Option<u64>,
    /// Whether it is cut into jobs, as for several threads.
    jobs: bool,
    /// The window, if it is not the level's: a power of two.
    window: u64,
}

impl Recipe {
    pub fn of(f: [u64; FIELDS]) -> Option<Self> {
        let known = (1..=22).contains(&f[0])
            && f[1] <= 1
            && f[3] <= 1
            && (f[4] == 0 || (10..=u64::from(MAX_WINDOW)).contains(&f[4]));
        known.then(|| Self {
            level: f[0],
            checksum: f[1] == 1,
            length: f[2].checked_sub(1),
            jobs: f[3] == 1,
            window: f[4],
        })
    }

    pub fn fields(self) -> [u64; FIELDS] {
        let mut fields = [0; FIELDS];
        let length = self.length.map_or(0, |n| n.wrapping_add(1));
        let own = [self.level, self.checksum.into(), length, self.jobs.into(), self.window];
        fields[..5].copy_from_slice(&own);
        fields
    }

    /// For a content of known length a window is made no larger than that takes.
    fn fit(self, window: u32, raw: u64) -> u32 {
        let known =
            if self.length.is_some() { raw.next_power_of_two().ilog2().max(10) } else { 31 };
        window.min(known)
    }

    /// Window, tables, and what lies ready before and behind them.
    pub fn memory(self, raw: u64) -> u64 {
        let (window, chain, hash) = LEVELS[(self.level as usize).clamp(1, 22) - 1];
        let window = if self.window == 0 { window } else { self.window as u32 };
        let window = self.fit(window, raw);
        let tables = (4_u64 << chain.min(window + 1)) + (5_u64 << hash.min(window + 1));
        let jobs = if self.jobs { (raw * 3).min(6 << (window + 2).max(20)) } else { 0 };
        (1 << window) + tables + jobs + (2 << 20)
    }
}

/// A reader of one frame.
pub fn reader(packed: impl BufRead, window: u64) -> io::Result<impl Read> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?.single_frame();
    decoder.window_log_max(window.ilog2())?;
    Ok(decoder)
}

/// What could have made a frame.
pub fn recipes(file: &[u8], raw: u64, plain: u64) -> Vec<Recipe> {
    let (Some(flags), Some(window)) = (file.get(4), file.get(5)) else {
        return Vec::new();
    };
    // Dictionaries are not known here.
    if flags & 3 != 0 {
        return Vec::new();
    }
    let single = flags & 32 != 0;
    let named = single || flags >> 6 != 0;
    let window = if single { 0 } else { u32::from(window >> 3) + 10 };
    let mut all = Vec::new();
    for level in [3, 19].into_iter().chain(1..=22) {
        for jobs in [false, true] {
            let plain = Recipe {
                level,
                checksum: flags & 4 != 0,
                length: named.then(|| raw.wrapping_sub(plain)),
                jobs,
                window: 0,
            };
            let own = plain.fit(LEVELS[level as usize - 1].0, raw);
            if if single { 1 << own >= raw } else { own == window } {
                all.push(plain);
            }
            if window > LEVELS[level as usize - 1].0 && window <= MAX_WINDOW {
                all.push(Recipe { window: window.into(), ..plain });
            }
        }
    }
    // A length that the fields cannot hold.
    all.retain(|recipe| Recipe::of(recipe.fields()) == Some(*recipe));
    all
}

/// Writes one frame.
pub struct Zstd(Option<Encoder<'static, Vec<u8>>>);

impl Zstd {
    pub fn new(recipe: Recipe, plain: u64) -> io::Result<Self> {
        let mut encoder = Encoder::new(Vec::new(), recipe.level as i32)?;
        encoder.include_checksum(recipe.checksum)?;
        encoder.include_contentsize(recipe.length.is_some())?;
        encoder.set_pledged_src_size(recipe.length.map(|more| plain.wrapping_add(more)))?;
        if recipe.window > 0 {
            encoder.window_log(recipe.window as u32)?;
            encoder.long_distance_matching(true)?;
        }
        if recipe.jobs {
            encoder.set_parameter(CParameter::NbWorkers(1))?;
        }
        Ok(Self(Some(encoder)))
    }
}

impl Closer for Zstd {
    fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let encoder = self.0.as_mut().ok_or(io::ErrorKind::InvalidInput)?;
        encoder.write_all(bytes)?;
        out.append(encoder.get_mut());
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let encoder = self.0.take().ok_or(io::ErrorKind::InvalidInput)?;
        out.append(&mut encoder.finish()?);
        Ok(())
    }
}
