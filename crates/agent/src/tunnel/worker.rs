//! One relay's loop: hands events to its link, and does what the link says.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use afield_core::tunnel::ssh::Cause;
use afield_core::tunnel::{Action, Config, Endpoint, Event, Link, Relay, Silence, Site, Status};

use super::client::{Client, Said};
use super::dial::{Lost, dial};
use super::folder::Folder;
use super::unanswered::unanswered;
use super::watch::ask_after;

/// An open tunnel's connection is looked at this often, which costs nothing on the wire.
const LOOK: Duration = Duration::from_secs(1);
/// The same while something waits for an answer, or soon may.
const LOOK_CLOSELY: Duration = Duration::from_millis(250);
/// Somebody who came through so recently may still be there, or waits to come again.
const IN_USE: Duration = Duration::from_secs(15);

/// A running loop.
pub(super) struct Worker {
    config: Config,
    inbox: Sender<Message>,
    thread: JoinHandle<()>,
}

enum Message {
    Event(Event),
    Visitor,
    Greeted(u64, Endpoint, TcpStream),
    NetworkChanged,
    Stop,
}

impl Worker {
    /// Starts the loop for the one relay of a configuration.
    pub fn start(config: Config, folder: Arc<Folder>, site: Arc<Mutex<Site>>) -> Self {
        let (inbox, messages) = mpsc::channel();
        let (own, tell) = (config.clone(), inbox.clone());
        let thread = std::thread::spawn(move || {
            let relays = own.relays.clone();
            for relay in relays {
                Loop::new(&own, relay, &folder, &site, &tell).run(&messages);
            }
        });
        Self { config, inbox, thread }
    }

    /// What it was started with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether its loop runs.
    pub fn is_alive(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Tells it that the network has changed.
    pub fn network_changed(&self) {
        // A loop that has ended is started anew by whoever looks.
        let _ = self.inbox.send(Message::NetworkChanged);
    }

    /// Ends the tunnel and the loop.
    pub fn stop(self) {
        let _ = self.inbox.send(Message::Stop);
        let _ = self.thread.join();
    }
}

struct Loop<'a> {
    config: &'a Config,
    relay: Relay,
    folder: &'a Folder,
    site: &'a Mutex<Site>,
    tell: &'a Sender<Message>,
    link: Link,
    start: Instant,
    /// Tries under way, to be given up.
    tries: BTreeMap<Endpoint, Arc<AtomicBool>>,
    /// Connections of tries that got an answer.
    greeted: BTreeMap<Endpoint, TcpStream>,
    client: Option<Client>,
    /// The client's connection: its address here, and the one there.
    ends: Option<(SocketAddr, SocketAddr)>,
    /// The same connection, with the round of its client. It must not outlive that: the relay would hear of no end.
    connection: Option<(u64, TcpStream)>,
    /// After how much silence its kernel asks the other end.
    asked_after: Option<Duration>,
    /// When somebody last came through.
    visited: Option<Instant>,
    /// How often the connection had asked in vain when it was last looked at, and when that was.
    unanswered: Silence,
    looked: Instant,
    told: Option<Status>,
}

impl<'a> Loop<'a> {
    fn new(
        config: &'a Config,
        relay: Relay,
        folder: &'a Folder,
        site: &'a Mutex<Site>,
        tell: &'a Sender<Message>,
    ) -> Self {
        let last_good = folder.last_good(&relay.name);
        let start_within = config.connect_timeout.duration();
        Self {
            link: Link::new(relay.clone(), config.proxy.is_some(), start_within, last_good),
            config,
            relay,
            folder,
            site,
            tell,
            start: Instant::now(),
            tries: BTreeMap::new(),
            greeted: BTreeMap::new(),
            client: None,
            ends: None,
            connection: None,
            asked_after: None,
            visited: None,
            unanswered: Silence::default(),
            looked: Instant::now(),
            told: None,
        }
    }

    fn run(mut self, messages: &Receiver<Message>) {
        while let Some(event) = self.next(messages) {
            if let Event::Ended { round, .. } = &event {
                self.connection.take_if(|(own, _)| own == round);
            }
            for action in self.link.on(event, self.start.elapsed(), random()) {
                self.act(action);
            }
            self.tell_status();
            self.attend();
        }
        self.site().tell(&self.relay.name, None);
    }

    fn site(&self) -> MutexGuard<'_, Site> {
        self.site.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the kernel ask the other end as soon as it must be known, and no sooner.
    fn attend(&mut self) {
        let in_use = self.visited.is_some_and(|at| at.elapsed() < IN_USE);
        let keepalive = self.config.keepalive.duration();
        let wanted = {
            let mut site = self.site();
            site.tell(&self.relay.name, self.link.connection());
            site.ask_after(&self.relay.name, keepalive, in_use)
        };
        if self.asked_after != wanted
            && let Some((_, connection)) = &self.connection
        {
            // Without it OpenSSH's own keepalive notices, a little later.
            let _ = ask_after(connection, wanted, self.pace());
            self.asked_after = wanted;
        }
    }

    /// In whole seconds, as the kernel takes it.
    fn pace(&self) -> Duration {
        let pace = self.link.pace().map_or(1, |pace| pace.as_secs() + 1);
        Duration::from_secs(pace.min(4))
    }

    /// The next event; none if the loop is to end.
    fn next(&mut self, messages: &Receiver<Message>) -> Option<Event> {
        let message = loop {
            let wake = self.link.wake_at().map(|at| self.start + at);
            let look = self.link.watched().map(|_| self.looked + self.look_again());
            let received = match [wake, look].into_iter().flatten().min() {
                None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => messages.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            match received {
                Ok(Message::Visitor) => {
                    self.visited = Some(Instant::now());
                    self.attend();
                }
                Ok(message) => break message,
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) if wake.is_some_and(|at| at <= Instant::now()) => {
                    return Some(Event::Wake);
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.attend();
                    if let Some(event) = self.look() {
                        return Some(event);
                    }
                }
            }
        };
        Some(match message {
            Message::Event(event) => event,
            Message::Greeted(round, endpoint, stream) => {
                if self.tries.contains_key(&endpoint) {
                    self.greeted.insert(endpoint.clone(), stream);
                }
                Event::Greeted { round, endpoint }
            }
            Message::NetworkChanged => {
                let stranded =
                    self.client.is_some() && self.ends.is_some_and(|(here, _)| is_gone(here));
                Event::NetworkChanged { stranded }
            }
            // Those were taken above.
            Message::Visitor => Event::Wake,
            Message::Stop => return None,
        })
    }

    fn look_again(&self) -> Duration {
        let soon = self.asked_after.is_some_and(|after| after <= LOOK);
        match self.unanswered.times {
            0 if !soon => LOOK,
            _ => LOOK_CLOSELY,
        }
    }

    /// Whether the tunnel's connection still gets answers.
    fn look(&mut self) -> Option<Event> {
        self.looked = Instant::now();
        let (round, (here, there)) = (self.link.watched()?, self.ends?);
        let found = unanswered(here, there)?;
        let everywhere = found.probes_only && self.site().others_are_silent(&self.relay.name);
        let silence = Silence { times: found.times, everywhere };
        (silence != std::mem::replace(&mut self.unanswered, silence))
            .then_some(Event::Unanswered { round, silence })
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Resolve(name) => self.resolve(name),
            Action::Try { round, endpoint, within } => self.try_one(round, endpoint, within),
            Action::Drop { but } => {
                for given_up in std::mem::take(&mut self.tries).values() {
                    given_up.store(true, Ordering::Relaxed);
                }
                self.greeted.retain(|endpoint, _| but.as_ref() == Some(endpoint));
            }
            Action::Start { round, endpoint } => {
                if let Err(e) = self.start_client(round, &endpoint) {
                    let cause = Cause::Ended(format!("{e:#}"));
                    let _ = self.tell.send(Message::Event(Event::Ended { round, cause }));
                }
            }
            Action::Ask => {
                if let Some((_, connection)) = &self.connection {
                    let _ = ask_after(connection, Some(Duration::from_secs(1)), self.pace());
                    self.asked_after = Some(Duration::from_secs(1));
                }
            }
            Action::End => (self.client, self.connection) = (None, None),
            Action::Remember(endpoint) => {
                if let Err(e) = self.folder.remember(&self.relay.name, &endpoint) {
                    super::say(&format!(
                        "{}: the way that works cannot be kept: {e}",
                        self.relay.name
                    ));
                }
            }
        }
    }

    /// In a thread of its own: a resolver may hang for half a minute.
    fn resolve(&self, name: String) {
        let tell = self.tell.clone();
        std::thread::spawn(move || {
            let found = (name.as_str(), 0).to_socket_addrs();
            let mut addresses: Vec<IpAddr> = found.into_iter().flatten().map(|a| a.ip()).collect();
            addresses.dedup();
            let _ = tell.send(Message::Event(Event::Resolved { name, addresses }));
        });
    }

    fn try_one(&mut self, round: u64, endpoint: Endpoint, within: Duration) {
        let given_up = Arc::new(AtomicBool::new(false));
        if let Some(before) = self.tries.insert(endpoint.clone(), given_up.clone()) {
            before.store(true, Ordering::Relaxed);
        }
        let (tell, proxy) = (self.tell.clone(), self.config.proxy.clone());
        std::thread::spawn(move || {
            let connected = || {
                let endpoint = endpoint.clone();
                let _ = tell.send(Message::Event(Event::Connected { round, endpoint }));
            };
            let message = match dial(&endpoint, proxy.as_ref(), within, &given_up, connected) {
                // Nobody waits for it, and another try of the same way may be under way.
                Err(_) if given_up.load(Ordering::Relaxed) => return,
                Ok(stream) => Message::Greeted(round, endpoint, stream),
                Err(Lost { why, full }) => {
                    Message::Event(Event::Lost { round, endpoint, why, full })
                }
            };
            let _ = tell.send(message);
        });
    }

    fn start_client(&mut self, round: u64, endpoint: &Endpoint) -> anyhow::Result<()> {
        let Some(stream) = self.greeted.remove(endpoint) else {
            anyhow::bail!("its connection is gone");
        };
        self.ends = stream.local_addr().and_then(|here| Ok((here, stream.peer_addr()?))).ok();
        self.unanswered = Silence::default();
        (self.connection, self.asked_after) = (Some((round, stream.try_clone()?)), None);
        let known_hosts = self.folder.known_hosts(self.config, &self.relay.name)?;
        let tell = self.tell.clone();
        let tell = move |said| {
            let message = match said {
                Said::Event(event) => Message::Event(event),
                Said::Visitor => Message::Visitor,
            };
            drop(tell.send(message));
        };
        let control = self.folder.control(&self.relay.name);
        let (config, relay) = (self.config, &self.relay);
        let client =
            Client::start(config, relay, &known_hosts, control.as_deref(), stream, round, tell)?;
        self.client = Some(client);
        Ok(())
    }

    fn tell_status(&mut self) {
        let status = self.link.status();
        if self.told.as_ref() == Some(&status) {
            return;
        }
        let name = &self.relay.name;
        let told = self.told.as_ref();
        match (status.state.as_str(), &status.endpoint, &status.why) {
            ("up", Some(endpoint), _) => super::say(&format!("{name}: up over {endpoint}")),
            (_, _, Some(why)) if told.and_then(|t| t.why.as_ref()) != Some(why) => {
                super::say(&format!("{name}: {why}"));
            }
            _ => {}
        }
        self.folder.tell(name, status.clone());
        self.told = Some(status);
    }
}

/// Whether this machine has an address no more.
fn is_gone(mut address: SocketAddr) -> bool {
    address.set_port(0);
    UdpSocket::bind(address).is_err_and(|e| e.kind() == std::io::ErrorKind::AddrNotAvailable)
}

/// From 0 up to, not including, 1. Without a source of randomness hosts come in step, but they come.
fn random() -> f64 {
    getrandom::u32().map_or(0.5, |n| f64::from(n) / (f64::from(u32::MAX) + 1.0))
}
