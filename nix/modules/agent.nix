# The agent: fetches what is assigned to this host, switches to it, and goes back if it does no good.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.afield;
  inherit (config.settings) maintenance;
  toml = pkgs.formats.toml { };
  path = default: mkOption {
    type = types.str;
    inherit default;
  };
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
      default = true;
    };
    package = mkOption {
      type = types.package;
      default = pkgs.afield-agent;
      defaultText = lib.literalExpression "pkgs.afield-agent";
    };
    repositories = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Where releases are, first choice first: `https://…`, or a folder as on a USB stick.";
    };
    hub = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = "Where reports go. Without one they stay on the host.";
    };
    rootMetadata = path "/etc/afield/root.json" // { description = "The trust root that the host starts from."; };
    hostKey = path config.settings.system.private_key_source // { description = "The key by which the host is known."; };
    interval = path "15m" // { description = "How often the agent looks for a new assignment."; };
    agent.settings = mkOption {
      inherit (toml) type;
      default = { };
      description = "The agent's configuration; more than the options above set may stand here.";
    };
  };

  config = lib.mkIf cfg.enable {
    afield.agent.settings = {
      host = config.settings.network.host_name;
      root = cfg.rootMetadata;
      inherit (cfg) repositories;
      host_key = cfg.hostKey;
      interval = cfg.interval;
    }
    // lib.optionalAttrs (cfg.hub != null) { inherit (cfg) hub; };

    environment.etc."afield/agent.toml".source = checked;

    systemd.services.afield-agent = lib.mkIf (maintenance.enable && maintenance.nixos_upgrade.enable) {
      description = "Afield agent";
      wantedBy = [ "multi-user.target" ];
      after = [ "network.target" "nix-daemon.socket" ];
      restartTriggers = [ checked ];
      # It switches the system from inside of this unit: stopping it there would leave half a system.
      stopIfChanged = false;
      restartIfChanged = false;
      # Reports and switching need these; nothing is evaluated on the host.
      path = [ config.nix.package ];
      serviceConfig = {
        ExecStart = "${cfg.package}/bin/afield-agent run --config /etc/afield/agent.toml";
        Restart = "always";
        RestartSec = 10;
        StateDirectory = "afield";
        RuntimeDirectory = "afield";
        RuntimeDirectoryPreserve = true;
        # Tens of MiB are promised; far above that something is wrong, and apps come first.
        MemoryMax = "512M";
        OOMScoreAdjust = -500;
      };
    };
  };
}
