# Hosts that the golden fleet does not have: each option of a platform or a place, as a host file would set it.
{ lib, golden, testing }:
let
  folder = testing.afieldLib.folder.load (golden + "/inputs/org-config");
  base = {
    time.timeZone = "UTC";
    settings.network.host_name = "vm-prod";
  };
  configWith = settings: extra: (testing.evaluate { inherit folder; name = "vm-prod"; file = { imports = [ base ]; inherit settings; }; modules = testing.orgModules ++ [ extra ]; }).config;
  config = settings: configWith settings { };
  # A host with the agent.
  withAgent = boot: afield: configWith { hardwarePlatform = "none"; boot.mode = boot; } {
    afield = { fleetName = "golden"; repositories = [ "https://releases.example.org" ]; } // afield;
  };
  stick = withAgent "none" { stick.enable = true; };
  lan = withAgent "none" { lan.enable = true; };
  lanElsewhere = withAgent "none" { lan.enable = true; agent.settings.lan = { port = 9000; keep-mib = 512; }; };
  plain = extra: { hardwarePlatform = "none"; boot.mode = "none"; } // extra;
  # Everything that a build would look at, and what it refuses.
  failed =
    config:
    builtins.deepSeq [ config.users config.systemd config.boot config.networking config.services.openssh config.fileSystems config.virtualisation ] (
      map (one: one.message) (lib.filter (one: !one.assertion) config.assertions)
    );
  fine = settings: case (failed (config settings)) [ ];
  case = actual: expected: { inherit actual expected; };
  platforms = lib.genAttrs (lib.attrNames (config (plain { })).settings.hardwarePlatforms) (name: fine { hardwarePlatform = name; boot.mode = "uefi"; });
  old = config { hardwarePlatform = "laptop"; boot.mode = "legacy"; system.isMbr = true; };
  agentAlone = withAgent "none" { };
  ports = config: {
    tcp = lib.elem config.afield.agent.settings.lan.port config.networking.firewall.allowedTCPPorts;
    udp = lib.elem 5353 config.networking.firewall.allowedUDPPorts;
    told = config.afield.agent.settings.lan;
  };
  traefik = config (plain {
    docker.enable = true;
    services.traefik = {
      enable = true;
      tls_entrypoints.hl7 = { enable = true; host = "127.0.0.1"; port = 2575; };
      acme.dnsProvider = "azure";
    };
  });
  static = config {
    hetzner = { enable = true; static_ip = true; };
    boot.mode = "legacy";
    network.static_ifaces.ens3 = { address = "192.0.2.5"; prefix_length = 24; gateway = "192.0.2.1"; };
  };
in
lib.mapAttrs' (name: lib.nameValuePair "platform-${name}") platforms
// {
  hetzner = fine { hetzner = { enable = true; static_ip = true; }; boot.mode = "legacy"; };
  without-dhcp = case {
    inherit (static.networking) useDHCP defaultGateway;
    addresses = static.networking.interfaces.ens3.ipv4.addresses;
  } {
    useDHCP = false;
    defaultGateway = { address = "192.0.2.1"; interface = "ens3"; };
    addresses = [ { address = "192.0.2.5"; prefixLength = 24; } ];
  };
  virtualbox = fine { virtualbox.enable = true; boot.mode = "legacy"; };
  synology = fine { syno_vm.enable = true; boot.mode = "uefi"; };
  from-a-stick = fine { live_system.enable = true; };
  fail2ban = fine (plain { fail2ban.enable = true; });
  fail2ban-alone = case (config (plain { fail2ban.enable = true; })).services.sshguard.enable false;
  lock-page = fine (plain { services.server-lock.enable = true; });
  lock-page-is-not-promised = case (map (lib.hasInfix "no lock page yet") (config (plain { services.server-lock.enable = true; })).warnings) [ true ];
  stick = case (failed stick) [ ];
  stick-starts-its-unit = case {
    rule = lib.hasInfix ''ENV{SYSTEMD_WANTS}+="afield-stick@%k.service"'' stick.services.udev.extraRules;
    command = lib.hasInfix "/bin/afield-agent stick /dev/%I " stick.systemd.services."afield-stick@".serviceConfig.ExecStart;
  } { rule = true; command = true; };
  lan = case (failed lan) [ ];
  lan-opens-its-port = case (ports lan) { tcp = true; udp = true; told = { port = 8472; }; };
  # The port of agent.toml is the one that is opened, and the module's default gives way.
  lan-on-another-port = case (ports lanElsewhere) { tcp = true; udp = true; told = { port = 9000; keep-mib = 512; }; };
  neither-unless-wanted = case {
    inherit (agentAlone.services.udev) extraRules;
    units = lib.filter (lib.flip lib.hasAttr agentAlone.systemd.services) [ "afield-stick@" "afield-lan" ];
    mdns = lib.elem 5353 agentAlone.networking.firewall.allowedUDPPorts;
    lan = agentAlone.afield.agent.settings ? lan;
  } { extraRules = ""; units = [ ]; mdns = false; lan = false; };
  # GRUB starts what is proved, and what is on trial once.
  grub-boots-what-is-proved = case (withAgent "legacy" { }).boot.loader.grub.default "saved";
  more-disks = fine (plain { crypto.mounts.img = { enable = true; device = "/dev/x"; mount_point = "/data"; device_units = [ "iscsi.service" ]; }; });
  secrets-and-configs-for-groups = fine (plain { system.secrets.allow_groups = [ "app" ]; system.secrets.old_dest_directories = [ "/opt/.secrets" ]; system.opt.allow_groups = [ "app" ]; });
  old-installation = case (failed old) [ ];
  old-installation-has-no-layout = case old.disko.devices { };
  old-installation-finds-its-root = case old.fileSystems."/".device "/dev/disk/by-label/nixos_root";
  traefik = case (failed traefik) [ ];
  traefik-more-ports = case (lib.elem "127.0.0.1:2575:2575/tcp" traefik.virtualisation.oci-containers.containers.nixos-traefik.ports) true;
  # Both disko's layout and an old partition table: one of them is a mistake.
  mbr-with-layout = case (lib.length (failed (config (plain { system.isMbr = true; disko.enableDefaultConfig = true; })))) 1;
  relay-that-no-host-knows = case (lib.length (failed (config (plain { reverse_tunnel.relay.enable = true; })))) 1;
  disks-without-secrets = case (lib.length (failed (config (plain { system.secrets.enable = false; crypto.encrypted_opt.enable = true; })))) 1;
}
