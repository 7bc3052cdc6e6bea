# A system that does not come up is left without anyone on site: it has three tries, and a try that hangs ends.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.afield;
  afield = "${cfg.package}/bin/afield-agent";
in
{
  options.afield.watchdog = mkOption {
    type = types.nullOr types.str;
    default = "softdog";
    example = "iTCO_wdt";
    description = "Kernel module that restarts a machine on which systemd hangs, from the initrd on; null: none.";
  };

  config = lib.mkIf cfg.enable {
    boot = {
      # After a panic, also one before sysctl is read.
      kernelParams = [ "panic=10" ] ++ lib.optional (cfg.watchdog != null) "systemd.watchdog_sec=60";
      initrd.kernelModules = lib.optional (cfg.watchdog != null) cfg.watchdog;
      # An initrd that gives up waits for a person; nobody is there.
      initrd.systemd.services.afield-next-try = {
        description = "Restart for the next try";
        wantedBy = [ "emergency.target" ];
        unitConfig = {
          DefaultDependencies = false;
          SuccessAction = "reboot-force";
        };
        serviceConfig = {
          Type = "oneshot";
          ExecStart = "/bin/sleep 30";
        };
      };
      # What is proved is what GRUB saved, what is on trial is its next entry.
      loader.grub.default = "saved";
    };

    systemd.services = {
      afield-boot-check = {
        description = "Afield: whether the system of this boot is well";
        requiredBy = [ "boot-complete.target" ];
        wantedBy = [ "multi-user.target" ];
        before = [ "boot-complete.target" ];
        after = [ "local-fs.target" "network.target" "nix-daemon.socket" ];
        path = [ cfg.nixPackage ];
        unitConfig.OnFailure = "afield-boot-failed.service";
        # It is about the boot; a switch does not repeat it.
        restartIfChanged = false;
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          ExecStart = "${afield} boot-check --config /etc/afield/agent.toml";
          # What cannot be judged in this time is not well.
          TimeoutStartSec = "45min";
          OOMScoreAdjust = -500;
        };
      };
      # The agent of a system on trial cannot even judge it. The file is there once for each trial.
      afield-boot-failed = {
        description = "Afield: leave a system that cannot judge itself";
        restartIfChanged = false;
        unitConfig = {
          ConditionPathExists = "/var/lib/afield/on-trial";
          DefaultDependencies = false;
          SuccessAction = "reboot-force";
        };
        serviceConfig = {
          Type = "oneshot";
          ExecStart = [
            "/run/current-system/sw/bin/rm -f /var/lib/afield/on-trial"
            "-/run/current-system/systemd/lib/systemd/systemd-bless-boot bad"
            "/run/current-system/sw/bin/sync"
          ];
        };
      };
    };
  };
}
