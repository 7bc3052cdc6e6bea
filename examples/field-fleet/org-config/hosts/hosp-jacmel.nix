{ config, ... }:
{
  time.timeZone = "America/Port-au-Prince";
  settings = {
    hardwarePlatform = config.settings.hardwarePlatforms.nuc;
    network.host_name = "hosp-jacmel";
    boot.mode = "uefi";
    reverse_tunnel.enable = true;
    site = {
      country = "Haiti";
      title = "Hospital Jacmel";
      web.address = "127.77.0.4";
      web.port = 8080;
    };
  };
}
