# The robot: the account with which continuous integration asks a host to upgrade or to deploy.
{ config, lib, ... }:
let
  cfg = config.settings.users.robot;
  afieldLib = import ../lib { inherit lib; };
  start = unit: afieldLib.deployment.mkSudoStartServiceCmds { serviceName = unit; };
in
{
  options.settings.users.robot = {
    enable = lib.mkEnableOption "the robot account";
    username = lib.mkOption {
      type = lib.types.str;
      default = "robot";
      readOnly = true;
    };
    whitelistCommands = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
    };
  };

  config.settings.users = {
    robot = {
      # An opinion: without it nothing can be deployed from outside.
      enable = lib.mkDefault true;
      # First, so that the units of apps come after.
      whitelistCommands = lib.mkBefore (start "nixos_rebuild_config" ++ start "nixos-upgrade");
    };
    users.${cfg.username} = lib.mkIf cfg.enable (
      config.settings.users.available_permission_profiles.remoteTunnelWithShell // { inherit (cfg) whitelistCommands; }
    );
  };
}
