//! Hub and repository through a relay, where nothing but SSH gets out.
//!
//! The tunnel's ssh to each relay is a master (ssh_config(5), ControlMaster); another ssh asks it for a connection to
//! the hub, which the relay allows for just that (`PermitOpen`). For the web client only the address changes: names,
//! certificates and signatures are checked as ever.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use afield_core::accounts::TUNNEL;
use afield_core::tunnel::config::ThroughRelay;
use afield_core::tunnel::reach::{Straight, Way};
use afield_store::files;
use jiff::Timestamp;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    ConnectionDetails, Connector, DefaultConnector, NextTimeout, Transport,
};

use crate::config::Config;
use crate::tunnel;

/// Names of the masters' sockets begin so.
pub const CONTROL: &str = "control.";
/// Stands for "through a relay" until there is a connection: nothing can listen on port 0.
const RELAY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
/// The web client connects at once; this only ends what it left behind.
const CONNECT: Duration = Duration::from_secs(10);
const MAX_MEMORY: u64 = 4096;

/// Which way the agent's connections take.
#[derive(Debug)]
pub struct Ways {
    tunnel_config: PathBuf,
    controls: PathBuf,
    memory: PathBuf,
    after: Duration,
    straight: Mutex<Straight>,
}

impl Ways {
    /// For a host of this configuration.
    pub fn new(config: &Config) -> Arc<Self> {
        let own = |name: &str| config.state_dir().join(name);
        let memory = own("straight.json");
        let kept = files::read_limited(&memory, MAX_MEMORY).ok();
        let straight = kept.and_then(|kept| serde_json::from_slice(&kept).ok());
        Arc::new(Self {
            tunnel_config: config.inside(Path::new(TUNNEL)),
            controls: config.inside(Path::new("/run/afield-tunnel")),
            memory,
            after: config.through_relay_after.duration(),
            straight: Mutex::new(straight.unwrap_or_default()),
        })
    }

    /// A web client that goes these ways.
    pub fn client(self: &Arc<Self>, config: ureq::config::Config) -> ureq::Agent {
        let resolver = Names { ways: self.clone(), inner: DefaultResolver::default() };
        let connector = Connections { ways: self.clone(), inner: DefaultConnector::new() };
        ureq::Agent::with_parts(config, connector, resolver)
    }

    fn way(&self) -> Way {
        let switch = tunnel::read_config(&self.tunnel_config).map(|config| config.through_relay);
        // Without a tunnel there is no other way.
        let switch = switch.unwrap_or(ThroughRelay::Never);
        self.straight().way(switch, Timestamp::now(), self.after)
    }

    fn straight(&self) -> MutexGuard<'_, Straight> {
        self.straight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, succeeded: bool) {
        let mut straight = self.straight();
        let before = straight.clone();
        straight.note(succeeded, Timestamp::now());
        // Lost, it is learned again.
        if *straight != before
            && let Ok(text) = serde_json::to_vec(&*straight)
        {
            let _ = files::write_atomic(&self.memory, &text);
        }
    }

    /// Masters of tunnels that may stand.
    fn masters(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.controls).into_iter().flatten().flatten();
        let is_control = |path: &PathBuf| {
            path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(CONTROL))
        };
        let mut paths: Vec<PathBuf> =
            entries.map(|entry| entry.path()).filter(is_control).collect();
        paths.sort();
        paths
    }

    /// An address of this machine that leads to `target` through the first relay whose tunnel stands.
    fn open(&self, target: &str) -> Result<SocketAddr, String> {
        let masters = self.masters();
        let stands = |path: &&PathBuf| {
            ssh(path, &["-O", "check"]).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
        };
        let master = masters.iter().find(stands).cloned();
        let master =
            master.ok_or("no tunnel to a relay stands (is `afield-agent tunnel` running?)")?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| e.to_string())?;
        let address = listener.local_addr().map_err(|e| e.to_string())?;
        listener.set_nonblocking(true).map_err(|e| e.to_string())?;
        let target = target.to_owned();
        std::thread::spawn(move || {
            if let Err(e) = serve(&listener, &master, &target) {
                eprintln!("afield-agent: {target} through a relay: {e}");
            }
        });
        Ok(address)
    }
}

fn ssh(master: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("ssh");
    command.args(["-F", "none", "-o", "BatchMode=yes", "-S"]).arg(master).args(arguments);
    // The name is not looked up: all goes through the master.
    command.arg("relay").stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Gives one visitor's connection to ssh.
fn serve(listener: &TcpListener, master: &Path, target: &str) -> io::Result<()> {
    let until = Instant::now() + CONNECT;
    let (stream, _) = loop {
        match listener.accept() {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            other => break other?,
        }
    };
    stream.set_nonblocking(false)?;
    let other = OwnedFd::from(stream.try_clone()?);
    let mut command = ssh(master, &["-W", target]);
    let done =
        command.stdin(OwnedFd::from(stream)).stdout(other).stderr(Stdio::piped()).output()?;
    match done.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&done.stderr);
            Err(io::Error::other(
                said.lines().last().unwrap_or("ssh ended without a word").to_owned(),
            ))
        }
    }
}

/// Looks names up, but for connections that a relay makes: it has a DNS of its own.
#[derive(Debug)]
struct Names {
    ways: Arc<Ways>,
    inner: DefaultResolver,
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        if self.ways.way() == Way::Relay {
            let mut relay = self.empty();
            relay.push(RELAY);
            return Ok(relay);
        }
        let found = self.inner.resolve(uri, config, timeout);
        if found.is_err() {
            self.ways.note(false);
        }
        found
    }
}

/// Connects, and remembers whether that can be done straight.
#[derive(Debug)]
struct Connections {
    ways: Arc<Ways>,
    inner: DefaultConnector,
}

impl Connector<()> for Connections {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<()>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        if details.addrs.first() != Some(&RELAY) {
            let connected = self.inner.connect(details, chained);
            self.ways.note(connected.is_ok());
            return connected;
        }
        let port = match (details.uri.port_u16(), details.needs_tls()) {
            (Some(port), _) => port,
            (None, true) => 443,
            (None, false) => 80,
        };
        let target = format!("{}:{port}", details.uri.host().unwrap_or_default());
        let address = self.ways.open(&target).map_err(io::Error::other)?;
        let mut addrs = details.addrs.clone();
        addrs.truncate(0);
        addrs.push(address);
        let through = ConnectionDetails {
            uri: details.uri,
            addrs,
            config: details.config,
            request_level: details.request_level,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: details.current_time.clone(),
            run_connector: details.run_connector.clone(),
            register_shutdown: details.register_shutdown.clone(),
        };
        self.inner.connect(&through, chained)
    }
}
