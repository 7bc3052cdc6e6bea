//! Where the golden data is: beside the clone, or where `AFIELD_SHARED` says.

use std::path::{Path, PathBuf};

/// The folder `shared/`; a test without it fails, and says so.
pub fn shared() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let given = std::env::var_os("AFIELD_SHARED").map(PathBuf::from);
    let all = [given, Some(beside), Some("/work/shared".into())];
    let found = all.into_iter().flatten().find(|dir| dir.join("golden").is_dir());
    found.expect("shared/golden is not there: set AFIELD_SHARED, or put shared/ beside the clone")
}

/// A path below `shared/golden`.
pub fn golden(path: &str) -> PathBuf {
    shared().join("golden").join(path)
}
