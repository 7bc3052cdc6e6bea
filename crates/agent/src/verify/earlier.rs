//! What a release that this host has consists of, although another one is assigned by now: signed like that one, for as
//! long as the metadata names it.

use afield_core::ids::{ObjectId, ReleaseId};
use afield_core::release::{Closure, Delivery, HostRelease, Manifest, ObjectRef};
use afield_store::files;
use afield_store::repository::{manifest_name, open_manifest};
use afield_store::trust::{self, TrustError, Trusted};

use super::{document, packed};
use crate::host::Host;
use crate::refusal::Refusal;
use crate::state::State;

/// Closure and delivery: kept ones, else from a source.
pub fn contents(
    host: &Host,
    state: &State,
    release: ReleaseId,
) -> Result<(Closure, Delivery), Refusal> {
    let (trusted, object) = signed(host, state, release)?;
    let share = share(host, &trusted, release, &object)?;
    let (closure, delivery): (Closure, Delivery) =
        (document(host, &share.closure)?, document(host, &share.delivery)?);
    let flawed = |what: String| Refusal::Flawed { release, what };
    closure.validate(&share.system).map_err(|e| flawed(e.to_string()))?;
    delivery.validate(&closure).map_err(|e| flawed(e.to_string()))?;
    Ok((closure, delivery))
}

/// The documents that [`contents`] needs, as far as they are known here without asking anybody.
pub fn kept(host: &Host, state: &State, release: ReleaseId) -> Vec<ObjectId> {
    let Ok((trusted, object)) = signed(host, state, release) else { return Vec::new() };
    if !host.document(&object.id).exists() {
        return Vec::new();
    }
    let share = share(host, &trusted, release, &object);
    let documents = share.map(|share| vec![object.id, share.closure.id, share.delivery.id]);
    documents.unwrap_or_default()
}

/// The metadata that was accepted last, and the manifest that it names. That it expired meanwhile takes nothing from what
/// was believed then.
fn signed(host: &Host, state: &State, release: ReleaseId) -> Result<(Trusted, ObjectRef), Refusal> {
    let path = host.config.inside(&host.config.trust_root);
    let root = files::read_limited(&path, trust::MAX_ROOT)
        .map_err(|e| TrustError::Missing(format!("{}: {e}", path.display())))?;
    let trusted = trust::load(&host.own("metadata"), &root, Some(&state.trust))?;
    let object = trusted.releases.get(&release).cloned();
    let object = object.ok_or(Refusal::NotReleased(release))?;
    Ok((trusted, object))
}

fn share(
    host: &Host,
    trusted: &Trusted,
    release: ReleaseId,
    object: &ObjectRef,
) -> Result<HostRelease, Refusal> {
    let bytes = packed(host, &manifest_name(release, &object.id), object)?;
    let manifest: Manifest = open_manifest(trusted, release, &bytes)?;
    let share = manifest.hosts.get(&host.config.host).cloned();
    share.ok_or(Refusal::NotInRelease(release))
}
