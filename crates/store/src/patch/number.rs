//! Numbers: their length in bits, one bit after the other, then the bits from the highest down.

use super::PatchError;
use super::coder::Coder;
use super::mix::{Slot, hash};

/// A kind of number, and what is known of its values.
pub struct Number {
    slots: Vec<Slot>,
    last: u32,
}

impl Number {
    pub fn new() -> Self {
        Self { slots: vec![Slot::NEW; 1 << 12], last: 0 }
    }

    /// Codes `n`; what the last number was predicts the next.
    pub fn code(&mut self, coder: &mut impl Coder, n: u64) -> Result<u64, PatchError> {
        let mut length = 64 - n.leading_zeros();
        let mut at = 0;
        while at < 64 {
            let more = self.bit(coder, u32::from(at < length), &[1, self.last, at])?;
            if more == 0 {
                break;
            }
            at += 1;
        }
        length = at;
        self.last = length;
        if length == 0 {
            return Ok(0);
        }
        let mut value: u64 = 1;
        for at in (0..length - 1).rev() {
            let bit = (n >> at) as u32 & 1;
            // The three bits below the highest are learnt, the others hardly repeat.
            let known = if length - at <= 4 { value as u32 } else { 0 };
            value = value << 1 | u64::from(self.bit(coder, bit, &[2, length, at, known])?);
        }
        Ok(value)
    }

    /// Codes a number with a sign.
    pub fn code_signed(&mut self, coder: &mut impl Coder, n: i64) -> Result<i64, PatchError> {
        let folded = (n << 1) ^ (n >> 63);
        let folded = self.code(coder, folded as u64)?;
        Ok((folded >> 1) as i64 ^ -((folded & 1) as i64))
    }

    fn bit(
        &mut self,
        coder: &mut impl Coder,
        bit: u32,
        context: &[u32],
    ) -> Result<u32, PatchError> {
        let slot = &mut self.slots[hash(context) as usize & 0xFFF];
        let bit = coder.bit(bit, slot.known())?;
        slot.learn(bit, 30);
        Ok(bit)
    }
}
