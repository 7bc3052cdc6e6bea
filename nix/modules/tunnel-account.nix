# The account that holds tunnels: on a host it opens them, on a relay hosts come in as it.
{ config, lib, pkgs, ... }:
let
  inherit (config.settings) reverse_tunnel system;
in
{
  users = {
    groups.private-key-access = { };
    groups.tunnel = { };
    users.tunnel = {
      group = "tunnel";
      isSystemUser = true;
      shell = pkgs.shadow;
      home = system.private_key_directory;
      createHome = true;
      extraGroups = lib.mkIf (!reverse_tunnel.relay.enable) [ "private-key-access" ];
    };
  };
  programs.ssh.knownHosts = config.afield.knownHosts;
}
