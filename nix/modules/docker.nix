# Docker, its networks and the memory that apps may take.
{ config, lib, ... }:
let
  inherit (lib) mkOption mkEnableOption types;
  cfg = config.settings.docker;
  option = name: value: ''--${name} "${value}"'';
  # All networks of all apps in 172.28.0.0/14, which no site of the fleet may use for itself.
  extraOptions = lib.concatStringsSep " " [
    (option "data-root" cfg.data_dir)
    (option "bip" "172.28.0.1/18")
    (option "default-address-pool" "base=172.28.64.0/18,size=24")
    (option "default-address-pool" "base=172.28.128.0/17,size=24")
    (option "default-address-pool" "base=172.29.0.0/16,size=24")
    (option "cgroup-parent" "applications.slice")
  ];
in
{
  options.settings.docker = {
    enable = mkEnableOption "Docker";
    swarm.enable = mkEnableOption "Docker's swarm mode";
    data_dir = mkOption {
      type = types.str;
      # On the encrypted disk: images and volumes hold data.
      default = "/opt/.docker/docker";
      readOnly = true;
    };
  };

  config = lib.mkIf cfg.enable {
    virtualisation.docker = {
      enable = true;
      enableOnBoot = true;
      # Containers that outlive their daemon would survive a lock of the disk; swarm does not allow it either.
      liveRestore = false;
      inherit extraOptions;
    };
    users.groups.docker = { };
    systemd = {
      # Apps may not take the memory with which operators log in.
      slices.applications.sliceConfig = {
        MemoryHigh = "85%";
        MemoryMax = "90%";
      };
      services.docker = {
        after = config.afield.dataMounts;
        requires = config.afield.dataMounts;
      };
    };
    boot.kernel.sysctl = {
      # Databases and message queues of apps need these.
      "fs.inotify.max_user_instances" = 8192;
      "net.core.somaxconn" = 65535;
      "vm.overcommit_memory" = 1;
    };
    # Containers mount it to know the site's time.
    environment.etc.timezone.text = config.time.timeZone;
  };
}
