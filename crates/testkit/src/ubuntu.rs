//! Systems with system-manager's contract, without nixpkgs: `etcFiles/etcFiles.json`, `services/services.json` and a
//! `bin/activate` that leaves what the real one leaves: links in `/etc`, and its state. Stricter than the real one in
//! this: it does nothing else.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use crate::system::{Built, System, busybox, dump, executable, store_path};

/// How an activation of such a system lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Not at all.
    None,
    /// It passes over a file that somebody else put there, and says 0.
    PassesOverFiles,
    /// It says 1 after its work.
    SaysOneAfterItsWork,
}

/// A system that puts `text` into `/etc/site` with mode 0440, a link to the same into `/etc/site.link`, and these units
/// into `/etc/systemd/system`: name and content. They are started.
pub fn system(text: &str, units: &[(&str, &str)], lie: Lie) -> System {
    let busybox = busybox();
    let tools = busybox.info.path.clone();
    let path = store_path("system-manager", format!("{text} {units:?} {lie:?}").as_bytes());
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("system");
    for folder in ["bin", "etcFiles", "services", "units", "static/systemd/system"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::write(root.join("units/site.link"), text).unwrap();
    fs::create_dir(root.join("copies")).unwrap();
    fs::write(root.join("copies/site"), text).unwrap();
    symlink(format!("{path}/units/site.link"), root.join("static/site.link")).unwrap();
    let mut services = serde_json::Map::new();
    for (name, content) in units {
        fs::write(root.join("units").join(name), content).unwrap();
        let unit = format!("{path}/units/{name}");
        symlink(&unit, root.join("static/systemd/system").join(name)).unwrap();
        services.insert((*name).to_owned(), json!({ "storePath": unit, "masked": false }));
    }
    let entry = |source: String, target: &str, mode: &str| json!({ "source": source, "target": target, "mode": mode, "uid": 0, "gid": 0, "user": "root", "group": "root" });
    let entries = json!({
        "site.link": entry(format!("{path}/static"), "site.link", "symlink"),
        "site": entry(format!("{path}/copies"), "site", "0440"),
    });
    let etc = json!({ "entries": entries, "staticEnv": format!("{path}/static") });
    write(&root.join("etcFiles/etcFiles.json"), &etc);
    write(&root.join("services/services.json"), &json!(services));
    let state = json!({ "version": 1, "services": services, "fileTree": { "files": [], "backedUpFiles": [] } });
    write(&root.join("services/state.json"), &state);
    executable(&root.join("bin/activate"), script(tools.as_str(), path.as_str(), lie).as_bytes());
    let mut toplevel = Built::of("system-manager", dump(&root), vec![tools]);
    toplevel.info.path = path;
    System { paths: vec![busybox, toplevel] }
}

fn write(path: &Path, value: &serde_json::Value) {
    fs::write(path, serde_json::to_vec(value).unwrap()).unwrap();
}

fn script(tools: &str, system: &str, lie: Lie) -> String {
    let passes_over = match lie {
        Lie::PassesOverFiles => {
            "if [ -e /etc/$f ]; then echo \"/etc/$f exists, ignoring\"; continue; fi\n"
        }
        _ => "",
    };
    let status = if lie == Lie::SaysOneAfterItsWork { "exit 1\n" } else { "" };
    format!(
        r#"#!{tools}/bin/sh
b={tools}/bin/busybox
s={system}
st=/var/lib/system-manager/state
$b mkdir -p /etc/systemd/system $st
for l in /etc/systemd/system/*; do
  case $($b readlink $l) in */units/*) $b rm $l;; esac
done
for f in $(cd $s/static && $b find . -type l | $b sed 's|^\./||'); do
{passes_over}$b ln -sfn $($b readlink $s/static/$f) /etc/$f
done
$b rm -f /etc/site
$b cp $s/copies/site /etc/site
$b chmod 0440 /etc/site
$b cp $s/services/state.json $st/system-manager-state.json
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  for u in $(cd $s/static/systemd/system && echo *.service); do
    [ "$u" = '*.service' ] || systemctl restart $u || echo "Service $u: error starting, please consult the logs"
  done
fi
{status}"#
    )
}
