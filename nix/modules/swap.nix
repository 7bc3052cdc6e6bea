# Swap: on the disk if it may be written to, else compressed in memory.
{ config, lib, ... }:
let
  cfg = config.settings.system.diskSwap;
in
{
  options.settings.system.diskSwap = {
    enable = lib.mkOption {
      type = lib.types.bool;
      default = true;
    };
    size = lib.mkOption {
      type = lib.types.ints.between 0 30;
      default = 1;
      description = "In GiB.";
    };
  };

  config = lib.mkMerge [
    (lib.mkIf cfg.enable {
      swapDevices = [
        {
          device = "/swap.img";
          size = cfg.size * 1024;
          priority = 0;
          # What was in memory must not be readable on a stolen disk.
          randomEncryption.enable = true;
        }
      ];
      # Compressed in memory first, so that a slow disk is written rarely.
      boot.kernelParams = lib.mkBefore [
        "zswap.enabled=1"
        "zswap.shrinker_enabled=1"
        "zswap.max_pool_percent=30"
        "zswap.zpool=zsmalloc"
        "zswap.compressor=zstd"
      ];
    })
    (lib.mkIf (!cfg.enable) {
      zramSwap = {
        enable = true;
        algorithm = "zstd";
        memoryPercent = 40;
      };
    })
  ];
}
