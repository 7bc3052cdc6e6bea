//! State files of every released format stay readable: an agent that was replaced goes on where the old one stopped.
#![allow(clippy::unwrap_used)]

use afield_agent::state::Store;
use afield_core::ids::ReleaseId;

#[test]
fn format_1_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = include_bytes!("fixtures/state-format-1.json");
    std::fs::write(folder.path().join("state.json"), fixture).unwrap();
    let (_store, state, note) = Store::open(folder.path()).unwrap();
    assert_eq!(note, None, "it was taken for damaged");
    assert_eq!(state.good.release, Some(ReleaseId(1)));
    assert_eq!((state.release_seen, state.quarantined.len()), (Some(ReleaseId(2)), 1));
}
