{ config, ... }:
{
  time.timeZone = "Africa/Juba";
  settings = {
    hardwarePlatform = config.settings.hardwarePlatforms.nuc;
    network.host_name = "clinic-wau";
    boot.mode = "uefi";
    reverse_tunnel.enable = true;
    site = {
      country = "South Sudan";
      title = "Clinic Wau";
      web.address = "127.77.0.2";
      web.port = 8080;
    };
  };
}
