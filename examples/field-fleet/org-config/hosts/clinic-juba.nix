{ config, ... }:
{
  time.timeZone = "Africa/Juba";
  settings = {
    hardwarePlatform = config.settings.hardwarePlatforms.nuc;
    network.host_name = "clinic-juba";
    boot.mode = "uefi";
    reverse_tunnel.enable = true;
    site = {
      country = "South Sudan";
      title = "Clinic Juba";
      web.address = "127.77.0.1";
      web.port = 8080;
    };
  };
}
