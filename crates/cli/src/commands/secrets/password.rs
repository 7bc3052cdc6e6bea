//! Where a vault password comes from: a file, a command, an environment variable, or a prompt.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::exit::Failure;

/// The variable that may hold the password.
pub const VARIABLE: &str = "AFIELD_VAULT_PASSWORD";
/// The variable that may hold the new password, for `rekey`.
pub const NEW_VARIABLE: &str = "AFIELD_VAULT_NEW_PASSWORD";
/// The variable that may hold the passphrase of a private key.
pub const PASSPHRASE_VARIABLE: &str = "AFIELD_IDENTITY_PASSPHRASE";
const LONGEST: u64 = 64 << 10;

/// A password, without the blanks around it (as ansible-vault takes it); wiped when dropped.
pub type Password = Zeroizing<Vec<u8>>;

/// Where the vault password comes from; without either: AFIELD_VAULT_PASSWORD, else a prompt.
#[derive(Debug, Args)]
pub struct PasswordArgs {
    /// Read the vault password from this file (`-`: standard input)
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Run this shell command and take what it prints as the vault password
    #[arg(long, value_name = "COMMAND", conflicts_with = "password_file")]
    password_command: Option<String>,
}

impl PasswordArgs {
    /// Whether it can be found without asking anybody.
    pub fn is_given(&self) -> bool {
        let named = self.password_file.is_some() || self.password_command.is_some();
        named || std::env::var_os(VARIABLE).is_some()
    }

    /// Finds the password.
    pub fn read(&self, prompts: bool) -> Result<Password, Failure> {
        let source = Source {
            file: self.password_file.as_deref(),
            command: self.password_command.as_deref(),
            variable: VARIABLE,
        };
        source.read(if prompts { &["Vault password: "] } else { &[] })
    }
}

/// Where the new vault password comes from; without either: AFIELD_VAULT_NEW_PASSWORD, else a prompt.
#[derive(Debug, Args)]
pub struct NewPasswordArgs {
    /// Read the new vault password from this file
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
    /// Run this shell command and take what it prints as the new vault password
    #[arg(long, value_name = "COMMAND", conflicts_with = "new_password_file")]
    new_password_command: Option<String>,
}

impl NewPasswordArgs {
    /// Finds the new password; a prompt asks twice.
    pub fn read(&self) -> Result<Password, Failure> {
        let source = Source {
            file: self.new_password_file.as_deref(),
            command: self.new_password_command.as_deref(),
            variable: NEW_VARIABLE,
        };
        source.read(&["New vault password: ", "The same again: "])
    }
}

/// The passphrase of a private key: AFIELD_IDENTITY_PASSPHRASE, else a prompt. Blanks belong to it.
pub fn passphrase(key: &Path, prompts: bool) -> Result<Password, Failure> {
    if let Some(value) = std::env::var_os(PASSPHRASE_VARIABLE) {
        return Ok(Zeroizing::new(value.as_bytes().to_vec()));
    }
    let asked = match prompts {
        true => from_prompt(&format!("Passphrase of {}: ", key.display())),
        false => Err(anyhow!("this command does not ask for one")),
    };
    let asked = asked.map_err(|error| {
        Failure::usage(format!("no passphrase for {}: {error:#}", key.display())).hint(format!(
            "give it in the variable {PASSPHRASE_VARIABLE}, or use a key without one"
        ))
    })?;
    let end = asked.iter().rposition(|b| !matches!(b, b'\n' | b'\r')).map_or(0, |last| last + 1);
    Ok(Zeroizing::new(asked[..end].to_vec()))
}

struct Source<'a> {
    file: Option<&'a Path>,
    command: Option<&'a str>,
    variable: &'static str,
}

impl Source<'_> {
    fn read(&self, prompts: &[&str]) -> Result<Password, Failure> {
        let raw = if let Some(path) = self.file {
            from_file(path)?
        } else if let Some(command) = self.command {
            from_command(command)?
        } else if let Some(value) = std::env::var_os(self.variable) {
            Zeroizing::new(value.as_bytes().to_vec())
        } else {
            from_prompts(prompts).map_err(|error| {
                Failure::usage(format!("no vault password: {error:#}")).hint(format!(
                    "give it in a file, by a command, or in the variable {}; never as an argument",
                    self.variable
                ))
            })?
        };
        let password = Zeroizing::new(raw.trim_ascii().to_vec());
        if password.is_empty() {
            return Err(Failure::usage("the vault password is empty"));
        }
        Ok(password)
    }
}

fn from_file(path: &Path) -> anyhow::Result<Password> {
    let mut password = Zeroizing::new(Vec::with_capacity(4096));
    let what = || format!("cannot read the password file {}", path.display());
    if path == Path::new("-") {
        std::io::stdin().take(LONGEST).read_to_end(&mut password).with_context(what)?;
    } else {
        File::open(path)
            .with_context(what)?
            .take(LONGEST)
            .read_to_end(&mut password)
            .with_context(what)?;
    }
    Ok(password)
}

fn from_command(command: &str) -> anyhow::Result<Password> {
    // Not the command itself in messages: somebody may have put a password into it.
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run the password command")?;
    let mut password = Zeroizing::new(Vec::with_capacity(4096));
    if let Some(out) = child.stdout.take() {
        out.take(LONGEST)
            .read_to_end(&mut password)
            .context("cannot read from the password command")?;
    }
    let status = child.wait().context("the password command")?;
    if !status.success() {
        bail!("the password command failed: {status}");
    }
    Ok(password)
}

fn from_prompts(prompts: &[&str]) -> anyhow::Result<Password> {
    let mut answers = Vec::new();
    for prompt in prompts {
        answers.push(from_prompt(prompt)?);
    }
    if answers.windows(2).any(|pair| pair[0] != pair[1]) {
        bail!("the two answers differ");
    }
    answers.pop().ok_or_else(|| anyhow!("nothing was asked"))
}

/// Asks on the terminal, whatever standard input and output are, and shows nothing of the answer.
fn from_prompt(prompt: &str) -> anyhow::Result<Password> {
    let mut terminal = File::options()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .context("there is no terminal to ask on")?;
    let before = tcgetattr(&terminal)?;
    let mut silent = before.clone();
    silent.local_modes -= LocalModes::ECHO;
    silent.local_modes |= LocalModes::ECHONL;
    // First silence, then the question: nothing that is typed after it may be shown or lost.
    tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
    terminal.write_all(prompt.as_bytes())?;
    let mut answer = Zeroizing::new(Vec::with_capacity(4096));
    let read = BufReader::new((&terminal).take(LONGEST)).read_until(b'\n', &mut answer);
    // First the terminal as it was, then what went wrong.
    tcsetattr(&terminal, OptionalActions::Now, &before)?;
    read.context("cannot read from the terminal")?;
    Ok(answer)
}
