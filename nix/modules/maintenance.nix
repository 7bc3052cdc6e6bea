# When the host is upgraded. Upgrades are built centrally; the agent fetches and switches.
{ config, lib, ... }:
let
  inherit (lib) mkOption mkEnableOption types;
  cfg = config.settings.maintenance;
  inherit (config.afield) folder;
  yes = mkOption {
    type = types.bool;
    default = true;
  };
  time = default: mkOption {
    type = types.str;
    inherit default;
  };

  # Names under which people and continuous integration ask for an upgrade.
  now = {
    description = "Ask the agent to look for its release now";
    serviceConfig = {
      Type = "oneshot";
      ExecStart = "${config.afield.package}/bin/afield-agent once --config /etc/afield/agent.toml";
    };
    restartIfChanged = false;
  };
in
{
  options = {
    afield.branch = mkOption {
      type = types.enum [ "main" "staging" ];
      default = "main";
      description = "Branch of the fleet's repository that the host follows.";
    };
    afield.wave = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = "The wave in which the host is upgraded.";
    };
    settings.maintenance = {
      enable = yes;
      config_repo.url = mkOption { type = types.str; };
      config_repo.branch = mkOption { type = types.str; };
      sync_config.enable = yes;
      docker_prune_timer.enable = mkEnableOption "removal of unused images and containers every week";
      nixos_upgrade = {
        enable = yes;
        startAt = mkOption {
          type = types.listOf types.str;
          default = [ "Tue 03:00" "Mon 16:00" ];
        };
        # Local time. A new kernel, initrd or module waits for it; it may go over midnight.
        rebootWindow = mkOption {
          type = types.submodule {
            options.lower = time "01:00";
            options.upper = time "05:00";
          };
          default = { };
        };
      };
    };
  };

  config = {
    settings.maintenance.config_repo = {
      url = lib.mkDefault "git+ssh://${lib.replaceStrings [ ":" ] [ "/" ] (config.settings.system.org.repo_to_url folder.metadata.config_repo)}";
      branch = lib.mkDefault config.afield.branch;
    };

    systemd.services = lib.mkIf (cfg.enable && config.afield.enable) {
      nixos-upgrade = now;
      nixos_rebuild_config = now;
    };
  };
}
