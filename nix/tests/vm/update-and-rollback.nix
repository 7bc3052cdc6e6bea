# Promise: a host ends in the new system or in the last good one, and says which.
# Not run here: needs nixpkgs' test driver.
{ lib, afield }:
{
  name = "update-and-rollback";
  nodes.clinic = afield.clinic {
    afield.repositories = [ "file:///var/lib/repository" ];
    # A new system that cuts off its own way in, and one that does not.
    specialisation.good.configuration.environment.etc."generation".text = "good";
    specialisation.bad.configuration = {
      environment.etc."generation".text = "bad";
      services.openssh.enable = lib.mkForce false;
    };
    environment.etc."generation".text = lib.mkDefault "first";
  };

  testScript = ''
    import shlex

    def release(name):
        # A test release of one host, made on the host itself with keys that exist only here.
        system = clinic.succeed(f"readlink -f /run/current-system/specialisation/{name}").strip()
        clinic.succeed(f"afield-agent test-release --into /var/lib/repository --system {shlex.quote(system)}")
        clinic.succeed("systemctl start nixos-upgrade")

    clinic.wait_for_unit("multi-user.target")
    with subtest("a good release is taken"):
        release("good")
        clinic.wait_until_succeeds("grep -qx good /etc/generation", timeout=120)

    with subtest("one without SSH is taken back"):
        release("bad")
        clinic.wait_until_succeeds("grep -qx good /etc/generation", timeout=300)
        clinic.succeed("systemctl is-active sshd")
        clinic.succeed("afield-agent status | grep -i 'rolled back'")
  '';
}
