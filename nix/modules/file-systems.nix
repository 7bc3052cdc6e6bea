# File systems of hosts that disko did not lay out: the older installations, found by their labels.
{ config, lib, ... }:
let
  inherit (config.settings) boot system;
  byLabel = !config.settings.disko.enableDefaultConfig && !system.isISO && !config.settings.live_system.enable;
  label = name: "/dev/disk/by-label/${name}";
in
{
  fileSystems = lib.mkIf byLabel {
    # An opinion: cloud images bring their own root.
    "/" = {
      device = lib.mkDefault (label "nixos_root");
      fsType = lib.mkDefault "ext4";
      options = lib.mkDefault [ "defaults" "noatime" "acl" ];
    };
    "/boot" = lib.mkIf boot.separate_partition {
      device = lib.mkDefault (label "nixos_boot");
      fsType = lib.mkDefault "ext4";
      # Mounted by whoever looks at it, or what writes boot entries would write below it.
      options = lib.mkDefault [ "defaults" "relatime" "noauto" "x-systemd.automount" ];
    };
    "/boot/efi" = lib.mkIf (boot.mode == "uefi") {
      device = lib.mkDefault (label "EFI");
      fsType = lib.mkDefault "vfat";
      options = lib.mkDefault [ "defaults" "relatime" "umask=0077" "noauto" "x-systemd.automount" "x-systemd.idle-timeout=5min" ];
    };
  };
}
