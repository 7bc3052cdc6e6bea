# What a fleet costs to evaluate: all hosts in one evaluation, or one of them alone. With `lib` and stand-ins only, so the
# package set, the largest thing that hosts of a wave share, is not even counted. See xtask/src/bench_eval.rs.
{ nixpkgsLib, src, only ? null }:
let
  lib = import nixpkgsLib;
  testing = import ../modules/evaluate.nix { inherit lib; };
  folder = testing.afieldLib.folder.load src;
  names = if only == null then lib.attrNames folder.hosts else [ only ];
  # What a build would touch.
  force =
    name:
    let
      inherit (testing.evaluate { inherit folder name; }) config;
      parts = {
        inherit (config) users systemd boot networking security assertions fileSystems;
        inherit (config.services) openssh timesyncd;
        variables = config.environment.variables;
      };
    in
    builtins.deepSeq (lib.mapAttrsRecursiveCond (value: !lib.isDerivation value) (_: value: if lib.isFunction value then null else value) parts) name;
in
map force names
