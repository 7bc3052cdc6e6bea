# Plain app configs of the host. The agent writes them from host data; this says where.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.settings.system.app_configs;
in
{
  options.settings.system.app_configs = {
    src_directory = mkOption { type = types.path; };
    src_file = mkOption {
      type = types.path;
      default = cfg.src_directory + "/generated-app-configs.yml";
    };
    dest_directory = mkOption { type = types.str; };
    allow_groups = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Groups besides wheel that may read the app configs.";
    };
  };

  config.settings.system.app_configs = {
    src_directory = lib.mkDefault (config.afield.folder.src + "/app_configs/generated");
    dest_directory = lib.mkDefault "/run/.app_configs/";
  };
}
