# Secrets of the host, opened with its key into memory. They arrive sealed.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.settings.system.secrets;
  # With the agent they are host data; without it, the fleet's file is part of the system, as in older fleets.
  sealed = if config.afield.enable then [ "--config" "/etc/afield/agent.toml" ] else [ "--sealed" "${sealedFile}" ];
  sealedFile =
    if builtins.pathExists cfg.src_file then
      cfg.src_file
    else
      throw "${toString cfg.src_file} is missing. Write it with `afield secrets seal`, or set settings.system.secrets.enable = false.";
in
{
  options.settings.system.secrets = {
    enable = mkOption {
      type = types.bool;
      default = true;
    };
    serverName = mkOption {
      type = types.str;
      default = config.settings.network.host_name;
    };
    src_directory = mkOption { type = types.path; };
    src_file = mkOption {
      type = types.path;
      default = cfg.src_directory + "/generated-secrets.yml";
    };
    dest_directory = mkOption { type = types.str; };
    old_dest_directories = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Folders of earlier versions, which become links to the present one.";
    };
    allow_groups = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Groups besides wheel that may read the secrets.";
    };
  };

  config = {
    settings.system.secrets = {
      src_directory = lib.mkDefault (config.afield.folder.src + "/secrets/generated");
      dest_directory = lib.mkDefault "/run/.secrets/";
    };
    assertions = [
      {
        assertion = lib.hasPrefix "/run/" cfg.dest_directory && lib.hasSuffix "/" cfg.dest_directory;
        message = "settings.system.secrets.dest_directory is ${cfg.dest_directory}. Choose a folder below /run, ending in /: secrets must not reach a disk.";
      }
    ];

    # Second in the chain key → secrets → disks → mounts → apps. It needs no network.
    systemd.services.afield-secrets = lib.mkIf cfg.enable {
      description = "Secrets of the host, opened into memory";
      wantedBy = [ "multi-user.target" ];
      after = [ "local-fs.target" "afield-private-key.service" ];
      requires = [ "afield-private-key.service" ];
      unitConfig.DefaultDependencies = "no";
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = lib.escapeShellArgs (
          [ "${config.afield.package}/bin/afield-agent" "secrets" "--host" cfg.serverName ]
          ++ sealed
          ++ [ "--key" config.settings.system.private_key "--into" cfg.dest_directory ]
          ++ lib.concatMap (group: [ "--allow-group" group ]) ([ "wheel" ] ++ cfg.allow_groups)
        );
      };
    };
    systemd.tmpfiles.rules = map (old: "L+ ${lib.removeSuffix "/" old} - - - - ${cfg.dest_directory}") cfg.old_dest_directories;
  };
}
