# VM tests of NixOS, one scenario a file in ./vm, found by readDir. They need nixpkgs and KVM: `nix flake check` on a
# NixOS machine runs them. Not run where Afield is developed (no nixpkgs there); `cargo nix-tests` evaluates their nodes.
{ pkgs, self }:
let
  inherit (pkgs) lib;
  withAfield = pkgs.extend self.overlays.default;
  afield = import ./vm-fleet.nix { inherit lib; modules = self.nixosModules.default; };
  scenario = file: withAfield.testers.runNixOSTest (import (./vm + "/${file}") { inherit lib afield; });
in
lib.mapAttrs' (file: _: lib.nameValuePair "vm-${lib.removeSuffix ".nix" file}" (scenario file)) (builtins.readDir ./vm)
