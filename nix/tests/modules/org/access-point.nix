# WiFi access point: options as existing fleets have them.
{ config, lib, ... }:
let
  inherit (lib) mkOption mkEnableOption types;
  cfg = config.settings.services.accessPoint;
in
{
  options.settings.services.accessPoint = {
    enable = mkEnableOption "the access point";
    interface = mkOption {
      type = types.str;
      default = "wlp1s0";
    };
    country_code = mkOption { type = types.str; };
    domain = mkOption { type = types.str; };
    password_file = mkOption { type = types.str; };
    uplink_interfaces = mkOption {
      type = types.listOf types.str;
      default = [ ];
    };
  };
  config.assertions = [
    {
      assertion = cfg.enable -> !lib.elem cfg.interface cfg.uplink_interfaces;
      message = "uplink_interfaces must not include the access point interface (${cfg.interface})";
    }
  ];
}
