//! Neighbours.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use afield_testkit::host::Host;
use afield_testkit::net::wait_for;

/// `afield-agent lan`, ended with the test.
pub struct Serving(Child);

impl Serving {
    /// As the host's configuration says.
    pub fn start(host: &Host) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_afield-agent"));
        command.arg("lan").arg("--config").arg(host.config()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// On a free port of the loopback; back when it answers.
    pub fn on_loopback(host: &Host) -> (Self, SocketAddr) {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let toml = host.text("etc/afield/agent.toml");
        fs::write(host.config(), format!("{toml}port = {port}\n")).unwrap();
        let serving = Self::start(host);
        let peer: SocketAddr = ([127, 0, 0, 1], port).into();
        wait_for("the server", Duration::from_secs(30), || TcpStream::connect(peer).is_ok());
        (serving, peer)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Makes a host take from its neighbours, and wait so long for them.
pub fn with_lan(host: &Host, wait: &str) {
    let toml = host.text("etc/afield/agent.toml");
    fs::write(host.config(), format!("{toml}[lan]\nwait = \"{wait}\"\n")).unwrap();
}

/// What discovery would have written down.
pub fn write_peers(host: &Host, peers: &[SocketAddr]) {
    let path = host.path("run/afield-lan");
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("peers.json"), serde_json::to_vec(peers).unwrap()).unwrap();
}
