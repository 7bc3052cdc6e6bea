//! What is sealed to each host: `secrets/generated/`, as `afield secrets seal` writes it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use afield_core::host_data::Sealed;
use afield_core::ids::HostName;
use afield_core::secrets::{age, sealed};
use afield_store::files::read_if_there;
use anyhow::Context as _;
use data_encoding::BASE64;

use crate::exit::Failure;

/// Secrets of all hosts, still sealed.
pub struct AllSealed {
    folder: PathBuf,
    nacl: BTreeMap<String, sealed::Sealed>,
    /// There are master files, and nobody sealed them to the hosts.
    pub forgotten: bool,
}

/// Reads `generated-secrets.yml`.
pub fn read(dir: &Path) -> Result<AllSealed, Failure> {
    let folder = dir.join("secrets/generated");
    let path = folder.join("generated-secrets.yml");
    let bytes = read_if_there(&path, sealed::MAX_FILE as u64);
    let bytes = bytes.with_context(|| path.display().to_string())?;
    let wrong = |why: String| {
        Failure::refused(format!("{} is not in order: {why}", path.display()))
            .hint("make it anew with afield secrets seal")
    };
    let Some(bytes) = bytes else {
        let forgotten = has_files(&dir.join("secrets/master")) && !has_files(&folder.join("age"));
        return Ok(AllSealed { folder, nacl: BTreeMap::new(), forgotten });
    };
    let text = String::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8".into()))?;
    let nacl = sealed::parse(&text).map_err(|e| wrong(e.to_string()))?;
    Ok(AllSealed { folder, nacl, forgotten: false })
}

fn has_files(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

impl AllSealed {
    /// What is sealed to a host: its age file if it has one, else its entry of the older format. Both would be twice
    /// the bytes.
    pub fn take(&mut self, host: &HostName) -> Result<(Option<Sealed>, Option<String>), Failure> {
        let path = self.folder.join("age").join(format!("{host}.age"));
        let bytes = read_if_there(&path, age::MAX_FILE as u64);
        if let Some(bytes) = bytes.with_context(|| path.display().to_string())? {
            let text = String::from_utf8(bytes).ok().filter(|text| age::is_age(text.as_bytes()));
            let wrong = || {
                Failure::refused(format!("{} is no armored age file", path.display()))
                    .hint("make it anew with afield secrets seal")
            };
            return Ok((None, Some(text.ok_or_else(wrong)?)));
        }
        let sealed = self.nacl.remove(host.as_str()).map(|entry| Sealed {
            encrypted_key: BASE64.encode(&entry.key),
            encrypted_secrets: BASE64.encode(&entry.secrets),
        });
        Ok((sealed, None))
    }
}
