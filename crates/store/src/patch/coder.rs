//! A binary arithmetic coder: one symbol, one probability, one way to write both directions.
//!
//! Models are written once, over [`Coder`]: the encoder takes the bit that it is given, the decoder ignores
//! it and returns the bit that it reads. What one side learns, the other learns too.

use std::io::{self, Read, Write};

use super::PatchError;

/// Probabilities have 16 bits: 65535 is all but certain that the bit is 1.
pub type Probability = u32;

/// Writes bits, or reads them.
pub trait Coder {
    /// Codes one bit that is 1 with probability `p1` (1 to 65535); returns the bit.
    fn bit(&mut self, bit: u32, p1: Probability) -> Result<u32, PatchError>;
}

/// The interval of a coder. While both ends share their first byte, that byte is certain and leaves.
#[derive(Debug)]
struct Interval {
    low: u32,
    high: u32,
}

impl Interval {
    const ALL: Self = Self { low: 0, high: u32::MAX };

    /// Last value that stands for the bit 1.
    fn split(&self, p1: Probability) -> u32 {
        let range = u64::from(self.high - self.low);
        // Below `high`, since p1 is below 2^16.
        self.low + ((range * u64::from(p1)) >> 16) as u32
    }

    fn narrow(&mut self, bit: u32, split: u32) {
        if bit == 1 {
            self.high = split;
        } else {
            self.low = split + 1;
        }
    }

    /// The first byte, once it is certain.
    fn shift(&mut self) -> Option<u8> {
        if (self.low ^ self.high) >> 24 != 0 {
            return None;
        }
        let byte = (self.high >> 24) as u8;
        self.low <<= 8;
        self.high = self.high << 8 | 255;
        Some(byte)
    }
}

/// Writes.
pub struct Encoder<W> {
    out: W,
    interval: Interval,
    written: u64,
}

impl<W: Write> Encoder<W> {
    pub fn new(out: W) -> Self {
        let interval = Interval::ALL;
        Self { out, interval, written: 0 }
    }

    /// Writes what is left; the decoder never needs more.
    pub fn finish(mut self) -> io::Result<(W, u64)> {
        self.out.write_all(&self.interval.low.to_be_bytes())?;
        self.out.flush()?;
        Ok((self.out, self.written + 4))
    }
}

impl<W: Write> Coder for Encoder<W> {
    fn bit(&mut self, bit: u32, p1: Probability) -> Result<u32, PatchError> {
        let split = self.interval.split(p1);
        self.interval.narrow(bit, split);
        while let Some(byte) = self.interval.shift() {
            self.out.write_all(&[byte]).map_err(PatchError::Write)?;
            self.written += 1;
        }
        Ok(bit)
    }
}

/// Reads.
pub struct Decoder<R> {
    from: R,
    interval: Interval,
    value: u32,
}

impl<R: Read> Decoder<R> {
    pub fn new(mut from: R) -> Result<Self, PatchError> {
        let mut first = [0; 4];
        read_exact(&mut from, &mut first)?;
        Ok(Self { from, interval: Interval::ALL, value: u32::from_be_bytes(first) })
    }

    /// Everything has been read; refuses what stands behind it.
    pub fn finish(mut self) -> Result<(), PatchError> {
        // What the encoder left: whoever took another way somewhere hardly arrives here.
        if self.value != self.interval.low {
            return Err(PatchError::Corrupt(
                "its end does not fit its beginning, or a base changed",
            ));
        }
        match self.from.read(&mut [0]).map_err(PatchError::Read)? {
            0 => Ok(()),
            _ => Err(PatchError::Corrupt("something follows its end")),
        }
    }
}

impl<R: Read> Coder for Decoder<R> {
    fn bit(&mut self, _: u32, p1: Probability) -> Result<u32, PatchError> {
        let split = self.interval.split(p1);
        let bit = u32::from(self.value <= split);
        self.interval.narrow(bit, split);
        while self.interval.shift().is_some() {
            let mut next = [0];
            read_exact(&mut self.from, &mut next)?;
            self.value = self.value << 8 | u32::from(next[0]);
        }
        Ok(bit)
    }
}

fn read_exact(from: &mut impl Read, buffer: &mut [u8]) -> Result<(), PatchError> {
    from.read_exact(buffer).map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof => PatchError::Truncated,
        _ => PatchError::Read(e),
    })
}
