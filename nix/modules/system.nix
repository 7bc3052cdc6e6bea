# The rest of what every host of a fleet has in common.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkEnableOption;
  inherit (config.settings) system;
in
{
  options.settings.system = {
    isISO = mkEnableOption "an installation or rescue image";
    isMbr = mkEnableOption "an older installation with an MBR partition table";
  };

  config = {
    assertions = [
      {
        assertion = config.time.timeZone != null;
        message = "host ${config.settings.network.host_name} has no time zone. Set time.timeZone in its file: windows for upgrades are in local time.";
      }
    ];
    boot = {
      # A server that sleeps is gone.
      kernelParams = [ "nohibernate" ];
      kernel.sysctl = {
        "net.core.bpf_jit_harden" = true;
        "vm.mmap_rnd_bits" = 32;
      };
    };
    services.timesyncd = {
      enable = lib.mkDefault true;
      # Networks of some sites let only well-known names through.
      servers = config.networking.timeServers ++ [ "time.windows.com" "time.google.com" ];
    };
    # Logs must not fill the disk, and must survive a crash.
    services.journald.extraConfig = ''
      Storage=persistent
      SystemMaxUse=500M
      MaxRetentionSec=60day
    '';
    # Where people and their scripts look for secrets and configs.
    environment.variables = {
      "${system.org.env_var_prefix}_SECRETS_DIRECTORY" = system.secrets.dest_directory;
      "${system.org.env_var_prefix}_CONFIGS_DIRECTORY" = system.app_configs.dest_directory;
    };
    afield.nixPackage = config.nix.package;
    # What one needs when the link is too slow to fetch it.
    environment.systemPackages = [ pkgs.curl pkgs.htop pkgs.rsync pkgs.tmux pkgs.vim ]
    ++ lib.optional config.afield.enable config.afield.package;
  };
}
