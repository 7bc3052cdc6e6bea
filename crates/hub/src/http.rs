//! The two listeners: one for hosts, one for operators. Every refusal is JSON with a remedy.

use std::sync::Arc;
use std::time::Duration;

use afield_core::bundle::Unpacked;
use afield_core::signed::{Envelope, MAX_ENVELOPE, OpenError};
use afield_core::status::{FleetStatus, Followed, HostStatus, Refusal, Taken};
use axum::extract::{DefaultBodyLimit, FromRequest as _, Path, Request, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, body::Bytes};
use serde::de::DeserializeOwned;
use tower_http::services::ServeDir;

use crate::database::DatabaseError;
use crate::hub::Hub;
use crate::log::say;
use crate::page;
use crate::source::chain;

/// No request has a longer body, bytes.
pub const MAX_BODY: usize = MAX_ENVELOPE;
/// A body that takes longer is given up; at 16 kB/s the longest needs about a minute.
const BODY_TIME: Duration = Duration::from_secs(300);

/// Why a request was not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It cannot be read.
    Malformed,
    /// It is longer than anything that is taken.
    TooLong,
    /// It did not come in time.
    TooSlow,
    /// The signature is not one that counts here.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// It was understood, and does not fit what is.
    Conflict,
    /// The hub cannot judge it now.
    Unavailable,
    /// The hub itself has a fault.
    Internal,
}

/// A request that was not followed: what is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    kind: Kind,
    body: Refusal,
}

impl Rejection {
    /// Not followed for a reason of this kind.
    pub fn new(kind: Kind, error: String, remedy: &str) -> Self {
        Self { kind, body: Refusal { error, remedy: remedy.to_owned() } }
    }

    /// An envelope that did not open. `remedy` is for the wrong signature.
    pub fn unopened(what: &str, error: &OpenError, remedy: &str) -> Self {
        let (kind, remedy) = match error {
            OpenError::TooLong(_) => (Kind::TooLong, "send less"),
            OpenError::Malformed(_) | OpenError::WrongKind { .. } => {
                (Kind::Malformed, "send what this version of the hub knows, or update the hub")
            }
            OpenError::DuplicateSignature(_) | OpenError::Threshold { .. } => {
                (Kind::Forbidden, remedy)
            }
        };
        Self::new(kind, format!("{what} is not accepted: {error}"), remedy)
    }

    /// Nothing can be judged before the repository was.
    pub fn no_release() -> Self {
        let error = "the hub knows no release yet, or does not accept the repository".into();
        Self::new(
            Kind::Unavailable,
            error,
            "look at the hub's page for the reason; then send it again",
        )
    }

    fn status(&self) -> StatusCode {
        match self.kind {
            Kind::Malformed => StatusCode::BAD_REQUEST,
            Kind::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Kind::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<DatabaseError> for Rejection {
    fn from(error: DatabaseError) -> Self {
        let error = format!("nothing was taken: {}", chain(&error));
        Self::new(Kind::Internal, error, "see to the hub's database and disk; then send it again")
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        say(&format!("refused: {}", self.body.error));
        (self.status(), Json(self.body)).into_response()
    }
}

/// What hosts reach: the repository, and a place for their reports.
pub fn hosts(hub: Arc<Hub>) -> Router {
    let mut router = Router::new().route("/v1/reports", post(reports));
    // These four folders and nothing else that may lie there; a folder itself is never listed.
    for folder in ["metadata", "targets", "objects", "assignments"] {
        let files = ServeDir::new(hub.repository.metadata().with_file_name(folder));
        let files = files.append_index_html_on_directories(false);
        router = router.nest_service(&format!("/repository/{folder}"), files);
    }
    finish(router, hub)
}

/// What operators reach: the page, the same as JSON, and a place for their orders.
pub fn operators(hub: Arc<Hub>) -> Router {
    let router = Router::new()
        .route("/", get(index))
        .route("/healthz", get(healthz))
        .route("/v1/status", get(status))
        .route("/v1/status/{host}", get(host_status))
        .route("/v1/orders", post(orders))
        .route("/v1/packages", post(packages));
    finish(router, hub)
}

fn finish(router: Router<Arc<Hub>>, hub: Arc<Hub>) -> Router {
    router.fallback(nothing_here).layer(DefaultBodyLimit::max(MAX_BODY)).with_state(hub)
}

async fn reports(State(hub): State<Arc<Hub>>, request: Request) -> Result<Json<Taken>, Rejection> {
    let envelopes: Vec<Envelope> = read(request, "a list of signed reports").await?;
    hub.take_reports(&envelopes).await.map(Json)
}

async fn orders(
    State(hub): State<Arc<Hub>>,
    request: Request,
) -> Result<Json<Followed>, Rejection> {
    let envelope: Envelope = read(request, "a signed order").await?;
    hub.take_order(&envelope).await.map(Json)
}

async fn packages(
    State(hub): State<Arc<Hub>>,
    request: Request,
) -> Result<Json<Unpacked>, Rejection> {
    let sealed = body(request).await?;
    hub.take_package(&sealed).await.map(Json)
}

async fn status(State(hub): State<Arc<Hub>>) -> Json<FleetStatus> {
    Json(hub.status().await)
}

async fn host_status(
    State(hub): State<Arc<Hub>>,
    Path(name): Path<String>,
) -> Result<Json<HostStatus>, Rejection> {
    let status = hub.status().await;
    let found = status.hosts.into_iter().find(|h| h.host.as_str() == name);
    found.map(Json).ok_or_else(|| {
        let error = format!("there is no host {name} in the newest release");
        Rejection::new(Kind::NotFound, error, "see all of them: afield status")
    })
}

async fn index(State(hub): State<Arc<Hub>>) -> impl IntoResponse {
    const HEADERS: [(HeaderName, &str); 4] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (HEADERS, Html(page::page(&hub.status().await).into_string()))
}

async fn healthz(State(hub): State<Arc<Hub>>) -> (StatusCode, String) {
    let problems = hub.status().await.problems;
    match problems.is_empty() {
        true => (StatusCode::OK, "ok\n".into()),
        false => (StatusCode::SERVICE_UNAVAILABLE, problems.join("\n") + "\n"),
    }
}

async fn nothing_here() -> Rejection {
    let error = "there is nothing at this address".into();
    Rejection::new(Kind::NotFound, error, "see afield-hub serve --help for what is where")
}

async fn read<T: DeserializeOwned>(request: Request, what: &str) -> Result<T, Rejection> {
    let bytes = body(request).await?;
    serde_json::from_slice(&bytes).map_err(|e| {
        let error = format!("this is not {what}: {e}");
        Rejection::new(Kind::Malformed, error, "send JSON as this version of the hub knows it")
    })
}

async fn body(request: Request) -> Result<Bytes, Rejection> {
    let too_long = || {
        let error = format!("the body is longer than {MAX_BODY} bytes");
        Rejection::new(Kind::TooLong, error, "send it in smaller pieces")
    };
    let said = request.headers().get(header::CONTENT_LENGTH);
    let said = said.and_then(|n| n.to_str().ok()?.parse::<usize>().ok());
    if said.is_some_and(|n| n > MAX_BODY) {
        return Err(too_long());
    }
    let body = tokio::time::timeout(BODY_TIME, Bytes::from_request(request, &())).await;
    let body = body.map_err(|_| {
        let error = format!("the body did not come within {} s", BODY_TIME.as_secs());
        Rejection::new(Kind::TooSlow, error, "send it in smaller pieces")
    })?;
    body.map_err(|e| match e.status() {
        StatusCode::PAYLOAD_TOO_LARGE => too_long(),
        _ => Rejection::new(Kind::Malformed, e.body_text(), "send it again"),
    })
}
