//! Gzip files that can be opened: inflated to look inside, and deflated again to the same bytes.
//!
//! GNU gzip and zlib are deterministic, so the content and the level are enough to make the file again. That
//! is tried when a patch is made; what does not come out bit for bit stays closed.

use std::io::Read as _;

use super::deflate::{Method, deflate};

/// Larger contents stay closed: they are held in memory while they are deflated.
pub const MAX_RAW: u64 = 6 << 20;
/// CRC and length behind the deflated content.
const TRAILER: usize = 8;

/// An opened file.
#[derive(Debug)]
pub struct Open {
    /// Length of the header, which stays as it is.
    pub header: usize,
    /// The content.
    pub raw: Vec<u8>,
    /// Number of the method that makes the file again.
    pub method: u64,
}

/// Whether a file looks like one that could be opened.
pub fn likely(start: &[u8]) -> bool {
    start.starts_with(&[0x1f, 0x8b, 8])
}

/// Opens a file, if the same bytes can be made again.
pub fn open(file: &[u8]) -> Option<Open> {
    let header = header(file)?;
    let raw = inflate(file)?;
    let body = &file[header..];
    (0..Method::ALL.len() as u64)
        .find(|method| close(&raw, *method).is_some_and(|made| made == body))
        .map(|method| Open { header, raw, method })
}

/// The content of a file, if it is one whole gzip file and not too large.
pub fn inflate(file: &[u8]) -> Option<Vec<u8>> {
    let mut raw = Vec::new();
    let decoder = flate2::bufread::GzDecoder::new(file);
    let mut limited = decoder.take(MAX_RAW + 1);
    limited.read_to_end(&mut raw).ok()?;
    let rest = limited.into_inner().into_inner();
    (rest.is_empty() && raw.len() as u64 <= MAX_RAW && !raw.is_empty()).then_some(raw)
}

/// What stands behind the header: the deflated content and the trailer.
pub fn close(raw: &[u8], method: u64) -> Option<Vec<u8>> {
    let method = Method::ALL.get(usize::try_from(method).ok()?)?;
    let mut body = deflate(raw, *method);
    let mut crc = flate2::Crc::new();
    crc.update(raw);
    body.extend(crc.sum().to_le_bytes());
    body.extend((raw.len() as u32).to_le_bytes());
    Some(body)
}

/// Length of the header (RFC 1952, 2.3).
fn header(file: &[u8]) -> Option<usize> {
    if !likely(file) || file.len() < 10 + TRAILER {
        return None;
    }
    let flags = file[3];
    let mut at = 10;
    // Only names and comments; extra fields and header checksums do not occur.
    if flags & !0b1_1001 != 0 {
        return None;
    }
    for flag in [8, 16] {
        if flags & flag != 0 {
            at += file.get(at..)?.iter().position(|b| *b == 0)? + 1;
        }
    }
    (at + TRAILER <= file.len()).then_some(at)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    fn gzip(level: &str, content: &[u8]) -> Vec<u8> {
        let mut child = Command::new("gzip")
            .args([level, "-n", "-c"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("gzip must be installed");
        let mut to = child.stdin.take().unwrap();
        let content = content.to_vec();
        let writer = std::thread::spawn(move || to.write_all(&content).unwrap());
        let out = child.wait_with_output().unwrap();
        writer.join().unwrap();
        out.stdout
    }

    /// Words that come up again and again, as in a text, from a fixed seed.
    fn prose(len: usize, seed: u64) -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize
        };
        let words: Vec<String> = (0..3000).map(|_| format!("{:x}", next() % 99_991)).collect();
        let mut text = String::new();
        while text.len() < len {
            let n = next() % words.len();
            text.push_str(&words[n * n / words.len()]);
            text.push([' ', ' ', ' ', '\n'][next() % 4]);
        }
        text.into_bytes()
    }

    #[test]
    fn gnu_gzip_is_made_again_bit_for_bit() {
        for level in ["-9", "-6"] {
            for len in [1, 5, 300, 5_000, 60_000, 400_000, 1_500_000] {
                let content = prose(len, len as u64);
                let file = gzip(level, &content);
                let opened = open(&file).unwrap_or_else(|| panic!("gzip {level} of {len} bytes"));
                assert_eq!(opened.raw, content);
                assert_eq!(close(&opened.raw, opened.method).unwrap(), file[opened.header..]);
            }
        }
    }

    #[test]
    fn what_cannot_be_made_again_stays_closed() {
        let content = prose(50_000, 7);
        let mut file = gzip("-1", &content);
        assert!(open(&file).is_none(), "level 1 is another algorithm");
        file = gzip("-9", &content);
        let twice = [file.clone(), file.clone()].concat();
        assert!(open(&twice).is_none(), "two members");
        for cut in [1, 9, 11, file.len() - 1] {
            assert!(open(&file[..cut]).is_none(), "cut at {cut}");
        }
        let at = file.len() - 6;
        file[at] ^= 1;
        assert!(open(&file).is_none(), "a wrong checksum");
    }
}
