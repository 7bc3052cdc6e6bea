//! Asking one peer: short patience, and no second chance in the same run.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use afield_core::release::ObjectRef;
use afield_store::{files, object};

use super::{Fetching, MAX_CLAIM, STALE, is_address};

/// A peer is near: it answers at once or not at all.
const ANSWER: Duration = Duration::from_secs(3);
/// An object takes at most this long, and this much longer for each MiB.
const OBJECT: Duration = Duration::from_secs(10);
const PER_MIB: Duration = Duration::from_secs(2);

/// Another host of the site.
pub(super) struct Peer {
    address: SocketAddr,
    client: ureq::Agent,
    /// It lied, or was too slow: it is not asked again in this run.
    struck: AtomicBool,
}

impl Peer {
    pub fn new(address: SocketAddr) -> Self {
        let client = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(ANSWER))
            .timeout_recv_response(Some(ANSWER))
            .max_redirects(0)
            .proxy(None)
            .build()
            .new_agent();
        Self { address, client, struck: AtomicBool::new(false) }
    }

    /// Whether it is still asked.
    pub fn is_asked(&self) -> bool {
        !self.struck.load(Ordering::Relaxed)
    }

    /// What it says that it fetches; nothing, if that is stale or nonsense.
    pub fn claim(&self) -> Option<Fetching> {
        let url = format!("http://{}/fetching", self.address);
        let request = self.client.get(url).config().timeout_global(Some(2 * ANSWER)).build();
        let mut response = request.call().ok().filter(|r| r.status().as_u16() == 200)?;
        let bytes = response.body_mut().with_config().limit(MAX_CLAIM).read_to_vec().ok()?;
        let claim: Fetching = serde_json::from_slice(&bytes).ok()?;
        (claim.age <= STALE).then_some(claim)
    }

    /// Takes an object, if the peer has it; true if it is at `to` and proved.
    pub fn take(&self, wanted: &ObjectRef, to: &Path) -> bool {
        let hex = wanted.id.hex();
        debug_assert!(is_address(&hex));
        // Never mixed with what came from elsewhere: a half lie would spoil an honest half.
        let part = to.with_extension("peer");
        let proved = match self.copy(&hex, wanted.size, &part) {
            Ok(false) => return false,
            Ok(true) => object::prove_bytes(&part, wanted).is_ok() && fs::rename(&part, to).is_ok(),
            Err(_) => false,
        };
        if !proved {
            self.struck.store(true, Ordering::Relaxed);
            // That it cannot be removed is found by whoever writes it next.
            let _ = files::remove_if_there(&part);
        }
        proved
    }

    /// False if the peer does not have it.
    fn copy(&self, hex: &str, size: u64, part: &Path) -> std::io::Result<bool> {
        let mib = u32::try_from(size / (1024 * 1024)).unwrap_or(u32::MAX);
        let longest = OBJECT.saturating_add(PER_MIB.saturating_mul(mib));
        let url = format!("http://{}/objects/{hex}", self.address);
        let request = self.client.get(url).config().timeout_global(Some(longest)).build();
        let response = request.call().map_err(std::io::Error::other)?;
        match response.status().as_u16() {
            200 => {}
            404 => return Ok(false),
            other => return Err(std::io::Error::other(format!("status {other}"))),
        }
        let until = Instant::now() + longest;
        let mut body = response.into_body().into_with_config().limit(size + 1).reader();
        let mut file = File::create(part)?;
        let (mut done, mut buffer) = (0, vec![0; 64 * 1024]);
        while done <= size {
            let n = body.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            file.write_all(&buffer[..n])?;
            done += n as u64;
            if Instant::now() > until {
                return Err(std::io::ErrorKind::TimedOut.into());
            }
        }
        file.sync_all()?;
        Ok(true)
    }
}
