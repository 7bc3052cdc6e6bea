//! The README's picture of the hub's page, taken by a browser without a screen.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::process;

/// Writes what a browser shows at this address into a PNG file.
pub fn take(page: SocketAddr, file: &Path) -> Result<()> {
    let profile = tempfile::tempdir()?;
    let mut chromium = Command::new("chromium");
    chromium.args([
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--hide-scrollbars",
        "--window-size=1200,910",
    ]);
    chromium.arg(format!("--user-data-dir={}", profile.path().display()));
    chromium.arg(format!("--screenshot={}", file.display()));
    chromium.arg(format!("http://{page}/"));
    process::output(&mut chromium)?;
    if !file.is_file() {
        bail!("chromium wrote no {}", file.display());
    }
    Ok(())
}
