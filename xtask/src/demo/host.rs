//! One host of the demo: a folder that is its root, an agent, and what can be seen of it from outside.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::net;
use crate::process;

/// A host.
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its place in the order of waves; 0 is the first.
    pub wave: usize,
    /// Where its page is, unless its system says otherwise.
    pub page: SocketAddr,
    /// Its root folder.
    pub root: PathBuf,
    /// Where its agent writes what it does.
    pub log: PathBuf,
}

/// What a host should be like.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// Its system, as Nix says that it must be.
    pub system: PathBuf,
    /// The store paths that the system needs.
    pub closure: Vec<PathBuf>,
    /// A text of its page.
    pub notice: String,
    /// The whole app config of the intake form.
    pub form: String,
}

/// What a host is like.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// What `/run/current-system` links to.
    pub system: Option<PathBuf>,
    /// Its page, if it answers.
    pub page: Option<String>,
    /// Its intake form, if there is one.
    pub form: Option<String>,
}

impl Seen {
    /// Whether everything is as it should be.
    pub fn is(&self, target: &Target) -> bool {
        self.runs(target) && self.serves(&target.notice) && self.form.as_ref() == Some(&target.form)
    }

    /// Whether something is there and is not as it should be. A page that did not answer this once says nothing.
    pub fn contradicts(&self, target: &Target) -> bool {
        let another_page = self.page.is_some() && !self.serves(&target.notice);
        !self.runs(target) || another_page || self.form.as_ref() != Some(&target.form)
    }

    /// Whether that is its system.
    pub fn runs(&self, target: &Target) -> bool {
        self.system.as_ref() == Some(&target.system)
    }

    /// Whether its page contains the text.
    pub fn serves(&self, text: &str) -> bool {
        self.page.as_ref().is_some_and(|page| page.contains(text))
    }

    /// In a few words.
    pub fn words(&self) -> String {
        let notice = self.page.as_deref().map(|page| {
            let notice = page.split_once("Notice ").map(|(_, rest)| rest);
            let number = notice.and_then(|rest| rest.split(':').next());
            format!("page shows notice {}", number.unwrap_or("?"))
        });
        let form = self.form.as_deref().and_then(|form| {
            let version = form.lines().find_map(|line| line.strip_prefix("version: "))?;
            Some(format!("form {version}"))
        });
        let page = notice.unwrap_or_else(|| "no page".into());
        format!("{page}, {}", form.unwrap_or_else(|| "no form".into()))
    }
}

impl Host {
    /// Looks at the host itself: its files and its page, never at what anyone says about it.
    pub fn look(&self) -> Seen {
        Seen {
            system: std::fs::read_link(self.root.join("run/current-system")).ok(),
            page: net::get(self.page, "/"),
            form: std::fs::read_to_string(self.root.join("run/.app_configs/intake/form.yml")).ok(),
        }
    }

    /// How many of these store paths are in its store.
    pub fn has(&self, closure: &[PathBuf]) -> usize {
        let there = |path: &&PathBuf| {
            let inside = path.strip_prefix("/").unwrap_or(path);
            self.root.join(inside).exists()
        };
        closure.iter().filter(there).count()
    }

    /// What provisioning does: a root folder with the host's own key, the fleet's trust root and the agent's
    /// settings. Gives the public half of the key.
    pub fn provision(&self) -> Result<String> {
        for folder in ["etc/afield", "etc/ssh", "var/lib"] {
            std::fs::create_dir_all(self.root.join(folder))?;
        }
        let key = self.root.join("etc/ssh/ssh_host_ed25519_key");
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]);
        process::output(keygen.arg(&key))?;
        let public = std::fs::read_to_string(key.with_extension("pub"))?;
        Ok(public.trim().to_owned())
    }

    /// Writes the agent's settings.
    pub fn configure(&self, hub: SocketAddr, trust_root: &Path) -> Result<()> {
        let folder = self.root.join("etc/afield");
        std::fs::copy(trust_root, folder.join("root.json"))
            .with_context(|| format!("{} is missing", trust_root.display()))?;
        let text = format!(
            "host = {name:?}\n\
             fleet = \"field\"\n\
             repositories = [\"http://{hub}/repository\"]\n\
             hub = \"http://{hub}\"\n\
             root = {root:?}\n\
             host-key = \"/etc/ssh/ssh_host_ed25519_key\"\n\
             trust-root = \"/etc/afield/root.json\"\n\
             state = \"/var/lib/afield\"\n\
             interval = \"1s\"\n\
             heartbeat = \"1s\"\n",
            name = self.name,
            root = self.root,
        );
        std::fs::write(folder.join("agent.toml"), text)?;
        Ok(())
    }
}
