# Hosts of one site take objects from each other (docs/lan.md). Off unless the fleet wants it: a port is opened.
{ config, lib, ... }:
let
  cfg = config.afield;
  port = cfg.agent.settings.lan.port or 8472;
in
{
  options.afield.lan.enable = lib.mkEnableOption "help between the hosts of one site";

  config = lib.mkIf (cfg.enable && cfg.lan.enable) {
    # That the table is there is what turns it on.
    afield.agent.settings.lan.port = lib.mkDefault 8472;
    networking.firewall.allowedTCPPorts = [ port ];
    networking.firewall.allowedUDPPorts = [ 5353 ];
    systemd.services.afield-lan = {
      description = "Afield, objects for other hosts of the site";
      wantedBy = [ "multi-user.target" ];
      after = [ "network.target" ];
      serviceConfig = {
        ExecStart = "${cfg.package}/bin/afield-agent lan --config /etc/afield/agent.toml";
        Restart = "always";
        RestartSec = 10;
        DynamicUser = true;
        RuntimeDirectory = "afield-lan";
        ProtectSystem = "strict";
        PrivateDevices = true;
        NoNewPrivileges = true;
        RestrictAddressFamilies = [ "AF_INET" "AF_INET6" "AF_NETLINK" "AF_UNIX" ];
        InaccessiblePaths = [ "-/var/lib/afield" "-/etc/ssh" ];
        MemoryMax = "64M";
        TasksMax = 64;
      };
    };
  };
}
