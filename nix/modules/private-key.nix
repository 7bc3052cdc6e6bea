# The host's private key: it opens the tunnel and the secrets. A copy lies in memory, readable for the tunnel.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.settings.system;
  fixed = value: mkOption {
    type = types.str;
    default = value;
    readOnly = true;
  };
in
{
  options.settings = {
    system = {
      private_key_source = mkOption {
        type = types.str;
        default = "/var/lib/org-nix/id_tunnel";
        description = "Where the installation left the key.";
      };
      private_key_directory = fixed "/run/tunnel";
      private_key = fixed "${cfg.private_key_directory}/id_tunnel";
      github_private_key = mkOption {
        type = types.str;
        default = "${cfg.private_key_directory}/id_github";
        description = "The key that reads the repositories of apps.";
      };
    };
    reverse_tunnel.privateTunnelKey = {
      path = mkOption { type = types.str; };
      group = mkOption { type = types.str; };
    };
  };

  config = {
    settings.reverse_tunnel.privateTunnelKey = {
      path = lib.mkDefault cfg.private_key;
      group = lib.mkDefault "private-key-access";
    };
    # First in the chain key → secrets → disks → mounts → apps.
    systemd.services.afield-private-key = {
      description = "Copy of the host's private key in memory";
      wantedBy = [ "multi-user.target" ];
      after = [ "local-fs.target" ];
      # Ordering by hand: with the default dependencies it would wait for mounts that wait for it.
      unitConfig.DefaultDependencies = "no";
      environment = {
        KEY_SOURCE = cfg.private_key_source;
        KEY_DIRECTORY = cfg.private_key_directory;
        KEY_GROUP = config.settings.reverse_tunnel.privateTunnelKey.group;
      };
      script = lib.readFile ../scripts/private-key.sh;
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
      };
    };
  };
}
