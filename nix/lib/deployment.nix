# `config.lib.ext_lib`: helpers that organisations call in their own modules to declare app deployments.
{ lib }:
{
  # Commands for `whitelistCommands`: start one unit, with and without its suffix.
  mkSudoStartServiceCmds =
    { serviceName, extraOpts ? [ "--system" ] }:
    map (unit: lib.concatStringsSep " " ([ "/run/current-system/sw/bin/systemctl" ] ++ extraOpts ++ [ "start" unit ])) [
      serviceName
      "${serviceName}.service"
    ];

  # One deployment as a file for `afield-agent deploy`; spec: "App deployments". Unknown names are refused, since a
  # misspelt one would silently deploy something else.
  deployment =
    { repoToUrl, envPrefix, secretsDir, configsDir }:
    {
      deploy_dir_name,
      github_repo,
      git_branch ? "main",
      pre-compose_script ? "deploy/pre-compose.sh",
      extra_script ? "",
      restart ? false,
      force_build ? false,
      docker_compose_files ? [ "docker-compose.yml" ],
    }:
    {
      directory = "/opt/${deploy_dir_name}";
      url = repoToUrl github_repo;
      branch = git_branch;
      pre_compose_script = pre-compose_script;
      inherit extra_script restart force_build;
      compose_files = docker_compose_files;
      env_prefix = envPrefix;
      secrets_directory = secretsDir;
      configs_directory = configsDir;
    };
}
