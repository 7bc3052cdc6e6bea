# A stick that is plugged in updates the host and takes its reports (docs/usb.md). Off unless the fleet wants it: whoever
# can plug in a stick can then have its file system read by the kernel, though nothing on it is believed unsigned.
{ config, lib, pkgs, ... }:
let
  cfg = config.afield;
in
{
  options.afield.stick.enable = lib.mkEnableOption "updates from sticks whose label begins with AFIELD";

  config = lib.mkIf (cfg.enable && cfg.stick.enable) {
    services.udev.extraRules = ''
      ACTION=="add", SUBSYSTEM=="block", ENV{ID_BUS}=="usb", ENV{ID_FS_USAGE}=="filesystem", ENV{ID_FS_LABEL}=="AFIELD*", TAG+="systemd", ENV{SYSTEMD_WANTS}+="afield-stick@%k.service"
    '';
    systemd.services."afield-stick@" = {
      description = "Afield, from the stick %I";
      path = [ cfg.nixPackage pkgs.util-linux ];
      # A new system is switched to in a unit of its own; this one finishes its stick.
      restartIfChanged = false;
      serviceConfig = {
        Type = "oneshot";
        ExecStart = "${cfg.package}/bin/afield-agent stick /dev/%I --config /etc/afield/agent.toml";
        # Nobody else sees the stick, and it is gone with this unit.
        PrivateMounts = true;
        MemoryMax = "512M";
      };
    };
  };
}
