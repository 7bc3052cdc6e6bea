# Deployments of apps: units that fetch an app's repository and bring its containers up. Organisations declare them
# with `config.lib.ext_lib.mkDeploymentService`, as their files already do.
{ config, lib, pkgs, ... }:
let
  afieldLib = import ../lib { inherit lib; };
  inherit (config.settings) system;
  deployment = afieldLib.deployment.deployment {
    repoToUrl = system.org.repo_to_url;
    envPrefix = system.org.env_var_prefix;
    secretsDir = system.secrets.dest_directory;
    configsDir = system.app_configs.dest_directory;
  };

  mkDeploymentService =
    { enable, ... }@args:
    let
      app = deployment (removeAttrs args [ "enable" ]);
    in
    {
      inherit enable;
      description = "Deployment of ${app.url} into ${app.directory}";
      # Last in the chain key → secrets → disks → mounts → apps.
      after = [ "network-online.target" "docker.service" "afield-private-key.service" "afield-secrets.service" ] ++ config.afield.dataMounts;
      wants = [ "network-online.target" ];
      requires = [ "docker.service" "afield-private-key.service" ] ++ config.afield.dataMounts;
      # Started by hand, by the robot or by the agent; never by a new system.
      restartIfChanged = false;
      unitConfig.ConditionPathIsDirectory = "/opt";
      environment = {
        DEPLOY_DIR = app.directory;
        REPO_URL = app.url;
        BRANCH = app.branch;
        PRE_COMPOSE = app.pre_compose_script;
        EXTRA_SCRIPT = "${pkgs.writeText "extra-script" app.extra_script}";
        COMPOSE_FILES = lib.concatStringsSep " " app.compose_files;
        RESTART = lib.boolToString app.restart;
        FORCE_BUILD = lib.boolToString app.force_build;
        ENV_PREFIX = app.env_prefix;
        SECRETS_DIR = app.secrets_directory;
        CONFIGS_DIR = app.configs_directory;
        GIT_SSH_COMMAND = "ssh -i ${system.github_private_key} -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes";
      };
      path = [ pkgs.bash pkgs.coreutils pkgs.git pkgs.openssh pkgs.docker pkgs.docker-compose pkgs.jq ];
      serviceConfig = {
        Type = "oneshot";
        ExecStart = "${pkgs.writeShellScript "afield-deploy" (lib.readFile ../scripts/deploy.sh)}";
        # Building an image may be slow; being stuck for ever is not noticed by anyone.
        TimeoutStartSec = "4h";
      };
    };
in
{
  options.afield.dataMounts = lib.mkOption {
    type = lib.types.listOf lib.types.str;
    default = [ ];
    internal = true;
    description = "Mount units that apps wait for.";
  };

  # NixOS has this option itself; declared again without a default, it is one and the same.
  options.lib = lib.mkOption { type = lib.types.attrsOf lib.types.attrs; };

  config.lib.ext_lib = {
    inherit mkDeploymentService;
    inherit (afieldLib.deployment) mkSudoStartServiceCmds;
  };
}
