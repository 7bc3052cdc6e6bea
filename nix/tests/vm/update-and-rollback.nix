# Promise: a host ends in the new system or in the last good one, and says which.
# Not run here: needs nixpkgs' test driver.
{ lib, afield }:
{
  name = "update-and-rollback";
  nodes.clinic = afield.clinic ({ pkgs, ... }: {
    afield.repositories = [ "file:///srv/fleet/repository" ];
    # The operator's side is on the same machine: what is tried is the host's.
    environment.systemPackages = [ pkgs.afield ];
    environment.etc."generation".text = lib.mkDefault "first";
    # Two new systems: one is fine, the other cuts off its own way in.
    specialisation.good.configuration.environment.etc."generation".text = "good";
    specialisation.bad.configuration = {
      environment.etc."generation".text = "bad";
      services.openssh.enable = lib.mkForce false;
    };
    environment.etc."fleet/afield.toml".text = ''
      fleet = "test"
      [build]
      file = "systems.nix"
      [repository]
      path = "repository"
      [[checks]]
      name = "ssh"
      type = "tcp"
      address = "127.0.0.1:22"
    '';
  });

  testScript = ''
    def release(name):
        system = clinic.succeed(f"readlink -f /run/booted-system/specialisation/{name}").strip()
        clinic.succeed(f"""echo '{{ clinic = builtins.storePath "{system}"; }}' >/srv/fleet/systems.nix""")
        clinic.succeed("cd /srv/fleet && afield release && afield rollout start")
        clinic.execute("systemctl start nixos-upgrade")

    clinic.wait_for_unit("multi-user.target")
    clinic.succeed("mkdir -p /srv/fleet/org-config && cp -L /etc/fleet/afield.toml /srv/fleet")
    clinic.succeed("cd /srv/fleet && afield keys init && cp repository/metadata/1.root.json /etc/afield/root.json")

    with subtest("a good release is taken"):
        release("good")
        clinic.wait_until_succeeds("grep -qx good /etc/generation", timeout=120)

    with subtest("one without SSH is taken back"):
        release("bad")
        clinic.wait_until_succeeds("afield-agent status | grep 'failed here'", timeout=300)
        clinic.succeed("grep -qx good /etc/generation && systemctl is-active sshd")
  '';
}
