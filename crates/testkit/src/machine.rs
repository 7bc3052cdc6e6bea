//! The machine below a host that is a folder: it is switched off and on. What the firmware and the boot loaders do
//! is played here by their documented rules, and by no more; `cargo vm` has the real ones.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::host::Host;

/// Its boot loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loader {
    /// systemd-boot before version 258: an entry's id, to which `default` is compared, is its whole file name.
    TriesInIds,
    /// systemd-boot since then: the tries are no part of the id.
    NoTriesInIds,
    /// It starts `next_entry` once, and else `saved_entry`.
    Grub,
}

/// Names it, for what is started there.
const LOADER: &str = "boot/played-by";

impl Loader {
    /// Both rules of systemd-boot.
    pub const SYSTEMD_BOOT: [Self; 2] = [Self::TriesInIds, Self::NoTriesInIds];
    /// All that are played.
    pub const ALL: [Self; 3] = [Self::TriesInIds, Self::NoTriesInIds, Self::Grub];

    /// A machine that is to be started by it.
    pub fn install(self, host: &Host) {
        match self {
            Self::Grub => {
                fs::create_dir_all(host.path("boot/grub")).unwrap();
                fs::write(host.path("boot/grub/head.cfg"), "").unwrap();
                fs::write(host.path("boot/grub/grub.cfg"), "").unwrap();
            }
            _ => fs::create_dir_all(host.path("boot/loader/entries")).unwrap(),
        }
        fs::write(host.path(LOADER), format!("{self:?}")).unwrap();
    }

    fn of(host: &Host) -> Option<Self> {
        let name = host.text(LOADER);
        Self::ALL.into_iter().find(|loader| format!("{loader:?}") == name)
    }
}

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

/// Whether the boot loader started what is up as one of several tries that it counts.
pub fn is_on_trial(host: &Host) -> bool {
    fs::symlink_metadata(host.path("boot/counted")).is_ok()
}

/// The boot ends as systemd ends it: `boot-complete.target` waits for `afield-agent boot-check`, and if that is content
/// `systemd-bless-boot` takes the tries from the entry that was started. Whether it was.
pub fn complete(host: &Host) -> bool {
    let well = host.run(&["boot-check"], &[]).status.success();
    let counted = host.path("boot/counted");
    if let (true, Ok(name)) = (well, fs::read_link(&counted)) {
        let entries = host.path("boot/loader/entries");
        let file = entries.join(&name);
        if file.exists() {
            let (blessed, _) = name.to_str().unwrap().rsplit_once('+').unwrap();
            fs::rename(file, entries.join(format!("{blessed}.conf"))).unwrap();
        }
    }
    well
}

/// The system that the boot loader starts.
fn load(host: &Host) -> String {
    match Loader::of(host) {
        None => {
            let link = fs::read_link(host.path("boot/system")).unwrap();
            link.to_string_lossy().into_owned()
        }
        Some(Loader::Grub) => grub(host),
        Some(loader) => systemd_boot(host, loader),
    }
}

fn systemd_boot(host: &Host, loader: Loader) -> String {
    let entries = host.path("boot/loader/entries");
    let mut files: Vec<String> = fs::read_dir(&entries)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    // Entries without tries left come last; else the newest is first.
    files.sort_by_key(|file| (left(file) == Some(0), std::cmp::Reverse(version(file))));
    let conf = host.text("boot/loader/loader.conf");
    let default = conf.lines().find_map(|line| line.strip_prefix("default ")).map(str::to_owned);
    let id = |file: &str| match (loader, left(file)) {
        (Loader::NoTriesInIds, Some(_)) => format!("{}.conf", file.rsplit_once('+').unwrap().0),
        _ => file.to_owned(),
    };
    let wanted = variable(host).into_iter().chain(default);
    let find = |pattern: String| files.iter().find(|file| fits(&pattern, &id(file)));
    let wanted = wanted.flat_map(find).next();
    let file = wanted.or(files.first()).expect("there is no boot entry").clone();
    let text = fs::read_to_string(entries.join(&file)).unwrap();
    count(host, &entries, &file);
    system(&text).unwrap_or_else(|| panic!("{file} is somebody else's, and is started"))
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

fn system(text: &str) -> Option<String> {
    let init = text.split_whitespace().find_map(|word| word.strip_prefix("init="));
    init.and_then(|init| init.strip_suffix("/init")).map(str::to_owned)
}

/// What comes before the first number, and that.
fn version(file: &str) -> (String, u64) {
    let (name, rest) = file.split_at(file.find(|c: char| c.is_ascii_digit()).unwrap_or(file.len()));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    (name.to_owned(), digits.parse().unwrap_or(0))
}

/// Tries left, in `NAME+LEFT-DONE.conf`.
fn left(file: &str) -> Option<u32> {
    let (_, tries) = file.strip_suffix(".conf")?.rsplit_once('+')?;
    tries.split('-').next()?.parse().ok()
}

/// `*`, and a set in brackets: what `loader.conf(5)` allows, but for `?`.
fn fits(pattern: &str, file: &str) -> bool {
    let mut chars = pattern.chars();
    match chars.next() {
        None => file.is_empty(),
        Some('*') => {
            let mut rests = (0..=file.len()).filter_map(|n| file.get(n..));
            rests.any(|rest| fits(chars.as_str(), rest))
        }
        Some('[') => {
            let (set, pattern) = chars.as_str().split_once(']').unwrap();
            let (from, to) = set.split_once('-').unwrap();
            let inside = |c: char| from.starts_with(|f| f <= c) && to.starts_with(|t| c <= t);
            file.strip_prefix(inside).is_some_and(|rest| fits(pattern, rest))
        }
        Some(c) => file.strip_prefix(c).is_some_and(|rest| fits(chars.as_str(), rest)),
    }
}

/// The loader takes a try away before it starts the entry, and tells which it was.
fn count(host: &Host, entries: &Path, file: &str) {
    let counted = host.path("boot/counted");
    let _ = fs::remove_file(&counted);
    let Some(left) = left(file).filter(|left| *left > 0) else {
        return;
    };
    let (name, tries) = file.strip_suffix(".conf").unwrap().rsplit_once('+').unwrap();
    let done: u32 = tries.split_once('-').map_or(0, |(_, done)| done.parse().unwrap());
    let new = format!("{name}+{}-{}.conf", left - 1, done + 1);
    fs::rename(entries.join(file), entries.join(&new)).unwrap();
    symlink(new, counted).unwrap();
}

/// The menu entry that `next_entry` or else `saved_entry` names by its titles, or else the first.
fn grub(host: &Host) -> String {
    let env = host.text("boot/grub/grubenv");
    let value = |name: &str| {
        let find = |line: &str| line.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
        env.lines().find_map(find)
    };
    let wanted = value("next_entry").or(value("saved_entry"));
    let kept =
        env.lines().filter(|line| !line.starts_with("next_entry=") && !line.starts_with("##"));
    let kept: String = kept.map(|line| format!("{line}\n")).collect();
    fs::write(host.path("boot/grub/grubenv"), format!("{kept:#<1024}")).unwrap();
    let config = host.text("boot/grub/grub.cfg");
    let (mut menu, mut found, mut title) = (None, Vec::new(), String::new());
    for line in config.lines() {
        let quoted = || line.split('"').nth(1).unwrap().to_owned();
        if line.starts_with("submenu") {
            menu = Some(quoted());
        } else if line.starts_with("menuentry") {
            title = menu.iter().cloned().chain([quoted()]).collect::<Vec<String>>().join(">");
        } else if let Some(system) = system(line) {
            found.push((title.clone(), system));
        }
    }
    let named = found.iter().find(|(title, _)| Some(title) == wanted.as_ref());
    named.or(found.first()).expect("there is no boot entry").1.clone()
}
