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
        settings.MaxStartups = "100:30:300";
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
