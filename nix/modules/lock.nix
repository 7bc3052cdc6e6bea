# The lock page: whoever is on site can take the data of listed servers out of reach with one button.
# The page runs without rights: what locks is the agent.
{ config, lib, ... }:
let
  inherit (lib) mkOption mkEnableOption types;
  cfg = config.settings.services.server-lock;
  number = default: mkOption {
    type = types.int;
    inherit default;
  };
in
{
  options.settings.services.server-lock = {
    enable = mkEnableOption "the lock page";
    # Off: the page only shows what it would do.
    armed = mkOption {
      type = types.bool;
      default = false;
    };
    listen_port = mkOption {
      type = types.port;
      default = 1234;
    };
    disable_targets = mkOption {
      type = types.listOf types.str;
      default = [ "<localhost>" ];
    };
    lock_retry_max_count = number 5;
    verify_retry_max_count = number 50;
    poll_interval = number 15;
  };

  config = lib.mkIf cfg.enable {
    networking.firewall.allowedTCPPorts = [ cfg.listen_port ];
    environment.etc."afield/lock.json".text = builtins.toJSON {
      inherit (cfg) armed listen_port disable_targets lock_retry_max_count verify_retry_max_count poll_interval;
    };
    systemd.services.afield-lock-page = {
      description = "Lock page on the site's network";
      wantedBy = [ "multi-user.target" ];
      after = [ "network.target" "afield-agent.service" ];
      restartTriggers = [ config.environment.etc."afield/lock.json".text ];
      serviceConfig = {
        ExecStart = "${config.afield.package}/bin/afield-agent lock-page --config /etc/afield/lock.json";
        Restart = "always";
        RestartSec = 5;
        # It talks to everyone on the site, so it may do nothing itself.
        DynamicUser = true;
        NoNewPrivileges = true;
        ProtectSystem = "strict";
        ProtectHome = true;
        PrivateDevices = true;
        RestrictAddressFamilies = [ "AF_INET" "AF_INET6" "AF_UNIX" ];
        SystemCallFilter = [ "@system-service" ];
      };
    };
  };
}
