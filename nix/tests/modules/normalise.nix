# A host's configuration in the shape of the golden files.
{ lib }:
let
  # Paths of programs and packages are cut out of the golden files.
  store = "/nix/store/00000000000000000000000000000000-";
  cut = text: lib.concatMapStrings (part: if lib.isList part then "<w>" else part) (builtins.split "${store}[a-z0-9-]+/bin/[a-z]+" text);
  package = value: if lib.isDerivation value then "<pkg>/${value.pname}" else value;
  pick = names: value: lib.getAttrs names value;
  orNull = condition: value: if condition then value else null;
in
{
  settingsUsers =
    config:
    lib.mapAttrs (_: user: user // {
      forceCommand = if user.forceCommand == null then null else cut user.forceCommand;
      public_keys = map (pick [ "publicKey" "keyOptions" "finalKey" ]) user.public_keys;
    }) config.settings.users.users;

  users = config: {
    inherit (config.users) mutableUsers;
    groups = lib.mapAttrs (_: group: group.members) config.users.groups;
    users = lib.mapAttrs (
      name: user:
      {
        authorized_keys = user.openssh.authorizedKeys.keys;
        shell = package user.shell;
      }
      // lib.optionalAttrs (user.extraGroups != [ ]) { inherit (user) extraGroups; }
      // lib.optionalAttrs (user.expires != null) { inherit (user) expires; }
      // lib.optionalAttrs (user.hashedPassword != null) { inherit (user) hashedPassword; }
      // lib.optionalAttrs (name != "root") { inherit (user) group isNormalUser isSystemUser; }
      // lib.optionalAttrs user.createHome { inherit (user) home createHome; }
    ) config.users.users;
  };

  sudo = config: {
    inherit (config.security.sudo) enable wheelNeedsPassword;
    extraRules = map (rule: removeAttrs rule [ "groups" ]) config.security.sudo.extraRules;
  };

  tunnels = config: {
    known_hosts = config.programs.ssh.knownHosts;
    settings = {
      inherit (config.settings.reverse_tunnel) enable relay_servers;
      relay = config.settings.reverse_tunnel.relay.enable;
      tunnels = lib.mapAttrs (_: tunnel: removeAttrs tunnel [ "generate_configs" ]) config.settings.reverse_tunnel.tunnels;
    };
  };

  upgrade = config: {
    inherit (config.settings) maintenance;
    nix.gc = config.nix.gc;
    nix.settings = config.nix.settings;
  };

  complaints = config: {
    failed = lib.length (lib.filter (one: !one.assertion) config.assertions);
    warnings = lib.length config.warnings;
  };

  host = config: {
    boot = {
      inherit (config.boot) kernelParams tmp;
      kernel.sysctl = config.boot.kernel.sysctl;
      initrd = {
        kernelModules = lib.attrNames config.boot.initrd.kernelModules;
        systemd.enable = config.boot.initrd.systemd.enable;
      }
      // lib.optionalAttrs (config.boot.initrd.availableKernelModules != { }) {
        availableKernelModules = lib.attrNames config.boot.initrd.availableKernelModules;
      };
      loader =
        if config.boot.loader.systemd-boot.enable then
          { inherit (config.boot.loader) efi systemd-boot; }
        else if config.boot.loader.grub.enable then
          # NixOS's own default, which the golden files leave out; any other value stays and is compared.
          { grub = removeAttrs config.boot.loader.grub (lib.optional (config.boot.loader.grub.default == "0") "default"); }
        else
          null;
    };
    crypto_mounts = config.settings.crypto.mounts;
    inherit (config) disko swapDevices;
    docker =
      if config.virtualisation.docker.enable then
        pick [ "enable" "enableOnBoot" "extraOptions" "liveRestore" ] config.virtualisation.docker
      else
        { enable = false; };
    environment = {
      inherit (config.environment) variables;
      etc = orNull (config.environment.etc ? timezone) { timezone.text = config.environment.etc.timezone.text; };
    };
    networking = pick [ "dhcpcd" "hostName" "nameservers" "useDHCP" ] config.networking // (
      let
        ports = lib.filterAttrs (_: list: list != [ ]) (pick [ "allowedTCPPorts" "allowedUDPPorts" ] config.networking.firewall);
      in
      lib.optionalAttrs (ports != { }) { firewall = ports; }
    );
    nfs = orNull config.services.nfs.server.enable { inherit (config.services.nfs) server; };
    oci = orNull (config.virtualisation.oci-containers.containers != { }) {
      inherit (config.virtualisation.oci-containers) backend;
      containers = lib.mapAttrs (_: one: removeAttrs one [ "environmentFiles" ] // {
        # Names and places of the mounted files; what is in them is Afield's own.
        volumes = map (volume:
          let inStore = builtins.match "/nix/store/[0-9a-z]{32}-(.*)" volume;
          in if inStore != null then "<script>-${lib.head inStore}" else volume
        ) one.volumes;
      }) config.virtualisation.oci-containers.containers;
    };
    timesyncd = config.services.timesyncd;
    udev = orNull (config.services.udev.extraRules != "") config.services.udev;
    zabbix = orNull config.services.zabbixAgent.enable (
      config.services.zabbixAgent // { extraPackages = map package config.services.zabbixAgent.extraPackages; }
    );
    zramSwap = lib.optionalAttrs config.zramSwap.enable config.zramSwap;
  };
}
