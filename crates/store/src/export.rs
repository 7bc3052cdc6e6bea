//! The stream that `nix-store --import` reads (Nix: `Store::importPaths`).
//!
//! Per path: 1, the NAR, the magic number, the path, its references, its deriver, and 0 for "no signature";
//! at the end 0. Numbers and strings as in a NAR.

use std::io::{self, Write};

use afield_core::release::PathInfo;

const MAGIC: u64 = 0x4558_494e;

/// Writes one path; `archive` writes its NAR. If that fails the path's end is not written, so that Nix takes nothing
/// that was not proved.
pub fn path<W: Write, E: From<io::Error>>(
    out: &mut W,
    info: &PathInfo,
    archive: impl FnOnce(&mut W) -> Result<(), E>,
) -> Result<(), E> {
    number(out, 1)?;
    archive(out)?;
    number(out, MAGIC)?;
    text(out, info.path.as_str())?;
    number(out, info.references.len() as u64)?;
    for reference in &info.references {
        text(out, reference.as_str())?;
    }
    text(out, "")?;
    Ok(number(out, 0)?)
}

/// Ends the stream.
pub fn end(out: &mut impl Write) -> io::Result<()> {
    number(out, 0)
}

fn number(out: &mut impl Write, n: u64) -> io::Result<()> {
    out.write_all(&n.to_le_bytes())
}

fn text(out: &mut impl Write, text: &str) -> io::Result<()> {
    number(out, text.len() as u64)?;
    out.write_all(text.as_bytes())?;
    out.write_all(&[0; 8][..(8 - text.len() % 8) % 8])
}
