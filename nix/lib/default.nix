# What Afield's flake offers as `lib`. Pure: needs nixpkgs' `lib` and nothing else.
{ lib }:
let
  folder = import ./folder.nix { inherit lib; };
  roles = import ./roles.nix { inherit lib; };
  access = import ./access.nix { inherit lib roles; };
  waves = import ./waves.nix { inherit lib; };
in
{
  inherit folder roles access waves;
  types = import ./types.nix { inherit lib; };
  relayKeys = import ./relay-keys.nix { inherit lib; };
  sshdMatch = import ./sshd-match.nix { inherit lib; };
  deployment = import ./deployment.nix { inherit lib; };
  # A definition whose errors name the JSON file that it comes from, where nixpkgs can say so.
  inFile = file: value: (lib.mkDefinition or (one: one.value)) { file = toString file; inherit value; };
  mkFleet = import ./mk-fleet.nix { inherit lib folder waves; };
}
