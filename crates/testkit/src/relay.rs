//! A real relay: a network of its own and the machine's own sshd in it, set up by the script that operators use.
//!
//! `/etc` is an overlay in a mount namespace, and `/var/lib` is empty there, so that accounts and keys of the test stay in
//! the test.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use std::io::{BufRead as _, BufReader, Write as _};

use crate::net::{Net, wait_for};

/// An ed25519 key pair in files.
#[derive(Clone)]
pub struct SshKey {
    /// The private key; the public one is beside it.
    pub path: PathBuf,
    /// Type and body.
    pub public: String,
}

impl SshKey {
    /// Makes one.
    pub fn new(folder: &Path, name: &str) -> Self {
        let path = folder.join(name);
        let done = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
            .arg(&path)
            .output();
        assert!(done.unwrap().status.success(), "ssh-keygen");
        let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
        Self { path, public: public.trim().to_owned() }
    }
}

/// A relay that can be killed, started again, and given other keys.
pub struct SshRelay {
    /// Its network; cables go to `up<n>`.
    pub net: Net,
    /// Its host key.
    pub host_key: SshKey,
    folder: tempfile::TempDir,
    sshd: Option<Child>,
}

impl SshRelay {
    /// Sets one up with the install script and starts it.
    pub fn new(script: &str) -> Self {
        Self::with_key(script, None)
    }

    /// The same, with a host key that others know already.
    pub fn with_key(script: &str, host_key: Option<&SshKey>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["up", "work"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        std::fs::write(folder.path().join("install"), script).unwrap();
        let host_key = match host_key {
            None => SshKey::new(folder.path(), "host_key"),
            Some(known) => {
                let path = folder.path().join("host_key");
                std::fs::copy(&known.path, &path).unwrap();
                SshKey { path, public: known.public.clone() }
            }
        };
        let mut relay = Self { net: Net::new(), host_key, folder, sshd: None };
        relay.start();
        relay
    }

    /// Starts its sshd, in a process namespace of its own so that killing one process ends all connections.
    pub fn start(&mut self) {
        let script = "set -e
            mount -t overlay overlay -o lowerdir=/etc,upperdir=$1/up,workdir=$1/work /etc
            mount -t tmpfs none /run
            mount -t tmpfs -o mode=755 none /var/lib
            mkdir /run/sshd
            sh $1/install
            exec /usr/sbin/sshd -D -e -h $1/host_key";
        let folder = self.folder.path();
        let log =
            std::fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "sh",
            "-c",
            script,
            "sh",
        ]);
        command.arg(folder).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.sshd = Some(self.net.enter(|| command.spawn().unwrap()));
        let up = || self.net.enter(|| connect(22)).is_some();
        wait_for("sshd of a relay", Duration::from_secs(60), up);
    }

    /// Kills sshd and all connections, as a power cut does.
    pub fn stop(&mut self) {
        if let Some(mut sshd) = self.sshd.take() {
            // unshare passes its end on (--kill-child), and the first process of a namespace takes all others along.
            let _ = sshd.kill();
            let _ = sshd.wait();
            let gone = || self.net.enter(|| connect(22)).is_none();
            wait_for("the end of a relay's sshd", Duration::from_secs(10), gone);
        }
    }

    /// Runs the install script again, with other keys.
    pub fn update(&self, script: &str) {
        std::fs::write(self.folder.path().join("install"), script).unwrap();
        let pid = self.sshd.as_ref().unwrap().id();
        // unshare's child is the first process inside.
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let mut command = Command::new("nsenter");
        command
            .args(["--target", children.trim(), "--mount", "--pid", "sh"])
            .arg(self.folder.path().join("install"));
        let done = command.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// The numbers of all its processes, as seen from outside.
    pub fn processes(&self) -> Vec<u32> {
        let Some(sshd) = &self.sshd else {
            return Vec::new();
        };
        let (mut found, mut at) = (vec![sshd.id()], 0);
        while let Some(pid) = found.get(at) {
            let path = format!("/proc/{pid}/task/{pid}/children");
            let children = std::fs::read_to_string(path).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
            at += 1;
        }
        // The first is unshare.
        found.split_off(1)
    }

    /// All that was written on its disk since it was made a relay: `/etc` as far as it changed, and `/var/lib`.
    pub fn disk(&self) -> Vec<u8> {
        let pids = self.processes();
        let own = format!("/proc/{}/root/var/lib", pids.first().unwrap());
        let mut all = Vec::new();
        let mut folders = vec![self.folder.path().join("up"), PathBuf::from(own)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                match entry.file_type().unwrap() {
                    kind if kind.is_dir() => folders.push(entry.path()),
                    kind if kind.is_file() => all.extend(std::fs::read(entry.path()).unwrap()),
                    _ => {}
                }
            }
        }
        all
    }

    /// What sshd has said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// The first line that something on a port of the relay's loopback says.
    pub fn greeting(&self, port: u16) -> Option<String> {
        self.net.enter(|| {
            let mut line = String::new();
            BufReader::new(connect(port)?).read_line(&mut line).ok()?;
            (!line.is_empty()).then(|| line.trim_end().to_owned())
        })
    }

    /// Starts ssh as `user` with a key, on the relay itself, for 30 s at most. Its output goes to pipes.
    pub fn start_ssh(&self, user: &str, key: &SshKey, arguments: &[&str]) -> Child {
        let known = self.folder.path().join("known_hosts");
        std::fs::write(&known, format!("* {}\n", self.host_key.public)).unwrap();
        let mut command = Command::new("timeout");
        command.args([
            "30",
            "ssh",
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "IdentitiesOnly=yes",
        ]);
        command.args(["-o", "ExitOnForwardFailure=yes", "-i"]).arg(&key.path);
        command.arg("-o").arg(format!("UserKnownHostsFile={}", known.display()));
        command.args(["-l", user]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.net.enter(|| command.spawn().unwrap())
    }

    /// Like [`SshRelay::start_ssh`], with `input` on its standard input, to its end.
    pub fn ssh(&self, user: &str, key: &SshKey, arguments: &[&str], input: &str) -> Output {
        let mut child = self.start_ssh(user, key, arguments);
        // It may have ended before it read anything.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }
}

impl Drop for SshRelay {
    fn drop(&mut self) {
        if let Some(sshd) = &mut self.sshd {
            let _ = sshd.kill();
            let _ = sshd.wait();
        }
    }
}

fn connect(port: u16) -> Option<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let limit = Duration::from_secs(2);
    let stream = TcpStream::connect_timeout(&address, limit).ok()?;
    stream.set_read_timeout(Some(limit)).ok()?;
    Some(stream)
}
