# VM tests of NixOS, one scenario a file in ./vm, found by readDir. They need nixpkgs and KVM: `nix flake check` on a
# NixOS machine runs them. Not run where Afield is developed (no nixpkgs there); `cargo nix-tests` evaluates their nodes.
{ pkgs, self }:
let
  inherit (pkgs) lib;
  withAfield = pkgs.extend self.overlays.default;
  # Without the overlay of nixosModules.default: the driver gives nodes a package set that they may not change.
  modules.imports = [ ../modules self.inputs.disko.nixosModules.disko ];
  afield = import ./vm-fleet.nix { inherit lib modules; };
  scenario = file: withAfield.testers.runNixOSTest (import (./vm + "/${file}") { inherit lib afield; });
in
lib.mapAttrs' (file: _: lib.nameValuePair "vm-${lib.removeSuffix ".nix" file}" (scenario file)) (builtins.readDir ./vm)
