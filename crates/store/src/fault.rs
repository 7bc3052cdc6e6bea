//! Fault points: places with a name where a test ends the process as a power cut would.
//!
//! `AFIELD_FAULT=<name>[:<n>]` aborts the process the n-th time (default: the first) that it comes by
//! the point. `AFIELD_FAULT_LOG=<file>` writes down every point passed, so that a test can walk them all.
//! With `AFIELD_FAULT_SAY=<file>` the process says so there and waits instead, until somebody cuts the power, or until
//! the file `AFIELD_FAULT_GO` is there: then it goes on, in whatever has become of the machine meanwhile.
//! Compiled in only with the feature `faults`.

/// Passes the fault point `name`.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub fn point(_name: &str) {}

/// Passes the fault point `name`, or ends the process here.
#[cfg(feature = "faults")]
pub fn point(name: &str) {
    use std::collections::BTreeMap;
    use std::io::Write as _;
    use std::sync::Mutex;

    static PASSED: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());
    let times = {
        let mut passed = PASSED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let times = passed.entry(name.to_owned()).or_default();
        *times += 1;
        *times
    };
    if let Ok(log) = std::env::var("AFIELD_FAULT_LOG")
        && let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(log)
    {
        // A test that cannot read its log fails by itself.
        let _ = writeln!(file, "{name}:{times}");
    }
    let Ok(wanted) = std::env::var("AFIELD_FAULT") else {
        return;
    };
    let (at, nth) = wanted.rsplit_once(':').unwrap_or((&wanted, "1"));
    if at == name && nth == times.to_string() {
        if let Ok(place) = std::env::var("AFIELD_FAULT_SAY") {
            return say_and_wait(&place, &wanted);
        }
        if CHILD.load(std::sync::atomic::Ordering::Relaxed)
            && let Some(parent) = rustix::process::getppid()
        {
            // That it is gone already is as good.
            let _ = rustix::process::kill_process(parent, rustix::process::Signal::KILL);
        }
        std::process::abort();
    }
}

/// Nothing of what comes next may happen before somebody has done to the machine what is to be tried.
#[cfg(feature = "faults")]
fn say_and_wait(place: &str, point: &str) {
    use std::io::Write as _;
    let mut open = std::fs::OpenOptions::new();
    if let Ok(mut file) = open.create(true).append(true).open(place) {
        // A test that does not hear it fails by itself.
        let _ = writeln!(file, "\nAFIELD_FAULT {point}");
    }
    let go = std::env::var_os("AFIELD_FAULT_GO").map(std::path::PathBuf::from);
    while !go.as_ref().is_some_and(|file| file.exists()) {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[cfg(feature = "faults")]
static CHILD: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Says that this process is a detached part: its fault points end the agent that started it, too.
pub fn power_cut_takes_the_parent_too() {
    #[cfg(feature = "faults")]
    CHILD.store(true, std::sync::atomic::Ordering::Relaxed);
}
