# Promise: an app is deployed in order, the first failure ends it, and nothing of others is wiped.
# Not run here: needs nixpkgs' test driver.
{ lib, afield }:
{
  name = "apps";
  nodes.clinic = afield.clinic ({ config, pkgs, ... }: {
    settings.docker.enable = true;
    settings.system.org.repo_to_url = repo: "file:///srv/${repo}";
    systemd.services.update_app = config.lib.ext_lib.mkDeploymentService {
      enable = true;
      deploy_dir_name = "app";
      github_repo = "app";
      extra_script = "echo extra >>/opt/app.log";
    };
    settings.users.robot.whitelistCommands = config.lib.ext_lib.mkSudoStartServiceCmds { serviceName = "update_app"; };
    environment.systemPackages = [ pkgs.git ];
    virtualisation.diskSize = 4096;
  });

  testScript = ''
    # The image is empty: programs are the host's.
    volumes = "[/nix/store:/nix/store, /run/current-system/sw/bin:/bin]"
    compose = f"services: {{web: {{image: web, volumes: {volumes}, command: [/bin/sleep, infinity]}}}}"
    git = "git -c user.name=t -c user.email=t@t"

    clinic.wait_for_unit("docker.service")
    clinic.succeed("tar c --files-from /dev/null | docker import - web")
    clinic.succeed(
        f"mkdir -p /srv/app/deploy && cd /srv/app && {git} init -b main && echo '{compose}' >docker-compose.yml"
        " && printf '#!/bin/sh\\necho pre $TEST_DEPLOY_DIR >>/opt/app.log\\n' >deploy/pre-compose.sh"
        f" && chmod +x deploy/pre-compose.sh && {git} add . && {git} commit -m first"
    )
    with subtest("deployed by the robot, in order"):
        clinic.succeed("su robot -s /bin/sh -c 'sudo /run/current-system/sw/bin/systemctl --system start update_app'")
        assert clinic.succeed("cat /opt/app.log").split("\n")[:2] == ["pre /opt/app", "extra"]
        clinic.succeed("docker ps | grep web")

    with subtest("a folder that is no clone is left alone"):
        clinic.succeed("rm -rf /opt/app && mkdir /opt/app && echo data >/opt/app/patients")
        clinic.fail("systemctl start update_app")
        clinic.succeed("grep -qx data /opt/app/patients")
  '';
}
