# The NixOS options that Afield's modules and golden hosts set, with nixpkgs' names and types and none of its effects.
# There is no freeform type: a wrong name or a wrong type fails the evaluation, as it would in NixOS.
{ lib, ... }:
let
  inherit (lib) mkOption types;
  inherit (types) attrsOf listOf nullOr either submodule;
  opt = type: mkOption { inherit type; };
  def = type: default: mkOption { inherit type default; };
  bool = def types.bool false;
  str = opt types.str;
  text = def types.lines "";
  strs = def (listOf types.str) [ ];
  group = options: submodule { inherit options; };
  set = options: attrsOf (group options);
  scalar = types.oneOf [ types.bool types.int types.str types.package types.path ];

  unitOptions = {
    enable = def types.bool true;
    description = def types.singleLineStr "";
    documentation = strs;
    after = strs;
    before = strs;
    requires = strs;
    wants = strs;
    bindsTo = strs;
    partOf = strs;
    conflicts = strs;
    wantedBy = strs;
    requiredBy = strs;
    unitConfig = def (attrsOf (either scalar (listOf scalar))) { };
  };
  service = unitOptions // {
    environment = def (attrsOf (nullOr (types.oneOf [ types.str types.path types.package ]))) { };
    path = def (listOf (types.oneOf [ types.package types.str ])) [ ];
    serviceConfig = def (attrsOf (either scalar (listOf scalar))) { };
    script = text;
    preStart = text;
    restartIfChanged = def types.bool true;
    stopIfChanged = def types.bool true;
    reloadIfChanged = bool;
    restartTriggers = def (listOf types.unspecified) [ ];
    startAt = def (types.coercedTo types.str lib.singleton (listOf types.str)) [ ];
  };
  mount = unitOptions // {
    what = str;
    where = str;
    type = def types.str "";
    options = def types.commas "";
    mountConfig = def (attrsOf scalar) { };
  };
  key = opt types.singleLineStr;
  user = { name, ... }: {
    options = {
      name = def types.str name;
      group = def types.str "";
      extraGroups = strs;
      isNormalUser = bool;
      isSystemUser = bool;
      home = def types.path "/var/empty";
      createHome = bool;
      shell = def (nullOr (either types.package types.path)) null;
      hashedPassword = def (nullOr types.str) null;
      expires = def (nullOr (types.strMatching "[[:digit:]]{4}-[[:digit:]]{2}-[[:digit:]]{2}")) null;
      openssh.authorizedKeys.keys = def (listOf types.singleLineStr) [ ];
    };
  };
  etc = { name, config, ... }: {
    options = {
      text = def (nullOr types.lines) null;
      source = opt types.path;
      mode = def types.str "symlink";
    };
    config.source = lib.mkIf (config.text != null) (lib.mkDefault "/nix/store/00000000000000000000000000000000-${lib.replaceStrings [ "/" ] [ "-" ] name}");
  };
  fileSystem = { name, ... }: {
    options = {
      mountPoint = def types.str name;
      device = def (nullOr types.str) null;
      fsType = def types.str "auto";
      options = def (listOf types.str) [ "defaults" ];
      neededForBoot = bool;
    };
  };
  sudoRule = {
    users = strs;
    groups = strs;
    runAs = def types.str "ALL:ALL";
    commands = opt (listOf (either types.str (group {
      command = str;
      options = def (listOf (types.enum [ "NOPASSWD" "PASSWD" "NOEXEC" "EXEC" "SETENV" "NOSETENV" "LOG_INPUT" "NOLOG_INPUT" "LOG_OUTPUT" "NOLOG_OUTPUT" "MAIL" "NOMAIL" ])) [ ];
    })));
  };
  kernelModules = def (types.coercedTo (listOf types.str) (names: lib.genAttrs names (_: true)) (attrsOf types.bool)) { };
in
{
  options = {
    assertions = def (listOf types.unspecified) [ ];
    warnings = strs;
    lib = def (attrsOf types.attrs) { };
    time.timeZone = def (nullOr (types.strMatching "[^ ]*")) null;
    system.stateVersion = def types.str "25.11";
    system.build = def (types.lazyAttrsOf types.unspecified) { };

    boot = {
      initrd.systemd.enable = bool;
      initrd.systemd.services = def (set service) { };
      initrd.availableKernelModules = kernelModules;
      initrd.kernelModules = kernelModules;
      kernel.sysctl = def (attrsOf (nullOr (types.oneOf [ types.bool types.int types.str ]))) { };
      kernelParams = def (listOf (types.strMatching ''([^"[:space:]]|"[^"]*")+'')) [ ];
      tmp.useTmpfs = bool;
      tmp.cleanOnBoot = bool;
      loader.efi.canTouchEfiVariables = bool;
      loader.efi.efiSysMountPoint = def types.str "/boot";
      loader.systemd-boot = {
        enable = bool;
        editor = def types.bool true;
        configurationLimit = def (nullOr types.int) null;
      };
      loader.grub = {
        enable = bool;
        default = def (either types.int types.str) "0";
        configurationLimit = def types.int 100;
      };
    };
    disko.devices = def (types.submodule { freeformType = types.attrsOf types.anything; }) { };
    fileSystems = def (attrsOf (types.submodule fileSystem)) { };
    swapDevices = def (listOf (group {
      device = str;
      size = def (nullOr types.int) null;
      priority = def (nullOr types.int) null;
      randomEncryption = def (types.coercedTo types.bool (enable: { inherit enable; }) (group { enable = bool; })) { };
    })) [ ];
    zramSwap = {
      enable = bool;
      algorithm = def (either (types.enum [ "lzo" "lz4" "zstd" ]) types.str) "zstd";
      memoryPercent = def types.int 50;
    };
    hardware.enableRedistributableFirmware = bool;

    environment = {
      etc = def (attrsOf (types.submodule etc)) { };
      systemPackages = def (listOf types.package) [ ];
      variables = def (attrsOf (types.oneOf [ (listOf (either types.int types.str)) types.int types.str types.path ])) { };
    };
    networking = {
      hostName = def (types.strMatching "^$|^[[:alnum:]]([[:alnum:]_-]{0,61}[[:alnum:]])?$") "nixos";
      nameservers = strs;
      useDHCP = def types.bool true;
      interfaces = def (set { ipv4.addresses = def (listOf (group { address = str; prefixLength = opt types.int; })) [ ]; }) { };
      defaultGateway = def (nullOr (types.coercedTo types.str (address: { inherit address; }) (group {
        address = str;
        interface = def (nullOr types.str) null;
      }))) null;
      timeServers = def (listOf types.str) (map (n: "${toString n}.nixos.pool.ntp.org") [ 0 1 2 3 ]);
      firewall.allowedTCPPorts = def (listOf types.port) [ ];
      firewall.allowedUDPPorts = def (listOf types.port) [ ];
      dhcpcd = {
        persistent = bool;
        setHostname = def types.bool true;
        allowInterfaces = def (nullOr (listOf types.str)) null;
        denyInterfaces = strs;
        extraConfig = text;
      };
    };

    users = {
      mutableUsers = def types.bool true;
      users = def (attrsOf (types.submodule user)) { };
      groups = def (set { members = strs; gid = def (nullOr types.int) null; }) { };
    };
    security.sudo = {
      enable = def types.bool true;
      wheelNeedsPassword = def types.bool true;
      extraRules = def (listOf (group sudoRule)) [ ];
    };
    programs.ssh.knownHosts = def (set { hostNames = strs; publicKey = opt (nullOr types.str); }) { };

    services = {
      openssh = {
        enable = bool;
        openFirewall = def types.bool true;
        ports = def (listOf types.port) [ 22 ];
        authorizedKeysInHomedir = def types.bool true;
        authorizedKeysFiles = strs;
        extraConfig = text;
        settings = def (types.submodule {
          freeformType = attrsOf scalar;
          options.AllowGroups = def (nullOr (listOf types.str)) null;
          options.PermitRootLogin = def (types.enum [ "yes" "without-password" "prohibit-password" "forced-commands-only" "no" ]) "prohibit-password";
          options.PasswordAuthentication = def types.bool true;
          options.KbdInteractiveAuthentication = def types.bool true;
        }) { };
      };
      sshguard = {
        enable = bool;
        whitelist = strs;
      };
      fail2ban = {
        enable = bool;
        ignoreIP = strs;
      };
      timesyncd.enable = def types.bool true;
      timesyncd.servers = def (nullOr (listOf types.str)) null;
      journald.extraConfig = text;
      logind.settings.Login = def (attrsOf scalar) { };
      udev.extraRules = text;
      qemuGuest.enable = bool;
      nfs.server = {
        enable = bool;
        exports = text;
      };
      zabbixAgent = {
        enable = bool;
        server = str;
        openFirewall = bool;
        extraPackages = def (listOf types.package) [ ];
        settings = def (attrsOf (types.oneOf [ types.int types.str (listOf types.str) ])) { };
      };
    };
    systemd = {
      services = def (set service) { };
      mounts = def (listOf (group mount)) [ ];
      slices = def (set (unitOptions // { sliceConfig = def (attrsOf scalar) { }; })) { };
      tmpfiles.rules = strs;
    };
    virtualisation = {
      vmware.guest.enable = bool;
      virtualbox.guest.enable = bool;
      docker = {
        enable = bool;
        enableOnBoot = def types.bool true;
        liveRestore = def types.bool true;
        extraOptions = def (types.separatedString " ") "";
        package = opt types.package;
        autoPrune = {
          enable = bool;
          dates = def types.str "weekly";
          flags = strs;
        };
      };
      oci-containers = {
        backend = def (types.enum [ "podman" "docker" ]) "podman";
        containers = def (set {
          image = str;
          cmd = strs;
          ports = strs;
          volumes = strs;
          workdir = def (nullOr types.str) null;
          environmentFiles = def (listOf types.path) [ ];
          extraOptions = strs;
        }) { };
      };
    };
    nix = {
      package = opt types.package;
      gc = {
        automatic = bool;
        dates = def types.str "03:15";
        options = def types.str "";
      };
      settings = def (types.submodule {
        freeformType = attrsOf (either scalar (listOf scalar));
        options.trusted-users = def (listOf types.str) [ "root" ];
        options.experimental-features = strs;
        options.auto-optimise-store = bool;
      }) { };
    };
    nixpkgs.pkgs = opt types.raw;
    nixpkgs.hostPlatform = opt types.str;
  };
}
