# The agent: fetches what is assigned to this host, switches to it, and goes back if it does no good.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.afield;
  inherit (config.settings) maintenance;
  toml = pkgs.formats.toml { };
  rootFile = cfg.folder.src + "/../root.json";
  written = toml.generate "agent.toml" cfg.agent.settings;
  # A wrong value fails here, in the build, and not on a host that nobody can reach afterwards.
  checked = pkgs.runCommand "agent.toml" { } ''
    ${cfg.package}/bin/afield-agent check-config ${written}
    cp ${written} $out
  '';
in
{
  options.afield = {
    enable = mkOption {
      type = types.bool;
      # Until the fleet says where its releases are, hosts are upgraded as before.
      default = cfg.repositories != [ ];
      defaultText = lib.literalExpression "config.afield.repositories != [ ]";
    };
    package = mkOption {
      type = types.package;
      default = pkgs.afield-agent;
      defaultText = lib.literalExpression "pkgs.afield-agent";
    };
    nixPackage = mkOption {
      type = types.package;
      default = pkgs.nix;
      defaultText = lib.literalExpression "pkgs.nix";
      internal = true;
      description = "With what the agent imports into the store.";
    };
    fleetName = mkOption {
      type = types.str;
      default = cfg.folder.settings.fleet or (throw "afield.toml beside the fleet folder has no `fleet`; hosts need the fleet's name. `afield init` writes the file.");
      defaultText = lib.literalExpression "`fleet` of afield.toml";
    };
    repositories = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "https://releases.example.org" "file:///media/usb/repository" ];
      description = "Where releases are, first choice first.";
    };
    hub = mkOption {
      type = types.nullOr types.str;
      default = cfg.folder.settings.hub.url or null;
      defaultText = lib.literalExpression "`hub.url` of afield.toml";
      description = "Where reports go. Without one they stay on the host.";
    };
    trustRoot = mkOption {
      type = types.nullOr types.path;
      default = if builtins.pathExists rootFile then rootFile else null;
      defaultText = lib.literalExpression "root.json beside the fleet folder, if it is there";
      description = "The root.json that `afield keys init` wrote. Without one it must be put at /etc/afield/root.json.";
    };
    agent.settings = mkOption {
      inherit (toml) type;
      default = { };
      description = "Keys of agent.toml beyond those that are set here.";
    };
  };

  config = lib.mkIf cfg.enable {
    afield.agent.settings = {
      host = config.settings.network.host_name;
      fleet = cfg.fleetName;
      inherit (cfg) repositories;
      # The key of tunnels.d: the one by which relays, reports and secrets know the host.
      host-key = lib.mkDefault config.settings.system.private_key_source;
      trust-root = lib.mkDefault "/etc/afield/root.json";
      reboot-window = lib.mkDefault "${maintenance.nixos_upgrade.rebootWindow.lower}-${maintenance.nixos_upgrade.rebootWindow.upper}";
      # The copy that the tunnel's account may read.
      tunnel-key = lib.mkDefault config.settings.system.private_key;
      secrets = lib.removeSuffix "/" config.settings.system.secrets.dest_directory;
      secrets-groups = [ "wheel" ] ++ config.settings.system.secrets.allow_groups;
      configs = lib.removeSuffix "/" config.settings.system.app_configs.dest_directory;
      configs-groups = [ "wheel" ] ++ config.settings.system.app_configs.allow_groups;
    }
    // lib.optionalAttrs (cfg.hub != null) { inherit (cfg) hub; };

    environment.etc."afield/agent.toml".source = checked;
    environment.etc."afield/root.json" = lib.mkIf (cfg.trustRoot != null) { source = cfg.trustRoot; };

    systemd.services.afield-agent = lib.mkIf (maintenance.enable && maintenance.nixos_upgrade.enable) {
      description = "Afield agent";
      wantedBy = [ "multi-user.target" ];
      after = [ "network.target" "nix-daemon.socket" ];
      restartTriggers = [ checked ];
      # A new system is switched to in a unit of its own, so that this one may be restarted by it.
      stopIfChanged = false;
      # It imports into the store and sets the profile; nothing is evaluated on the host. systemd's own programs are in
      # every unit's path.
      path = [ cfg.nixPackage ];
      serviceConfig = {
        ExecStart = "${cfg.package}/bin/afield-agent run --config /etc/afield/agent.toml";
        # Without it the next boot is taken for one after a power cut, and every store path is read.
        ExecStopPost = "-${cfg.package}/bin/afield-agent ended --config /etc/afield/agent.toml";
        Type = "notify";
        NotifyAccess = "main";
        WatchdogSec = "5min";
        Restart = "always";
        RestartSec = 10;
        StateDirectory = "afield";
        RuntimeDirectory = "afield";
        RuntimeDirectoryPreserve = true;
        # The agent itself takes tens of MiB; nix-store holds the largest store path in memory beside it, and what is ended
        # for that is told, and not the agent.
        MemoryMax = "50%";
        OOMPolicy = "continue";
        OOMScoreAdjust = -500;
      };
    };
  };
}
