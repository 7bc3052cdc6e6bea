# Options of Traefik. See ./traefik.nix.
{ config, lib, ... }:
let
  inherit (lib) mkOption mkEnableOption types;
  cfg = config.settings.services.traefik;
  providers = lib.genAttrs [ "azure" "exec" "route53" ] lib.id;
  bool = default: mkOption {
    type = types.bool;
    inherit default;
  };
  string = default: mkOption {
    type = types.str;
    inherit default;
  };
  fixed = default: string default // { readOnly = true; };
  strings = default: mkOption {
    type = types.listOf types.str;
    inherit default;
  };
in
{
  options.settings.services.traefik = {
    enable = mkEnableOption "Traefik, the web server in front of the apps";
    version = string "3.6.14";
    image = fixed "traefik";
    service_name = fixed "nixos-traefik";
    network_name = string "web";
    logging_level = mkOption {
      type = types.enum [ "INFO" "DEBUG" "TRACE" ];
      default = "INFO";
    };
    accesslog.enable = bool true;
    traefik_entrypoint_port = mkOption {
      type = types.port;
      default = 8080;
    };
    smtp_enable = bool false;
    smqtt_enable = bool false;
    encode_semicolons = bool false;
    content_type_nosniff_enable = bool true;
    forceSameOrigin = bool true;
    extraEnvironmentFiles = strings [ ];
    extraVolumes = strings [ ];
    docker.swarm = {
      enable = bool false;
      endpoint = mkOption { type = types.str; };
    };
    tls_entrypoints = mkOption {
      type = types.attrsOf (types.submodule ({ name, ... }: {
        options = {
          enable = mkEnableOption "this entry point";
          name = mkOption { type = types.str; };
          host = string "";
          port = mkOption { type = types.port; };
        };
        config = { inherit name; };
      }));
      default = { };
    };
    dynamic_config = mkOption {
      type = types.attrsOf (types.submodule {
        options = {
          enable = bool true;
          value = mkOption {
            type = types.anything;
            default = null;
          };
        };
      });
    };
    acme = {
      staging.enable = bool false;
      keytype = fixed "EC256";
      storage = fixed "/letsencrypt";
      email_address = mkOption { type = types.str; };
      dnsProviders = mkOption {
        type = types.attrsOf types.str;
        default = providers;
        readOnly = true;
      };
      dnsProvider = mkOption { type = types.enum (lib.attrValues cfg.acme.dnsProviders); };
      caServer = mkOption {
        type = types.nullOr types.str;
        default = null;
      };
      extraCaCertificateFiles = mkOption {
        type = types.listOf types.path;
        default = [ ];
      };
      disableChecks = bool true;
      delayBeforeChecks = mkOption {
        type = types.ints.positive;
        default = 60;
      };
      resolvers = strings [ "9.9.9.9:53" "149.112.112.112:53" ];
    };
  };
}
