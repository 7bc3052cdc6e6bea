//! The hub, as operators talk to it: what it says of the fleet, and signed orders to it.

use std::sync::Arc;
use std::time::Duration;

use afield_core::bundle::Unpacked;
use afield_core::ids::HostName;
use afield_core::signed::Envelope;
use afield_core::status::{FleetStatus, Followed, HostStatus, Refusal};
use anyhow::anyhow;
use serde::de::DeserializeOwned;
use ureq::http::Response;
use ureq::tls::{RootCerts, TlsConfig};

use crate::exit::Failure;

/// Debian's bundle of certificate authorities, for a hub behind a reverse proxy with TLS.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The whole of a request; operators' links may be slow, too.
const PATIENCE: Duration = Duration::from_secs(60);
/// A status of 10,000 hosts has some 10 MB.
const MAX_ANSWER: u64 = 256 * 1024 * 1024;

/// A hub's address and a way to it.
pub struct Hub {
    base: String,
    client: ureq::Agent,
}

impl Hub {
    /// The hub at an address such as `http://127.0.0.1:8471`.
    pub fn at(address: &str) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let bundle = std::fs::read(CERTIFICATES).unwrap_or_default();
        let items = ureq::tls::parse_pem(&bundle).filter_map(|item| match item {
            Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        });
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(provider)
            .root_certs(RootCerts::from(items.collect::<Vec<_>>()))
            .build();
        let client = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .max_redirects(0)
            .user_agent(concat!("afield/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls)
            .build()
            .new_agent();
        let base = address.trim_end_matches('/').to_owned();
        Self { base, client }
    }

    /// How the fleet stands.
    pub fn status(&self) -> Result<FleetStatus, Failure> {
        self.get("/v1/status")
    }

    /// How one host stands.
    pub fn host(&self, host: &HostName) -> Result<HostStatus, Failure> {
        self.get(&format!("/v1/status/{host}"))
    }

    /// Sends a signed order.
    pub fn order(&self, order: &Envelope) -> Result<Followed, Failure> {
        let url = format!("{}/v1/orders", self.base);
        let body = order.to_vec()?;
        let request = self.client.post(&url).header("content-type", "application/json");
        self.answer(request.send(&body))
    }

    /// Brings what a host put onto a stick.
    pub fn package(&self, sealed: &[u8]) -> Result<Unpacked, Failure> {
        let url = format!("{}/v1/packages", self.base);
        let request = self.client.post(&url).header("content-type", "application/age");
        self.answer(request.send(sealed))
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let url = format!("{}{path}", self.base);
        self.answer(self.client.get(&url).call())
    }

    fn answer<T: DeserializeOwned>(
        &self,
        response: Result<Response<ureq::Body>, ureq::Error>,
    ) -> Result<T, Failure> {
        let mut response = response.map_err(|e| self.unreachable(&e))?;
        let status = response.status();
        let bytes = response.body_mut().with_config().limit(MAX_ANSWER).read_to_vec();
        let bytes = bytes.map_err(|e| self.unreachable(&e))?;
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|e| self.no_hub(&e.to_string()));
        }
        let Ok(Refusal { error, remedy }) = serde_json::from_slice(&bytes) else {
            return Err(self.no_hub(&format!("it answers with status {status}")));
        };
        // The hub understood and will not: nothing has changed. Anything else is a failure on the way.
        Err(match status.as_u16() {
            403 | 409 => Failure::refused(format!("the hub refuses: {error}")),
            _ => Failure::failed(anyhow!("the hub says: {error}")),
        }
        .hint(remedy))
    }

    fn unreachable(&self, error: &ureq::Error) -> Failure {
        let base = &self.base;
        Failure::failed(anyhow!("the hub at {base} cannot be reached: {error}")).hint(
            "is afield-hub running, and the way to its --operator-listen address open (as by ssh -L)?",
        )
    }

    fn no_hub(&self, why: &str) -> Failure {
        let base = &self.base;
        Failure::failed(anyhow!("what answers at {base} is not a hub of this version: {why}"))
            .hint("correct [hub] url in afield.toml; it is the address of --operator-listen, not that for hosts")
    }
}
