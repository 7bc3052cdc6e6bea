//! Hosts of one site. Discovery runs in network namespaces on a bridge, with real multicast; peers that lie are made by
//! the test.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use afield_testkit::fleet::Fleet;
use afield_testkit::host::{Host, key};
use afield_testkit::net::{Net, wait_for};
use afield_testkit::server::Server;
use afield_testkit::system::{Contract, System};
use common::site::{Serving, with_lan, write_peers};

const AGENT: &str = env!("CARGO_BIN_EXE_afield-agent");
/// Objects below this are fetched by everyone.
const WORTH: u64 = 16 * 1024;

/// A release that is assigned to these hosts.
fn fleet(hosts: &[&str]) -> Fleet {
    let mut fleet = Fleet::new();
    let system = System::new("one", Contract::Honest);
    let keys: Vec<_> = hosts.iter().map(|h| (*h, key().public())).collect();
    let release = fleet.release(&keys, &system, "config one");
    hosts.iter().for_each(|host| fleet.assign(host, release));
    fleet
}

/// A host that takes from its neighbours, and waits so long for them.
fn host(name: &str, fleet: &Fleet, server: &Server, wait: &str) -> Host {
    let host = Host::new(name, AGENT, fleet, server);
    with_lan(&host, wait);
    host
}

/// Bytes of objects that were asked for from outside, without the documents.
fn outside(fleet: &Fleet, server: &Server) -> u64 {
    let mut bytes = 0;
    for request in server.requests() {
        let size = fs::metadata(fleet.path().join(&request.path)).map_or(0, |m| m.len());
        if request.path.starts_with("objects/") && size >= WORTH {
            bytes += request.to.unwrap_or(size) - request.from;
        }
    }
    bytes
}

/// Length of the one object that is worth sharing.
fn worth(fleet: &Fleet) -> u64 {
    let system = System::new("one", Contract::Honest);
    let object = fleet.repository().add_nar(system.paths[0].nar.as_slice()).unwrap();
    assert!(object.size > 10 * WORTH);
    object.size
}

#[test]
fn three_hosts_find_each_other_and_each_byte_comes_from_outside_once() {
    let names = ["anka", "bela", "cora"];
    let fleet = fleet(&names);
    let site = Net::new();
    site.site();
    let server = site.enter(|| Server::on(TcpListener::bind("10.78.0.1:0").unwrap(), fleet.path()));
    let nets = [Net::new(), Net::new(), Net::new()];
    let hosts: Vec<Host> = names.iter().map(|n| host(n, &fleet, &server, "120s")).collect();
    let mut serving = Vec::new();
    for (n, (net, host)) in nets.iter().zip(&hosts).enumerate() {
        site.join(n as u8 + 2, net);
        serving.push(net.enter(|| Serving::start(host)));
    }
    for host in &hosts {
        wait_for("two peers by multicast", Duration::from_secs(90), || {
            let text = host.text("run/afield-lan/peers.json");
            serde_json::from_str::<Vec<SocketAddr>>(&text).is_ok_and(|p| p.len() == 2)
        });
    }
    std::thread::scope(|scope| {
        let runs: Vec<_> = nets
            .iter()
            .zip(&hosts)
            .map(|(net, host)| scope.spawn(|| net.enter(|| host.once())))
            .collect();
        for run in runs {
            let (code, said) = run.join().unwrap();
            assert_eq!(code, 0, "{said}");
        }
    });
    for host in &hosts {
        assert_eq!(host.text("etc/site"), "one");
    }
    // Once, and for each host the small one.
    let (bytes, worth) = (outside(&fleet, &server), worth(&fleet));
    assert!((worth..worth + 3 * WORTH).contains(&bytes), "{bytes} for {worth}");
}

#[test]
fn with_the_leader_gone_another_goes_on() {
    let fleet = fleet(&["anka", "bela"]);
    let server = Server::start(fleet.path());
    let (anka, bela) =
        (host("anka", &fleet, &server, "600s"), host("bela", &fleet, &server, "600s"));
    // Killed in the middle of an object (documents come first), its word stays behind, and its server goes on.
    let killed = anka.run(&["once"], &[("AFIELD_FAULT", "fetch:chunk:8")]);
    assert!(!killed.status.success());
    let claim = anka.path("var/lib/afield-lan/fetching.json");
    let claimed = fs::read_to_string(&claim).unwrap();
    assert!(claimed.contains("anka"), "{claimed}");
    let (serving, peer) = Serving::on_loopback(&anka);
    write_peers(&bela, &[peer]);
    // A minute later nobody believes it any more.
    let file = fs::File::options().append(true).open(&claim).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(120)).unwrap();
    let (code, said) = bela.once();
    assert_eq!(code, 0, "{said}");
    assert_eq!(bela.text("etc/site"), "one");
    // And the one that was killed takes the rest from the other, which has it all now.
    server.requests();
    // It would write down whom it finds itself, over what is written here.
    drop(serving);
    let (_other, peer) = Serving::on_loopback(&bela);
    write_peers(&anka, &[peer]);
    let (code, said) = anka.once();
    assert_eq!(code, 0, "{said}");
    assert_eq!(outside(&fleet, &server), 0);
}

/// A peer that says that it fetches everything, and answers requests for objects as a test wants.
fn liar(
    fleet: &Fleet,
    answer: impl Fn(&mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let mut all = Vec::new();
    addresses(&fleet.path().join("objects"), &mut all);
    let claim = serde_json::json!({ "host": "aaaa", "objects": all, "age": 0 }).to_string();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (claim, count, answer) = (claim.clone(), Arc::clone(&count), Arc::clone(&answer));
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                let mut header = String::from("-");
                while !header.trim().is_empty() {
                    header.clear();
                    reader.read_line(&mut header).unwrap();
                }
                if line.starts_with("GET /fetching ") {
                    let head =
                        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", claim.len());
                    let _ = stream.write_all((head + &claim).as_bytes());
                } else {
                    count.fetch_add(1, Ordering::Relaxed);
                    let _ = answer(&mut stream);
                }
            });
        }
    });
    (address, asked)
}

fn addresses(folder: &Path, all: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => addresses(&path, all),
            false => all.push(path.file_name().unwrap().to_str().unwrap().to_owned()),
        }
    }
}

/// With such a neighbour the host gets its release from outside all the same, each byte once.
fn is_put_up_with(
    answer: impl Fn(&mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
) -> usize {
    let fleet = fleet(&["bela"]);
    let server = Server::start(fleet.path());
    let bela = host("bela", &fleet, &server, "2s");
    let (peer, asked) = liar(&fleet, answer);
    // One that is not there at all, and one that could not be a neighbour.
    write_peers(&bela, &[peer, ([127, 0, 0, 1], 9).into(), ([192, 0, 2, 1], 80).into()]);
    let (code, said) = bela.once();
    assert_eq!(code, 0, "{said}");
    assert_eq!(bela.text("etc/site"), "one");
    let (bytes, worth) = (outside(&fleet, &server), worth(&fleet));
    assert!((worth..worth + WORTH).contains(&bytes), "{bytes} for {worth}");
    asked.load(Ordering::Relaxed)
}

#[test]
fn a_peer_that_announces_everything_and_has_nothing() {
    let asked = is_put_up_with(|stream| {
        stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
    });
    assert!(asked > 0);
}

#[test]
fn a_peer_that_sends_something_else() {
    let asked = is_put_up_with(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\nsomething el")
    });
    assert_eq!(asked, 1, "it was believed again");
}

#[test]
fn a_peer_that_sends_without_end() {
    let asked = is_put_up_with(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
        loop {
            stream.write_all(&[0; 64 * 1024])?;
        }
    });
    assert_eq!(asked, 1, "it was believed again");
}

#[test]
fn a_peer_that_trickles() {
    let asked = is_put_up_with(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
        loop {
            stream.write_all(b"x")?;
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    assert_eq!(asked, 1, "it was believed again");
}

#[test]
fn a_peer_is_served_objects_and_nothing_else() {
    let fleet = fleet(&["bela"]);
    let server = Server::start(fleet.path());
    let bela = host("bela", &fleet, &server, "2s");
    assert_eq!(bela.once().0, 0);
    let (_serving, peer) = Serving::on_loopback(&bela);
    let ask = |request: &str| {
        let mut stream = TcpStream::connect(peer).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        std::io::Read::read_to_end(&mut stream, &mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    let kept = fs::read_dir(bela.path("var/lib/afield-lan/objects")).unwrap();
    let names: Vec<String> = kept.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    let name = names.first().unwrap();
    let whole = ask(&format!("GET /objects/{name} HTTP/1.1\r\n\r\n"));
    assert!(whole.starts_with("HTTP/1.1 200 OK\r\n"), "{whole}");
    let rest = ask(&format!("GET /objects/{name} HTTP/1.1\r\nRange: bytes=10-\r\n\r\n"));
    assert!(rest.starts_with("HTTP/1.1 206 Partial"), "{rest}");
    for path in [
        "/",
        "/objects/",
        "/objects/../fetching.json",
        "/objects/..%2f..%2fafield%2fstate.json",
        "/objects//etc/passwd",
        "/assignments/bela.json",
        &format!("/objects/{}", name.to_uppercase()),
        &format!("/objects/{}", "0".repeat(64)),
    ] {
        let answer = ask(&format!("GET {path} HTTP/1.1\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
    }
    for request in [
        format!("POST /objects/{name} HTTP/1.1\r\n\r\n"),
        format!("GET /objects/{name} HTTP/1.1\r\nRange: bytes=x\r\n\r\n"),
        format!("GET /objects/{name} HTTP/1.1\r\n{}", "a: b\r\n".repeat(2000)),
        "\r\n\r\n".to_owned(),
    ] {
        // The kernel may drop the answer of a connection that is closed on unread bytes.
        let mut stream = TcpStream::connect(peer).unwrap();
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = std::io::Read::read_to_end(&mut stream, &mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{request}: {answer}");
    }
    // Whoever keeps connections open gets four, and others still get theirs once those are gone.
    let idle: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(peer).unwrap()).collect();
    let mut fifth = TcpStream::connect(peer).unwrap();
    fifth.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut nothing = Vec::new();
    let _ = fifth.write_all(b"GET /fetching HTTP/1.1\r\n\r\n");
    let _ = std::io::Read::read_to_end(&mut fifth, &mut nothing);
    assert_eq!(nothing, b"", "a fifth connection was served");
    drop(idle);
    wait_for("a free place", Duration::from_secs(30), || {
        let mut stream = TcpStream::connect(peer).unwrap();
        let mut answer = Vec::new();
        let _ = stream.write_all(b"GET /fetching HTTP/1.1\r\n\r\n");
        let _ = std::io::Read::read_to_end(&mut stream, &mut answer);
        answer.starts_with(b"HTTP/1.1 200")
    });
}

#[test]
fn what_is_kept_for_others_stays_within_its_limits() {
    let fleet = fleet(&["bela"]);
    let server = Server::start(fleet.path());
    let bela = host("bela", &fleet, &server, "2s");
    assert_eq!(bela.once().0, 0);
    let shelf = bela.path("var/lib/afield-lan/objects");
    let count = || fs::read_dir(&shelf).unwrap().count();
    assert!(count() > 0);
    let toml = bela.text("etc/afield/agent.toml");
    fs::write(bela.config(), format!("{toml}keep-mib = 0\n")).unwrap();
    assert_eq!(bela.once().0, 0);
    assert_eq!(count(), 0);
}
