# The fleet folder, and where its files lie. Everything that people, tunnels and files say comes through here.
{ config, lib, ... }:
let
  inherit (lib) mkOption mkDefault types;
  afieldLib = import ../lib { inherit lib; };
  cfg = config.settings.system;
  inherit (config.afield) folder;
  # The folder is parsed once for the fleet; a host that points a path elsewhere reads its own file.
  either = path: shared: read: own: if toString path == toString own then shared else read own;
in
{
  options = {
    afield = {
      folder = mkOption {
        type = types.raw;
        description = "The fleet folder, as `afield.lib.folder.load ./org-config` reads it. `mkFleet` sets it.";
      };
      fleet = mkOption {
        type = types.raw;
        readOnly = true;
        internal = true;
        description = "Users, keys and tunnels that hold for this host.";
      };
      hostFile = mkOption {
        type = types.nullOr types.str;
        default = null;
        description = "Stem of the host's file, which must be the host's name.";
      };
    };
    settings.system = {
      users_json_path = mkOption { type = types.path; };
      keys_json_path = mkOption { type = types.path; };
      tunnels_json_dir_path = mkOption {
        type = types.nullOr types.path;
        default = null;
      };
      org = {
        config_dir_name = mkOption {
          type = types.str;
          default = "org-config";
          readOnly = true;
        };
        env_var_prefix = mkOption { type = types.str; };
        github_org = mkOption { type = types.str; };
        repo_to_url = mkOption {
          type = types.functionTo types.str;
          default = repo: "git@github.com:${cfg.org.github_org}/${repo}.git";
          defaultText = lib.literalExpression "<function>";
        };
        iso = {
          menu_label = mkOption {
            type = types.str;
            default = "NixOS Rescue System";
          };
          file_label = mkOption {
            type = types.str;
            default = "nixos-rescue";
          };
        };
      };
    };
    settings.network.host_name = mkOption { type = afieldLib.types.hostName; };
    settings.org.static_ips.hq_ips = mkOption {
      type = types.listOf types.str;
      default = folder.metadata.hq_outgoing_ips;
      readOnly = true;
    };
  };

  config = {
    settings.system = {
      users_json_path = mkDefault folder.paths.users;
      keys_json_path = mkDefault folder.paths.keys;
      tunnels_json_dir_path = mkDefault folder.paths.tunnels;
      org = {
        env_var_prefix = mkDefault folder.metadata.env_var_prefix;
        github_org = mkDefault folder.metadata.github_org;
        iso = lib.mapAttrs (_: mkDefault) (folder.metadata.iso or { });
      };
    };
    afield.fleet = {
      users = either folder.paths.users folder.users afieldLib.folder.readUsers cfg.users_json_path;
      keys = either folder.paths.keys folder.keys afieldLib.folder.readKeys cfg.keys_json_path;
      tunnels =
        if cfg.tunnels_json_dir_path == null then
          { }
        else
          either folder.paths.tunnels folder.tunnels afieldLib.folder.readTunnels cfg.tunnels_json_dir_path;
      inherit (folder) relays metadata;
      # For messages: which file a wrong value stands in.
      files = {
        users = cfg.users_json_path;
        keys = cfg.keys_json_path;
        tunnels = cfg.tunnels_json_dir_path;
        inherit (folder.paths) relays;
      };
    };
    assertions = [
      {
        assertion = config.afield.hostFile == null || config.afield.hostFile == config.settings.network.host_name;
        message = "hosts/${toString config.afield.hostFile}.nix says network.host_name = \"${config.settings.network.host_name}\". Give the file and the host one name.";
      }
    ];
  };
}
