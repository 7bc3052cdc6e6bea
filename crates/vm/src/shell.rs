//! A shell in the guest, reached over a serial port: it needs neither network nor sshd, and answers before both.
//!
//! A request is `RUN <number> <length>` and the script; the answer `DONE <number> <status> <length of output> <of
//! errors>` and both. Numbers tell apart what was asked of a guest before it rebooted.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Output};
use std::sync::Mutex;
use std::time::Duration;

use afield_testkit::net::wait_for;

use crate::machine::BOOT;

/// The guest's end, a service of the Debian tree.
pub const SERVICE: &str = r#"[Unit]
Description=Shell of the tests
ConditionVirtualization=!container
DefaultDependencies=no
[Service]
ExecStart=/usr/local/lib/afield-vm-shell
Restart=always
RestartSec=0
KillMode=process
[Install]
WantedBy=sysinit.target
"#;

/// What the service runs.
pub const SCRIPT: &str = r#"#!/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
here=/run/afield-vm-shell
mkdir -p "$here"
until port=$(ls /dev/vport*p1 2>/dev/null); do sleep 0.1; done
exec 3<>"$port"
while :; do
    # Nobody is connected at the other end: it reads as an end.
    read -r word number length <&3 || { sleep 0.1; continue; }
    [ "$word" = RUN ] && [ "$length" -ge 0 ] || continue
    head -c "$length" <&3 > "$here/script"
    bash "$here/script" > "$here/out" 2> "$here/err" < /dev/null 3<&-
    status=$?
    echo "DONE $number $status $(stat -c %s "$here/out") $(stat -c %s "$here/err")" >&3
    cat "$here/out" "$here/err" >&3
done
"#;

/// Our end.
pub struct Shell {
    inner: Mutex<Inner>,
}

struct Inner {
    reader: BufReader<UnixStream>,
    number: u64,
}

impl Shell {
    /// Connects as soon as qemu listens.
    pub fn connect(socket: &Path) -> Self {
        let mut stream = None;
        wait_for("the shell's port", BOOT, || {
            stream = UnixStream::connect(socket).ok();
            stream.is_some()
        });
        let reader = BufReader::new(stream.unwrap());
        Self { inner: Mutex::new(Inner { reader, number: 0 }) }
    }

    /// Runs a script; an error if it has not ended after a while.
    pub fn run(&self, script: &str) -> io::Result<Output> {
        self.run_within(script, BOOT)
    }

    /// The same with another patience.
    pub fn run_within(&self, script: &str, patience: Duration) -> io::Result<Output> {
        let number = self.send(script)?;
        self.answer(number, patience)
    }

    /// Asks for a script to be run; the number that its answer has.
    pub fn send(&self, script: &str) -> io::Result<u64> {
        let inner = &mut *self.inner.lock().unwrap();
        inner.number += 1;
        let request = format!("RUN {} {}\n{script}", inner.number, script.len());
        inner.reader.get_mut().write_all(request.as_bytes())?;
        Ok(inner.number)
    }

    /// The answer with this number, if it begins to come before the patience ends; answers to others are passed over.
    pub fn answer(&self, number: u64, patience: Duration) -> io::Result<Output> {
        let inner = &mut *self.inner.lock().unwrap();
        loop {
            // Nothing of an answer may be lost by looking too early.
            inner.reader.get_mut().set_read_timeout(Some(patience))?;
            if inner.reader.fill_buf()?.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            inner.reader.get_mut().set_read_timeout(Some(BOOT))?;
            let mut line = String::new();
            inner.reader.read_line(&mut line)?;
            let Some(answer) = Answer::parse(&line) else { continue };
            let (mut stdout, mut stderr) = (vec![0; answer.out], vec![0; answer.err]);
            inner.reader.read_exact(&mut stdout)?;
            inner.reader.read_exact(&mut stderr)?;
            if answer.number == number {
                let status = ExitStatus::from_raw(answer.status << 8);
                return Ok(Output { status, stdout, stderr });
            }
        }
    }
}

struct Answer {
    number: u64,
    status: i32,
    out: usize,
    err: usize,
}

impl Answer {
    /// None of a line that a guest was cut off in.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        words.find(|word| *word == "DONE")?;
        Some(Self {
            number: words.next()?.parse().ok()?,
            status: words.next()?.parse().ok()?,
            out: words.next()?.parse().ok()?,
            err: words.next()?.parse().ok()?,
        })
    }
}
