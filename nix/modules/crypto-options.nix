# Options of encrypted devices. See ./crypto.nix.
{ config, lib, ... }:
let
  inherit (lib) mkOption mkEnableOption types;
  string = default: mkOption {
    type = types.str;
    inherit default;
  };

  mount = { name, ... }: {
    options = {
      enable = mkEnableOption "this encrypted device";
      name = mkOption { type = types.strMatching "^[[:lower:]][-_[:lower:]]+[[:lower:]]$"; };
      device = mkOption { type = types.str; };
      device_units = mkOption {
        type = types.listOf types.str;
        default = [ ];
        description = "Units that the device needs, as a network disk does.";
      };
      mount_point = mkOption { type = types.strMatching "^(/[-_[:lower:]]*)+$"; };
      mount_options = string "";
      filesystem_type = string "ext4";
      key_file = mkOption {
        type = types.str;
        default = config.settings.crypto.defaultKeyFile;
        # One key for all devices of a host: losing the host means revoking one thing.
        readOnly = true;
      };
    };
    config = { inherit name; };
  };
in
{
  options.settings = {
    crypto = {
      enable = mkOption { type = types.bool; };
      device = mkOption { type = types.str; };
      defaultKeyFile = mkOption { type = types.str; };
      encrypted_opt = {
        enable = mkEnableOption "the encrypted /opt";
        device = string "/dev/LVMVolGroup/nixos_data";
      };
      mounts = mkOption {
        type = types.attrsOf (types.submodule mount);
        default = { };
      };
    };
    system.opt.allow_groups = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Groups that may enter /opt.";
    };
  };
}
