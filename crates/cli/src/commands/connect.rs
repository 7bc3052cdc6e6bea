//! `afield connect HOST`: the ProxyCommand of ssh. It asks all relays, and goes through the first that answers and on
//! which the host is.
//!
//! Asking means connecting and waiting for an SSH server's first words, which needs no key; only then is one relay
//! after the other passed through, so that a hardware key is touched once and not once a relay.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use afield_core::fleet::Resolver;
use afield_core::host_plan::Relay;
use afield_core::ids::{HostName, Name};
use afield_core::remote::{Route, Way, pass_arguments, relay_alias};
use anyhow::{Context as _, anyhow};
use clap::Args;

use crate::context::{Context, Folder};
use crate::exit::{CommandResult, Failure, Outcome};
use crate::{pinned, report};

/// A relay that has not sent its first words by then does not count.
const ANSWER: Duration = Duration::from_secs(10);

/// Arguments of `afield connect`.
#[derive(Debug, Args)]
pub struct ConnectArgs {
    /// The host
    host: HostName,
}

/// Connects standard input and output to the host's sshd.
pub fn run(args: &ConnectArgs, context: &mut Context) -> CommandResult {
    let folder = context.folder()?;
    let route = route(&folder, &args.host, context)?;
    match &route.way {
        Way::Direct(relay) => {
            let name: Name = args.host.as_str().parse()?;
            let answer = ask([(&name, relay)].into_iter())
                .recv()
                .map_err(|_| anyhow!("{name} does not answer on any of its addresses and ports"))?;
            let out = answer.stream.try_clone()?;
            pump(answer.stream, out)?;
        }
        Way::Tunnel { port, relays } => pass(&route.host, *port, relays.iter(), context)?,
    }
    Ok(Outcome::Done)
}

/// The way to a host; says what stands against it.
pub fn route(folder: &Folder, host: &HostName, context: &mut Context) -> Result<Route, Failure> {
    let fleet = &folder.fleet;
    if !fleet.hosts.contains_key(host) {
        let known: Vec<&str> = fleet.hosts.keys().map(HostName::as_str).collect();
        let failure = Failure::failed(anyhow!("there is no host {host}"));
        return Err(match afield_core::fleet::node::nearest(host.as_str(), &known) {
            Some(near) => failure.hint(format!("is {near} meant?")),
            None => failure,
        });
    }
    let plan = Resolver::new(fleet).host(host).map_err(|findings| {
        for finding in &findings {
            let text = report::text(finding, folder, context.cwd(), false);
            context.out.note(text.trim_end());
        }
        Failure::failed(anyhow!("the fleet folder does not say how {host} is reached"))
            .hint("correct what is told above")
    })?;
    Ok(Route::of(&plan)?)
}

/// A relay's address that answered.
struct Answer {
    relay: Name,
    address: String,
    port: u16,
    stream: TcpStream,
}

/// Asks all addresses and ports of all relays at once; answers come in as they come. The channel ends when all have
/// answered or had their time.
fn ask<'a>(relays: impl Iterator<Item = (&'a Name, &'a Relay)>) -> Receiver<Answer> {
    let (tell, answers) = mpsc::channel();
    for (name, relay) in relays {
        for address in &relay.addresses {
            for &port in &relay.ports {
                let (tell, relay, address) = (tell.clone(), name.clone(), address.clone());
                std::thread::spawn(move || {
                    if let Ok(stream) = first_words(&address, port) {
                        // Nobody listens any more once a relay was passed.
                        let _ = tell.send(Answer { relay, address, port, stream });
                    }
                });
            }
        }
    }
    answers
}

/// Connects, and waits for `SSH-` without taking it.
fn first_words(address: &str, port: u16) -> io::Result<TcpStream> {
    let until = Instant::now() + ANSWER;
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in (address, port).to_socket_addrs()? {
        let stream = match TcpStream::connect_timeout(&address, ANSWER) {
            Ok(stream) => stream,
            Err(e) => {
                last = e;
                continue;
            }
        };
        stream.set_read_timeout(Some(ANSWER))?;
        let mut seen = [0; 4];
        while Instant::now() < until {
            match stream.peek(&mut seen)? {
                4 if &seen == b"SSH-" => {
                    stream.set_read_timeout(None)?;
                    return Ok(stream);
                }
                0 | 4 => break,
                // The rest is on its way.
                _ => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        last = io::ErrorKind::InvalidData.into();
    }
    Err(last)
}

fn pass<'a>(
    host: &HostName,
    port: u16,
    relays: impl Iterator<Item = (&'a Name, &'a Relay)> + Clone,
    context: &mut Context,
) -> Result<(), Failure> {
    let line =
        |(name, relay): (&Name, &Relay)| format!("{} {}\n", relay_alias(name), relay.public_key);
    let known_hosts = pinned::known_hosts(&relays.clone().map(line).collect::<String>())?;
    let path = known_hosts.to_str().context("the folder for known_hosts has an odd name")?;
    let mut tried: Vec<Name> = Vec::new();
    for answer in ask(relays) {
        if tried.contains(&answer.relay) {
            continue;
        }
        // ssh makes a connection of its own.
        drop(answer.stream);
        let arguments = pass_arguments(&answer.relay, &answer.address, answer.port, path, port);
        let mut child = Command::new("ssh")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("ssh cannot be started")?;
        match speak(&mut child) {
            Ok(true) => return Ok(()),
            Ok(false) => context
                .out
                .note(&format!("afield: {host} is not to be had on the relay {}", answer.relay)),
            Err(e) => return Err(Failure::failed(e)),
        }
        tried.push(answer.relay);
    }
    let failure = match tried.is_empty() {
        true => Failure::failed(anyhow!("no relay answers")).hint("is this machine's own network up?"),
        false => Failure::failed(anyhow!("{host} is on none of the relays that answer"))
            .hint("it has no power or no Internet; or your key is not yet, or not any more, on the relays"),
    };
    Err(failure)
}

/// Once the host says something, passes everything on until the end; false if it says nothing.
fn speak(child: &mut Child) -> io::Result<bool> {
    let (Some(mut to), Some(mut from)) = (child.stdin.take(), child.stdout.take()) else {
        return Ok(false);
    };
    let mut first = [0; 256];
    let n = from.read(&mut first)?;
    if n == 0 {
        child.wait()?;
        return Ok(false);
    }
    let mut out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    out.write_all(first.get(..n).unwrap_or_default())?;
    std::thread::spawn(move || io::copy(&mut io::stdin().lock(), &mut to));
    io::copy(&mut from, &mut out)?;
    child.wait()?;
    Ok(true)
}

/// Passes everything on between this process and a connection.
fn pump(mut from: TcpStream, mut to: TcpStream) -> io::Result<()> {
    std::thread::spawn(move || io::copy(&mut io::stdin().lock(), &mut to));
    let mut out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    io::copy(&mut from, &mut out)?;
    Ok(())
}
