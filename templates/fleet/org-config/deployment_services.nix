# Apps of the fleet. A host switches one on with settings.services.deployment_services.<name>.enable.
{ config, lib, ... }:
let
  cfg = config.settings.services.deployment_services;
  inherit (config.lib) ext_lib;
in
{
  options.settings.services.deployment_services.update_app.enable = lib.mkEnableOption "the app";

  config = lib.mkIf cfg.update_app.enable {
    systemd.services.update_app = ext_lib.mkDeploymentService {
      enable = true;
      deploy_dir_name = "app";
      github_repo = "app";
    };
    settings.users.robot.whitelistCommands = ext_lib.mkSudoStartServiceCmds { serviceName = "update_app"; };
  };
}
