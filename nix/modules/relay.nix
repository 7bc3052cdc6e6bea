# A relay: where hosts leave their tunnels and people pass through to them.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  afieldLib = import ../lib { inherit lib; };
  inherit (afieldLib) relayKeys;
  afieldTypes = afieldLib.types;
  cfg = config.settings.reverse_tunnel;
  users = config.settings.users;
  host = config.settings.network.host_name;
  listed = cfg.relay_servers ? ${host};
  # Hub and repository, for hosts whose site lets nothing but SSH out.
  reach = config.afield.folder.settings.relays.hosts-reach or [ ];

  # Who may pass: those who may log in to a host behind the relay, and no others.
  passing = relayKeys.tunnellerKeys {
    inherit (cfg) tunnels;
    inherit (users) users;
    reach = afieldLib.access.reach {
      inherit (cfg) tunnels;
      inherit (config.afield.fleet) users;
      hosts = lib.attrNames config.afield.folder.hosts ++ lib.attrNames config.afield.folder.ubuntuHosts;
      profiles = users.available_permission_profiles;
      robot = if users.robot.enable then users.robot.username else null;
    };
  };

  key = { config, ... }: {
    imports = [ (afieldTypes.key (key: afieldTypes.keyLine ([ "restrict" "port-forwarding" ] ++ key.restrictions ++ key.keyOptions) key.publicKey config.username)) ];
    options.username = mkOption { type = types.str; };
  };
  extraGroups = mkOption {
    type = types.listOf types.str;
    default = [ ];
  };
in
{
  options.settings.reverse_tunnel.relay = {
    tunnel = { inherit extraGroups; };
    tunneller = {
      inherit extraGroups;
      keys = mkOption { type = types.listOf (types.submodule key); };
    };
  };

  config = lib.mkMerge [
    { settings.reverse_tunnel.relay.tunneller.keys = lib.mkIf cfg.relay.enable passing; }
    (lib.mkIf cfg.relay.enable {
      users = {
        users.tunnel = {
          extraGroups = [ users.ssh-group users.rev-tunnel-group ] ++ cfg.relay.tunnel.extraGroups;
          openssh.authorizedKeys.keys = relayKeys.tunnelKeys cfg.tunnels;
        };
        users.tunneller = {
          group = "tunneller";
          isSystemUser = true;
          # Nobody works on a relay under this name: it only passes on.
          shell = pkgs.shadow;
          extraGroups = [ users.ssh-group users.fwd-tunnel-group ] ++ cfg.relay.tunneller.extraGroups;
          openssh.authorizedKeys.keys = map (key: key.finalKey) cfg.relay.tunneller.keys;
        };
        groups.tunneller = { };
      };
      services.openssh = {
        # A hospital's firewall may let only one of them out.
        ports = lib.mkIf listed (lib.unique ([ 22 ] ++ cfg.relay_servers.${host}.ports));
        # After an outage all hosts of the fleet come at once.
        settings = {
          MaxStartups = "100:30:300";
          PerSourceMaxStartups = 50;
          # A handshake takes 10 s over a satellite.
          LoginGraceTime = 60;
        }
        # From 9.8 on, sshd locks an address out for what single connections did. Behind one address there are many hosts.
        // lib.optionalAttrs (lib.versionAtLeast (config.programs.ssh.package.version or "0") "9.8") {
          PerSourcePenalties = "no";
        };
        # Hosts ask for a sign of life every 10 s; one that is silent for 30 s is gone, and its ports are free again.
        # The first value counts, so that this stands before what holds for the account's group.
        extraConfig = lib.mkBefore (lib.optionalString (reach != [ ]) ''
          Match User tunnel
            AllowTcpForwarding yes
            PermitOpen ${lib.concatStringsSep " " reach}
        '' + ''
          Match User tunnel,tunneller
            PermitTTY no
            MaxSessions 0
            ClientAliveInterval 15
            ClientAliveCountMax 1
        '');
      };
      # Each visitor of a dead host's port puts sshd's own keepalive off: the kernel gives the connection up (25 s).
      boot.kernel.sysctl."net.ipv4.tcp_retries2" = lib.mkDefault 6;
      # A host that comes again gets its ports at once. The script is the one of `afield relay config`.
      security.pam.services.sshd.rules.session.afield-newest-tunnel = {
        order = 20000;
        control = "optional";
        modulePath = "${config.security.pam.package}/lib/security/pam_exec.so";
        args = [ "quiet" "type=open_session" "${pkgs.bash}/bin/bash" "${../../crates/core/src/relay/newest-tunnel.sh}" ];
      };
      assertions = [
        {
          assertion = listed;
          message = "${host} is a relay (settings.reverse_tunnel.relay.enable), but json/relay-servers.json does not list it. Add it there, or no host will come.";
        }
      ];
    })
  ];
}
