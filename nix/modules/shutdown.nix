# Hosts that run on generators or batteries can switch themselves off.
{ config, lib, ... }:
let
  cfg = config.settings.autoShutdown;
in
{
  options.settings.autoShutdown = {
    enable = lib.mkEnableOption "switching off at set times";
    startAt = lib.mkOption {
      type = lib.types.either lib.types.str (lib.types.listOf lib.types.str);
      default = [ ];
    };
  };

  config.systemd.services.auto_shutdown = lib.mkIf cfg.enable {
    description = "Switch the host off";
    inherit (cfg) startAt;
    # Not by a new system, only by its timer.
    restartIfChanged = false;
    serviceConfig = {
      Type = "oneshot";
      ExecStart = "/run/current-system/sw/bin/systemctl poweroff";
    };
  };
}
