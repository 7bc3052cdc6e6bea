//! People who may no longer log in, and are still here.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use afield_core::accounts::{Ids, People};
use rustix::process::{Pid, Signal, kill_process};

use crate::host::Host;

/// Processes of each person who once had an account from here and has none today. Only such accounts: what else runs
/// is not the agent's to end.
pub fn left(host: &Host, ids: &Ids, people: &People<'_>) -> Vec<(String, usize)> {
    let gone = ids.users.iter().filter(|(name, _)| !people.active.contains_key(name.as_str()));
    let counted = gone.map(|(name, uid)| (name.clone(), processes(host, *uid).len()));
    counted.filter(|(_, n)| *n > 0).collect()
}

/// Ends their sessions, and every process that stays.
pub fn end(host: &Host, ids: &Ids, people: &People<'_>) -> anyhow::Result<()> {
    for (name, _) in left(host, ids, people) {
        if host.config.is_machine() && Path::new("/run/systemd/system").is_dir() {
            let mut command = Command::new("loginctl");
            command.args(["terminate-user", &name]).stdin(Stdio::null()).stderr(Stdio::null());
            // Without a session there is nothing to terminate; what stays is killed below.
            let _ = command.status();
        }
        let uid = ids.users.get(&name).copied().unwrap_or_default();
        for pid in processes(host, uid) {
            // One that ended by itself meanwhile is as good.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    Ok(())
}

/// Processes of a user on this host: those in containers, and those of a machine around a root folder, are not meant.
fn processes(host: &Host, uid: u32) -> Vec<Pid> {
    if !Ids::is_ours(uid) {
        return Vec::new();
    }
    let own = |pid: &i32| {
        let folder = Path::new("/proc").join(pid.to_string());
        let owner = fs::metadata(&folder).is_ok_and(|meta| meta.uid() == uid);
        let root = owner && fs::read_link(folder.join("root")).is_ok_and(|r| r == host.config.root);
        let namespace = |folder: &Path| fs::read_link(folder.join("ns/mnt")).ok();
        root && (!host.config.is_machine() || namespace(&folder) == namespace("/proc/1".as_ref()))
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(own).filter_map(Pid::from_raw).collect()
}
