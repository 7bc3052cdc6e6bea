//! The .xz format (https://tukaani.org/xz/xz-file-format.txt), as `xz` and the kernel's makefiles write it: one
//! stream, its blocks of one size, LZMA2 with or without a filter for jumps before it. Data are encoded by
//! liblzma; headers, checks and the index are written here, because liblzma would reserve memory for the window
//! that the header names, also if the whole content is shorter.

use std::io::{self, BufRead, Read, Write as _};

use liblzma::stream::{Filters, LzmaOptions, PRESET_EXTREME, Stream};
use sha2::{Digest as _, Sha256};

use super::{Closer, FIELDS};

pub const MAGIC: &[u8] = &[0xFD, b'7', b'z', b'X', b'Z', 0];
const FOOTER: &[u8] = b"YZ";
const LZMA2: u8 = 0x21;
const X86: u8 = 4;
const ARM64: u8 = 0xA;
/// A bit of a preset: with more effort.
const EXTREME: u64 = 16;
/// Presets that differ in more than the window, the likeliest first.
const PRESETS: [u64; 12] =
    [6, 9 | EXTREME, 5 | EXTREME, 0, 1, 2, 3, 4, 5, 7 | EXTREME, 3 | EXTREME, EXTREME];
/// Windows of the presets 0 to 9, as powers of two.
const WINDOWS: [u32; 10] = [18, 20, 21, 22, 22, 23, 23, 24, 25, 26];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe {
    preset: u64,
    /// Window of the encoder, a power of two.
    window: u64,
    /// The window as the header names it.
    named: u8,
    /// Bits of context, as LZMA2 names them.
    context: u8,
    /// The filter before LZMA2; 0 is none.
    filter: u8,
    check: u8,
    /// Which lengths stand in a block's header: 1 packed, 2 of the content.
    sizes: u8,
    /// Length of a block's header.
    header: u64,
    /// Length of a block's content; 0 if all is one block.
    block: u64,
}

impl Recipe {
    pub fn of(f: [u64; FIELDS]) -> Option<Self> {
        let byte = |n: u64| u8::try_from(n).ok();
        let recipe = Self {
            preset: f[0],
            window: f[1],
            named: byte(f[2])?,
            context: byte(f[3])?,
            filter: byte(f[4])?,
            check: byte(f[5])?,
            sizes: byte(f[6])?,
            header: f[7],
            block: f[8],
        };
        let known = recipe.preset & !EXTREME <= 9
            && (12..=26).contains(&recipe.window)
            && recipe.named <= 40
            && recipe.context < 225
            && matches!(recipe.filter, 0 | X86 | ARM64)
            && matches!(recipe.check, 0 | 1 | 4 | 10)
            && recipe.sizes <= 3
            && (8..=1024).contains(&recipe.header)
            && recipe.header.is_multiple_of(4);
        known.then_some(recipe)
    }

    pub fn fields(self) -> [u64; FIELDS] {
        [
            self.preset,
            self.window,
            self.named.into(),
            self.context.into(),
            self.filter.into(),
            self.check.into(),
            self.sizes.into(),
            self.header,
            self.block,
        ]
    }

    /// The encoder keeps half a window more than the window, a table of where words stood, and one or two links
    /// for each byte of it. A block whose length stands before it waits for its end.
    pub fn memory(self, raw: u64) -> u64 {
        let window = 1_u64 << self.window;
        let links = if self.preset & EXTREME == 0 && self.preset < 4 { 4 } else { 8 };
        let table = window.next_power_of_two().max(1 << 16) * 2;
        let block = if self.block == 0 { raw } else { self.block.min(raw) };
        let waits = if self.sizes & 1 == 0 { 0 } else { block };
        window * 3 / 2 + table + window * links + waits + (3 << 20)
    }

    fn filters(self) -> io::Result<Filters> {
        let extreme = if self.preset & EXTREME == 0 { 0 } else { PRESET_EXTREME };
        let mut options = LzmaOptions::new_preset((self.preset & 15) as u32 | extreme)?;
        let context = u32::from(self.context);
        options
            .dict_size(1 << self.window)
            .literal_context_bits(context % 9)
            .literal_position_bits(context / 9 % 5)
            .position_bits(context / 45);
        let mut filters = Filters::new();
        match self.filter {
            X86 => drop(filters.x86()),
            ARM64 => drop(filters.arm64()),
            _ => {}
        }
        filters.lzma2(&options);
        Ok(filters)
    }
}

/// A reader of one stream. Decoding takes the window and a little more.
pub fn reader(packed: impl BufRead, window: u64) -> io::Result<impl Read> {
    let stream = Stream::new_stream_decoder(window + (4 << 20), 0)?;
    Ok(liblzma::bufread::XzDecoder::new_stream(packed, stream))
}

/// What could have made a file.
pub fn recipes(file: &[u8], raw: u64) -> Vec<Recipe> {
    let Some(plain) = parse(file, raw) else {
        return Vec::new();
    };
    let named = window(plain.named).unwrap_or(u64::MAX);
    // The likeliest presets have the window that the header names.
    let fits = |p: &u64| u64::from(1_u32 << WINDOWS[(p & 15) as usize]) == named;
    let (likely, others): (Vec<u64>, Vec<u64>) = PRESETS.into_iter().partition(fits);
    let whole = plain.block.clamp(1, raw).max(if plain.block == 0 { raw } else { 1 });
    let mut windows: Vec<u64> = Vec::new();
    if named.is_power_of_two() {
        windows.push(named);
    }
    // Where all lies within the window anyway, a smaller one does the same with less memory.
    let enough = whole.next_power_of_two().max(1 << 16);
    windows.extend([enough, enough * 2, enough * 4].into_iter().filter(|w| *w < named));
    let mut all = Vec::new();
    for window in windows {
        for preset in likely.iter().chain(&others) {
            all.push(Recipe { preset: *preset, window: window.ilog2().into(), ..plain });
        }
    }
    all
}

/// Everything about a file but its preset.
fn parse(file: &[u8], raw: u64) -> Option<Recipe> {
    let check = *file.get(7)?;
    let header = (u64::from(*file.get(12)?) + 1) * 4;
    let flags = *file.get(13)?;
    let mut at = 14;
    let number = |at: &mut usize| -> Option<u64> {
        let mut value = 0;
        for k in 0..9 {
            let byte = *file.get(*at)?;
            *at += 1;
            value |= u64::from(byte & 127) << (7 * k);
            if byte < 128 {
                return Some(value);
            }
        }
        None
    };
    if flags & 0x40 != 0 {
        number(&mut at)?;
    }
    let size = if flags & 0x80 != 0 { number(&mut at)? } else { raw };
    let mut filter = 0;
    if flags & 3 == 1 {
        filter = *file.get(at)?;
        if *file.get(at + 1)? != 0 {
            return None;
        }
        at += 2;
    } else if flags & 3 != 0 {
        return None;
    }
    if *file.get(at)? != LZMA2 || *file.get(at + 1)? != 1 {
        return None;
    }
    let named = *file.get(at + 2)?;
    let data = 12 + header as usize;
    // The first chunk of LZMA2 names the contexts, unless it is stored.
    let context = if *file.get(data)? >= 0xC0 { *file.get(data + 5)? } else { 93 };
    let recipe = Recipe {
        preset: 6,
        window: 16,
        named,
        context,
        filter,
        check,
        sizes: flags >> 6,
        header,
        block: if size < raw { size } else { 0 },
    };
    Recipe::of(recipe.fields())
}

/// The length that a header's byte stands for.
fn window(named: u8) -> Option<u64> {
    (named < 40).then(|| (2 | u64::from(named & 1)) << (named / 2 + 11))
}

/// Writes one stream.
pub struct Xz {
    recipe: Recipe,
    block: Option<Block>,
    /// Length without padding, and of the content, of each block.
    index: Vec<(u64, u64)>,
    started: bool,
}

struct Block {
    encoder: liblzma::write::XzEncoder<Vec<u8>>,
    check: Check,
    raw: u64,
    packed: u64,
}

impl Xz {
    pub fn new(recipe: Recipe) -> io::Result<Self> {
        Ok(Self { recipe, block: None, index: Vec::new(), started: false })
    }

    fn start(&mut self, out: &mut Vec<u8>) {
        if !self.started {
            let flags = [0, self.recipe.check];
            out.extend([MAGIC, &flags, &crc32(&flags)].concat());
            self.started = true;
        }
    }

    fn header(&self, packed: u64, raw: u64) -> Vec<u8> {
        let r = &self.recipe;
        let filters = u8::from(r.filter != 0);
        let mut header = vec![(r.header / 4 - 1) as u8, r.sizes << 6 | filters];
        if r.sizes & 1 != 0 {
            header.extend(number(packed));
        }
        if r.sizes & 2 != 0 {
            header.extend(number(raw));
        }
        if r.filter != 0 {
            header.extend([r.filter, 0]);
        }
        header.extend([LZMA2, 1, r.named]);
        header.resize(r.header as usize - 4, 0);
        header.extend(crc32(&header));
        header
    }

    fn open(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.start(out);
        if self.recipe.sizes == 0 {
            out.extend(self.header(0, 0));
        }
        let stream = Stream::new_raw_encoder(&self.recipe.filters()?)?;
        let encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
        let check = Check::new(self.recipe.check);
        self.block = Some(Block { encoder, check, raw: 0, packed: 0 });
        Ok(())
    }

    fn close(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let Some(block) = self.block.take() else {
            return Ok(());
        };
        let rest = block.encoder.finish()?;
        let packed = block.packed + rest.len() as u64;
        if self.recipe.sizes != 0 {
            out.extend(self.header(packed, block.raw));
        }
        out.extend(rest);
        pad(out, packed);
        let check = block.check.finish();
        let length = self.recipe.header + packed + check.len() as u64;
        self.index.push((length, block.raw));
        out.extend(check);
        Ok(())
    }
}

impl Closer for Xz {
    fn write(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.block.is_none() {
                self.open(out)?;
            }
            let Some(block) = &mut self.block else {
                return Ok(());
            };
            let room = match self.recipe.block {
                0 => bytes.len(),
                most => (most - block.raw).min(bytes.len() as u64) as usize,
            };
            block.encoder.write_all(&bytes[..room])?;
            block.check.update(&bytes[..room]);
            block.raw += room as u64;
            if self.recipe.sizes == 0 {
                block.packed += block.encoder.get_ref().len() as u64;
                out.append(block.encoder.get_mut());
            }
            if block.raw == self.recipe.block {
                self.close(out)?;
            }
            bytes = &bytes[room..];
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.start(out);
        self.close(out)?;
        let mut index = vec![0];
        index.extend(number(self.index.len() as u64));
        for (length, raw) in &self.index {
            index.extend(number(*length));
            index.extend(number(*raw));
        }
        let length = index.len() as u64;
        pad(&mut index, length);
        index.extend(crc32(&index));
        out.extend(&index);
        let words = (index.len() / 4 - 1) as u32;
        let footer = [&words.to_le_bytes()[..], &[0, self.recipe.check]].concat();
        out.extend([&crc32(&footer), &footer[..], FOOTER].concat());
        Ok(())
    }
}

/// Fills up to a multiple of four what has this length.
fn pad(out: &mut Vec<u8>, length: u64) {
    out.resize(out.len() + (length.wrapping_neg() & 3) as usize, 0);
}

/// Seven bits a byte, the lowest first.
fn number(mut n: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while n >= 128 {
        bytes.push(n as u8 | 128);
        n >>= 7;
    }
    bytes.push(n as u8);
    bytes
}

fn crc32(bytes: &[u8]) -> [u8; 4] {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum().to_le_bytes()
}

/// What stands behind a block, so that damage shows.
enum Check {
    None,
    Crc32(flate2::Crc),
    Crc64(u64),
    Sha256(Box<Sha256>),
}

impl Check {
    fn new(kind: u8) -> Self {
        match kind {
            1 => Self::Crc32(flate2::Crc::new()),
            4 => Self::Crc64(u64::MAX),
            10 => Self::Sha256(Box::default()),
            _ => Self::None,
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::None => {}
            Self::Crc32(crc) => crc.update(bytes),
            Self::Crc64(crc) => {
                for byte in bytes {
                    *crc = CRC64[usize::from(*crc as u8 ^ byte)] ^ *crc >> 8;
                }
            }
            Self::Sha256(hash) => hash.update(bytes),
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Self::None => Vec::new(),
            Self::Crc32(crc) => crc.sum().to_le_bytes().to_vec(),
            Self::Crc64(crc) => (!crc).to_le_bytes().to_vec(),
            Self::Sha256(hash) => hash.finalize().to_vec(),
        }
    }
}

/// ECMA-182, reflected.
static CRC64: [u64; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let mut crc = n as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xC96C_5795_D787_0F42 } else { crc >> 1 };
            bit += 1;
        }
        table[n] = crc;
        n += 1;
    }
    table
};
