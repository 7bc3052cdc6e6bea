# Promise: a host ends in the new system or in the last good one, and says which.
# Not run here: needs nixpkgs' test driver.
{ lib, afield }:
let
  fleet = ''
    fleet = "test"
    [build]
    file = "systems.nix"
    [repository]
    path = "repository"
    [hub]
    url = "http://127.0.0.1:8471"
    [rollout]
    soak = "1s"
    [[checks]]
    name = "ssh"
    type = "tcp"
    address = "127.0.0.1:22"
  '';
in
{
  name = "update-and-rollback";
  nodes.clinic = afield.clinic ({ pkgs, ... }: {
    # The operator's side is on the same machine: what is tried is the host's.
    environment.systemPackages = [ pkgs.afield pkgs.afield-hub ];
    environment.etc."fleet/afield.toml".text = fleet;
    afield.repositories = [ "file:///srv/fleet/repository" ];
    environment.etc."generation".text = lib.mkDefault "first";
    # Two new systems: one is fine, the other cuts off its own way in.
    specialisation.good.configuration.environment.etc."generation".text = lib.mkForce "good";
    specialisation.bad.configuration = {
      environment.etc."generation".text = lib.mkForce "bad";
      services.openssh.enable = lib.mkForce false;
    };
  });

  testScript = ''
    def store(path):
        real = clinic.succeed(f"readlink -f {path}").strip()
        return f'builtins.storePath "{real}"'

    def release(number, name):
        # A derivation that is a copy of the specialisation: what a build of this host would give.
        copy = store("$(command -v cp)")
        system = store(f"/run/booted-system/specialisation/{name}")
        build = f'builder = {copy}; args = [ "-a" "''${{{system}}}/." (placeholder "out") ];'
        nix = f'{{ clinic = derivation {{ name = "{name}"; system = builtins.currentSystem; {build} }}; }}'
        clinic.succeed(f"cat >/srv/fleet/systems.nix <<'EOF'\n{nix}\nEOF")
        clinic.succeed(f"cd /srv/fleet && afield release --keys keys && afield rollout start {number} --keys keys")
        clinic.execute("systemctl start nixos-upgrade")

    clinic.wait_for_unit("multi-user.target")
    clinic.succeed("mkdir -p /srv/fleet/org-config/hosts && cp -L /etc/fleet/afield.toml /srv/fleet")
    clinic.succeed("touch /srv/fleet/org-config/hosts/clinic.nix")
    clinic.succeed("cd /srv/fleet && afield keys init --out keys && cp keys/root.json /etc/afield/root.json")
    clinic.succeed(
        "cd /srv/fleet && systemd-run --unit=hub --working-directory=/srv/fleet afield-hub serve --repository repository"
        " --trust-root keys/root.json --rollout-key keys/rollout.pem --database /srv/fleet/hub.sqlite"
    )
    clinic.wait_until_succeeds("curl -fs http://127.0.0.1:8471/healthz", timeout=60)

    with subtest("a good release is taken"):
        release(1, "good")
        clinic.wait_until_succeeds("grep -qx good /etc/generation", timeout=300)

    with subtest("one without SSH is taken back"):
        release(2, "bad")
        clinic.wait_until_succeeds("afield-agent status | grep 'failed here'", timeout=300)
        clinic.succeed("grep -qx good /etc/generation && systemctl is-active sshd")
  '';
}
