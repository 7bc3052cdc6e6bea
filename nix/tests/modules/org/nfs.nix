# NFS server on encrypted disks: options as existing fleets have them. It adds to Afield's `settings.crypto.mounts`.
{ config, lib, ... }:
let
  inherit (lib) mkOption mkEnableOption types;
  cfg = config.settings.nfs.server;
  mounts = lib.filterAttrs (_: mount: mount.enable) cfg.cryptoMounts;
  options = "rw,nohide,secure,no_subtree_check,all_squash,anonuid=20000,anongid=65534";
  export = mount: "/exports/${mount.name} ${lib.concatMapStringsSep " " (to: "${to}(${options})") mount.exportTo}";
in
{
  options.settings.nfs.server = {
    enable = mkEnableOption "the NFS server";
    cryptoMounts = mkOption {
      type = types.attrsOf (types.submodule ({ name, ... }: {
        options = {
          enable = mkEnableOption "this export";
          name = mkOption { type = types.str; };
          device = mkOption { type = types.str; };
          exportTo = mkOption {
            type = types.listOf types.str;
            default = [ ];
          };
        };
        config = { inherit name; };
      }));
      default = { };
    };
  };
  config = lib.mkIf cfg.enable {
    settings.crypto.mounts = lib.mapAttrs (name: mount: {
      enable = true;
      inherit (mount) device;
      mount_point = "/exports/${name}";
      mount_options = "acl,noatime,nosuid,nodev";
    }) mounts;
    services.nfs.server = {
      enable = true;
      exports = lib.concatMapStringsSep "\n" export (lib.attrValues mounts);
    };
    users.groups.nfs = { };
    networking.firewall = {
      allowedTCPPorts = [ 111 2049 ];
      allowedUDPPorts = [ 111 2049 ];
    };
  };
}
