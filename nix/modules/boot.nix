# How the host boots.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  modes = lib.genAttrs [ "legacy" "none" "uefi" ] lib.id;
  cfg = config.settings.boot;
in
{
  options.settings.boot = {
    modes = mkOption {
      type = types.attrsOf types.str;
      default = modes;
      readOnly = true;
    };
    mode = mkOption { type = types.enum (lib.attrValues modes); };
    separate_partition = mkOption {
      type = types.bool;
      default = true;
    };
  };

  config.boot = lib.mkMerge [
    {
      initrd.systemd.enable = true;
      # Snapshots of logical volumes.
      initrd.kernelModules = [ "dm-snapshot" ];
      # Nobody is there to press a button: after a panic, try again.
      kernel.sysctl."kernel.panic" = "10";
      tmp = {
        useTmpfs = lib.mkDefault true;
        cleanOnBoot = true;
      };
    }
    (lib.mkIf (cfg.mode == modes.uefi) {
      loader = {
        systemd-boot = {
          enable = true;
          # Enough to go back for months, few enough for the partition.
          configurationLimit = lib.mkDefault 15;
          # Whoever stands in front of the machine could otherwise boot with init=/bin/sh.
          editor = false;
        };
        # Cheap boards lose these variables; the fallback path always works.
        efi.canTouchEfiVariables = false;
        efi.efiSysMountPoint = "/boot/efi";
      };
    })
    (lib.mkIf (cfg.mode == modes.legacy) {
      loader.grub = {
        enable = true;
        configurationLimit = lib.mkDefault 15;
      };
    })
  ];
}
