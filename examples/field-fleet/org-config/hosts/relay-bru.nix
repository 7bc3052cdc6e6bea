{ config, ... }:
{
  time.timeZone = "Europe/Brussels";
  settings = {
    hardwarePlatform = config.settings.hardwarePlatforms.vm;
    network.host_name = "relay-bru";
    boot.mode = "uefi";
    reverse_tunnel.enable = false;
    site = {
      country = "Belgium";
      title = "Relay Brussels";
      web.address = "127.77.0.5";
      web.port = 8080;
    };
  };
}
