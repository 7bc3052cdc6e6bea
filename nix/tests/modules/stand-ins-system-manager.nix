# The options of system-manager that Afield's modules set, as strict as ./stand-ins.nix.
{ lib, ... }:
let
  nixos = (import ./stand-ins.nix { inherit lib; }).options;
  inherit (lib) mkOption types;
in
{
  options = {
    inherit (nixos) assertions warnings;
    nixpkgs = {
      inherit (nixos.nixpkgs) hostPlatform;
      overlays = mkOption { type = types.listOf types.raw; default = [ ]; };
    };
    environment = {
      inherit (nixos.environment) systemPackages;
      etc = mkOption {
        type = types.attrsOf (types.submodule ({ name, config, ... }: {
          options = {
            enable = mkOption { type = types.bool; default = true; };
            text = mkOption { type = types.nullOr types.lines; default = null; };
            source = mkOption { type = types.path; };
            mode = mkOption { type = types.str; default = "symlink"; };
          };
          config.source = lib.mkIf (config.text != null) (lib.mkDefault "/nix/store/00000000000000000000000000000000-text");
        }));
        default = { };
      };
    };
    systemd = { inherit (nixos.systemd) services; tmpfiles = { inherit (nixos.systemd.tmpfiles) rules; }; };
  };
}
