//! As much of the network block device protocol as qemu speaks to a disk: fixed newstyle, simple replies.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use crate::disk::Disk;

const OPTION: u64 = u64::from_be_bytes(*b"IHAVEOPT");
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const REQUEST: u32 = 0x2560_9513;
const REPLY: u32 = 0x6744_6698;

/// Options that a client sends first.
const ABORT: u32 = 2;
const GO: u32 = 7;
/// Answers to them.
const ACKNOWLEDGED: u32 = 1;
const EXPORT_INFO: u32 = 3;
const UNSUPPORTED: u32 = (1 << 31) + 1;

/// It can flush (4), and write through (8).
const ABILITIES: u16 = 1 + 4 + 8;
const FORCE: u16 = 1;
/// What a client asks.
const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;
const FLUSH: u16 = 3;
const INVALID: u32 = 22;
/// Longest read or write.
const LONGEST: u32 = 32 << 20;

/// Serves a disk to one client until it leaves.
pub fn serve(stream: &UnixStream, disk: &Disk) -> io::Result<()> {
    let mut reader = io::BufReader::with_capacity(1 << 20, stream);
    let mut writer = stream;
    if !negotiate(&mut reader, &mut writer, disk)? {
        return Ok(());
    }
    let mut buffer = Vec::new();
    loop {
        let request = Request::read(&mut reader)?;
        if request.length > LONGEST && matches!(request.kind, READ | WRITE) {
            return Err(io::Error::other("a longer request than it was told to make"));
        }
        buffer.resize(usize::try_from(request.length).map_err(io::Error::other)?, 0);
        let done = match request.kind {
            READ => disk.read(request.from, &mut buffer),
            WRITE => {
                reader.read_exact(&mut buffer)?;
                disk.write(request.from, &buffer)
            }
            FLUSH => true,
            DISCONNECT => return Ok(()),
            _ => false,
        };
        if request.kind == FLUSH || request.flags & FORCE != 0 {
            disk.flush();
        }
        let mut reply = REPLY.to_be_bytes().to_vec();
        reply.extend(if done { 0 } else { INVALID }.to_be_bytes());
        reply.extend(request.handle);
        if request.kind == READ && done {
            reply.extend(&buffer);
        }
        writer.write_all(&reply)?;
    }
}

/// The handshake; false if the client only looked.
fn negotiate(reader: &mut impl Read, writer: &mut impl Write, disk: &Disk) -> io::Result<bool> {
    writer.write_all(b"NBDMAGIC")?;
    writer.write_all(&OPTION.to_be_bytes())?;
    // Fixed newstyle, without padding.
    writer.write_all(&3u16.to_be_bytes())?;
    number::<4>(reader)?;
    loop {
        if number::<8>(reader)? != OPTION.to_be_bytes() {
            return Err(io::Error::other("no option"));
        }
        let option = u32::from_be_bytes(number(reader)?);
        let length = u32::from_be_bytes(number(reader)?);
        io::copy(&mut reader.take(length.into()), &mut io::sink())?;
        match option {
            GO => {
                let mut info = 0u16.to_be_bytes().to_vec();
                info.extend(disk.size().to_be_bytes());
                info.extend(ABILITIES.to_be_bytes());
                answer(writer, option, EXPORT_INFO, &info)?;
                answer(writer, option, ACKNOWLEDGED, &[])?;
                return Ok(true);
            }
            ABORT => {
                answer(writer, option, ACKNOWLEDGED, &[])?;
                return Ok(false);
            }
            _ => answer(writer, option, UNSUPPORTED, &[])?,
        }
    }
}

fn answer(writer: &mut impl Write, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
    let mut out = OPTION_REPLY.to_be_bytes().to_vec();
    out.extend(option.to_be_bytes());
    out.extend(kind.to_be_bytes());
    out.extend(u32::try_from(data.len()).map_err(io::Error::other)?.to_be_bytes());
    out.extend(data);
    writer.write_all(&out)
}

struct Request {
    flags: u16,
    kind: u16,
    handle: [u8; 8],
    from: u64,
    length: u32,
}

impl Request {
    fn read(reader: &mut impl Read) -> io::Result<Self> {
        if number::<4>(reader)? != REQUEST.to_be_bytes() {
            return Err(io::Error::other("no request"));
        }
        Ok(Self {
            flags: u16::from_be_bytes(number(reader)?),
            kind: u16::from_be_bytes(number(reader)?),
            handle: number(reader)?,
            from: u64::from_be_bytes(number(reader)?),
            length: u32::from_be_bytes(number(reader)?),
        })
    }
}

fn number<const N: usize>(reader: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}
