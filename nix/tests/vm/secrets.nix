# Promise: secrets are in memory only, for root and who is allowed; a wrong key takes nothing away.
# Not run here: needs nixpkgs' test driver.
{ lib, afield }:
{
  name = "secrets";
  nodes.clinic = afield.clinic {
    # Sealed to the test's key: throwaway-keys/secrets.
    settings.system.secrets.enable = true;
  };

  testScript = ''
    clinic.wait_for_unit("afield-secrets.service")
    with subtest("opened, in memory, with narrow rights"):
        clinic.succeed("grep -qx open-sesame /run/.secrets/word")
        assert clinic.succeed("stat -f -c %T /run/.secrets").strip() == "tmpfs"
        assert clinic.succeed("stat -c %a /run/.secrets/word").strip() == "640"
        clinic.fail("su leaver -s /bin/sh -c 'cat /run/.secrets/word'")

    with subtest("a wrong key leaves what is there"):
        clinic.succeed("ssh-keygen -q -t ed25519 -N ''' -f /run/other")
        clinic.succeed("cp /run/other /var/lib/org-nix/id_tunnel && systemctl restart afield-private-key")
        clinic.fail("systemctl restart afield-secrets")
        clinic.succeed("grep -qx open-sesame /run/.secrets/word")
  '';
}
