# The disk as the installation lays it out: GPT, 1 MiB BIOS, 2 GiB ESP, 2 GiB /boot, LVM with 25 GiB root and the
# rest for encrypted data.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.settings.disko;
  inherit (config.settings) system;
  secrets = config.settings.system.secrets.dest_directory;

  ext4 = label: extraArgs: mountpoint: mountOptions: {
    type = "filesystem";
    format = "ext4";
    extraArgs = extraArgs ++ [ "-L" label ];
    inherit mountOptions;
  } // lib.optionalAttrs (mountpoint != null) { inherit mountpoint; };

  partitions = {
    # For GRUB on machines without UEFI; harmless on the others, and a disk may move between them.
    mbr = {
      priority = 1;
      size = "1M";
      type = "EF02";
    };
    ESP = {
      priority = 2;
      label = "efi";
      size = "2G";
      type = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
      content = {
        type = "filesystem";
        format = "vfat";
        extraArgs = [ "-F" "32" "-n" "EFI" ];
        mountpoint = "/boot/efi";
        # Mounted only while it is written: FAT does not survive a power cut.
        mountOptions = [ "defaults" "relatime" "umask=0077" "noauto" "x-systemd.automount" "x-systemd.idle-timeout=5min" ];
      };
    };
    nixos_boot = {
      priority = 3;
      label = "nixos_boot";
      size = "2G";
      # Mounted by whoever looks at it, or what writes boot entries would write below it.
      content = ext4 "nixos_boot" [ "-m" "0" ] "/boot" [ "defaults" "relatime" "noauto" "x-systemd.automount" ];
    };
    nixos_lvm = {
      priority = 4;
      label = "nixos_lvm";
      size = "100%";
      type = "E6D6D379-F507-44C2-A23C-238F2A3DF928";
      content = {
        type = "lvm_pv";
        vg = "LVMVolGroup";
      };
    };
  };

  volumes = {
    nixos_root = {
      size = "25G";
      content = ext4 "nixos_root" [ ] "/" [ "defaults" "noatime" "acl" ];
    };
    nixos_data = {
      size = "100%FREE";
      content = {
        type = "luks";
        name = "decrypted";
        extraFormatArgs = [ "--type luks2" ];
        # Opened later, by a unit: see ./crypto.nix.
        initrdUnlock = false;
        settings = {
          allowDiscards = true;
          bypassWorkqueues = true;
          keyFile = "${secrets}/keyfile";
        };
        # The key that headquarters keeps, for the day when the other is lost.
        additionalKeyFiles = [ "${secrets}/rescue-keyfile" ];
        content = ext4 "nixos_data" [ ] null [ "defaults" "noatime" "nosuid" "nodev" "noexec" ];
      };
    };
  };
in
{
  options.settings.disko = {
    enableDefaultConfig = mkOption {
      type = types.bool;
      default = !system.isMbr && !system.isISO && !config.settings.live_system.enable;
      description = "Whether the disk is laid out as here.";
    };
    diskDevice = mkOption {
      type = types.str;
      default = "/dev/disk/by-id/TODO";
    };
  };

  config = lib.mkIf cfg.enableDefaultConfig {
    disko.devices = {
      disk.main = {
        type = "disk";
        device = cfg.diskDevice;
        content = {
          type = "gpt";
          inherit partitions;
        };
      };
      lvm_vg.LVMVolGroup = {
        type = "lvm_vg";
        lvs = volumes;
      };
    };
    assertions = [
      {
        assertion = !system.isMbr;
        message = "settings.system.isMbr is set, and the default disk layout (settings.disko.enableDefaultConfig) needs GPT. Set one of them to false.";
      }
    ];
  };
}
