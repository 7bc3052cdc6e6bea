{ config, ... }:
{
  time.timeZone = "America/Port-au-Prince";
  settings = {
    hardwarePlatform = config.settings.hardwarePlatforms.nuc;
    network.host_name = "hosp-pap";
    boot.mode = "uefi";
    reverse_tunnel.enable = true;
    site = {
      country = "Haiti";
      title = "Hospital Port-au-Prince";
      web.address = "127.77.0.3";
      web.port = 8080;
    };
  };
}
