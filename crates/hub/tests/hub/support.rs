//! A fleet of four hosts in three waves, its keys and its repository, and a hub that runs in a thread.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use afield_core::assignment::{Action, Assignment, Order};
use afield_core::ids::{HostName, ObjectId, ReleaseId};
use afield_core::release::{HostRelease, Manifest, ObjectRef, Wave};
use afield_core::report::{CheckResult, Event, Report};
use afield_core::rollout::Policy;
use afield_core::signed::{Document, Envelope, PublicKey, SecretKey};
use afield_core::span::Span;
use afield_core::status::FleetStatus;
use afield_hub::http;
use afield_hub::hub::{Hub, Setup};
use afield_store::repository::Repository;
use afield_store::trust::{FleetKeys, KeySet, RootContent, publish, sign_root};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

pub const WAVES: &[(&str, &[&str])] =
    &[("first", &["aachen"]), ("middle", &["bergen", "bremen"]), ("final", &["calais"])];
/// Whose keys are whose; hosts have theirs from 100.
const RELEASE: u8 = 10;
pub const ROLLOUT: u8 = 20;
pub const OPERATOR: u8 = 30;

pub fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

/// The key of a host of this fleet.
pub fn host_key(host: &str) -> SecretKey {
    key(host.as_bytes()[0] ^ host.as_bytes()[1])
}

fn keys(ns: &[u8], threshold: usize) -> KeySet {
    KeySet { keys: ns.iter().map(|n| key(*n).public()).collect(), threshold }
}

pub struct World {
    pub dir: tempfile::TempDir,
    pub root: Vec<u8>,
    now: Arc<Mutex<Timestamp>>,
    releases: BTreeMap<ReleaseId, ObjectRef>,
    running: Option<Running>,
}

struct Running {
    hosts: SocketAddr,
    operators: SocketAddr,
    hub: Arc<Hub>,
    runtime: Handle,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// A refusal of this status that says so, and what to do.
    #[track_caller]
    pub fn refused(&self, status: u16, says: &str) {
        assert_eq!(self.status, status, "{}", self.body);
        let json = self.json();
        let error = json["error"].as_str().unwrap();
        assert!(error.contains(says), "{error:?} does not say {says:?}");
        assert!(!json["remedy"].as_str().unwrap().is_empty());
    }

    #[track_caller]
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.json()
    }
}

impl World {
    /// Trust and an empty repository; no hub runs yet.
    pub fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let start: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let content = RootContent {
            version: 1,
            expires: start + SignedDuration::from_hours(24 * 700),
            root: keys(&[1, 2, 3], 2),
            release: keys(&[RELEASE], 1),
            afield: FleetKeys {
                fleet: "field".parse().unwrap(),
                rollout: keys(&[ROLLOUT], 1),
                operators: keys(&[OPERATOR], 1),
            },
        };
        let root = sign_root(&content, None, &[[1; 32], [2; 32]]).unwrap();
        let repository = Repository::open(&dir.path().join("repository")).unwrap();
        std::fs::write(repository.metadata().join("1.root.json"), &root).unwrap();
        let now = Arc::new(Mutex::new(start));
        Self { dir, root, now, releases: BTreeMap::new(), running: None }
    }

    /// A running hub, and release 1.
    pub fn new() -> Self {
        let mut world = Self::empty();
        world.publish(1, WAVES);
        world.start();
        world
    }

    pub fn repository(&self) -> Repository {
        Repository::open(&self.dir.path().join("repository")).unwrap()
    }

    pub fn database(&self) -> PathBuf {
        self.dir.path().join("hub.sqlite")
    }

    pub fn now(&self) -> Timestamp {
        *self.now.lock().unwrap()
    }

    pub fn wait(&self, span: &str) {
        let span: Span = span.parse().unwrap();
        let mut now = self.now.lock().unwrap();
        *now += SignedDuration::try_from(span.duration()).unwrap();
    }

    pub fn publish(&mut self, release: u64, waves: &[(&str, &[&str])]) {
        let all: Vec<&str> = waves.iter().flat_map(|(_, hosts)| hosts.iter().copied()).collect();
        self.publish_for(release, waves, &all);
    }

    /// Publishes a release in which only `built` of the waves' hosts could be built.
    pub fn publish_for(&mut self, release: u64, waves: &[(&str, &[&str])], built: &[&str]) {
        let object = ObjectRef { id: ObjectId::of(&release.to_le_bytes()), size: 1 };
        let entry = |host: &&str| {
            let entry = HostRelease {
                system: format!("/nix/store/{}-{host}-{release}", "0".repeat(32)).parse().unwrap(),
                closure: object.clone(),
                delivery: object.clone(),
                data: object.clone(),
                key: Some(host_key(host).public()),
                fresh_days: 30,
            };
            (name(host), entry)
        };
        let wave = |(name, hosts): &(&str, &[&str])| Wave {
            name: name.parse().unwrap(),
            hosts: hosts.iter().map(|h| h.parse().unwrap()).collect(),
        };
        let manifest = Manifest {
            format: 1,
            fleet: "field".parse().unwrap(),
            release: ReleaseId(release),
            created: self.now(),
            like: None,
            waves: waves.iter().map(wave).collect(),
            hosts: built.iter().map(entry).collect(),
        };
        let repository = self.repository();
        let reference = repository.add_manifest(&manifest).unwrap();
        self.releases.insert(ReleaseId(release), reference);
        let expires = self.now() + SignedDuration::from_hours(24 * 180);
        let metadata = repository.metadata();
        publish(&metadata, &self.root, &self.releases, expires, &[RELEASE; 32]).unwrap();
    }

    pub fn setup(&self) -> Setup {
        let now = self.now.clone();
        Setup {
            repository: self.repository(),
            trust_root: self.root.clone(),
            rollout_key: key(ROLLOUT),
            database: self.database(),
            clock: Arc::new(move || *now.lock().unwrap()),
        }
    }

    pub fn start(&mut self) {
        self.start_with(self.setup());
    }

    pub fn start_with(&mut self, setup: Setup) {
        let (tell, told) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.unwrap();
            let handle = runtime.handle().clone();
            runtime.block_on(async move {
                let hub = Arc::new(Hub::open(setup).await.unwrap());
                let hosts = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let operators = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let addresses = (hosts.local_addr().unwrap(), operators.local_addr().unwrap());
                tell.send((addresses, hub.clone(), handle)).unwrap();
                let hosts = axum::serve(hosts, http::hosts(hub.clone()));
                let operators = axum::serve(operators, http::operators(hub));
                tokio::select! {
                    _ = hosts.into_future() => {}
                    _ = operators.into_future() => {}
                    _ = stopped => {}
                }
            });
        });
        let ((hosts, operators), hub, runtime) = told.recv().unwrap();
        self.running = Some(Running { hosts, operators, hub, runtime, stop, thread });
        self.tick();
    }

    /// Ends the hub without a word, as a power cut would.
    pub fn stop(&mut self) {
        let Running { stop, thread, hub, .. } = self.running.take().unwrap();
        drop(hub);
        stop.send(()).unwrap();
        thread.join().unwrap();
    }

    pub fn restart(&mut self) {
        self.stop();
        self.start();
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub fn tick(&self) {
        let running = self.running();
        running.runtime.block_on(running.hub.tick()).unwrap();
    }

    /// A request whose path is sent as it is; nothing is tidied up on the way.
    pub fn ask(&self, address: SocketAddr, head: &str, body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(address).unwrap();
        let own = head.contains("Content-Length") || head.contains("Transfer-Encoding");
        let length = if own { "".into() } else { format!("Content-Length: {}\r\n", body.len()) };
        let (line, more) = head.split_once('\n').unwrap_or((head, ""));
        let head =
            format!("{line} HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n{length}{more}\r\n");
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        read_answer(stream)
    }

    pub fn as_host(&self, head: &str, body: &[u8]) -> Answer {
        self.ask(self.running().hosts, head, body)
    }

    pub fn ask_chunked(&self, line: &str, chunks: &[u8]) -> Answer {
        self.as_host(&format!("{line}\nTransfer-Encoding: chunked\r\n"), chunks)
    }

    pub fn as_operator(&self, head: &str, body: &[u8]) -> Answer {
        self.ask(self.running().operators, head, body)
    }

    pub fn status(&self) -> FleetStatus {
        let answer = self.as_operator("GET /v1/status", b"");
        serde_json::from_value(answer.ok()).unwrap()
    }

    /// The word for a host's state.
    pub fn state(&self, host: &str) -> String {
        let status = self.as_operator(&format!("GET /v1/status/{host}"), b"").ok();
        status["state"].as_str().unwrap().to_owned()
    }

    /// Sends one report, signed by the host.
    pub fn report(&self, report: &Report) -> Answer {
        self.send(&[sealed(report, &host_key(report.host.as_str()))])
    }

    pub fn send(&self, envelopes: &[Envelope]) -> Answer {
        self.as_host("POST /v1/reports", &serde_json::to_vec(envelopes).unwrap())
    }

    /// The host says that it is healthy on a release.
    #[track_caller]
    pub fn healthy(&self, host: &str, seq: u64, release: u64) {
        self.report(&report(host, seq, release, Event::Healthy)).ok();
    }

    pub fn order(&self, action: Action) -> Answer {
        self.wait("1s");
        self.send_order(&sealed(&self.signed_now(action), &key(OPERATOR)))
    }

    pub fn send_order(&self, envelope: &Envelope) -> Answer {
        self.as_operator("POST /v1/orders", &envelope.to_vec().unwrap())
    }

    pub fn signed_now(&self, action: Action) -> Order {
        let issued = self.now();
        let expires = issued + SignedDuration::from_mins(10);
        Order { fleet: "field".parse().unwrap(), action, issued, expires }
    }

    /// What a host would fetch, opened with the rollout key; none if there is none.
    pub fn assignment(&self, host: &str) -> Option<Assignment> {
        let answer = self.as_host(&format!("GET /repository/assignments/{host}.json"), b"");
        if answer.status == 404 {
            return None;
        }
        assert_eq!(answer.status, 200);
        let envelope = Envelope::from_slice(answer.body.as_bytes()).unwrap();
        let trusted: [PublicKey; 1] = [key(ROLLOUT).public()];
        Some(envelope.open(&trusted, 1).unwrap())
    }

    /// `host=release` for every host that has an assignment.
    pub fn assigned(&self) -> String {
        let hosts = ["aachen", "bergen", "bremen", "calais"];
        let all = hosts.iter().filter_map(|h| Some(format!("{h}={}", self.assignment(h)?.release)));
        all.collect::<Vec<_>>().join(" ")
    }

    /// The changes that an order's answer tells of.
    pub fn start_release(&self, release: u64, soak: &str) -> Answer {
        let policy = Policy { soak: soak.parse().unwrap(), healthy_percent: 100 };
        self.order(Action::Start { release: ReleaseId(release), policy })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.running.is_some() && !std::thread::panicking() {
            self.stop();
        }
    }
}

/// Reads as much as the head announces: a server that refused a body may wait for its rest.
fn read_answer(stream: TcpStream) -> Answer {
    stream.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "the answer ends in its head: {head}");
    }
    let lengths = head.lines().filter_map(|l| l.split_once(": "));
    let mut lengths = lengths.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: u64 = lengths.next().map_or(0, |(_, n)| n.parse().unwrap());
    let mut body = String::new();
    reader.take(length).read_to_string(&mut body).unwrap();
    assert_eq!(body.len() as u64, length, "the answer ends in its body");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, body }
}

pub fn name(host: &str) -> HostName {
    host.parse().unwrap()
}

pub fn sealed<D: Document>(document: &D, key: &SecretKey) -> Envelope {
    Envelope::seal(document, key).unwrap()
}

/// A report with one check, `web`, that fails unless all is well.
pub fn report(host: &str, seq: u64, release: u64, event: Event) -> Report {
    let passed = event == Event::Healthy;
    let saw = if passed { "200" } else { "connection refused" }.to_owned();
    let check = CheckResult { name: "web".parse().unwrap(), passed, saw, tries: 3 };
    Report {
        fleet: "field".parse().unwrap(),
        host: name(host),
        seq,
        // A host's clock may say anything.
        time: "1970-01-01T00:00:00Z".parse().unwrap(),
        agent: "0.1.0".into(),
        release: (release > 0).then_some(ReleaseId(release)),
        system: None,
        event,
        checks: vec![check],
        notes: vec![],
    }
}

pub fn rolled_back(host: &str, seq: u64, on: u64, from: u64, log: &[&str]) -> Report {
    let log = log.iter().map(ToString::to_string).collect();
    let event = Event::RolledBack { from: ReleaseId(from), why: "check web failed".into(), log };
    report(host, seq, on, event)
}
