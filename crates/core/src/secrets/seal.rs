//! Sealing secrets to hosts in the format of the older tools: [`plan`] decides, [`seal`] encrypts.

use std::collections::BTreeMap;

use crypto_box::aead::rand_core::{CryptoRng, Error, RngCore};
use crypto_secretbox::aead::Aead as _;
use crypto_secretbox::{KeyInit as _, XSalsa20Poly1305};
use data_encoding::BASE64;
use zeroize::Zeroizing;

use super::hostkey::HostPublic;
use super::master::{MasterSecret, Problem, duplicates};
use super::sealed::{NONCE, Sealed};
use super::{Extract, MAX_PLAINTEXT, Random};
use crate::pyyaml::{self, Strings, Value};

/// Padded plaintexts have a length that is a multiple of this, the same for all hosts.
const PAD_TO: usize = 1000;
const BASE64_LINE: usize = 76;

/// What `tunnels.d` says about a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its `public_key`; blank while it is being provisioned.
    pub public_key: String,
    /// `generate_secrets`: whether the file has an entry for it.
    pub generate: bool,
}

/// What will be sealed.
#[derive(Debug, Default)]
pub struct Plan {
    /// The hosts that get an entry, in the order of their names.
    pub hosts: BTreeMap<String, HostPlan>,
    /// Hosts that have secrets and get no entry, and why.
    pub skipped: BTreeMap<String, Skipped>,
    /// Secrets with the boolean `default_extract: false`, which hosts with the older decrypter unpack all the same.
    pub unpacked_by_older_hosts: Vec<String>,
}

/// What will be sealed to one host.
pub struct HostPlan {
    /// The key to seal to.
    pub key: HostPublic,
    /// The names of its secrets, sorted.
    pub secrets: Vec<String>,
    /// The exact bytes to seal, with padding.
    pub padded: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for HostPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} in {} bytes", self.secrets, self.padded.len())
    }
}

/// Why a host with secrets gets no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skipped {
    /// Its public key is still empty.
    NoKey,
    /// `generate_secrets` is false.
    TurnedOff,
}

/// Decides who gets what. All problems are found: unknown hosts, duplicate names, keys that cannot be sealed to.
pub fn plan(hosts: &[Host], secrets: &[MasterSecret]) -> Result<Plan, Vec<Problem>> {
    let known: BTreeMap<&str, &Host> =
        hosts.iter().map(|host| (host.name.as_str(), host)).collect();
    let mut problems = duplicates(secrets);
    let mut by_host: BTreeMap<&str, Vec<&MasterSecret>> = BTreeMap::new();
    for secret in secrets {
        for server in &secret.servers {
            match known.contains_key(server.as_str()) {
                true => by_host.entry(server).or_default().push(secret),
                false => problems.push(problem(
                    secret,
                    format!(
                        "secret `{}` names host `{server}`, which is not in tunnels.d",
                        secret.name
                    ),
                )),
            }
        }
    }
    let obeyed_only_here = |secret: &&MasterSecret| {
        secret.extract == Extract::Bool(false) && !secret.servers.is_empty()
    };
    let unpacked = secrets.iter().filter(obeyed_only_here);
    let mut plan = Plan {
        unpacked_by_older_hosts: unpacked.map(|secret| secret.name.clone()).collect(),
        ..Plan::default()
    };
    for (name, secrets) in by_host {
        let host = known[name];
        if !host.generate || host.public_key.trim().is_empty() {
            let why = if host.generate { Skipped::NoKey } else { Skipped::TurnedOff };
            plan.skipped.insert(name.to_owned(), why);
            continue;
        }
        match host_plan(host, &secrets) {
            Ok(host) => drop(plan.hosts.insert(name.to_owned(), host)),
            Err(message) => problems.push(problem(secrets[0], message)),
        }
    }
    if !problems.is_empty() {
        problems.sort();
        return Err(problems);
    }
    pad(&mut plan);
    Ok(plan)
}

fn problem(secret: &MasterSecret, message: String) -> Problem {
    Problem { file: secret.file.clone(), line: secret.line, message }
}

fn host_plan(host: &Host, secrets: &[&MasterSecret]) -> Result<HostPlan, String> {
    let key = HostPublic::from_openssh(&host.public_key).map_err(|error| {
        format!("cannot seal to host `{}` with its public_key in tunnels.d: {error}", host.name)
    })?;
    let padded = Zeroizing::new(plaintext(secrets).into_bytes());
    if padded.len() > MAX_PLAINTEXT - PAD_TO {
        return Err(format!(
            "the secrets of host `{}` take more than {MAX_PLAINTEXT} bytes",
            host.name
        ));
    }
    let mut names: Vec<String> = secrets.iter().map(|secret| secret.name.clone()).collect();
    names.sort();
    Ok(HostPlan { key, secrets: names, padded })
}

/// The map name to content, default_extract and path, as PyYAML writes it.
fn plaintext(secrets: &[&MasterSecret]) -> String {
    let entries = secrets.iter().map(|secret| {
        let mut entry = BTreeMap::from([
            ("content", Value::Str(&secret.content)),
            ("path", Value::Str(&secret.path)),
        ]);
        match &secret.extract {
            Extract::Absent => {}
            Extract::Text(text) => drop(entry.insert("default_extract", Value::Str(text))),
            Extract::Bool(false) => drop(entry.insert("default_extract", Value::Bool(false))),
            // The older decrypter dies on the boolean; the text means the same to everybody.
            Extract::Bool(true) => drop(entry.insert("default_extract", Value::Str("true"))),
        }
        (secret.name.as_str(), Value::Map(entry))
    });
    pyyaml::safe_dump(&Value::Map(entries.collect()))
}

/// One length for all hosts, so that sizes tell nothing: the longest, rounded up.
fn pad(plan: &mut Plan) {
    let longest = plan.hosts.values().map(|host| host.padded.len()).max().unwrap_or(0);
    let length = longest.next_multiple_of(PAD_TO);
    for host in plan.hosts.values_mut() {
        // Not `resize`: growing in place could leave the old copy in freed memory.
        let mut padded = Zeroizing::new(Vec::with_capacity(length));
        padded.extend_from_slice(&host.padded);
        padded.resize(length, b'\n');
        host.padded = padded;
    }
}

/// Seals every host's plaintext and writes the file. Fails only if a box is too large, which [`plan`] rules out.
pub fn seal(plan: &Plan, random: Random<'_>) -> Option<String> {
    let sealed =
        plan.hosts.iter().map(|(name, host)| Some((name.as_str(), seal_one(host, random)?)));
    let sealed: Vec<(&str, Sealed)> = sealed.collect::<Option<_>>()?;
    Some(write(&sealed))
}

fn seal_one(host: &HostPlan, random: Random<'_>) -> Option<Sealed> {
    let mut key = Zeroizing::new([0; 32]);
    random(&mut *key);
    let mut nonce = [0; NONCE];
    random(&mut nonce);
    let public = crypto_box::PublicKey::from(host.key.x25519());
    let boxed = XSalsa20Poly1305::new((&*key).into())
        .encrypt((&nonce).into(), host.padded.as_slice())
        .ok()?;
    let sealed_key = public.seal(&mut CallersRandom(random), &*key).ok()?;
    Some(Sealed { key: sealed_key, secrets: [&nonce[..], &boxed].concat() })
}

/// Writes entries as the older tool does: quoted keys, `|-` blocks, base64 in lines of 76.
pub fn write(entries: &[(&str, Sealed)]) -> String {
    let wrap = |bytes: &[u8]| {
        let text = BASE64.encode(bytes);
        let lines: Vec<&str> = (0..text.len())
            .step_by(BASE64_LINE)
            .map(|at| &text[at..text.len().min(at + BASE64_LINE)])
            .collect();
        lines.join("\n")
    };
    let texts: Vec<(&str, String, String)> = entries
        .iter()
        .map(|(host, sealed)| (*host, wrap(&sealed.key), wrap(&sealed.secrets)))
        .collect();
    let hosts = texts.iter().map(|(host, key, secrets)| {
        let entry = BTreeMap::from([
            ("encrypted_key", Value::Str(key)),
            ("encrypted_secrets", Value::Str(secrets)),
        ]);
        (*host, Value::Map(entry))
    });
    pyyaml::dump(&Value::Map(hosts.collect()), Strings::AllAsBlocks)
}

/// The caller's randomness, for `crypto_box`.
struct CallersRandom<'a>(Random<'a>);

impl CryptoRng for CallersRandom<'_> {}

impl RngCore for CallersRandom<'_> {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, dest: &mut [u8]) {
        (self.0)(dest);
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(dest);
        Ok(())
    }
}
