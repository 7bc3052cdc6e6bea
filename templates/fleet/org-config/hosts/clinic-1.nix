{ config, ... }:
{
  time.timeZone = "Africa/Juba";
  settings = {
    hardwarePlatform = config.settings.hardwarePlatforms.nuc;
    # The disk that the installation writes to: `ls /dev/disk/by-id` on the machine.
    disko.diskDevice = "/dev/disk/by-id/TODO";
    boot.mode = "uefi";
    network.host_name = "clinic-1";
    reverse_tunnel.enable = true;
    crypto.encrypted_opt.enable = true;
    docker.enable = true;
    services.deployment_services.update_app.enable = true;
  };
}
