# The way in: a tunnel from the host to each relay, up as long as there is power and any Internet at all.
{ config, lib, pkgs, ... }:
let
  cfg = config.settings.reverse_tunnel;
  inherit (config.settings) system;
  own = cfg.tunnels.${config.settings.network.host_name} or null;
  inUse = cfg.enable && own != null && own.remote_forward_port > 0;
  port = forward: 10000 * forward.prefix + own.remote_forward_port;
  forwards = map (forward: "${toString (port forward)}:localhost:${toString forward.forwarded_port}") (lib.attrValues own.reverse_tunnels);

  # Both kinds of unit run as the same user, as much alone, and never give up.
  confined = {
    User = "tunnel";
    Group = "tunnel";
    Restart = "always";
    RestartSec = 5;
    # The tunnel is what saves a host that is out of memory.
    OOMScoreAdjust = -900;
    NoNewPrivileges = true;
    ProtectSystem = "strict";
    ProtectHome = true;
    PrivateTmp = true;
    PrivateDevices = true;
  };

  unit = name: relay: {
    description = "Tunnel to the relay ${name}";
    wantedBy = [ "multi-user.target" ];
    after = [ "network.target" "afield-private-key.service" ];
    wants = [ "afield-private-key.service" ];
    # A host out of reach is worse than one that tries too often.
    unitConfig.StartLimitIntervalSec = 0;
    # What is running is not cut off by an upgrade: the person who watches it comes through here.
    restartIfChanged = true;
    stopIfChanged = false;
    environment = {
      RELAY_ADDRESSES = lib.concatStringsSep " " relay.addresses;
      RELAY_PORTS = lib.concatMapStringsSep " " toString relay.ports;
      FORWARDS = lib.concatStringsSep " " forwards;
      # A port that swallows packets must not hold up the next one for minutes.
      CONNECT_TIMEOUT = toString (lib.min 30 own.connectTimeout);
      IDENTITY = system.private_key;
    };
    path = [ pkgs.openssh ];
    serviceConfig = confined // {
      ExecStart = "${pkgs.writeShellScript "afield-tunnel" (lib.readFile ../scripts/tunnel.sh)}";
      RestrictAddressFamilies = [ "AF_INET" "AF_INET6" "AF_UNIX" ];
    };
  };

  # What the agent's tunnel is told until host data says it, and if the agent can apply none.
  told = pkgs.writeText "tunnel.json" (builtins.toJSON {
    key = toString system.private_key;
    connect_timeout = "60s";
    relays = lib.mapAttrsToList (name: relay: {
      inherit name;
      inherit (relay) addresses ports;
      host_key = relay.public_key;
    }) cfg.relay_servers;
    forwards = map (forward: {
      listen = port forward;
      target = forward.forwarded_port;
    }) (lib.attrValues own.reverse_tunnels);
  });
  # A wrong value fails here, in the build.
  checked = pkgs.runCommand "tunnel.json" { } ''
    ${config.afield.package}/bin/afield-agent tunnel --check --tunnel-config ${told}
    cp ${told} $out
  '';
  agentUnit = {
    description = "Tunnels to the relays";
    wantedBy = [ "multi-user.target" ];
    after = [ "network.target" "afield-private-key.service" ];
    wants = [ "afield-private-key.service" ];
    unitConfig.StartLimitIntervalSec = 0;
    stopIfChanged = false;
    path = [ pkgs.openssh ];
    serviceConfig = confined // {
      ExecStart = "${config.afield.package}/bin/afield-agent tunnel --tunnel-config /var/lib/afield-access/tunnel.json --tunnel-config ${checked}";
      StateDirectory = "afield-tunnel";
      # The agent finds the tunnels' control sockets here, to reach the hub through a relay.
      RuntimeDirectory = "afield-tunnel";
      # Netlink tells that the network changed.
      RestrictAddressFamilies = [ "AF_INET" "AF_INET6" "AF_UNIX" "AF_NETLINK" ];
    };
  };
in
{
  config = lib.mkMerge [
    (lib.mkIf (inUse && config.afield.enable) { systemd.services.afield-tunnel = agentUnit; })
    # Without the agent's package, OpenSSH alone.
    (lib.mkIf (inUse && !config.afield.enable) {
      systemd.services = lib.mapAttrs' (name: relay: lib.nameValuePair "afield-tunnel-${name}" (unit name relay)) cfg.relay_servers;
    })
    {
      warnings = lib.optional (cfg.enable && own != null && own.public_key == "") ''
        host ${config.settings.network.host_name} has its tunnel enabled, but no public_key in ${toString system.tunnels_json_dir_path}, so relays refuse it. Set the key when the host has been set up.
      '';
      assertions = [
        {
          assertion = cfg.enable -> cfg.relay_servers != { };
          message = "settings.reverse_tunnel.enable is set, but json/relay-servers.json has no relays. Add one, or the host cannot be reached.";
        }
      ];
    }
  ];
}
