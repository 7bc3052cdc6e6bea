//! Afield's own programs, as `cargo vm` built them for the machines.
//!
//! They need the glibc of the machine that built them, so the tree is Debian 12, and so must the builder be (or older).

use std::path::PathBuf;

/// Where a machine finds the programs.
pub const INSIDE: &str = "/opt/afield";

/// The folder with `afield-agent` (with its fault points), `afield-hub` and `afield`.
pub fn folder() -> PathBuf {
    let folder = std::env::var_os("AFIELD_VM_PROGRAMS");
    folder.expect("AFIELD_VM_PROGRAMS is not set: scenarios are run by `cargo vm`").into()
}

/// Where a failed scenario leaves its logs; `cargo vm` names a folder for each.
pub fn logs() -> PathBuf {
    let folder = std::env::var_os("AFIELD_VM_LOGS");
    folder.map_or_else(|| std::env::temp_dir().join("afield-vm-logs"), PathBuf::from)
}

/// With `cargo vm --keep`, a failed scenario waits here until a person has looked at its machine.
pub fn keep(enter: &str) {
    if std::env::var_os("AFIELD_VM_KEEP").is_some() {
        eprintln!("kept: look at the machine with `{enter}`; Enter here ends it");
        // Nobody there to press Enter is an answer too.
        let _ = std::io::stdin().read_line(&mut String::new());
    }
}
