# The template, and the flake itself with stand-ins for its inputs: what a new fleet gets evaluates.
{ lib, testing, ... }:
let
  flake = import ../../../flake.nix;
  nothing = { };
  nixpkgs = {
    outPath = toString ./package-set.nix;
    legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (_: testing.pkgs);
    lib = lib // {
      nixosSystem = { modules }: lib.evalModules { modules = [ testing.standIns ] ++ modules; };
    };
  };
  self = flake.outputs {
    inherit self nixpkgs;
    disko.nixosModules.disko = nothing;
    system-manager.lib.makeSystemConfig = _: throw "the template has no such host";
  };
  fleet = (import ../../../templates/fleet/flake.nix).outputs { afield = self; inherit nixpkgs; };
  hosts = lib.mapAttrs (_: host: host.config) fleet.nixosConfigurations;
  failed = config: map (one: one.message) (lib.filter (one: !one.assertion) config.assertions);
  case = actual: expected: { inherit actual expected; };
  lines = file: lib.length (lib.filter (line: line != "") (lib.splitString "\n" (lib.readFile file)));
in
{
  two-hosts-evaluate = case (lib.mapAttrs (_: config: { failed = failed config; people = lib.attrNames config.users.users; }) hosts) {
    clinic-1 = {
      failed = [ ];
      people = [ "admin_1" "robot" "root" "support_1" "tunnel" ];
    };
    relay-1 = {
      failed = [ ];
      people = [ "admin_1" "robot" "root" "tunnel" "tunneller" ];
    };
  };
  agent-knows-its-fleet = case (lib.getAttrs [ "fleet" "repositories" ] hosts.clinic-1.afield.agent.settings) {
    fleet = "example";
    repositories = [ "https://releases.example.org" ];
  };
  waves = case (lib.mapAttrs (_: one: one.wave) fleet.afield) { clinic-1 = "firstWave"; relay-1 = "latestWave"; };
  a-fleet-is-short = case (lines ../../../templates/fleet/flake.nix < 15) true;
  flake-offers = case (lib.attrNames self) [
    "checks" "devShells" "formatter" "lib" "nixosModules" "overlays" "packages" "systemManagerModules" "templates"
  ];
  one-module-per-concern = case (lib.all (name: self.nixosModules ? ${name}) [ "default" "agent" "relay" "tunnel" "crypto" "docker" "sshd" ]) true;
  inputs-follow-nixpkgs = case (lib.filterAttrs (name: input: name != "nixpkgs" && input.inputs.nixpkgs.follows or "" != "nixpkgs") (
    lib.zipAttrsWith (_: lib.foldl' lib.recursiveUpdate { }) [ flake.inputs ]
  )) { };
}
