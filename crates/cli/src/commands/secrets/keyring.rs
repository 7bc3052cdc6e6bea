//! Opening a file whatever it is encrypted with: a vault password or a private key, each asked for once, when needed.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use afield_core::fleet::Sources;
use afield_core::secrets::age::{self, Identity, Recipient};
use afield_core::secrets::vault;
use anyhow::Context as _;
use clap::Args;
use zeroize::Zeroizing;

use super::file;
use super::password::{self, Password, PasswordArgs};
use crate::context::Context;
use crate::exit::Failure;

/// A private key file has about 400 bytes.
const LARGEST_KEY: usize = 64 << 10;
/// A line for each operator.
const LARGEST_OPERATORS: usize = 1 << 20;

/// What opens files.
#[derive(Debug, Args)]
pub struct KeyArgs {
    #[command(flatten)]
    password: PasswordArgs,
    /// The private key that opens age files: OpenSSH ed25519, or an age key file
    #[arg(long, short, value_name = "KEYFILE", env = "AFIELD_IDENTITY")]
    identity: Option<PathBuf>,
}

/// The keys, read when first needed.
pub struct Keyring<'a> {
    args: &'a KeyArgs,
    prompts: bool,
    password: OnceCell<Password>,
    identity: OnceCell<Identity>,
}

/// How a file is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// ansible-vault, with its vault id if it has one.
    Vault(Option<String>),
    /// age.
    Age,
}

/// A file, opened.
pub struct Opened {
    /// The file as it is on the disk.
    pub sealed: Zeroizing<Vec<u8>>,
    /// What is in it.
    pub plain: Zeroizing<Vec<u8>>,
    /// How it was encrypted.
    pub kind: Kind,
}

/// What is in a file, and how it was encrypted.
type Plain = (Zeroizing<Vec<u8>>, Kind);

impl<'a> Keyring<'a> {
    /// Nothing is read yet.
    pub fn new(args: &'a KeyArgs) -> Self {
        Self { args, prompts: true, password: OnceCell::new(), identity: OnceCell::new() }
    }

    /// The same for a command that goes on without a key, and never asks for one.
    pub fn without_prompts(args: &'a KeyArgs) -> Self {
        Self { prompts: false, ..Self::new(args) }
    }

    /// Opens the encrypted secret files of a fleet folder, as far as keys were given; says why others stay closed.
    pub fn open_all(&self, sources: &mut Sources) -> Result<(), Failure> {
        for (path, sealed) in &sources.files {
            if !path.starts_with("secrets/master/") {
                continue;
            }
            let given = match (age::is_age(sealed), vault::is_vault(sealed)) {
                (true, _) => self.args.identity.is_some(),
                (_, true) => self.args.password.is_given(),
                _ => continue,
            };
            if !given {
                continue;
            }
            match self.open_bytes(path, sealed)? {
                Ok((plain, _)) => {
                    sources.opened_secrets.insert(path.clone(), plain.to_vec());
                }
                Err(why) => drop(sources.closed_secrets.insert(path.clone(), format!("{why:#}"))),
            }
        }
        Ok(())
    }

    /// The vault password.
    pub fn password(&self) -> Result<&Password, Failure> {
        match self.password.get() {
            Some(password) => Ok(password),
            None => {
                let password = self.args.password.read(self.prompts)?;
                Ok(self.password.get_or_init(|| password))
            }
        }
    }

    /// The private key.
    pub fn identity(&self) -> Result<&Identity, Failure> {
        if let Some(identity) = self.identity.get() {
            return Ok(identity);
        }
        let Some(path) = &self.args.identity else {
            return Err(
                Failure::usage("a private key is needed").hint("give it with --identity KEYFILE")
            );
        };
        let text = file::read_text(path, LARGEST_KEY)?;
        let identity = if Identity::needs_passphrase(&text) {
            Identity::parse_with(&text, &password::passphrase(path, self.prompts)?)
        } else {
            Identity::parse(&text)
        };
        let identity = identity.with_context(|| path.display().to_string())?;
        Ok(self.identity.get_or_init(|| identity))
    }

    /// How to encrypt a file of this kind again. Age needs the operators: `given`, or the fleet folder's.
    pub fn lock(
        &self,
        kind: &Kind,
        given: Option<&Path>,
        context: &Context,
    ) -> Result<Lock, Failure> {
        match kind {
            Kind::Vault(id) => Ok(Lock::Vault(self.password()?.clone(), id.clone())),
            Kind::Age => Ok(Lock::Age(operators(given, context)?)),
        }
    }

    /// Opens a vault or age file.
    pub fn open(&self, path: &Path) -> Result<Opened, Failure> {
        let sealed = file::read(path, age::MAX_FILE.max(vault::MAX_FILE))?;
        let (plain, kind) = self.open_bytes(&path.display().to_string(), &sealed)??;
        Ok(Opened { sealed, plain, kind })
    }

    /// Opens what is in a file of this name. The outer failure is of the keys, the inner one of the file.
    fn open_bytes(&self, name: &str, sealed: &[u8]) -> Result<anyhow::Result<Plain>, Failure> {
        if age::is_age(sealed) {
            let plain = age::decrypt(sealed, self.identity()?);
            return Ok(plain.map(|plain| (plain, Kind::Age)).with_context(|| name.to_owned()));
        }
        if !vault::is_vault(sealed) {
            return Err(Failure::refused(format!("{name} is not encrypted"))
                .hint("encrypt it with `afield secrets encrypt`, and change what it held"));
        }
        let password = self.password()?;
        let open = || -> anyhow::Result<_> {
            let text = std::str::from_utf8(sealed).context("it is not UTF-8 text")?;
            let id = vault::vault_id(text)?.map(str::to_owned);
            Ok((vault::decrypt(text, password)?, Kind::Vault(id)))
        };
        Ok(open().with_context(|| name.to_owned()))
    }
}

/// How a file is encrypted, with all that is needed to do it.
pub enum Lock {
    /// ansible-vault: password, vault id.
    Vault(Password, Option<String>),
    /// age: to whom.
    Age(Vec<Recipient>),
}

impl Lock {
    /// Encrypts, with fresh randomness.
    pub fn seal(&self, plain: &[u8]) -> anyhow::Result<String> {
        match self {
            Self::Vault(password, id) => file::seal_vault(plain, password, id.as_deref()),
            Self::Age(recipients) => Ok(file::seal_age(plain, recipients)?.file),
        }
    }
}

/// The file of the operators' public keys in a fleet folder.
pub fn operators_file(fleet: &Path) -> PathBuf {
    fleet.join("secrets/operators.pub")
}

/// The operators of a file, or of the fleet folder.
pub fn operators(given: Option<&Path>, context: &Context) -> Result<Vec<Recipient>, Failure> {
    match given {
        Some(path) => read_operators(path),
        None => read_operators(&operators_file(&context.fleet_dir()?)),
    }
}

/// Reads public keys, one a line (`ssh-ed25519 …` or `age1…`; `#` begins a comment line); each once.
fn read_operators(path: &Path) -> Result<Vec<Recipient>, Failure> {
    let hint = "it lists whom the secrets are sealed to: one `ssh-ed25519 …` or `age1…` key a line";
    let text = file::read_text(path, LARGEST_OPERATORS)
        .map_err(|error| Failure::failed(error).hint(hint))?;
    let mut keys = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let key =
            Recipient::parse(line).with_context(|| format!("{}:{}", path.display(), number + 1))?;
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    if keys.is_empty() {
        return Err(Failure::refused(format!("{} names nobody", path.display())).hint(hint));
    }
    Ok(keys)
}
