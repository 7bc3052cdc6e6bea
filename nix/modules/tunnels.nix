# Tunnels of all hosts and the relays, from the fleet folder: relays need all of them, a host its own.
{ config, lib, ... }:
let
  inherit (lib) mkOption mkEnableOption types;
  afieldLib = import ../lib { inherit lib; };
  afieldTypes = afieldLib.types;
  inherit (config.afield) fleet;
  cfg = config.settings.reverse_tunnel;
  host = config.settings.network.host_name;
  own = cfg.tunnels.${host} or null;

  forward = { name, ... }: {
    options = {
      name = mkOption { type = types.str; };
      prefix = mkOption { type = types.ints.between 0 5; };
      forwarded_port = mkOption { type = types.port; };
    };
    config = { inherit name; };
  };

  tunnel = { name, ... }: {
    options = {
      name = mkOption { type = afieldTypes.hostName; };
      # 0 means no tunnel.
      remote_forward_port = mkOption { type = types.either (types.ints.between 0 0) (types.ints.between 2000 9999); };
      # "" while the host is being set up.
      public_key = mkOption { type = afieldTypes.publicKeyOrNone; };
      connectTimeout = mkOption {
        type = types.ints.positive;
        default = 360;
      };
      generate_secrets = mkOption {
        type = types.bool;
        default = true;
      };
      generate_configs = mkOption {
        type = types.bool;
        default = true;
        internal = true;
      };
      copy_key_to_users = mkOption {
        type = types.listOf types.str;
        default = [ ];
      };
      reverse_tunnels = mkOption {
        type = types.attrsOf (types.submodule forward);
        default = { };
      };
    };
    config = {
      inherit name;
      # Always there, or nobody could get in.
      reverse_tunnels.ssh = {
        prefix = 0;
        forwarded_port = 22;
      };
    };
  };

  relay = { name, ... }: {
    options = {
      name = mkOption { type = types.str; };
      addresses = mkOption {
        type = types.addCheck (types.listOf types.str) (list: list != [ ]) // { description = "list of string (with check: non-empty)"; };
        default = [ ];
      };
      # Ports that hotel and hospital networks let through.
      ports = mkOption {
        type = types.listOf types.port;
        default = [ 22 80 443 ];
      };
      public_key = mkOption { type = afieldTypes.publicKey; };
    };
    config = { inherit name; };
  };

  twice = of: lib.attrNames (lib.filterAttrs (_: same: lib.length same > 1) (lib.groupBy of (lib.attrValues cfg.tunnels)));
  duplicatePorts = lib.remove "0" (twice (one: toString one.remote_forward_port));
  samePrefix = one: lib.length (lib.unique (map (forward: forward.prefix) (lib.attrValues one.reverse_tunnels))) != lib.length (lib.attrNames one.reverse_tunnels);
  folder = toString config.settings.system.tunnels_json_dir_path;
in
{
  options.afield.knownHosts = mkOption {
    type = types.attrsOf (types.attrsOf types.anything);
    internal = true;
    description = "Host keys of relays and of GitHub.";
  };
  options.settings.reverse_tunnel = {
    enable = mkEnableOption "the tunnel to the relays";
    relay.enable = mkEnableOption "the relay";
    tunnels = mkOption {
      type = types.attrsOf (types.submodule tunnel);
      default = { };
    };
    relay_servers = mkOption {
      type = types.attrsOf (types.submodule relay);
      default = { };
    };
  };

  config = {
    settings.reverse_tunnel = {
      tunnels = afieldLib.inFile fleet.files.tunnels fleet.tunnels;
      relay_servers = afieldLib.inFile fleet.files.relays fleet.relays;
    };

    # All hosts know the relays, and GitHub for deployments; no key is ever learned on the way.
    afield.knownHosts = lib.mapAttrs (_: relay: {
      hostNames = relay.addresses;
      publicKey = relay.public_key;
    }) cfg.relay_servers // {
      github = {
        hostNames = [ "github.com" "ssh.github.com" ];
        publicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
      };
    };

    assertions = [
      {
        assertion = own != null;
        message = "host ${host} is not in ${folder}. Add it to one of the files there, with remote_forward_port 0 if it needs no tunnel.";
      }
      {
        assertion = duplicatePorts == [ ];
        message = "two hosts have one remote_forward_port in ${folder}: ${lib.concatStringsSep ", " duplicatePorts}. Give each its own (2000 to 9999).";
      }
      {
        assertion = own == null || !samePrefix own;
        message = "two reverse_tunnels of ${host} have one prefix in ${folder}. Give each its own (0 to 5; 0 is taken by ssh).";
      }
    ];
  };
}
