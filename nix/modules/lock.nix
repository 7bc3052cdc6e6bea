# The lock page: whoever is on site can take the data of listed servers out of reach with one button.
# Its options are read, so that existing host files evaluate; the page itself is not there yet.
{ config, lib, ... }:
let
  inherit (lib) mkOption mkEnableOption types;
  cfg = config.settings.services.server-lock;
  number = default: mkOption {
    type = types.int;
    inherit default;
  };
in
{
  options.settings.services.server-lock = {
    enable = mkEnableOption "the lock page";
    # Off: the page only shows what it would do.
    armed = mkOption {
      type = types.bool;
      default = false;
    };
    listen_port = mkOption {
      type = types.port;
      default = 1234;
    };
    disable_targets = mkOption {
      type = types.listOf types.str;
      default = [ "<localhost>" ];
    };
    lock_retry_max_count = number 5;
    verify_retry_max_count = number 50;
    poll_interval = number 15;
  };

  config = lib.mkIf cfg.enable {
    # An organisation's own module for the page counts on it; with nothing behind it, connections are refused.
    networking.firewall.allowedTCPPorts = [ cfg.listen_port ];
    # No unit that fails at each start: whoever counts on the button must know beforehand that it is not there.
    warnings = [
      "settings.services.server-lock: Afield has no lock page yet, so there is no button on this host. Until there is one, keep your own module for it, or lock from afar: `afield ssh ${config.settings.network.host_name} cryptsetup luksErase DEVICE`."
    ];
  };
}
