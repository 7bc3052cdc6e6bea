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

#[test]
fn what_a_newer_agent_wrote_and_this_one_does_not_know_costs_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = include_bytes!("fixtures/state-format-1.json");
    let mut newer: serde_json::Value = serde_json::from_slice(fixture).unwrap();
    let report = serde_json::json!({
        "fleet": "field", "host": "clinic", "seq": 7, "time": "2026-01-01T00:00:00Z", "agent": "9.0.0",
        "release": 1, "system": null, "event": { "is": "healthy" },
    });
    let mut unknown = report.clone();
    unknown["event"] = serde_json::json!({ "is": "hovering" });
    newer["outbox"] = serde_json::json!([report, unknown]);
    newer["attempt"] =
        serde_json::json!({ "to": newer["good"], "direction": "sideways", "activations": 1 });
    newer["moods"] = serde_json::json!(["good"]);
    let file = folder.path().join("state.json");
    std::fs::write(&file, serde_json::to_vec(&newer).unwrap()).unwrap();
    let (_store, state, note) = Store::open(folder.path()).unwrap();
    let note = note.unwrap();
    assert!(note.contains("attempt, outbox") || note.contains("outbox, attempt"), "{note}");
    assert_eq!((state.good.release, state.quarantined.len()), (Some(ReleaseId(1)), 1));
    assert_eq!((state.release_seen, state.attempt), (Some(ReleaseId(2)), None));
    assert_eq!(state.outbox.len(), 1, "the report that can be read is lost");
    assert!(file.exists() && folder.path().join("state.damaged").exists());
}
