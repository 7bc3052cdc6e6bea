# Options of tunnels and relays. See ./tunnels.nix.
{ lib, ... }:
let
  inherit (lib) mkOption mkEnableOption types;
  afieldTypes = (import ../lib { inherit lib; }).types;

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
}
