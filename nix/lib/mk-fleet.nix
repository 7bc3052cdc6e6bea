# From a fleet folder to systems. A fleet's flake is `outputs = inputs: inputs.afield.lib.mkFleet { inherit inputs; src = ./org-config; }`.
{ lib, folder, waves }:
{ afieldModules, systemManagerModules }:
{
  # The fleet folder.
  src,
  # The flake's inputs: `nixpkgs`, and what `packageSets` names.
  inputs,
  # Wave → name of the input that it is built with. Moving a wave is changing one line here.
  packageSets ? { },
  # Modules of the organisation for every NixOS host: kiosk, access point, NFS, backups, …
  modules ? [ ],
  # The same for hosts that run Ubuntu or Debian.
  ubuntuModules ? [ ],
  system ? "x86_64-linux",
  # Settings and overlays of the package sets, each made once for a wave.
  nixpkgsConfig ? { },
  overlays ? [ ],
}:
let
  fleet = folder.load src;
  waveOf = waves.waveOf fleet.waves (lib.attrNames fleet.hosts);

  # Files of waves may leave out hosts that do not run NixOS; those come last.
  ubuntuWave = lib.mapAttrs (name: _: waves.find fleet.waves name "finalWave") fleet.ubuntuHosts;

  inputOf =
    wave:
    let
      name = packageSets.${wave} or "nixpkgs";
    in
    inputs.${name} or (throw "packageSets.${wave} names the flake input ${name}, which flake.nix does not have. Add it to `inputs`.");

  # One package set for a wave, shared by its hosts: this is what makes 100 hosts cheap to evaluate.
  packagesOf = lib.genAttrs waves.names (
    wave:
    import (inputOf wave) {
      inherit system overlays;
      config = nixpkgsConfig;
    }
  );

  nixosHost =
    name: file:
    (inputOf waveOf.${name}).lib.nixosSystem {
      modules = [
        afieldModules
        file
        {
          afield.folder = fleet;
          afield.branch = waves.branchOf fleet.waves name;
          afield.wave = waveOf.${name};
          afield.hostFile = name;
          nixpkgs.pkgs = packagesOf.${waveOf.${name}};
        }
      ]
      ++ fleet.modules
      ++ modules;
    };

  ubuntuHost =
    name: file:
    inputs.system-manager.lib.makeSystemConfig {
      modules = [
        systemManagerModules
        file
        {
          afield.folder = fleet;
          afield.branch = waves.branchOf fleet.waves name;
          afield.wave = ubuntuWave.${name};
          afield.hostFile = name;
          nixpkgs.hostPlatform = system;
          # system-manager would make a package set for each host, from its own nixpkgs.
          _module.args.pkgs = lib.mkForce packagesOf.${ubuntuWave.${name}};
        }
      ]
      # Deployments of apps are declared for hosts of every kind.
      ++ fleet.modules
      ++ ubuntuModules;
    };

  nixosConfigurations = lib.mapAttrs nixosHost fleet.hosts;
  systemConfigs = lib.mapAttrs ubuntuHost fleet.ubuntuHosts;
in
{
  inherit nixosConfigurations systemConfigs;

  # What `afield build` reads: one attribute a host, cheap to list (nothing of a host is evaluated for its name).
  afield = lib.mapAttrs (name: host: {
    kind = "nixos";
    wave = waveOf.${name};
    branch = waves.branchOf fleet.waves name;
    system = host.config.system.build.toplevel;
  }) nixosConfigurations
  // lib.mapAttrs (name: host: {
    kind = "system-manager";
    wave = ubuntuWave.${name};
    branch = waves.branchOf fleet.waves name;
    system = host;
  }) systemConfigs;
}
