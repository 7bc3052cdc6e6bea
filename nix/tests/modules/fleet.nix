# mkFleet, with a stand-in for nixpkgs: which package set and which modules each host gets.
{ lib, golden, testing }:
let
  nixpkgs = name: {
    # `import nixpkgs { … }` makes a package set; this one only says which it is.
    __toString = _: toString ./package-set.nix;
    outPath = toString ./package-set.nix;
    lib.nixosSystem = { modules }: lib.evalModules { modules = [ { _module.args.pkgs = testing.pkgs; } { system.build.toplevel = "built with ${name}"; } ] ++ modules; };
  };
  fleet = testing.afieldLib.mkFleet {
    afieldModules = testing.base // { _module = { }; };
    systemManagerModules = { };
  } {
    src = golden + "/inputs/org-config";
    inputs = {
      nixpkgs = nixpkgs "nixpkgs";
      nixpkgs-next = nixpkgs "nixpkgs-next";
    };
    packageSets.firstWave = "nixpkgs-next";
    modules = testing.orgModules;
  };
  # vm-prod with system-manager, whose own package set must not be the one that counts.
  golden' = testing.afieldLib.folder.load (golden + "/inputs/org-config");
  told = { pkgs, ... }: {
    options.packageSet = lib.mkOption { type = lib.types.raw; };
    config.packageSet = pkgs;
  };
  ubuntu = import ../../lib/mk-fleet.nix {
    inherit lib;
    inherit (testing.afieldLib) waves;
    folder.load = _: golden' // { hosts = { }; ubuntuHosts.vm-prod = ../ubuntu/vm-prod.nix; };
  } {
    afieldModules = { };
    systemManagerModules = ../../modules/ubuntu.nix;
  } {
    src = golden + "/inputs/org-config";
    inputs = {
      nixpkgs = nixpkgs "nixpkgs";
      system-manager.lib.makeSystemConfig = { modules }: lib.evalModules {
        modules = [ ./stand-ins-system-manager.nix told { _module.args.pkgs.of = "system-manager"; } ] ++ modules;
      };
    };
  };
  case = actual: expected: { inherit actual expected; };
in
{
  a-wave-names-its-nixpkgs = case (lib.mapAttrs (_: host: host.system) fleet.afield) (
    lib.genAttrs [ "lap-kabul" "nuc-juba" "nuc-pap" "relay-bru" "relay-fra" "vm-prod" ] (_: "built with nixpkgs")
    // lib.genAttrs [ "prov-new" "vm-uat" ] (_: "built with nixpkgs-next")
  );
  afield-build-learns-wave-and-branch = case (removeAttrs fleet.afield.vm-uat [ "system" ]) {
    kind = "nixos";
    wave = "firstWave";
    branch = "staging";
  };
  hosts-know-their-folder = case fleet.nixosConfigurations.nuc-juba.config.settings.network.host_name "nuc-juba";
  ubuntu-hosts-get-the-package-set-of-their-wave = case (lib.attrNames ubuntu.systemConfigs.vm-prod.config.packageSet) [ "made-with" ];
  ubuntu-hosts-have-the-apps-of-the-fleet = case (ubuntu.systemConfigs.vm-prod.config.systemd.services ? update_dhis2_prod) true;
  afield-build-learns-of-ubuntu-hosts = case (removeAttrs ubuntu.afield.vm-prod [ "system" ]) {
    kind = "system-manager";
    wave = "finalWave";
    branch = "main";
  };
}
