# Tunnels of all hosts and the relays, from the fleet folder: relays need all of them, a host its own.
{ config, lib, ... }:
let
  afieldLib = import ../lib { inherit lib; };
  inherit (config.afield) fleet;
  cfg = config.settings.reverse_tunnel;
  host = config.settings.network.host_name;
  own = cfg.tunnels.${host} or null;

  twice = of: lib.attrNames (lib.filterAttrs (_: same: lib.length same > 1) (lib.groupBy of (lib.attrValues cfg.tunnels)));
  duplicatePorts = lib.remove "0" (twice (one: toString one.remote_forward_port));
  samePrefix = one: lib.length (lib.unique (map (forward: forward.prefix) (lib.attrValues one.reverse_tunnels))) != lib.length (lib.attrNames one.reverse_tunnels);
  folder = toString config.settings.system.tunnels_json_dir_path;
in
{
  imports = [ ./tunnels-options.nix ];

  config = {
    settings.reverse_tunnel = {
      tunnels = afieldLib.inFile fleet.files.tunnels fleet.tunnels;
      relay_servers = afieldLib.inFile fleet.files.relays fleet.relays;
    };

    # All hosts know the relays, and GitHub for deployments; no key is ever learned on the way.
    afield.knownHosts = lib.mapAttrs (_: relay: {
      hostNames = relay.addresses;
      publicKey = relay.public_key;
    }) cfg.relay_servers // {
      github = {
        hostNames = [ "github.com" "ssh.github.com" ];
        publicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
      };
    };

    assertions = [
      {
        assertion = own != null;
        message = "host ${host} is not in ${folder}. Add it to one of the files there, with remote_forward_port 0 if it needs no tunnel.";
      }
      {
        assertion = duplicatePorts == [ ];
        message = "two hosts have one remote_forward_port in ${folder}: ${lib.concatStringsSep ", " duplicatePorts}. Give each its own (2000 to 9999).";
      }
      {
        assertion = own == null || !samePrefix own;
        message = "two reverse_tunnels of ${host} have one prefix in ${folder}. Give each its own (0 to 5; 0 is taken by ssh).";
      }
    ];
  };
}
