# Encrypted data: /opt (and /home on it) on LUKS, opened by a unit and not in the initrd, so that a host is in reach
# while its data is locked.
{ config, lib, pkgs, ... }:
let
  cfg = config.settings.crypto;
  enabled = lib.filterAttrs (_: mount: mount.enable) cfg.mounts;
  open = mount: "open_encrypted_${mount.name}.service";
  mapper = mount: "nixos_decrypted_${mount.name}";
  unitOf = path: "${lib.replaceStrings [ "/" ] [ "-" ] (lib.replaceStrings [ "-" ] [ "\\x2d" ] (lib.removePrefix "/" path))}.mount";

  # Third in the chain key → secrets → disks → mounts → apps.
  openUnit = mount: lib.nameValuePair "open_encrypted_${mount.name}" {
    description = "Open the encrypted device ${mount.device}";
    wantedBy = [ "multi-user.target" ];
    after = [ "afield-secrets.service" ] ++ mount.device_units;
    requires = [ "afield-secrets.service" ];
    wants = mount.device_units;
    unitConfig.DefaultDependencies = "no";
    # Closing it under running apps would lose their data.
    restartIfChanged = false;
    environment = {
      DEVICE = mount.device;
      MAPPER = mapper mount;
      KEY_FILE = mount.key_file;
    };
    path = [ pkgs.cryptsetup pkgs.lvm2 pkgs.coreutils pkgs.diffutils ];
    script = lib.readFile ../scripts/open-disk.sh;
    serviceConfig = {
      Type = "oneshot";
      RemainAfterExit = true;
    };
  };

  mountUnit = mount: {
    enable = true;
    what = "/dev/mapper/${mapper mount}";
    where = mount.mount_point;
    type = mount.filesystem_type;
    options = mount.mount_options;
    after = [ (open mount) "basic.target" ];
    requires = [ (open mount) ];
    wants = [ "basic.target" ];
    # Opening alone must mount, also when the key arrives late.
    wantedBy = [ "multi-user.target" (open mount) ];
    unitConfig.DefaultDependencies = "no";
  };
in
{
  imports = [ ./crypto-options.nix ];

  config = {
    settings.crypto = {
      enable = lib.mkDefault (enabled != { });
      device = lib.mkDefault cfg.encrypted_opt.device;
      defaultKeyFile = lib.mkDefault "${config.settings.system.secrets.dest_directory}/keyfile";
      mounts.opt = lib.mkIf cfg.encrypted_opt.enable {
        enable = true;
        inherit (cfg.encrypted_opt) device;
        mount_point = "/opt";
        mount_options = "acl,noatime,nosuid,nodev";
      };
    };
    assertions = [
      {
        assertion = enabled != { } -> config.settings.system.secrets.enable;
        message = "encrypted devices (${lib.concatStringsSep ", " (lib.attrNames enabled)}) are opened with a secret, and settings.system.secrets.enable is false. Set it to true.";
      }
    ];
    systemd.services = lib.mapAttrs' (_: openUnit) enabled;
    systemd.mounts = map mountUnit (lib.attrValues enabled) ++ lib.optional cfg.encrypted_opt.enable {
      # Homes hold data of patients as soon as somebody copies a file.
      enable = true;
      what = "/opt/.home";
      where = "/home";
      type = "none";
      options = "bind,X-mount.mkdir";
      after = [ "opt.mount" ];
      requires = [ "opt.mount" ];
      wantedBy = [ "multi-user.target" "opt.mount" ];
      unitConfig.DefaultDependencies = "no";
    };
    systemd.tmpfiles.rules = lib.optional (config.settings.system.opt.allow_groups != [ ]) (
      "a+ /opt - - - - ${lib.concatMapStringsSep "," (group: "group:${group}:rx") config.settings.system.opt.allow_groups}"
    );
    afield.dataMounts = map (mount: unitOf mount.mount_point) (lib.attrValues enabled);
  };
}
