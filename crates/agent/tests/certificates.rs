//! Certificates of people on a host: host data brings the CA and the principals, and real sshd reads them.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::process::Command;

use afield_core::certificate::{self, Signing};
use afield_core::host_data::HostData;
use afield_testkit::relay::{SshKey, SshRelay};
use afield_testkit::system::Contract;
use common::{Bed, people};
use tempfile::TempDir;

const ACCESS: &str = "var/lib/afield-access";

/// ann is an admin, and fay is not.
fn staff(ca: &SshKey) -> HostData {
    let mut data = people(&[("ann", "admin", None), ("fay", "fieldSupport", None)]);
    data.user_ca = vec![ca.public.clone().try_into().unwrap()];
    data
}

/// The host's sshd, with what `docs/access.md` says must stand in its settings, and a key for the day when the agent is
/// broken. Both accounts are there, as nss-systemd would find them.
fn sshd(bed: &Bed, break_glass: &SshKey) -> SshRelay {
    SshRelay::new(&format!(
        "set -e
for user in ann fay; do
  useradd --no-create-home --home-dir / --shell /bin/sh $user
  usermod --password '*' $user
done
mkdir /var/lib/afield-access
mount --bind {} /var/lib/afield-access
mkdir -p /etc/ssh/authorized_keys.d
echo '{}' >/etc/ssh/authorized_keys.d/ann
cat >/etc/ssh/sshd_config.d/afield.conf <<'END'
AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u /var/lib/afield-access/authorized_keys.d/%u
TrustedUserCAKeys /var/lib/afield-access/user_ca.pub
AuthorizedPrincipalsFile /var/lib/afield-access/authorized_principals.d/%u
PermitRootLogin prohibit-password
END
",
        bed.host.path(ACCESS).display(),
        break_glass.public
    ))
}

struct Person {
    dir: TempDir,
    key: SshKey,
}

impl Person {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = SshKey::new(dir.path(), "person");
        Self { dir, key }
    }

    /// Signs as `afield access cert` does; `valid` takes the place of its hours.
    fn sign(&self, ca: &SshKey, principals: &[&str], valid: Option<&str>) {
        let principals: Vec<String> = principals.iter().map(|p| (*p).to_owned()).collect();
        let signing = Signing {
            ca: ca.path.to_str().unwrap(),
            in_agent: false,
            pkcs11: None,
            identity: "a test",
            serial: 1,
            principals: &principals,
            hours: 8,
        };
        let public = self.key.path.with_extension("pub");
        let mut words = certificate::arguments(&signing, public.to_str().unwrap());
        if let Some(valid) = valid {
            let at = words.iter().position(|word| word == "-V").unwrap();
            words[at + 1] = valid.to_owned();
        }
        assert!(Command::new("ssh-keygen").args(words).status().unwrap().success());
    }

    /// Who she is on the host as `account`; empty if it does not let her in.
    fn who_am_i(&self, sshd: &SshRelay, account: &str) -> String {
        let certificate = self.dir.path().join("person-cert.pub");
        let option = format!("CertificateFile={}", certificate.display());
        let words = ["-o", &option, "127.0.0.1", "id", "-un"];
        let done = sshd.ssh(account, &self.key, &words, "");
        String::from_utf8(done.stdout).unwrap().trim_end().to_owned()
    }
}

#[test]
fn a_certificate_opens_the_accounts_that_host_data_gives_its_owner() {
    let keys = tempfile::tempdir().unwrap();
    let [ca, stranger, break_glass] =
        ["ca", "stranger", "glass"].map(|name| SshKey::new(keys.path(), name));
    let mut bed = Bed::settled_with(&staff(&ca));
    let sshd = sshd(&bed, &break_glass);
    let person = Person::new();

    person.sign(&ca, &["ann@clinic"], None);
    assert_eq!(person.who_am_i(&sshd, "ann"), "ann");
    assert_eq!(person.who_am_i(&sshd, "root"), "root", "as with keys, an admin is root too");
    assert_eq!(person.who_am_i(&sshd, "fay"), "", "another person's account");
    person.sign(&ca, &["fay@clinic"], None);
    assert_eq!(person.who_am_i(&sshd, "fay"), "fay");
    assert_eq!(person.who_am_i(&sshd, "root"), "");
    for (what, signer, principal, valid) in [
        ("expired", &ca, "ann@clinic", Some("-2d:-1d")),
        ("not yet valid", &ca, "ann@clinic", Some("+1d:+2d")),
        ("of a stranger", &stranger, "ann@clinic", None),
        ("of another host", &ca, "ann@ward", None),
        ("for relays alone", &ca, "ann@:relays", None),
        ("of the bare name", &ca, "ann", None),
    ] {
        person.sign(signer, &[principal], valid);
        assert_eq!(person.who_am_i(&sshd, "ann"), "", "a certificate that is {what}");
    }

    // Who leaves is out with a certificate that is still valid, and so is everybody when the CA goes.
    person.sign(&ca, &["ann@clinic", "fay@clinic"], None);
    let mut without = staff(&ca);
    without.access.remove("fay");
    bed.offer_data("one", Contract::Honest, &without);
    assert_eq!(bed.host.once().0, 0);
    assert_eq!(person.who_am_i(&sshd, "fay"), "", "a leaver");
    assert_eq!(person.who_am_i(&sshd, "ann"), "ann");
    without.user_ca.clear();
    bed.offer_data("one", Contract::Honest, &without);
    assert_eq!(bed.host.once().0, 0);
    assert_eq!(person.who_am_i(&sshd, "ann"), "", "the CA is trusted no more");
    assert!(!bed.host.path(&format!("{ACCESS}/user_ca.pub")).exists());
    assert_eq!(principals(&bed), Vec::<String>::new());
    let opened = sshd.ssh("ann", &break_glass, &["127.0.0.1", "id", "-un"], "");
    assert_eq!(String::from_utf8(opened.stdout).unwrap(), "ann\n", "the key for the bad day");
}

fn principals(bed: &Bed) -> Vec<String> {
    let folder = fs::read_dir(bed.host.path(&format!("{ACCESS}/authorized_principals.d")));
    let names = folder.into_iter().flatten().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn principals_that_were_put_there_by_hand_are_drift_and_go() {
    let keys = tempfile::tempdir().unwrap();
    let [ca, stranger] = ["ca", "stranger"].map(|name| SshKey::new(keys.path(), name));
    let bed = Bed::settled_with(&staff(&ca));
    assert_eq!(bed.notes().iter().filter(|n| n.starts_with("drift")).count(), 0);
    let before = bed.host.fingerprint();
    let write = |name: &str, text: &str| {
        fs::write(bed.host.path(&format!("{ACCESS}/{name}")), text).unwrap();
    };
    write("user_ca.pub", &stranger.public);
    write("authorized_principals.d/fay", "mallory\n");
    write("authorized_principals.d/mallory", "mallory\n");
    let notes = bed.notes().join("\n");
    for said in [
        "user_ca.pub has another content",
        "authorized_principals.d/fay has another content",
        "authorized_principals.d/mallory is not declared any more",
    ] {
        assert!(notes.contains(said), "{said:?} is not told in {notes}");
    }
    assert_eq!(bed.host.fingerprint(), before);
}

#[test]
fn an_expiry_and_a_relay_stand_in_the_principals_too() {
    let keys = tempfile::tempdir().unwrap();
    let ca = SshKey::new(keys.path(), "ca");
    let mut data = people(&[("fay", "devops", Some("2099-01-31"))]);
    data.user_ca = vec![ca.public.clone().try_into().unwrap()];
    let passes = "restrict,port-forwarding,permitopen=\"localhost:2001\" fay@:relays".to_owned();
    data.relay_principals = vec![passes.clone()];
    data.relay = Some(afield_core::host_plan::RelayKeys { tunnel: vec![], tunneller: vec![] });
    let bed = Bed::settled_with(&data);
    assert_eq!(principals(&bed), ["fay", "tunneller"]);
    let text = |name: &str| bed.host.text(&format!("{ACCESS}/authorized_principals.d/{name}"));
    assert_eq!(text("fay"), "expiry-time=\"20990131\" fay@clinic\n");
    assert_eq!(text("tunneller"), format!("{passes}\n"));
}
