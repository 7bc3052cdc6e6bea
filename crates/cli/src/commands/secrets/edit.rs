//! `afield secrets edit FILE`: the plaintext goes to a private folder in memory, where the editor sees it.
//!
//! Nothing is lost: when the editor dies, or the file changed on disk meanwhile, what was typed is encrypted into
//! `FILE.recovered`. If even that cannot be written, the folder in memory stays, and its place is told.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use afield_core::secrets::{MAX_PLAINTEXT, age, master, vault};
use anyhow::Context as _;
use clap::Args;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::file;
use super::keyring::{KeyArgs, Keyring, Lock};
use super::password::{NEW_VARIABLE, PASSPHRASE_VARIABLE, VARIABLE};
use super::private::{self, PrivateFolder};
use super::report::Report;
use crate::context::Context;
use crate::exit::{CommandResult, Failure, Outcome};

/// Arguments of `afield secrets edit`.
#[derive(Debug, Args)]
pub struct EditArgs {
    /// The vault or age file
    file: PathBuf,
    #[command(flatten)]
    keys: KeyArgs,
    /// Whom an age file is sealed to again (by default secrets/operators.pub in the fleet folder)
    #[arg(long, value_name = "FILE")]
    operators: Option<PathBuf>,
    /// Open the editor, but write nothing
    #[arg(long)]
    dry_run: bool,
}

/// Decrypts, lets the editor work, encrypts.
pub fn run(args: &EditArgs, context: &mut Context) -> CommandResult {
    let keyring = Keyring::new(&args.keys);
    let opened = keyring.open(&args.file)?;
    // Before the editor starts: nothing that is needed for saving may fail afterwards.
    let lock = keyring.lock(&opened.kind, args.operators.as_deref(), context)?;
    let folder = PrivateFolder::new()?;
    let name = args.file.file_name().context("the file has no name")?;
    let clear = folder.path().join(name);
    private::create(&clear, &opened.plain)?;

    let status = run_editor(&clear)?;
    let session = Session { args, lock, folder };
    if !status.success() {
        return session.recover(&opened.plain, &format!("the editor ended with {status}"));
    }
    let edited = match file::read(&clear, MAX_PLAINTEXT) {
        Ok(edited) => edited,
        Err(error) => return session.recover(&opened.plain, &format!("{error:#}")),
    };
    let mut report = Report::new(args.dry_run);
    if *edited == *opened.plain {
        report.add(&args.file, "unchanged");
        report.print(context)?;
        return Ok(Outcome::Done);
    }
    if !args.dry_run {
        let now = file::read(&args.file, age::MAX_FILE.max(vault::MAX_FILE)).unwrap_or_default();
        if *now != *opened.sealed {
            return session
                .recover(&opened.plain, "the file was changed by somebody else meanwhile");
        }
        if let Err(error) =
            session.lock.seal(&edited).and_then(|text| file::replace(&args.file, text.as_bytes()))
        {
            return session.recover(&opened.plain, &format!("{error:#}"));
        }
    }
    report.add(&args.file, "edited");
    report.print(context)?;
    Ok(check(&args.file, &edited))
}

/// Runs VISUAL, EDITOR or `vi` on the file. Meanwhile an interrupt ends the editor at most, not us, so that what was
/// typed can be saved.
fn run_editor(clear: &Path) -> anyhow::Result<ExitStatus> {
    let editor = ["VISUAL", "EDITOR"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|v| !v.trim().is_empty()));
    let editor = editor.unwrap_or_else(|| "vi".to_owned());
    let caught = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&caught))
            .context("cannot keep signals from ending us")?;
    }
    Command::new("sh")
        .args(["-c", &format!("{editor} \"$1\""), "sh"])
        .arg(clear)
        .env_remove(VARIABLE)
        .env_remove(NEW_VARIABLE)
        .env_remove(PASSPHRASE_VARIABLE)
        .status()
        .with_context(|| format!("cannot run the editor `{editor}`"))
}

/// What is needed to save what was typed.
struct Session<'a> {
    args: &'a EditArgs,
    lock: Lock,
    folder: PrivateFolder,
}

impl Session<'_> {
    /// Encrypts whatever the editor left, its own backup and swap files too, beside the file, and fails with `why`.
    fn recover(self, before: &[u8], why: &str) -> CommandResult {
        let file = &self.args.file;
        let failure =
            |rest: String| Failure::failed(anyhow::anyhow!("{}: {why}; {rest}", file.display()));
        match self.save_all(before) {
            Ok(saved) if saved.is_empty() => {
                Err(failure("nothing was changed, the file is as it was".to_owned()))
            }
            Ok(saved) => Err(failure(format!(
                "what was typed is saved, encrypted, in {}",
                saved.join(", ")
            ))
            .hint(
                "look at it with `afield secrets view`, then rename it over the file or remove it",
            )),
            Err(error) => {
                let place = self.folder.keep();
                let rest = format!(
                    "it could not be saved either ({error:#}); it is in memory in {}",
                    place.display()
                );
                Err(failure(rest)
                    .hint("copy it before the machine restarts, then remove that folder"))
            }
        }
    }

    fn save_all(&self, before: &[u8]) -> anyhow::Result<Vec<String>> {
        let mut saved = Vec::new();
        let own = self.args.file.file_name().unwrap_or_default();
        for entry in std::fs::read_dir(self.folder.path())? {
            let entry = entry?;
            let left = file::read(&entry.path(), MAX_PLAINTEXT)?;
            if *left == *before {
                continue;
            }
            let mut suffix = std::ffi::OsString::from(".recovered");
            if entry.file_name() != own {
                suffix.push(".");
                suffix.push(entry.file_name());
            }
            let target = free_name(&self.args.file, &suffix);
            file::replace(&target, self.lock.seal(&left)?.as_bytes())?;
            saved.push(target.display().to_string());
        }
        Ok(saved)
    }
}

/// The file's name with the suffix, and a number if that is taken: an earlier recovery is never overwritten.
fn free_name(file: &Path, suffix: &std::ffi::OsStr) -> PathBuf {
    let numbered = |number: usize| {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        if number > 1 {
            name.push(format!(".{number}"));
        }
        PathBuf::from(name)
    };
    (1..).map(numbered).find(|path| !path.exists()).unwrap_or_else(|| numbered(1))
}

/// The text is saved whatever it says; but if it is a secrets file, its mistakes are told at once.
fn check(path: &Path, text: &[u8]) -> Outcome {
    let name = path.display().to_string();
    if !name.ends_with("-secrets.yml") {
        return Outcome::Done;
    }
    let Ok(text) = std::str::from_utf8(text) else {
        eprintln!("{name}: saved, but it is not UTF-8 text");
        return Outcome::Findings;
    };
    match master::parse(&name, text) {
        Ok(_) => Outcome::Done,
        Err(problems) => {
            problems.iter().for_each(|problem| eprintln!("{problem}"));
            eprintln!("{name}: saved, but not usable like this");
            Outcome::Findings
        }
    }
}
