# A system that runs from a stick or CD: for installation and rescue.
{ config, lib, ... }:
{
  options.settings.live_system.enable = lib.mkEnableOption "running from a stick";

  config = lib.mkIf config.settings.live_system.enable {
    # There is nothing that lasts: no upgrades, no swap on a disk, no disk to open.
    settings = {
      boot.mode = lib.mkDefault "none";
      hardwarePlatform = lib.mkDefault "none";
      maintenance.enable = lib.mkDefault false;
      system.diskSwap.enable = lib.mkDefault false;
    };
    # The stick may be pulled out, and its contents may change under it.
    services.timesyncd.enable = true;
  };
}
