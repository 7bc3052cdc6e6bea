# The permission profiles that users.json may name. An organisation may add its own in the same option.
{ config, lib, pkgs, ... }:
let
  bin = "/run/current-system/sw/bin";
  afieldLib = import ../lib { inherit lib; };
  start = unit: afieldLib.deployment.mkSudoStartServiceCmds { serviceName = unit; };
  rights = {
    enable = true;
    sshAllowed = true;
    canTunnel = true;
    hasShell = true;
  };
  local = rights // {
    canTunnel = false;
  };
in
{
  options.settings.users.available_permission_profiles = lib.mkOption {
    type = lib.types.attrsOf lib.types.anything;
    default = { };
  };

  config.settings.users.available_permission_profiles = {
    # Sudo for everything, through wheel; also the keys of root.
    admin = rights // { extraGroups = [ "wheel" "docker" ]; };
    dockerAdmin = rights // { extraGroups = [ "docker" ]; };
    # For people at the machine: no way in through a relay.
    localDockerAdmin = local // { extraGroups = [ "docker" ]; };
    localShell = local;
    devops = rights // {
      extraGroups = [ "docker" "systemd-journal" ];
      whitelistCommands = [ "${bin}/systemctl reboot" "${bin}/dmidecode" ] ++ start "nixos_rebuild_config" ++ start "nixos-upgrade";
    };
    fieldSupport = rights // {
      extraGroups = [ "systemd-journal" ];
      whitelistCommands = [ "${bin}/systemctl reboot" ] ++ start "dhcpcd";
    };
    docker_logs = rights // {
      extraGroups = [ "systemd-journal" ];
      whitelistCommands = [ "${bin}/docker ps" "${bin}/docker logs *" "${bin}/docker-compose logs *" ];
    };
    remoteTunnelWithShell = rights;
    remoteTunnel = rights // { hasShell = false; };
  }
  # A monitoring host logs in to relays to learn which tunnels are open, and can do nothing else.
  // lib.optionalAttrs config.settings.reverse_tunnel.relay.enable {
    remoteTunnelMonitor = rights // {
      hasShell = false;
      forceCommand = ''
        ${lib.getExe' pkgs.iproute2 "ss"} -tunl6 | \
        ${lib.getExe' pkgs.coreutils "sort"} -n | \
        ${lib.getExe pkgs.gnugrep} "\[::1\]:[0-9]{4}[^0-9]"
      '';
    };
  };
}
