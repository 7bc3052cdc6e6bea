//! GRUB: `next_entry` in its environment is started once and forgotten, `saved_entry` after that, if the
//! configuration asks for them (`GRUB_DEFAULT=saved`, on NixOS `boot.loader.grub.default = "saved"`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use afield_core::ids::StorePath;
use afield_store::files;
use anyhow::{Context as _, bail};

use super::writable;
use crate::config::Config;

/// The environment block is this long, and GRUB writes it where it is.
const BLOCK: usize = 1024;
const HEADER: &str = "# GRUB Environment Block\n";
/// `grub.cfg` has at most this many bytes.
const MAX_CONFIG: u64 = 4 * 1024 * 1024;

/// GRUB's folder.
#[derive(Debug)]
pub struct Grub {
    folder: PathBuf,
    /// Why it cannot forget the one-shot entry.
    hindrance: Option<String>,
}

impl Grub {
    pub fn find(config: &Config) -> Option<Self> {
        let place = Path::new("/boot/grub");
        let folder = config.inside(place);
        let hindrance = writable::hindrance(config, place);
        folder.join("grub.cfg").is_file().then_some(Self { folder, hindrance })
    }

    /// Why a system on trial would be started for ever.
    pub fn hindrance(&self) -> Option<&str> {
        self.hindrance.as_deref()
    }

    /// Where kernels are copied to, if they are.
    pub fn kernels(&self) -> Option<&Path> {
        self.folder.parent().filter(|boot| boot.join("kernels").is_dir())
    }

    /// Path in the menu of the entry that starts a system. One below a submenu keeps its title when newer
    /// systems come, so that it is preferred.
    fn of(&self, system: &StorePath) -> anyhow::Result<Option<String>> {
        let path = self.folder.join("grub.cfg");
        let text = files::read_limited(&path, MAX_CONFIG)?;
        let found = entries(&String::from_utf8_lossy(&text));
        let mut found: Vec<Vec<String>> = found
            .into_iter()
            .filter(|(_, body)| super::starts(body, system))
            .map(|e| e.0)
            .collect();
        found.sort_by_key(|titles| std::cmp::Reverse(titles.len()));
        let named = |titles: Vec<String>| {
            titles.iter().map(|t| t.replace('>', ">>")).collect::<Vec<_>>().join(">")
        };
        Ok(found.into_iter().next().map(named))
    }

    fn must(&self, system: &StorePath) -> anyhow::Result<String> {
        self.of(system)?.with_context(|| format!("no boot entry starts {system}"))
    }

    pub fn has(&self, system: &StorePath) -> bool {
        self.of(system).is_ok_and(|entry| entry.is_some())
    }

    pub fn hold(&self, safe: &StorePath) -> anyhow::Result<()> {
        // One that has no entry yet gets it now.
        self.of(safe)?.map_or(Ok(()), |entry| self.set("saved_entry", Some(&entry)))
    }

    pub fn arm(&self, system: &StorePath, safe: &StorePath) -> anyhow::Result<()> {
        let safe = self.must(safe).context("the machine would have nothing to go back to")?;
        self.set("saved_entry", Some(&safe))?;
        self.set("next_entry", Some(&self.must(system)?))
    }

    pub fn bless(&self, system: &StorePath) -> anyhow::Result<()> {
        self.set("saved_entry", Some(&self.must(system)?))?;
        self.set("next_entry", None)
    }

    pub fn retreat(&self, good: &StorePath) -> anyhow::Result<bool> {
        self.set("next_entry", None)?;
        let Some(entry) = self.of(good)? else {
            return Ok(false);
        };
        self.set("saved_entry", Some(&entry))?;
        Ok(true)
    }

    pub fn gave_up(&self, system: &StorePath) -> bool {
        let Ok(Some(entry)) = self.of(system) else {
            return false;
        };
        self.read().is_ok_and(|env| {
            !env.contains_key("next_entry") && env.get("saved_entry") != Some(&entry)
        })
    }

    fn read(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let path = self.folder.join("grubenv");
        let Some(block) = files::read_if_there(&path, BLOCK as u64)? else {
            return Ok(BTreeMap::new());
        };
        Ok(parse(&String::from_utf8_lossy(&block)))
    }

    fn set(&self, name: &str, value: Option<&str>) -> anyhow::Result<()> {
        let mut env = self.read()?;
        let old = match value {
            Some(value) => env.insert(name.to_owned(), value.to_owned()),
            None => env.remove(name),
        };
        if old.as_deref() == value {
            return Ok(());
        }
        let block = block(&env)?;
        let path = self.folder.join("grubenv");
        if fs::metadata(&path).is_ok_and(|m| m.len() == BLOCK as u64) {
            Ok(super::overwrite(&path, &block)?)
        } else {
            Ok(files::write_atomic(&path, &block)?)
        }
    }
}

fn parse(block: &str) -> BTreeMap<String, String> {
    let lines = block.lines().filter(|line| !line.starts_with('#'));
    let pair = |line: &str| {
        let (name, value) = line.split_once('=')?;
        Some((name.to_owned(), value.replace("\\\\", "\\")))
    };
    lines.filter_map(pair).collect()
}

fn block(env: &BTreeMap<String, String>) -> anyhow::Result<Vec<u8>> {
    let mut text = HEADER.to_owned();
    for (name, value) in env {
        text += &format!("{name}={}\n", value.replace('\\', "\\\\"));
    }
    if text.len() > BLOCK {
        bail!("GRUB's environment has no room for more than {BLOCK} bytes");
    }
    let mut block = text.into_bytes();
    block.resize(BLOCK, b'#');
    Ok(block)
}

/// Titles, from the outermost submenu to the entry, and the body of each entry.
fn entries(config: &str) -> Vec<(Vec<String>, String)> {
    let mut found = Vec::new();
    // What is open: a menu with its title, or any other block in braces.
    let mut open: Vec<Option<String>> = Vec::new();
    let mut body: Option<String> = None;
    for line in config.lines().map(str::trim) {
        let menu = ["menuentry", "submenu"]
            .into_iter()
            .find(|word| line.strip_prefix(word).is_some_and(|rest| rest.starts_with([' ', '\t'])));
        if line.ends_with('{') {
            if menu == Some("menuentry") {
                body = Some(String::new());
            }
            open.push(menu.and_then(|word| title(&line[word.len()..])));
        } else if line == "}" {
            let titles: Vec<String> = open.iter().flatten().cloned().collect();
            let was_menu = open.pop().flatten().is_some();
            if was_menu && let Some(text) = body.take() {
                found.push((titles, text));
            }
        } else if let Some(body) = &mut body {
            body.push_str(line);
            body.push('\n');
        }
    }
    found
}

/// The title after `menuentry`, in quotes or a single word.
fn title(rest: &str) -> Option<String> {
    let rest = rest.trim_start();
    let quote = rest.chars().next().filter(|c| ['"', '\''].contains(c));
    let text = match quote {
        Some(quote) => rest[1..].split(quote).next()?,
        None => rest.split_whitespace().next()?,
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"
if [ "${next_entry}" ]; then
  set default="${next_entry}"
fi
menuentry "NixOS - Default" --class nixos --unrestricted {
  search --set=drive1 --fs-uuid 1234
  linux ($drive1)/nix/store/k/bzImage init=/nix/store/two/init quiet
}
submenu "NixOS - All configurations" --class submenu {
  menuentry "NixOS - Configuration 2 (a > b)" {
    linux ($drive1)/k init=/nix/store/two/init
  }
  menuentry 'NixOS - Configuration 1' {
    if [ x = y ]; then {
      true
    }
    linux ($drive1)/k init=/nix/store/one/init
  }
}
"#;

    #[test]
    fn entries_are_found_by_what_they_start() {
        let found = entries(CONFIG);
        let titles: Vec<String> = found.iter().map(|(t, _)| t.join(">")).collect();
        let all = "NixOS - All configurations";
        let wanted = [
            "NixOS - Default".to_owned(),
            format!("{all}>NixOS - Configuration 2 (a > b)"),
            format!("{all}>NixOS - Configuration 1"),
        ];
        assert_eq!(titles, wanted);
        assert!(found[2].1.contains("/nix/store/one/init"), "{:?}", found[2]);
    }

    #[test]
    fn the_environment_keeps_its_length_and_what_others_wrote() {
        let old = format!("{HEADER}saved_entry=a\\\\b\nother=1\n");
        let mut env = parse(&format!("{old}{}", "#".repeat(BLOCK - old.len())));
        assert_eq!(env.get("saved_entry").map(String::as_str), Some("a\\b"));
        env.insert("next_entry".into(), "x>y".into());
        let new = block(&env).unwrap_or_default();
        assert_eq!(new.len(), BLOCK);
        assert_eq!(parse(&String::from_utf8_lossy(&new)), env);
        env.insert("long".into(), "x".repeat(BLOCK));
        assert!(block(&env).is_err());
    }
}
