{ config, ... }:
{
  time.timeZone = "Europe/Brussels";
  settings = {
    hardwarePlatform = config.settings.hardwarePlatforms.vm;
    network.host_name = "vm-uat";
    boot.mode = "uefi";
    reverse_tunnel.enable = true;
    site = {
      country = "Belgium";
      title = "Test server Brussels";
      web.address = "127.77.0.6";
      web.port = 8080;
    };
  };
}
