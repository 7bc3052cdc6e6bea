# The scripts of the VM tests, for a parser of Python: a slip in one of them shows here, and not after an hour of building.
{ lib }:
let
  dir = ../vm;
  afield = import ../vm-fleet.nix { inherit lib; modules = { }; };
in
lib.mapAttrs (file: _: (import (dir + "/${file}") { inherit lib afield; }).testScript) (builtins.readDir dir)
