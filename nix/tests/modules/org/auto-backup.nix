# Backup to a USB disk: options as existing fleets have them.
{ config, lib, ... }:
let
  inherit (lib) mkOption mkEnableOption types;
  cfg = config.settings.services.autoBackup;
in
{
  options.settings.services.autoBackup = {
    enable = mkEnableOption "the backup to a USB disk";
    autorun_backup = mkEnableOption "starting when a disk is plugged in";
    copyDir = mkOption { type = types.str; };
    secretsFile = mkOption { type = types.str; };
    dockerContainer = mkOption {
      type = types.nullOr types.str;
      default = null;
    };
  };
  config.services.udev.extraRules = lib.mkIf (cfg.enable && cfg.autorun_backup) ''
    ACTION=="add", SUBSYSTEM=="block", ENV{DEVTYPE}=="partition", ENV{ID_BUS}=="usb", TAG+="systemd", ENV{SYSTEMD_WANTS}="orgnix_usb_auto_backup@%k.service"
  '';
}
