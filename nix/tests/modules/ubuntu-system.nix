# The golden fleet's vm-prod as a host of hosts/ubuntu, through the flake's own module, down to the text of its units; and
# the same after a person has left.
{ lib, golden, testing }:
let
  golden' = testing.afieldLib.folder.load (golden + "/inputs/org-config");
  rendered = import ./system-manager.nix { inherit lib; inherit (testing) pkgs; };
  flake = (import ../../../flake.nix).outputs {
    self.overlays.default = throw "the package set is given";
    nixpkgs = { inherit lib; };
    disko = throw "no disk is laid out";
    system-manager = throw "its modules are played by stand-ins";
  };
  without = user: golden' // {
    users = golden'.users // {
      roles = lib.mapAttrs (_: role: role // lib.optionalAttrs (role ? enable) { enable = removeAttrs role.enable [ user ]; }) golden'.users.roles;
    };
  };
  configOf = folder: (lib.evalModules {
    modules = [
      ./stand-ins-system-manager.nix
      flake.systemManagerModules.default
      {
        _module.args.pkgs = rendered.packages;
        afield.folder = folder;
        afield.hostFile = "vm-prod";
      }
      ../ubuntu/vm-prod.nix
    ]
    ++ folder.modules;
  }).config;
  systemOf =
    folder:
    let
      config = configOf folder;
      failed = map (one: one.message) (lib.filter (one: !one.assertion) config.assertions);
    in
    if failed == [ ] then rendered.describe config else throw (lib.concatStringsSep "\n" failed);
in
{
  "system.json" = systemOf golden';
  "system-without-bruno_dias.json" = systemOf (without "bruno_dias");
}
