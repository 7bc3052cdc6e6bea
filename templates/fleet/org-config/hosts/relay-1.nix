{ config, ... }:
{
  time.timeZone = "Europe/Brussels";
  settings = {
    hardwarePlatform = config.settings.hardwarePlatforms.hosted-vm;
    boot.mode = "uefi";
    network.host_name = "relay-1";
    reverse_tunnel.relay.enable = true;
  };
}
