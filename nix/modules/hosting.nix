# Where virtual machines run, and what each hypervisor or provider wants.
{ config, lib, ... }:
let
  inherit (lib) mkEnableOption mkIf;
  cfg = config.settings;
  platform = name: lib.mkDefault cfg.hardwarePlatforms.${name};
in
{
  options.settings = {
    vmware.enable = mkEnableOption "a virtual machine on VMware at headquarters";
    vmware.inDMZ = mkEnableOption "the network outside of headquarters' firewall";
    virtualbox.enable = mkEnableOption "a virtual machine on VirtualBox";
    hetzner.enable = mkEnableOption "a cloud server at Hetzner";
    hetzner.static_ip = mkEnableOption "an address that the host sets itself, instead of by DHCP";
    syno_vm.enable = mkEnableOption "a virtual machine on a Synology NAS";
  };

  config = lib.mkMerge [
    (mkIf cfg.vmware.enable {
      settings = {
        hardwarePlatform = platform "vmware";
        # Once a week: these are upgraded during the day by their owners too.
        maintenance.nixos_upgrade.startAt = lib.mkDefault [ "Tue 03:00" ];
        network.nameservers = if cfg.vmware.inDMZ then [ "192.168.50.25" "192.168.50.26" ] else [ "172.16.0.101" "172.16.0.102" ];
      };
      virtualisation.vmware.guest.enable = true;
      # The firewall lets no host inside ask for the time outside.
      services.timesyncd.servers = mkIf (!cfg.vmware.inDMZ) (lib.mkForce [ "172.16.0.101" ]);
    })
    (mkIf cfg.virtualbox.enable {
      settings.hardwarePlatform = platform "virtualbox";
      virtualisation.virtualbox.guest.enable = true;
    })
    (mkIf cfg.hetzner.enable {
      settings.hardwarePlatform = platform "hetzner";
      # Their DHCP gives a /32, for which dhcpcd must not wait.
      settings.network.dhcpcd.enable = lib.mkDefault (!cfg.hetzner.static_ip);
      services.qemuGuest.enable = true;
    })
    (mkIf cfg.syno_vm.enable {
      settings.hardwarePlatform = platform "synology";
      services.qemuGuest.enable = true;
    })
  ];
}
