# Promise: data is on an encrypted disk, opened without anyone on site; the host is in reach while it is locked.
# Not run here: needs nixpkgs' test driver.
{ lib, afield }:
{
  name = "encrypted-disk";
  nodes.clinic = afield.clinic {
    virtualisation.emptyDiskImages = [ 512 ];
    settings.crypto.encrypted_opt = {
      enable = true;
      device = "/dev/vdb";
    };
    settings.system.secrets.enable = true;
    # The key comes by hand here: what is tested is what follows from it.
    systemd.services.afield-secrets.serviceConfig.ExecStart = lib.mkForce "/run/current-system/sw/bin/test -s /run/.secrets/keyfile";
  };

  testScript = ''
    clinic.wait_for_unit("sshd.service")
    with subtest("locked, and in reach"):
        clinic.fail("mountpoint /opt")

    clinic.succeed("mkdir -p /run/.secrets && head -c 64 /dev/urandom | base64 -w 0 >/run/.secrets/keyfile")
    clinic.succeed("cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 /dev/vdb /run/.secrets/keyfile")
    clinic.succeed("cryptsetup open --key-file /run/.secrets/keyfile /dev/vdb new && mkfs.ext4 -q /dev/mapper/new && cryptsetup close new")

    with subtest("the key opens it, and mounts follow"):
        clinic.succeed("systemctl start open_encrypted_opt")
        clinic.wait_until_succeeds("mountpoint /opt && mountpoint /home", timeout=60)
        clinic.succeed("findmnt -no OPTIONS /opt | grep nosuid | grep nodev")

    with subtest("a new key replaces the old one"):
        clinic.succeed("systemctl stop home.mount opt.mount open_encrypted_opt && cryptsetup close nixos_decrypted_opt")
        clinic.succeed("mv /run/.secrets/keyfile /run/.secrets/keyfile.old && echo -n new >/run/.secrets/keyfile")
        clinic.succeed("systemctl start open_encrypted_opt")
        clinic.fail("cryptsetup open --test-passphrase --key-file /run/.secrets/keyfile.old /dev/vdb")
  '';
}
