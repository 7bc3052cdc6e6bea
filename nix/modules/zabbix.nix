# The Zabbix agent, for fleets that are watched with it.
{ config, lib, pkgs, ... }:
let
  cfg = config.settings.services.zabbixAgent;
  servers = config.afield.folder.zabbix;
  server = if cfg.internalHost then servers.internalZabbixHost else servers.externalZabbixHost;
in
{
  options.settings.services.zabbixAgent = {
    enable = lib.mkEnableOption "the Zabbix agent";
    internalHost = lib.mkEnableOption "reporting to the server inside of headquarters";
  };

  config.services.zabbixAgent = lib.mkIf cfg.enable {
    enable = true;
    openFirewall = true;
    inherit server;
    extraPackages = [ pkgs.lm_sensors pkgs.gawk ];
    settings = {
      Hostname = config.settings.network.host_name;
      ServerActive = server;
      # The one parameter below has quotes in it.
      UnsafeUserParameters = 1;
      UserParameter = "basicCPUTemp.max,sensors | grep Core | awk -F'[:+°]' '{avg+=$3}END{print avg/NR}'";
    };
  };
}
