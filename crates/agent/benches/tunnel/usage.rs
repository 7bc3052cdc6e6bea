//! What processes use, from `/proc`.

use std::fs;

/// Of some processes and all that they have started.
#[derive(Default)]
pub struct Usage {
    pub processes: u64,
    pub private_kb: u64,
    pub pss_kb: u64,
    pub nanos: u64,
}

impl Usage {
    /// Of these and their children.
    pub fn of(roots: &[u32]) -> Self {
        let (mut all, mut pids) = (Self::default(), roots.to_vec());
        while let Some(pid) = pids.pop() {
            let read =
                |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
            // Each thread has the children that it started itself.
            for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
                let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
                pids.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
                // Nanoseconds on a processor: ticks would miss what takes less than one.
                let spent = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
                let spent = spent.split(' ').next().and_then(|word| word.parse::<u64>().ok());
                all.nanos += spent.unwrap_or(0);
            }
            let memory = read("smaps_rollup");
            let kb = |name: &str| -> u64 {
                let line = memory.lines().find_map(|line| line.strip_prefix(name));
                line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
            };
            all.processes += 1;
            all.private_kb += kb("Private_Dirty:") + kb("Private_Clean:");
            all.pss_kb += kb("Pss:");
        }
        all
    }
}
