# A system that does not come up is left without anyone on site: it has three tries, and a try that hangs ends.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.afield;
  afield = "${cfg.package}/bin/afield-agent";
  tools = "${pkgs.coreutils}/bin";
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
        # A file system that does not come fails this unit too, and so starts afield-boot-failed.
        requires = [ "local-fs.target" ];
        after = [ "local-fs.target" "network.target" "nix-daemon.socket" ];
        path = [ cfg.nixPackage ];
        unitConfig.OnFailure = "afield-boot-failed.service";
        # It is about the boot; a switch does not repeat it.
        restartIfChanged = false;
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          ExecStart = "${afield} boot-check --config /etc/afield/agent.toml";
          # From here on nothing leaves this boot.
          ExecStartPost = "-${tools}/touch /run/afield-boot-well";
          # What cannot be judged is not well. The agent asks for more as long as it gets on, for six hours at most.
          TimeoutStartSec = "45min";
          NotifyAccess = "main";
          OOMScoreAdjust = -500;
        };
      };
      # A system on trial that cannot be judged is left for the last good one: its agent does not run, or it got no further
      # than emergency or rescue mode. The agent writes `on-trial` when it gives a system its tries; with systemd-boot the
      # variable says that the tries of what was started are counted.
      afield-boot-failed = {
        description = "Afield: leave a system that cannot be judged";
        wantedBy = [ "emergency.target" "rescue.target" ];
        # A machine that is switched off in its trial is not restarted for it.
        conflicts = [ "shutdown.target" ];
        before = [ "shutdown.target" ];
        restartIfChanged = false;
        unitConfig = {
          ConditionPathExists = [
            "|/var/lib/afield/on-trial"
            "|/sys/firmware/efi/efivars/LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
            "!/run/afield-boot-well"
          ];
          # Whoever asks for it at the boot menu is there.
          ConditionKernelCommandLine = [ "!systemd.unit" "!emergency" "!rescue" "!single" ];
          DefaultDependencies = false;
          # Apps are stopped as at any restart; systemd itself forces one that takes too long (reboot.target).
          SuccessAction = "reboot";
        };
        serviceConfig = {
          Type = "oneshot";
          ExecStart = [
            # Until what brought the machine here has ended. Somebody who is there can stop it.
            "${tools}/sleep 30"
            "-${tools}/timeout 60 /run/current-system/systemd/lib/systemd/systemd-bless-boot bad"
            # Not even a disk that cannot be written holds the machine in a system that is not well.
            "-${tools}/timeout 60 ${tools}/rm -f /var/lib/afield/on-trial"
          ];
        };
      };
    };
  };
}
