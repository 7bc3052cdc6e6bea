# Addresses of the host.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.settings.network;
  ifaces = lib.filterAttrs (_: iface: iface.enable) cfg.static_ifaces;
  # Without dhcpcd nothing else would set the addresses.
  alone = !cfg.dhcpcd.enable;
  fixed = one: lib.nameValuePair one.iface {
    ipv4.addresses = [
      {
        inherit (one) address;
        prefixLength = one.prefix_length;
      }
    ];
  };
  first = lib.head (lib.attrValues ifaces);

  iface = { name, ... }: {
    options = {
      enable = mkOption {
        type = types.bool;
        default = true;
      };
      # Only if DHCP gives nothing, so that a host that was moved to another site still comes up.
      fallback = mkOption {
        type = types.bool;
        default = true;
      };
      iface = mkOption { type = types.str; };
      address = mkOption { type = types.str; };
      prefix_length = mkOption { type = types.ints.between 0 32; };
      gateway = mkOption { type = types.str; };
      nameservers = mkOption {
        type = types.listOf types.str;
        default = [ ];
      };
    };
    config.iface = lib.mkDefault name;
  };

  address = one: ''
    static ip_address=${one.address}/${toString one.prefix_length}
    static routers=${one.gateway}
    static domain_name_servers=${lib.concatStringsSep " " one.nameservers}
  '';
  block =
    one:
    if one.fallback then
      ''
        profile static_${one.iface}
        ${address one}
        # fallback to static profile on ${one.iface}
        interface ${one.iface}
        fallback static_${one.iface}
      ''
    else
      ''
        interface ${one.iface}
        ${lib.removeSuffix "\n" (address one)}
      '';
in
{
  options.settings.network = {
    nameservers = mkOption {
      type = types.listOf types.str;
      default = [ ];
    };
    dhcpcd.enable = mkOption {
      type = types.bool;
      default = true;
    };
    static_ifaces = mkOption {
      type = types.attrsOf (types.submodule iface);
      default = { };
    };
  };

  config = {
    networking = {
      hostName = cfg.host_name;
      nameservers = cfg.nameservers ++ lib.optionals alone (lib.concatMap (one: one.nameservers) (lib.attrValues ifaces));
      useDHCP = lib.mkDefault cfg.dhcpcd.enable;
      dhcpcd = {
        # The same address after a reboot, which people on site write down.
        persistent = true;
        setHostname = false;
        # Real cards only: containers come and go by the hundred.
        allowInterfaces = [ "en*" "wl*" ];
        denyInterfaces = [ "eth*" "wlan*" "veth*" "docker*" ];
        extraConfig = lib.concatMapStringsSep "\n\n" block (lib.attrValues ifaces);
      };
      interfaces = lib.mkIf alone (lib.mapAttrs' (_: fixed) ifaces);
      defaultGateway = lib.mkIf (alone && ifaces != { }) {
        address = first.gateway;
        interface = first.iface;
      };
    };
    environment.variables = {
      HOSTNAME = cfg.host_name;
      # Apps report under this name where the host's own must not be known.
      HOSTNAME_HASH = lib.substring 0 12 (builtins.hashString "sha256" cfg.host_name);
    };
  };
}
