//! A control group of a machine's own, so that two containers do not share one. It works with both layouts: one
//! hierarchy, and the older one with a folder for each controller.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use afield_testkit::net::wait_for;

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
