# The VM tests of ../vm as far as `lib` allows: every node, with its specialisations, evaluates with strict stand-ins
# and no assertion fails. What the virtual machines then do is not tried here.
{ lib, testing, ... }:
let
  inherit (lib) mkOption types;
  dir = ../vm;
  afield = import ../vm-fleet.nix { inherit lib; modules = ../../modules; };
  # Options of the test driver's virtual machines, and what tests set beyond Afield's modules.
  driver = {
    options = {
      virtualisation = {
        emptyDiskImages = mkOption { type = types.listOf types.ints.positive; default = [ ]; };
        diskSize = mkOption { type = types.ints.positive; default = 1024; };
        useBootLoader = mkOption { type = types.bool; default = false; };
        useEFIBoot = mkOption { type = types.bool; default = false; };
      };
      services.openssh.hostKeys = mkOption {
        type = types.listOf (types.submodule {
          options.path = mkOption { type = types.str; };
          options.type = mkOption { type = types.enum [ "ed25519" "rsa" ]; };
        });
        default = [ ];
      };
      specialisation = mkOption {
        type = types.attrsOf (types.submodule { options.configuration = mkOption { type = types.deferredModule; default = { }; }; });
        default = { };
      };
    };
    imports = [ testing.standIns ];
  };
  evaluate = modules: (lib.evalModules { modules = [ driver ] ++ modules; }).config;
  told = config: builtins.deepSeq { inherit (config) users systemd environment boot; ssh = config.services.openssh; } (
    map (one: one.message) (lib.filter (one: !one.assertion) config.assertions)
  );
  nodeFailures =
    node:
    let
      config = evaluate [ node ];
      special = lib.concatMap (one: told (evaluate [ node one.configuration ])) (lib.attrValues config.specialisation);
    in
    told config ++ special;
  case =
    file: _:
    let
      test = import (dir + "/${file}") { inherit lib afield; };
      stem = lib.removeSuffix ".nix" file;
    in
    lib.nameValuePair stem {
      expected = {
        name = stem;
        failed = [ ];
        scripted = true;
      };
      actual = {
        inherit (test) name;
        failed = lib.concatMap nodeFailures (lib.attrValues test.nodes);
        scripted = lib.isString test.testScript;
      };
    };
in
lib.mapAttrs' case (builtins.readDir dir)
