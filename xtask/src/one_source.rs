//! What `afield` resolves for each golden host, to be compared with what its system says (issue 6.4): people, keys,
//! tunnels and relay keys come from one folder, read twice, and must agree.

use std::collections::BTreeMap;
use std::path::Path;

use afield_core::fleet::{Sources, WAVES_FILE, WavesResult, load, resolve};
use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::nix_tests::{Count, Nix, differences};

/// The fast layer and the system agree for every golden host.
pub fn compare(nix: &Nix, count: &mut Count) -> Result<()> {
    let systems = nix.json::<BTreeMap<String, Value>>("resolved")?;
    let waves = nix.json::<Value>("waves")?.to_string();
    let mut plans = plans(&nix.shared.join("golden/inputs/org-config"), waves)?;
    for (host, system) in systems {
        let plan = plans.remove(&host).unwrap_or_default();
        let mut found = vec![];
        differences("", &plan, &system, &mut found);
        let same = if found.is_empty() { Ok(()) } else { Err(found.join("\n    ")) };
        count.tell(&format!("one-source/{host}"), same);
    }
    Ok(())
}

/// Plans by host, without what only the fast layer knows.
fn plans(folder: &Path, waves: String) -> Result<BTreeMap<String, Value>> {
    let mut sources = Sources { waves: WavesResult::Json(waves), ..Sources::default() };
    gather(folder, folder, &mut sources)?;
    let (fleet, _) = load(&sources).check(jiff::civil::date(2026, 11, 23));
    let resolved = resolve(&fleet);
    ensure!(resolved.findings.is_empty(), "golden hosts without a plan: {:?}", resolved.findings);
    let plain = |(host, plan)| Ok((host, strip(serde_json::to_value(plan)?)));
    let plans = resolved.plans.into_iter().map(|(host, plan)| (host.to_string(), plan));
    plans.map(plain).collect()
}

fn gather(root: &Path, dir: &Path, sources: &mut Sources) -> Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            gather(root, &path, sources)?;
            continue;
        }
        let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
        if Sources::is_host(&name) {
            sources.hosts.insert(name);
        } else if name.starts_with("json/") || name == WAVES_FILE {
            sources.files.insert(name, std::fs::read(&path)?);
        }
    }
    Ok(())
}

/// Files and reasons are the fast layer's alone, and the wave is compared elsewhere.
fn strip(mut plan: Value) -> Value {
    if let Some(plan) = plan.as_object_mut() {
        plan.retain(|key, _| !["wave", "configs", "secrets", "services"].contains(&key.as_str()));
    }
    if let Some(people) = plan.get_mut("access").and_then(Value::as_object_mut) {
        for person in people.values_mut().filter_map(Value::as_object_mut) {
            person.remove("via");
        }
    }
    plan
}
