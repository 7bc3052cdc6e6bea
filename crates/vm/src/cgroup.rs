//! A control group of a machine's own, so that two containers do not share one. It works with both layouts: one
//! hierarchy, and the older one with a folder for each controller.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use afield_testkit::net::wait_for;

/// Where memory is limited: the layout of one hierarchy, or the older one's own hierarchy for memory.
fn memory_root() -> (PathBuf, &'static str, &'static str) {
    let top = Path::new("/sys/fs/cgroup");
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let of_memory = own.lines().find_map(|line| line.split_once(":memory:/"));
    match of_memory {
        Some((_, path)) => {
            let names = ("memory.limit_in_bytes", "memory.max_usage_in_bytes");
            (top.join("memory").join(path), names.0, names.1)
        }
        None => (top.to_owned(), "memory.max", "memory.peak"),
    }
}

/// The group; removed with everything in it when dropped.
#[derive(Debug)]
pub struct Cgroup {
    folders: Vec<PathBuf>,
}

impl Cgroup {
    /// Makes one.
    pub fn new(name: &str) -> Self {
        let top = Path::new("/sys/fs/cgroup");
        let roots = [top.join("systemd"), top.join("unified"), top.to_owned()];
        let roots = roots.into_iter().filter(|root| root.join("cgroup.procs").is_file());
        let folders: Vec<PathBuf> = roots.map(|root| root.join(name)).collect();
        for folder in &folders {
            fs::create_dir_all(folder).unwrap();
        }
        Self { folders }
    }

    /// Makes one whose processes may use so many MiB together.
    pub fn memory(name: &str, mib: u32) -> Self {
        let (root, limit, _) = memory_root();
        let folder = root.join(format!("{name}-memory"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(limit), format!("{mib}M")).unwrap();
        Self { folders: vec![folder] }
    }

    /// The most that its processes used at once, KiB; of a group made by [`Cgroup::memory`].
    pub fn peak(&self) -> u64 {
        let (_, _, peak) = memory_root();
        let text = fs::read_to_string(self.folders[0].join(peak)).unwrap();
        text.trim().parse::<u64>().unwrap() / 1024
    }

    /// Its name.
    pub fn name(&self) -> &str {
        let name = self.folders.first().and_then(|folder| folder.file_name());
        name.and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// A line of shell by which a process enters it.
    pub fn enter(&self) -> String {
        let enter = |folder: &PathBuf| format!("echo $$ > {}/cgroup.procs; ", folder.display());
        self.folders.iter().map(enter).collect()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return self.folders.iter().for_each(|f| drop(remove(f)));
        }
        for folder in &self.folders {
            // The kernel needs a moment until the last process has left.
            wait_for("an empty cgroup", Duration::from_secs(20), || remove(folder).is_ok());
        }
    }
}

fn remove(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(folder)
}
