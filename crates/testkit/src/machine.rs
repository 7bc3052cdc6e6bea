//! The machine below a host that is a folder: it is switched off and on. What the firmware and systemd-boot do
//! is played here by their documented rules, and by no more; `cargo vm` has the real ones.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::host::Host;

/// The power fails: what was in memory is gone.
pub fn power_off(host: &Host) {
    fs::remove_dir_all(host.path("run")).unwrap();
    fs::create_dir(host.path("run")).unwrap();
}

/// Switches the machine off and on, until a system is up; its toplevel. A system that dies at boot restarts
/// the machine.
pub fn power_cycle(host: &Host) -> String {
    for _ in 0..20 {
        power_off(host);
        let system = load(host);
        let boots = fs::read_to_string(host.path("boot/boots")).unwrap_or_default();
        fs::create_dir_all(host.path("boot")).unwrap();
        fs::write(host.path("boot/boots"), format!("{boots}{system}\n")).unwrap();
        let toplevel = host.path(system.trim_start_matches('/'));
        if toplevel.join("dies-at-boot").exists() {
            continue;
        }
        let boot = boots.lines().count();
        fs::write(host.path("run/boot-id"), format!("boot{boot}\n")).unwrap();
        symlink(&system, host.path("run/booted-system")).unwrap();
        symlink(&system, host.path("run/current-system")).unwrap();
        fs::copy(toplevel.join("etc/site"), host.path("etc/site")).unwrap();
        return system;
    }
    panic!("the machine restarts for ever: {}", host.text("boot/boots"));
}

/// The system that the boot loader starts.
fn load(host: &Host) -> String {
    let entries = host.path("boot/loader/entries");
    if !entries.is_dir() {
        let link = fs::read_link(host.path("boot/system")).unwrap();
        return link.to_string_lossy().into_owned();
    }
    let mut files: Vec<String> = fs::read_dir(&entries)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    // Entries without tries left come last; else the newest is first.
    files.sort_by_key(|file| (left(file) == Some(0), std::cmp::Reverse(generation(file))));
    let conf = host.text("boot/loader/loader.conf");
    let default = conf.lines().find_map(|line| line.strip_prefix("default ")).map(str::to_owned);
    let wanted = variable(host).into_iter().chain(default);
    let wanted = wanted.flat_map(|pattern| files.iter().find(|file| fits(&pattern, file))).next();
    let file = wanted.or(files.first()).expect("there is no boot entry").clone();
    let text = fs::read_to_string(entries.join(&file)).unwrap();
    count(&entries, &file);
    let init = text.split_whitespace().find_map(|word| word.strip_prefix("init="));
    init.and_then(|init| init.strip_suffix("/init")).unwrap().to_owned()
}

/// systemd-boot's variables; UEFI keeps four bytes of attributes before the value.
const VARIABLES: &str = "sys/firmware/efi/efivars";
const VENDOR: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// Makes it a machine whose firmware keeps variables.
pub fn keep_variables(host: &Host) {
    let name: Vec<u8> = "systemd-boot 252\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let folder = host.path(VARIABLES);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(format!("LoaderInfo-{VENDOR}")), [&[6, 0, 0, 0], &name[..]].concat())
        .unwrap();
}

/// What the variable names, before `loader.conf` is asked.
pub fn variable(host: &Host) -> Option<String> {
    let file = host.path(VARIABLES).join(format!("LoaderEntryDefault-{VENDOR}"));
    let bytes = fs::read(file).ok()?;
    assert_eq!(bytes[..4], [7, 0, 0, 0], "it would not be kept");
    let units = bytes[4..].as_chunks().0.iter().map(|two| u16::from_le_bytes(*two));
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    Some(String::from_utf16(&units).unwrap())
}

/// Somebody else's entry is newer than all.
fn generation(file: &str) -> u64 {
    let digits: String = file.chars().skip_while(|c| !c.is_ascii_digit()).collect();
    digits.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap_or(u64::MAX)
}

/// Tries left, in `NAME+LEFT-DONE.conf`.
fn left(file: &str) -> Option<u32> {
    let (_, tries) = file.strip_suffix(".conf")?.rsplit_once('+')?;
    tries.split('-').next()?.parse().ok()
}

/// `*`, and one set in brackets: what `loader.conf(5)` allows and the agent uses.
fn fits(pattern: &str, file: &str) -> bool {
    match pattern.split_once("+[1-9]*") {
        None => pattern == file,
        Some((name, end)) => {
            let rest = file.strip_prefix(name).and_then(|f| f.strip_prefix('+'));
            rest.is_some_and(|r| r.ends_with(end) && r.starts_with(|c| ('1'..='9').contains(&c)))
        }
    }
}

/// The loader takes a try away before it starts the entry.
fn count(entries: &Path, file: &str) {
    let Some(left) = left(file).filter(|left| *left > 0) else {
        return;
    };
    let (name, tries) = file.strip_suffix(".conf").unwrap().rsplit_once('+').unwrap();
    let done: u32 = tries.split_once('-').map_or(0, |(_, done)| done.parse().unwrap());
    let new = format!("{name}+{}-{}.conf", left - 1, done + 1);
    fs::rename(entries.join(file), entries.join(new)).unwrap();
}
