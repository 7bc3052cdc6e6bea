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
  inherit
    (lib.evalModules {
      modules = [
        ./stand-ins-system-manager.nix
        ../../modules/ubuntu.nix
        {
          _module.args = { inherit (testing) pkgs; };
          afield.folder = folder;
        }
        file
      ];
    })
    config
    ;
  nixos = (testing.evaluate { inherit folder; name = "vm-prod"; }).config;
  case = actual: expected: { inherit actual expected; };
  keys = name: config.environment.etc."ssh/authorized_keys.d/${name}".text;
  tunnelUnits = config: lib.filterAttrs (name: _: lib.hasPrefix "afield-tunnel-" name) config.systemd.services;
in
{
  people-as-on-nixos = case config.settings.users.users nixos.settings.users.users;
  keys-as-in-golden = case (lib.genAttrs [ "root" "bruno_dias" "dr_amal" ] keys) (
    lib.genAttrs [ "root" "bruno_dias" "dr_amal" ] (name: lib.readFile (golden + "/outputs/nix/vm-prod/authorized_keys.d/${name}"))
  );
  tunnels-as-on-nixos = case (lib.mapAttrs (_: unit: unit.environment) (tunnelUnits config)) (lib.mapAttrs (_: unit: unit.environment) (tunnelUnits nixos));
  agent-runs = case config.systemd.services.afield-agent.enable true;
  agent-is-configured = case (lib.getAttrs [ "host" "fleet" "repositories" ] config.afield.agent.settings) {
    host = "vm-prod";
    fleet = "golden";
    repositories = [ "https://releases.example.org" ];
  };
  nothing-is-refused = case (map (one: one.message) (lib.filter (one: !one.assertion) config.assertions)) [ ];
}
