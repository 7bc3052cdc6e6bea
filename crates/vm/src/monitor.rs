//! qemu's monitor: one JSON value a line.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use afield_testkit::net::wait_for;
use serde_json::{Value, json};

/// It answers at once, unless the machine is very busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// The connection.
pub struct Monitor {
    reader: BufReader<UnixStream>,
}

impl Monitor {
    /// Connects as soon as qemu listens.
    pub fn connect(socket: &Path, qemu: &mut Child) -> Self {
        let mut stream = None;
        wait_for("qemu's monitor", PATIENCE, || {
            if let Some(status) = qemu.try_wait().unwrap() {
                panic!("qemu ended with {status}; see qemu.log");
            }
            stream = UnixStream::connect(socket).ok();
            stream.is_some()
        });
        let stream = stream.unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut monitor = Self { reader: BufReader::new(stream) };
        assert!(!monitor.line()["QMP"].is_null(), "no greeting");
        monitor.run("qmp_capabilities", json!({}));
        monitor
    }

    /// Runs a command.
    pub fn run(&mut self, command: &str, arguments: Value) -> Value {
        let mut line = json!({ "execute": command, "arguments": arguments }).to_string();
        line.push('\n');
        self.reader.get_mut().write_all(line.as_bytes()).unwrap();
        loop {
            let mut answer = self.line();
            assert!(answer["error"].is_null(), "{command}: {answer}");
            if !answer["return"].is_null() {
                return answer["return"].take();
            }
        }
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line:?}: {e}"))
    }

    /// Writes memory and devices to a file.
    pub fn migrate(&mut self, file: &Path) {
        self.run("migrate-set-parameters", json!({ "max-bandwidth": 4u64 << 30 }));
        self.run("migrate", json!({ "uri": format!("exec:cat > {}", file.display()) }));
        wait_for("the snapshot", PATIENCE, || {
            let status = self.run("query-migrate", json!({}));
            assert_ne!(status["status"], "failed", "{status}");
            status["status"] == "completed"
        });
    }

    /// Whether the guest has opened the port behind this chardev. A reset closes it.
    pub fn is_open(&mut self, chardev: &str) -> bool {
        let all = self.run("query-chardev", json!({}));
        let mut all = all.as_array().into_iter().flatten();
        all.any(|one| one["label"] == chardev && one["frontend-open"] == true)
    }

    /// Waits until `-incoming` has been read.
    pub fn wait_until_loaded(&mut self) {
        wait_for("the snapshot to be read", PATIENCE, || {
            self.run("query-status", json!({}))["status"] != "inmigrate"
        });
    }
}
