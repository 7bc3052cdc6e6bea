# Promise: a host ends in the new system or in the last good one, and says which.
# Not run here: needs nixpkgs' test driver.
{ lib, afield }:
let
  inherit (afield) folder;
  # The folder of a fleet with this one host, as `afield` reads it.
  json = {
    users = {
      global_admins = folder.users.globalAdmins;
      users = { per-host = { inherit (folder.users.perHost) clinic; }; inherit (folder.users) roles; };
    };
    keys = { inherit (folder) keys; };
    "tunnels.d/tunnels" = { tunnels.per-host = { inherit (folder.tunnels) clinic; }; };
    relay-servers = {
      inherit (folder.relays.relay) public_key;
      relay_servers.relay = removeAttrs folder.relays.relay [ "public_key" ];
    };
    org-metadata = folder.metadata;
  };
  files = lib.mapAttrs' (name: value: lib.nameValuePair "org-config/json/${name}.json" (builtins.toJSON value)) json // {
    "afield.toml" = toml;
    "systems.nix" = systems;
    "org-config/hosts/clinic.nix" = "{ }";
    "org-config/waves-and-staging-hosts.nix" = "{ firstWave = [ \"clinic\" ]; middleWave = [ ]; finalWave = [ ]; latestWave = [ ]; stagingHosts = [ ]; }";
  };
  # What a build of this host would give: a copy of a system that is there, which takes itself for nobody else.
  systems = ''
    let
      path = file: builtins.storePath (builtins.readFile file);
      tools = path ./tools;
      old = path ./system;
    in
    {
      clinic = derivation {
        name = builtins.substring 44 (-1) (builtins.unsafeDiscardStringContext old);
        system = builtins.currentSystem;
        builder = "''${tools}/bin/bash";
        PATH = "''${tools}/bin";
        args = [ "-euc" "cp -a $old $out; chmod -R u+w $out; grep -rlF $old $out | xargs -r sed -i s,$old,$out,g" ];
        inherit old;
      };
    }
  '';
  toml = ''
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
    environment.etc = lib.mapAttrs' (name: text: lib.nameValuePair "fleet/${name}" { inherit text; }) files // {
      "generation".text = lib.mkDefault "first";
    };
    afield.repositories = [ "file:///srv/fleet/repository" ];
    # Two new systems: one is fine, the other cuts off its own way in.
    specialisation.good.configuration.environment.etc."generation".text = lib.mkForce "good";
    specialisation.bad.configuration = {
      environment.etc."generation".text = lib.mkForce "bad";
      services.openssh.enable = lib.mkForce false;
    };
  });

  testScript = ''
    def release(number, name):
        clinic.succeed(f"cd /srv/fleet && echo -n $(readlink -f /run/booted-system/specialisation/{name}) >system")
        clinic.succeed("cd /srv/fleet && echo -n $(readlink -f /run/current-system/sw) >tools")
        clinic.succeed(f"cd /srv/fleet && afield release --keys keys && afield rollout start {number} --keys keys")
        clinic.execute("systemctl start nixos-upgrade")

    clinic.wait_for_unit("multi-user.target")
    clinic.succeed("cp -rL /etc/fleet /srv/fleet && chmod -R u+w /srv/fleet")
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
