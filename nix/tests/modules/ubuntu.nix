# A host of hosts/ubuntu with the stand-ins of system-manager: the same people, tunnels and units as on NixOS.
{ lib, golden, testing }:
let
  golden' = testing.afieldLib.folder.load (golden + "/inputs/org-config");
  # The golden fleet has no such host, so one of its NixOS hosts becomes one.
  folder = golden' // { modules = [ ]; };
  file = {
    settings.network.host_name = "vm-prod";
    settings.reverse_tunnel.enable = true;
    afield.repositories = [ "https://releases.example.org" ];
    afield.fleetName = "golden";
  };
  ubuntu = extra: (lib.evalModules {
    modules = [
      ./stand-ins-system-manager.nix
      ../../modules/ubuntu.nix
      {
        _module.args = { inherit (testing) pkgs; };
        afield.folder = folder;
      }
      file
      extra
    ];
  }).config;
  config = ubuntu { };
  nixos = (testing.evaluate { inherit folder; name = "vm-prod"; modules = [ { inherit (file) afield; } ]; }).config;
  # Without the agent, OpenSSH alone holds the tunnels.
  agentless = {
    ubuntu = ubuntu { afield.enable = false; };
    nixos = (testing.evaluate { inherit folder; name = "vm-prod"; }).config;
  };
  case = actual: expected: { inherit actual expected; };
  keys = name: config.environment.etc."ssh/authorized_keys.d/${name}".text;
  tunnelUnits = config: lib.filterAttrs (name: _: lib.hasPrefix "afield-tunnel" name) config.systemd.services;
  # The command names the file with relays, ports and forwards by its contents, so this compares those too.
  held = config: lib.mapAttrs (_: unit: { inherit (unit) environment serviceConfig wantedBy after; }) (tunnelUnits config);
in
{
  people-as-on-nixos = case config.settings.users.users nixos.settings.users.users;
  keys-as-in-golden = case (lib.genAttrs [ "root" "bruno_dias" "dr_amal" ] keys) (
    lib.genAttrs [ "root" "bruno_dias" "dr_amal" ] (name: lib.readFile (golden + "/outputs/nix/vm-prod/authorized_keys.d/${name}"))
  );
  # One unit of the agent holds the tunnels to all relays.
  tunnels-in-one-unit = case (lib.attrNames (tunnelUnits config)) [ "afield-tunnel" ];
  tunnels-as-on-nixos = case (held config) (held nixos);
  tunnels-without-the-agent = case (lib.attrNames (tunnelUnits agentless.ubuntu)) [ "afield-tunnel-relay-bru" "afield-tunnel-relay-fra" ];
  tunnels-without-the-agent-as-on-nixos = case (held agentless.ubuntu) (held agentless.nixos);
  agent-runs = case config.systemd.services.afield-agent.enable true;
  agent-is-configured = case (lib.getAttrs [ "host" "fleet" "repositories" ] config.afield.agent.settings) {
    host = "vm-prod";
    fleet = "golden";
    repositories = [ "https://releases.example.org" ];
  };
  nothing-is-refused = case (map (one: one.message) (lib.filter (one: !one.assertion) config.assertions)) [ ];
}
