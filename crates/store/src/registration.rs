//! What `nix-store --dump-db` says of store paths.

use afield_core::ids::{NarHash, StorePath};
use afield_core::release::PathInfo;

/// Reads that text: a registration is the lines path, SHA-256 of the NAR in hex, its length, the deriver or nothing,
/// the number of references, and the references. The error is the line that is not understood.
pub fn registrations(text: &str) -> Result<Vec<PathInfo>, String> {
    let mut lines = text.lines();
    let mut infos = Vec::new();
    while let Some(first) = lines.next() {
        let mut next = || lines.next().ok_or_else(|| first.to_owned());
        let hash = next()?;
        let nar_hash: NarHash = format!("sha256:{hash}").parse().map_err(|_| hash.to_owned())?;
        let size = next()?;
        let nar_size = size.parse().map_err(|_| size.to_owned())?;
        let _deriver = next()?;
        let count = next()?;
        let count: usize = count.parse().map_err(|_| count.to_owned())?;
        let mut references = Vec::new();
        for _ in 0..count {
            references.push(path(next()?)?);
        }
        references.sort();
        infos.push(PathInfo { path: path(first)?, nar_hash, nar_size, references });
    }
    Ok(infos)
}

fn path(line: &str) -> Result<StorePath, String> {
    line.parse().map_err(|_| line.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn registration(c: char, references: &[char]) -> String {
        let name = |c: &char| format!("/nix/store/{}-{c}\n", c.to_string().repeat(32));
        let lines: String = references.iter().map(name).collect();
        format!("{}{}\n120\n\n{}\n{lines}", name(&c), "0".repeat(64), references.len())
    }

    #[test]
    fn registrations_are_read_one_after_the_other() {
        let infos =
            registrations(&(registration('a', &['c', 'a']) + &registration('b', &[]))).unwrap();
        let names: Vec<_> = infos.iter().map(|i| (i.path.name(), i.references.len())).collect();
        assert_eq!(names, [("a", 2), ("b", 0)]);
        assert!(infos[0].references.is_sorted());
    }

    #[test]
    fn half_a_registration_is_refused() {
        let whole = registration('a', &['b']);
        for end in [whole.len() - 46, whole.len() - 90, 60] {
            assert!(registrations(&whole[..end]).is_err(), "{:?}", &whole[..end]);
        }
        assert!(registrations(&whole.replace("120", "-1")).is_err());
    }
}
